/** `vgg summary`: a network layer by layer, and the memory that training it needs, before anything is allocated. */
import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import { type DatasetName, datasetFacts, datasetNames } from '../data/named.ts';
import type { PlanDescription } from '../engine/cpu/describe.ts';
import type { LayerProfile } from '../engine/cpu/profile.ts';
import { UsageError } from '../errors.ts';
import type { TileSize } from '../kernels/language.ts';
import type { Network } from '../model/layer.ts';
import { buildNetwork } from '../model/network.ts';
import { formatBytes, formatSummary, formatTable, summarize } from '../model/summary.ts';
import { counted } from '../words.ts';
import { chosenModel, maxThreads, modelOptionOption } from './models.ts';
import { note, print, printJson } from './output.ts';
import { choiceOption, wholeNumberOption } from './values.ts';

const profiledDevices = ['auto', 'native', 'wasm'] as const;
type ProfiledDevice = (typeof profiledDevices)[number];

interface SummaryOptions {
  readonly modelOption: readonly string[];
  readonly dataset: DatasetName;
  readonly batchSize: number;
  readonly threads?: number;
  readonly plan?: true;
  readonly profile?: true;
  readonly device: ProfiledDevice;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg summary simplified
  $ vgg summary vgg7 --dataset cifar100 --model-option channels=32,64
  $ vgg summary simplified --plan --profile

Layers are counted for one picture, each with memory for its output. Training memory is what the kernels allocate for
a whole batch: parameters, optimizer, gradients and the maps of the pictures in work; they fuse layers and share maps.`;

export function summaryCommand(): Command {
  return new Command('summary')
    .description('table of a network: output shapes, parameters, multiply-adds, memory')
    .argument('<model>', 'network, as for --model of train')
    .addOption(modelOptionOption())
    .addOption(
      choiceOption('--dataset <name>', 'data set whose pictures and classes count', datasetNames).default(
        'shapes',
      ),
    )
    .addOption(wholeNumberOption('--batch-size <n>', 'pictures in a training step').default(100))
    .addOption(
      wholeNumberOption('--threads <n>', 'worker threads (default: one for each core)', { most: maxThreads }),
    )
    .option('--plan', "also what the CPU's planner chooses for each layer")
    .option('--profile', 'also train a few steps on one thread, and show where their time goes')
    .addOption(
      choiceOption('--device <name>', 'whose kernels --profile times', profiledDevices).default('auto'),
    )
    .option('--json', 'print one object with the layers and totals')
    .addHelpText('after', examples)
    .action(summary);
}

async function summary(model: string, options: SummaryOptions, command: Command): Promise<void> {
  if (!options.profile && command.getOptionValueSource('device') === 'cli')
    throw new UsageError('--device says whose kernels --profile times; add --profile, or leave it out');
  const { shape, classes } = datasetFacts(options);
  const network = buildNetwork(chosenModel({ model, modelOption: options.modelOption }, classes), shape);
  const table = summarize(network);
  const { batchSize, threads = availableParallelism() } = options;
  const { trainingMemory } = await import('../engine/cpu/session.ts');
  const trainingBytes = await trainingMemory(network, batchSize, threads);
  const plan = options.plan || options.profile ? await planOf(network, options) : undefined;
  if (options.json) {
    return printJson({
      ...table,
      training: { batchSize, threads, bytes: trainingBytes },
      ...(plan && { plan }),
    });
  }
  print(formatSummary(table));
  print(
    `Training with batches of ${batchSize} on ${counted(threads, 'thread')} takes ` +
      `${formatBytes(trainingBytes)}.`,
  );
  if (plan) print(`\n${formatPlan(plan)}`);
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

/** Steps that are timed. */
const profiledSteps = 10;

async function planOf(network: Network, { batchSize, profile, device }: SummaryOptions): Promise<Plan> {
  const [{ describePlan }, { planOperations }, { cacheSize }] = await Promise.all([
    import('../engine/cpu/describe.ts'),
    import('../engine/cpu/operations.ts'),
    import('../engine/cpu/threads.ts'),
  ]);
  const description = describePlan(planOperations(network, await cacheSize()), batchSize);
  if (!profile) return description;
  const [providers, { describeKernels }, { profileLayers }, { aside }] = await Promise.all([
    import('../engine/cpu/kernels.ts'),
    import('../engine/cpu/library.ts'),
    import('../engine/cpu/profile.ts'),
    import('../aside-node.ts'),
  ]);
  const provider = {
    auto: providers.anyKernels,
    native: providers.nativeKernels,
    wasm: providers.wasmKernels,
  }[device];
  const kernels = await provider(false, note);
  const layers = await aside('engine/cpu/profile', profileLayers, network, kernels, {
    batchSize,
    steps: profiledSteps,
  });
  const { lanes, tiles } = kernels;
  return {
    ...description,
    profile: { kernels: describeKernels(kernels), lanes, tiles, batchSize, ...layers },
  };
}

function formatPlan({ rows, chunk, slots, cacheBytes, profile }: Plan): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
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
              percent(timed.share),
              timed.gflops > 0 ? timed.gflops.toFixed(0) : '',
            ]
          : []),
      ];
    }),
    ...(profile
      ? [
          [
            'pictures, loss',
            '',
            '',
            '',
            profile.rest.milliseconds.toFixed(2),
            percent(profile.rest.share),
            '',
          ],
        ]
      : []),
  ];
  const lines = [
    formatTable(cells, 4),
    `${chunk === 1 ? '1 image goes' : `${chunk} images go`} through the network together; gradients are summed in ${counted(slots, 'slot')}; blocks are cut for a cache of ` +
      `${formatBytes(cacheBytes)}.`,
  ];
  if (profile) {
    lines.push(
      `A step of ${profile.batchSize} takes ${profile.milliseconds.toFixed(2)} ms with ${profile.kernels} on one ` +
        'thread; GFLOP/s are counted as direct convolution.',
      `Its products are computed in register tiles of ${profile.tiles.map(([height, width]) => `${height}×${width}`).join(', ')} vectors of ` +
        `${profile.lanes} floats.`,
    );
  }
  return lines.join('\n');
}
