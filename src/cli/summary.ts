/** `vgg summary`: a network layer by layer, and the memory that it needs, before any is allocated. */
import { availableParallelism, totalmem } from 'node:os';
import { Command, Option } from 'commander';
import { datasetFacts } from '../data/facts.ts';
import type { DatasetSpec } from '../data/named.ts';
import { type DeviceName, gpuDevices } from '../engine/backend.ts';
import type { LayerProfile } from '../engine/cpu/measure/profile.ts';
import type { NetworkMemory, Work } from '../engine/cpu/memory-of.ts';
import type { PlanDescription } from '../engine/cpu/plan/describe.ts';
import { UsageError } from '../errors.ts';
import type { TileSize } from '../kernels/language.ts';
import { blockCells } from '../model/block-table.ts';
import type { Network, Shape } from '../model/layer.ts';
import { layersMatching } from '../model/layer-patterns.ts';
import { largestSize } from '../model/layers/arguments.ts';
import { models } from '../model/models.ts';
import { buildNetwork, sizeOf } from '../model/network.ts';
import { formatBytes, summarize, summaryCells } from '../model/summary.ts';
import { parseWhole } from '../numbers.ts';
import { maxThreads } from '../options.ts';
import { counted, grouped, percent } from '../words.ts';
import { datasetOption } from './datasets.ts';
import { chosenModel, modelOptionOption } from './models.ts';
import { note, print, printJson, printTable, tableText, widthOf } from './output.ts';
import { choiceOption, layersOption, wholeNumberOption } from './values.ts';

/** Devices with kernels to time. */
const profiledDevices = ['auto', 'native', 'wasm'] as const;
type ProfiledDevice = (typeof profiledDevices)[number];

interface SummaryOptions {
  readonly modelOption: readonly string[];
  readonly dataset?: DatasetSpec;
  readonly size?: Shape;
  readonly classes?: number;
  readonly layers?: true;
  readonly batchSize: number;
  readonly threads?: number;
  readonly freeze?: readonly string[];
  readonly plan?: true;
  readonly profile?: true;
  readonly device: DeviceName;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg summary vgg16
  $ vgg summary vgg16-bn --size 32 --classes 10 --layers
  $ vgg summary vgg7 --dataset cifar100 --model-option channels=32,64
  $ vgg summary simplified --plan --profile
  $ vgg summary vgg16 --device ${gpuDevices[0]} --batch-size 64

The figures of a layer are for one image. The second table shows what the kernels allocate: weights (also in the form that the kernels read), gradients, optimizer state, and maps with the threads' working memory. With --device ${gpuDevices.join(' or ')} it shows the buffers of a training step on a GPU, and what the step computes and moves; no GPU is needed for that.`;

export function summaryCommand(): Command {
  return new Command('summary')
    .description('show the layers of a network: output shapes, parameters, memory')
    .argument('<model>', 'network, or a file with its layers, as in vgg train --model')
    .addOption(modelOptionOption())
    .addOption(
      datasetOption(
        'data set that determines input shape and classes',
        ' (default: ImageNet for the networks of the paper, otherwise shapes)',
      ),
    )
    .addOption(
      new Option(
        '--size <n|HxW>',
        'side of the images in pixels, or height and width (default: as the data set)',
      ).argParser(parseSize),
    )
    .addOption(wholeNumberOption('--classes <n>', 'number of classes (default: as the data set)'))
    .option('--layers', 'list each layer with its name, output and memory instead of blocks')
    .addOption(wholeNumberOption('--batch-size <n>', 'images per training step').default(100))
    .addOption(
      wholeNumberOption('--threads <n>', 'worker threads (default: one per core)', { most: maxThreads }),
    )
    .addOption(
      layersOption('--freeze <a,b,…>', "frozen layers in training, as in vgg train: 'features' or 'conv1_*'"),
    )
    .option('--plan', 'also show the algorithm chosen for each layer')
    .option('--profile', 'also train a few steps on one thread and show the time of each layer')
    .addOption(
      choiceOption(
        '--device <name>',
        `device that --profile times, or ${gpuDevices.join(', ')}: show its memory and dispatches`,
        [...profiledDevices, ...gpuDevices],
      ).default('auto'),
    )
    .option('--json', 'print one JSON object with layers and totals')
    .addHelpText('after', examples)
    .action(summary);
}

async function summary(model: string, options: SummaryOptions, command: Command): Promise<void> {
  const isDescribed = gpuDevices.includes(options.device);
  refuseIdle(options, command, isDescribed);
  const { input, classes } = imagesOf(model, options);
  const network = buildNetwork(
    await chosenModel({ model, modelOption: options.modelOption }, classes, input),
    input,
  );
  const table = summarize(network);
  const { batchSize, threads = availableParallelism(), freeze = [] } = options;
  const frozen = layersMatching('--freeze', network, freeze);
  if (isDescribed) return (await import('./summary-gpu.ts')).summarizeGpu(network, { ...options, frozen });
  const memory = await memoryUses(network, { batchSize, threads, frozen });
  const plan = options.plan || options.profile ? await planOf(network, options, frozen) : undefined;
  if (options.json) {
    return printJson({
      ...table,
      ...(frozen.length > 0 && { frozen: frozen.map((layer) => network.layers[layer]!.name) }),
      memory,
      ...(plan && { plan }),
    });
  }
  printLayers(network, frozen, options);
  printMemory(memory);
  if (plan) print(`\n${formatPlan(plan)}`);
}

/** @throws UsageError for options without effect. */
function refuseIdle({ device, profile }: SummaryOptions, command: Command, isDescribed: boolean): void {
  const isGiven = (name: string): boolean => command.getOptionValueSource(name) === 'cli';
  if (!isDescribed && !profile && isGiven('device'))
    throw new UsageError('--device has no effect without --profile; add --profile, or leave it out');
  if (!isDescribed) return;
  const idle = (['profile', 'plan', 'threads'] as const).find(isGiven);
  if (idle !== undefined) {
    const timed = idle === 'profile' ? '; vgg doctor times the kernels of a GPU' : '';
    throw new UsageError(
      `--${idle} is about the CPU's kernels and has no effect with --device ${device}; leave out one of them${timed}`,
    );
  }
}

/** The layers or their blocks. */
export function printLayers(
  network: Network,
  frozen: readonly number[],
  { layers }: { readonly layers?: true },
): void {
  if (layers) printTable(summaryCells(summarize(network)), 3, true);
  else printTable(blockCells(network), 3, true);
  if (frozen.length > 0) print(`\n${frozenLine(network, frozen)}`);
}

/** How many parameters learn. */
function frozenLine({ layers, parameterCount }: Network, frozen: readonly number[]): string {
  const count = frozen
    .flatMap((layer) => layers[layer]!.parameters)
    .reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  return (
    `Frozen: ${counted(frozen.length, 'layer')} with ${grouped(count)} parameters; ` +
    `${grouped(parameterCount - count)} are trained.`
  );
}

/** The shape of the images and the number of classes that a network is shown for. */
function imagesOf(
  model: string,
  { dataset, size, classes }: SummaryOptions,
): { readonly input: Shape; readonly classes: number } {
  const usual = Object.hasOwn(models, model) ? models[model]!.usual : undefined;
  const facts = datasetFacts({ dataset: dataset ?? 'shapes', model });
  const images =
    dataset === undefined && usual ? usual : { input: facts.shape as Shape, classes: facts.classes };
  const [channels = 3] = images.input;
  return { input: size ? [channels, ...size] : images.input, classes: classes ?? images.classes };
}

/** `224` or `256x320` (height, then width). @throws UsageError */
function parseSize(text: string): Shape {
  const sides = text.split(/[x×,]/).map((side) => parseWhole(side.trim()) ?? 0);
  if (sides.length <= 2 && sides.every((side) => side >= 1 && side <= largestSize))
    return [sides[0]!, sides.at(-1)!];
  throw new UsageError(
    `--size ${text} is neither a side in pixels, as in 224, nor height and width, as in 256x320`,
  );
}

/** What the network needs to predict, evaluate and train, and the limit. */
interface Memory {
  readonly threads: number;
  /** The smaller one of the native kernels' limit and this machine's memory. */
  readonly limitBytes: number;
  readonly works: readonly (NetworkMemory & {
    /** The largest batch with WebAssembly, which addresses less. */
    readonly largestBatchWasm: number | null;
  })[];
}

async function memoryUses(
  network: Network,
  {
    batchSize,
    threads,
    frozen,
  }: { readonly batchSize: number; readonly threads: number; readonly frozen: readonly number[] },
): Promise<Memory> {
  const { addressable, memoryOf } = await import('../engine/cpu/memory-of.ts');
  const [limitBytes, wasmBytes] = [addressable('native'), addressable('wasm')].map((bytes) =>
    Math.min(bytes, totalmem()),
  ) as [number, number];
  const kinds: Work[] = [
    { kind: 'predict', batch: 1 },
    { kind: 'evaluate', batch: 100 },
    { kind: 'train', batch: batchSize, optimizer: { kind: 'sgd' }, frozen },
    { kind: 'train', batch: batchSize, optimizer: { kind: 'adam' }, frozen },
  ];
  const inWasm = await memoryOf(network, threads, kinds, wasmBytes);
  const works = (await memoryOf(network, threads, kinds, limitBytes)).map((use, i) => ({
    ...use,
    largestBatchWasm: inWasm[i]!.largestBatch,
  }));
  return { threads, limitBytes, works };
}

const workName = ({ kind, batch, optimizer }: NetworkMemory['work']): string => {
  const rule = optimizer && (optimizer.kind === 'sgd' ? ', SGD' : ', Adam');
  return `${kind} ${grouped(batch)}${rule ?? ''}`;
};

function printMemory({ threads, limitBytes, works }: Memory): void {
  print(`\nMemory on ${counted(threads, 'thread')}:`);
  const header = ['images', 'weights', 'gradients', 'optimizer', 'maps', 'total', 'largest batch', 'in wasm'];
  const largestOf = (batch: number | null): string =>
    batch === null ? 'any' : batch === 0 ? 'none' : grouped(batch);
  const rows = works.map((use) => [
    workName(use.work),
    ...[use.weights, use.gradients, use.optimizer, use.maps + use.threads, use.bytes].map((bytes) =>
      bytes === 0 ? '' : formatBytes(bytes),
    ),
    largestOf(use.largestBatch),
    largestOf(use.largestBatchWasm),
  ]);
  printTable([header, ...rows], 1);
  const tooLarge = works.filter(({ fits }) => !fits);
  if (tooLarge.length === 0) return;
  const limit =
    limitBytes === totalmem()
      ? `the ${formatBytes(limitBytes)} of this machine`
      : `the limit of ${formatBytes(limitBytes)}`;
  const largest = Math.min(...tooLarge.map(({ largestBatch }) => largestBatch ?? 0));
  const wayOut =
    largest > 0
      ? `Use --batch-size ${largest} or less`
      : 'Use fewer channels or hidden units, or larger pool strides';
  const names = tooLarge.map(({ work }) => workName(work)).join('; ');
  print(`More than ${limit}: ${names}. ${wayOut}.`);
}

interface Plan extends PlanDescription {
  readonly profile?: PlanProfile;
}

interface PlanProfile extends LayerProfile {
  /** `native (AVX-512)`, for instance. */
  readonly kernels: string;
  /** Floats of their vectors. */
  readonly lanes: number;
  /** Register tiles of their matrix products, rows × vectors. */
  readonly tiles: readonly TileSize[];
  readonly batchSize: number;
}

/** Timed steps. */
const profiledSteps = 10;

async function planOf(
  network: Network,
  { batchSize, profile, device }: SummaryOptions,
  frozen: readonly number[],
): Promise<Plan> {
  const [{ describePlan }, { plannedFor }, { cacheSize }] = await Promise.all([
    import('../engine/cpu/plan/describe.ts'),
    import('../engine/cpu/plan/planned.ts'),
    import('../engine/cpu/run/threads.ts'),
  ]);
  const operations = plannedFor(network, { batch: batchSize, cacheBytes: await cacheSize() });
  const description = describePlan(operations, batchSize, frozen);
  if (!profile) return description;
  const [providers, { describeKernels }, { profileLayers }, { aside }] = await Promise.all([
    import('../engine/cpu/kernels/provider.ts'),
    import('../engine/cpu/kernels/library.ts'),
    import('../engine/cpu/measure/profile.ts'),
    import('../aside-node.ts'),
  ]);
  const provider = {
    auto: providers.anyKernels,
    native: providers.nativeKernels,
    wasm: providers.wasmKernels,
  }[device as ProfiledDevice];
  const kernels = await provider(false, note);
  const layers = await aside('engine/cpu/measure/profile', profileLayers, network, kernels, {
    batchSize,
    steps: profiledSteps,
    frozen,
  });
  const { lanes, tiles } = kernels;
  return {
    ...description,
    profile: { kernels: describeKernels(kernels), lanes, tiles, batchSize, ...layers },
  };
}

function formatPlan({ rows, chunk, joined, slots, cacheBytes, profile }: Plan): string {
  const cells = [
    ['layers', 'forward', 'backward', 'blocks', ...(profile ? ['ms', 'share', 'GFLOP/s'] : [])],
    ...rows.map((row, i) => {
      const timed = profile?.rows[i];
      return [
        row.layers.join(' '),
        row.forward,
        row.backward,
        row.blocks,
        ...(timed
          ? [
              timed.milliseconds.toFixed(2),
              percent(timed.share, 1),
              timed.gflops > 0 ? timed.gflops.toFixed(0) : '',
            ]
          : []),
      ];
    }),
    ...(profile
      ? [
          [
            'images, loss',
            '',
            '',
            '',
            profile.rest.milliseconds.toFixed(2),
            percent(profile.rest.share, 1),
            '',
          ],
        ]
      : []),
  ];
  const lines = [
    tableText(cells, 4, widthOf(process.stdout)),
    `The network processes ${counted(chunk, 'image')} at a time${joined > chunk ? ` (up to ${joined} of small maps)` : ''}, sums gradients in ${counted(slots, 'slot')} and sizes blocks for a ` +
      `cache of ${formatBytes(cacheBytes)}.`,
  ];
  if (profile) {
    lines.push(
      `A step of ${profile.batchSize} takes ${profile.milliseconds.toFixed(2)} ms with ${profile.kernels} on one ` +
        'thread. GFLOP/s count direct convolution.',
      `Matrix products use register tiles of ${profile.tiles.map(([height, width]) => `${height}×${width}`).join(', ')} vectors of ` +
        `${profile.lanes} floats.`,
    );
  }
  return lines.join('\n');
}
