/**
 * Messages for unknown names. A name is suggested only if it is close; for well-known names from other tools, the
 * message says what is available instead.
 */
import { distance } from 'fastest-levenshtein';

/**
 * `there is no model "vgg8"; did you mean "vgg7"? Available: simplified, vgg7`. `what` is the kind of name: an
 * option's key (`model`, `dataset`) or any noun.
 */
export function unknownName(what: string, name: string, known: readonly string[]): string {
  const message = nearest(what, name, known);
  if (known.length === 0) return `${message}; none are available`;
  const list = known.join(', ');
  if (hintFor(what, name, known) === '') return `${message}; available: ${list}`;
  return `${message}${message.endsWith('?') ? '' : '.'} Available: ${list}`;
}

/** The same message without the list of known names. */
export function nearest(what: string, name: string, known: readonly string[]): string {
  return `there is no ${what === 'dataset' ? 'data set' : what} "${name}"${hintFor(what, name, known)}`;
}

/** `; did you mean "vgg7"?`, `; vggnet runs on the CPU`, or an empty string. */
export function hintFor(what: string, name: string, known: readonly string[]): string {
  const instead = insteadOf[what]?.find(([names]) => names.test(name))?.[1];
  if (instead !== undefined && !known.some((one) => plain(one) === plain(name))) return `; ${instead}`;
  const close = closeName(name, known);
  return close === undefined ? '' : `; did you mean "${close}"?`;
}

/** What to use instead of well-known names, by kind of name. */
const insteadOf: Readonly<Record<string, readonly (readonly [RegExp, string])[]>> = {
  model: [
    [/^(alexnet|lenet|mlp|cnn)/i, 'build other chains of layers with sequential() in TypeScript'],
    [
      /^(wide_?)?(resnet|resnext|densenet|inception|googlenet|mobilenet|efficientnet|squeezenet|shufflenet|convnext|regnet|mnasnet|unet|vit|swin|transformer)/i,
      'only chains of layers are supported, not networks with branches',
    ],
  ],
  device: [
    [/^(cpu|x86|simd|avx\d*)(:\d+)?$/i, 'native and wasm compute on the processor'],
    [
      /^(gpu|cuda|mps|webgl|xpu|tpu|npu|rocm|hip|metal|vulkan|opencl|directml|dml|coreml)(:\d+)?$/i,
      'webgpu computes on GPUs of all vendors',
    ],
  ],
  dataset: [
    [/[/\\]|\.csv$/i, 'a folder of images is named as folder:DIR, a table of images as csv:FILE'],
    [
      /mnist|image-?net|svhn|stl-?10|coco|celeb|caltech|food-?101|flowers|pets|places|voc|^lsun|^sun397/i,
      'to train on other images, name their folder: folder:DIR',
    ],
  ],
  optimizer: [
    [/^(momentum|nesterov|sgdm|nag)$/i, 'momentum and nesterov are options of sgd'],
    [
      /^(rms-?prop|ada(grad|delta|max|factor|bound|belief)|[nr]-?adam|amsgrad|lion|lamb|lars|rprop|asgd|l-?bfgs|sophia|shampoo)$/i,
      'adam and adamw also adapt the learning rate of each weight',
    ],
  ],
  schedule: [
    [/^(none|fixed|flat)$/i, 'constant keeps the learning rate unchanged'],
    [/^exp/i, 'step with lrStep 1 multiplies the learning rate after each epoch'],
    [
      /^(linear|poly|inverse|sqrt|warmup)/i,
      'warmup is a separate option and works with every schedule except oneCycle',
    ],
  ],
};

/** Names of options in other tools. */
const synonyms: Readonly<Record<string, string>> = {
  learningrate: 'lr',
  learnrate: 'lr',
  eta: 'lr',
  wd: 'weightDecay',
  l2: 'weightDecay',
  eps: 'epsilon',
  maxepochs: 'epochs',
  numepochs: 'epochs',
  maxsteps: 'steps',
  optim: 'optimizer',
  arch: 'model',
  network: 'model',
  workers: 'threads',
  numworkers: 'threads',
  gpu: 'device',
  cuda: 'device',
  valsplit: 'validation',
  output: 'run',
};

/** Ignores case, hyphens and underscores. */
const plain = (name: string): string => name.toLowerCase().replaceAll(/[-_\s]/g, '');

/**
 * The known name that `name` probably means: different case, a typo or two in a longer word, two letters swapped, the
 * start of a name, or another tool's word for it.
 */
export function closeName(name: string, known: readonly string[]): string | undefined {
  const wanted = plain(name);
  if (wanted === '') return undefined;
  let best: string | undefined;
  let least = Infinity;
  for (const candidate of known) {
    const score = scoreOf(wanted, plain(candidate));
    if (score < least) [best, least] = [candidate, score];
  }
  return best;
}

/** The distance between two plain names; Infinity if they are not close. */
function scoreOf(wanted: string, candidate: string): number {
  if (Object.hasOwn(synonyms, wanted) && plain(synonyms[wanted]!) === candidate) return 0;
  const edits = distance(wanted, candidate);
  const letters = Math.max(wanted.length, candidate.length);
  if (edits <= Math.max(letters > 2 ? 1 : 0, Math.floor(letters / 3.5))) return edits;
  const sorted = (word: string): string => [...word].sort().join('');
  if (edits === 2 && sorted(wanted) === sorted(candidate)) return edits;
  const isStart = wanted.length >= 3 && candidate.startsWith(wanted);
  return isStart || (candidate.length >= 4 && wanted.startsWith(candidate)) ? 3 : Infinity;
}
