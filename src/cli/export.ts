/** `vgg export`: writes trained weights for other programs, as ONNX or as safetensors. */
import { existsSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { Command, type Option } from 'commander';
import { UsageError, VggError } from '../errors.ts';
import { checkLoaded, type DataInfo, infoOf, type ModelInfo, refuseContradictions } from '../model/info.ts';
import type { Network, Shape } from '../model/layer.ts';
import { createModel, models, parseAssignments } from '../model/models.ts';
import { buildNetwork, sizeOf } from '../model/network.ts';
import { formatBytes } from '../model/summary.ts';
import type { WeightSource } from '../model/weight-streams.ts';
import { parseNumber, parseWhole } from '../numbers.ts';
import { flagWithValue } from '../report/command.ts';
import { shellWord } from '../words.ts';
import type { Interruption } from './interrupt.ts';
import { modelOptionOption } from './models.ts';
import { print, printJson } from './output.ts';
import { choiceOption, listOption, pathArgument, pathOption } from './values.ts';
import { checkWritable } from './weight-saver.ts';

const formats = ['onnx', 'safetensors'] as const;

interface ExportOptions {
  readonly to: (typeof formats)[number];
  readonly output?: string;
  readonly force?: true;
  readonly half?: true;
  readonly softmax?: true;
  readonly preprocess?: true;
  readonly model?: string;
  readonly modelOption: readonly string[];
  readonly classes?: string;
  readonly input?: readonly number[];
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg export runs/a --to onnx
  $ vgg export runs/a --to onnx --softmax --preprocess
  $ vgg export runs/a --to safetensors --output weights.safetensors
  $ vgg export weights.safetensors --to safetensors --half
  $ vgg export torch.safetensors --to onnx --model vgg7 --classes names.txt --input 3,32,32

An ONNX model (opset 17) takes images [n, channels, height, width] and returns logits [n, classes], both float32. With --half, it stores matrices in half the space; it still computes in float32. Of a run, the best weights are exported. Without --output, the file is written beside the weights, under their name: runs/a/best.onnx, weights-half.safetensors.

Files of --save and run folders describe their network and images. For other weight files, such as PyTorch's, give --model, --classes and --input, and for --preprocess --mean and --std. An option that contradicts the file is an error.`;

export function exportCommand(interruption: Interruption): Command {
  return new Command('export')
    .description('write a trained network as ONNX, or its weights as safetensors')
    .addArgument(pathArgument('<source>', 'run folder, name of a run in runs/, weight file or checkpoint'))
    .addOption(choiceOption('--to <format>', 'format', formats).makeOptionMandatory())
    .addOption(pathOption('--output <file>', 'file to write (default: beside the weights)'))
    .option('--force', 'replace an existing file')
    .option('--half', 'store half precision (float16)')
    .option('--softmax', 'ONNX: return probabilities in place of logits')
    .option('--preprocess', 'ONNX: take pixels from 0 to 255, and normalize them as in training')
    .addOption(choiceOption('--model <name>', 'network of a file that does not say it', Object.keys(models)))
    .addOption(modelOptionOption())
    .addOption(
      pathOption('--classes <n>', 'number of classes, or a text file with their names, one per line'),
    )
    .addOption(wholeNumbers('--input <sizes>', 'channels, height and width of an image, such as 3,32,32'))
    .addOption(numbers('--mean <values>', 'means of the channels, which normalize pixels scaled to 0–1'))
    .addOption(numbers('--std <values>', 'deviations of the channels'))
    .option('--json', 'print one JSON object: file, format, bytes, input, classes')
    .addHelpText('after', examples)
    .action((source: string, options: ExportOptions) => exportModel(source, options, interruption));
}

const wholeNumbers = (flags: string, description: string): Option =>
  listOption(flags, description, parseWhole, 'whole numbers');
const numbers = (flags: string, description: string): Option =>
  listOption(flags, description, parseNumber, 'numbers');

async function exportModel(given: string, options: ExportOptions, interruption: Interruption): Promise<void> {
  const { to, half = false, softmax, preprocess, json } = options;
  if (to !== 'onnx' && (softmax || preprocess)) {
    const flag = softmax ? '--softmax' : '--preprocess';
    throw new UsageError(`${flag} has no effect on ${to}, which holds weights alone; leave it out`);
  }
  const source = await sourceFile(given);
  const path = await outputFile(source, options);
  const chosen = await chosenData(options);
  const [{ openWeights, writeWeights }, { exportOnnx }, { knownData }, { cancelable, watched }] =
    await Promise.all([
      import('../model/weight-files.ts'),
      import('../runs/export-onnx.ts'),
      import('../train/model.ts'),
      import('../model/weight-streams.ts'),
    ]);
  interruption.stopsItself = true;
  interruption.kept = 'Nothing was written.';
  const { signal } = interruption;
  let network: Network | undefined;
  await using file = await openWeights(
    source,
    (info) => {
      network = networkOf(source, info, options, chosen);
      return network;
    },
    { signal },
  );
  const info = infoOf(network!, { ...file.info, ...knownData('export', network!, chosen.data) });
  const progress = progressOf(file);
  const weights = watched(cancelable(file, signal), progress.read);
  try {
    if (to === 'onnx') {
      const onnx = await exportOnnx({ ...info, weights }, path, {
        half,
        softmax: softmax ?? false,
        preprocess: preprocess ?? false,
      });
      progress.end();
      if (!json) {
        print(`${network!.name} is in ${path}: ONNX, ${formatBytes(onnx.bytes)}.`);
        for (const [name, value] of Object.entries({ Input: onnx.input, Output: onnx.output })) {
          const description = value.description === undefined ? '' : `, ${value.description}`;
          print(`${name}: ${value.name} [n, ${value.shape.join(', ')}]${description}.`);
        }
      }
    } else {
      await writeWeights(path, weights, info, { half });
      progress.end();
      if (!json)
        print(`The weights of ${network!.name} are in ${path}: ${formatBytes(statSync(path).size)}.`);
    }
  } finally {
    progress.end();
  }
  if (json) {
    const { input, output } = network!;
    printJson({ file: path, format: to, bytes: statSync(path).size, input, classes: output[0] });
  }
}

/** The weight file that an argument names: itself, or the best weights of a run. */
async function sourceFile(given: string): Promise<string> {
  if (statSync(given, { throwIfNoEntry: false })?.isFile()) return given;
  const { isRun, isSeries, readConfig, runFiles, runPlace } = await import('../runs/folder.ts');
  const folder = runPlace(given);
  if (!isRun(folder) && !isSeries(folder)) {
    throw new UsageError(
      `export: ${given} is neither a weight file nor a run folder; name one, or a run in runs/`,
    );
  }
  // Says which runs a series has, and what is wrong with a damaged folder.
  await readConfig(folder);
  const best = join(folder, runFiles.best);
  if (existsSync(best)) return best;
  const last = join(folder, runFiles.last);
  throw new VggError(
    `${folder} has no best weights (${runFiles.best}); they are saved after the first epoch. ` +
      (existsSync(last)
        ? `Export its last weights with vgg export ${shellWord(last)}`
        : `Continue the run with vgg train --resume ${shellWord(given)}`),
  );
}

/** The file to write. @throws UsageError if it is the source, or exists and `--force` is not given. */
async function outputFile(source: string, { to, half, output, force }: ExportOptions): Promise<string> {
  const name = `${basename(source, extname(source))}${half ? '-half' : ''}.${to}`;
  const path = output ?? join(dirname(source), name);
  await checkWritable(path, '--output');
  if (!existsSync(path)) return path;
  if (realpathSync(path) === realpathSync(source))
    throw new UsageError(`export: ${path} is the file that is exported; name another one with --output`);
  if (!force)
    throw new UsageError(
      `export: ${path} exists; replace it with --force, or name another file with --output`,
    );
  return path;
}

/** What the options say about the network's outputs and images. */
interface ChosenData {
  readonly count: number | undefined;
  readonly data: DataInfo;
}

async function chosenData({ classes, mean, std }: ExportOptions): Promise<ChosenData> {
  if ((mean === undefined) !== (std === undefined))
    throw new UsageError('export: --mean and --std go together; give both, or neither');
  const count = classes === undefined ? undefined : parseWhole(classes);
  const names = classes === undefined || count !== undefined ? undefined : await classNames(classes);
  return {
    count: count ?? names?.length,
    data: {
      ...(names && { classes: names }),
      ...(mean && std && { normalization: { mean, std } }),
    },
  };
}

/** The most bytes of a file of class names. */
const mostNames = 1 << 20;

async function classNames(path: string): Promise<readonly string[]> {
  const { readWhole } = await import('../files/files.ts');
  const text = new TextDecoder().decode(await readWhole(path, mostNames));
  const names = text.split('\n').map((line) => line.trim());
  return names.filter((name) => name !== '');
}

/**
 * The network that a file names, or that options choose for a file that names none.
 * @throws UsageError if an option contradicts the file, or one is missing.
 */
function networkOf(
  source: string,
  info: ModelInfo | undefined,
  { model, modelOption, input }: ExportOptions,
  { count, data }: ChosenData,
): Network {
  const modelOptions = parseAssignments(modelOption);
  if (info) {
    refuseContradictions(
      source,
      info,
      { ...(model !== undefined && { model }), ...(modelOption.length > 0 && { modelOptions }) },
      flagWithValue,
    );
    checkLoaded(source, info, { ...info, input: input ?? info.input }, data);
    const network = buildNetwork(info.network, info.input);
    const [outputs] = network.output;
    if (count !== undefined && count !== outputs) {
      throw new UsageError(
        `${source}: its network has ${outputs} classes, which contradicts --classes with ${count}; leave that out`,
      );
    }
    return network;
  }
  if (model === undefined || count === undefined || input === undefined) {
    const missing = Object.entries({ '--model': model, '--classes': count, '--input': input }).filter(
      ([, value]) => value === undefined,
    );
    throw new UsageError(
      `${source} does not say its network; give ${missing.map(([flag]) => flag).join(' and ')}, ` +
        'for instance --model vgg7 --classes 10 --input 3,32,32',
    );
  }
  return buildNetwork(createModel(model, { classes: count, options: modelOptions }), input);
}

/** On a terminal, shows how much of the weights was read; large files take seconds. */
function progressOf(source: WeightSource): { read: (count: number) => void; end: () => void } {
  const total = source.shapes.values().reduce((sum, shape: Shape) => sum + sizeOf(shape), 0);
  let done = 0;
  let drawn = performance.now();
  let visible = false;
  return {
    read(count) {
      done += count;
      const now = performance.now();
      if (!process.stderr.isTTY || now - drawn < 100) return;
      drawn = now;
      visible = true;
      process.stderr.write(`\r\x1b[2K${Math.floor((100 * done) / total)} % of ${formatBytes(4 * total)}`);
    },
    end() {
      if (visible) process.stderr.write('\r\x1b[2K');
      visible = false;
    },
  };
}
