/**
 * `npm run profile [MODEL …]`: where a training step's time goes, kernel by kernel and shape by shape, on one thread.
 * The real executor runs with a clock around each kernel. A step calls the same kernels in the same order each time,
 * so each call counts with its median over the steps: what disturbs the machine for a moment drops out. GFLOP/s are
 * the multiply-adds that a matrix product really does; the step as a whole is counted as direct convolution.
 */
import { parseArgs } from 'node:util';
import { batchSource, dataLoader } from '../src/data/loader.ts';
import { shapes } from '../src/data/shapes.ts';
import { fuseTransform } from '../src/data/transforms.ts';
import {
  controlWords,
  Executor,
  type Kernels,
  pictureBytes,
  type SharedState,
} from '../src/engine/cpu/executor.ts';
import { planOperations, storeMatrix } from '../src/engine/cpu/operations.ts';
import { planFloats, SessionMemory } from '../src/engine/cpu/plan.ts';
import { webAssembly } from '../src/engine/cpu/webassembly.ts';
import {
  type KernelName,
  kernelNames,
  kernelParameters,
  recordKernels,
  wasmTarget,
} from '../src/kernels/catalogue.ts';
import { assembleModule } from '../src/kernels/wasm.ts';
import { initialWeights } from '../src/model/initialize.ts';
import { adam } from '../src/train/optimizers.ts';
import { summarize } from './contest.ts';
import { networkOf, operationsOf } from './ours.ts';
import type { ModelName } from './peer.ts';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'batch-size': { type: 'string', default: '100' },
    steps: { type: 'string', default: '20' },
  },
});
const batchSize = Number(options['batch-size']);
const steps = Number(options.steps);
const warmups = 5;
const models: readonly string[] = positionals.length > 0 ? positionals : ['simplified', 'vgg7'];
if (!(batchSize >= 1 && steps >= 1) || models.some((model) => model !== 'simplified' && model !== 'vgg7')) {
  console.error('npm run profile -- [--batch-size N] [--steps N] [simplified] [vgg7]');
  process.exit(2);
}

interface Timed {
  readonly kernel: KernelName;
  readonly values: readonly number[];
  readonly milliseconds: number;
}

/** Each kernel with a clock around it. */
function clocked(kernels: Kernels, log: (call: Timed) => void): Kernels {
  return Object.fromEntries(
    kernelNames.map((kernel) => {
      const run = kernels[kernel]!;
      return [
        kernel,
        (...values: number[]) => {
          const start = performance.now();
          run(...values);
          log({ kernel, values, milliseconds: performance.now() - start });
        },
      ];
    }),
  );
}

/** A kernel's counting argument; undefined where it has none of this name. */
function argument({ kernel, values }: Timed, name: string): number | undefined {
  const parameters = kernelParameters[kernel];
  return parameters[name] === 'i32' ? values[Object.keys(parameters).indexOf(name)] : undefined;
}

/** What tells layers apart, and not the images of a chunk: channels, filters, sizes of maps and matrices. */
const shapeNames = [
  'planes',
  'columns',
  'depth',
  'channels',
  'filters',
  'pooledHeight',
  'outRows',
  'tileRows',
];

function shapeOf(call: Timed): string {
  return shapeNames
    .flatMap((name) => {
      const value = argument(call, name);
      return value === undefined ? [] : [`${name} ${value}`];
    })
    .join(', ');
}

/** Floating-point operations of a matrix product; of other kernels none are counted. */
function operationsIn(call: Timed): number {
  if (!call.kernel.startsWith('gemm')) return 0;
  const [planes = 0, rows = 0, columns = 0, depth = 0] = ['planes', 'rows', 'columns', 'depth'].map((name) =>
    argument(call, name),
  );
  return 2 * planes * rows * columns * depth;
}

/** The calls of each step, and milliseconds of each whole step. */
function runSteps(model: ModelName): { calls: Timed[][]; milliseconds: number[] } {
  const network = networkOf(model);
  const operations = planOperations(network, wasmTarget.lanes);
  const session = new SessionMemory(operations, batchSize, 1);
  const source = batchSource(dataLoader(shapes().train, { batchSize, shuffle: true }), 1);
  const { dataset, order, seed, epoch } = source;
  const fused = fuseTransform(source.transform, dataset.shape)!;
  const bytes = planFloats(session, batchSize, 'train', 1) * 4 + pictureBytes(3 * 32 * 32);
  const pages = Math.ceil(bytes / 65_536);
  const memory = new webAssembly.Memory({ initial: pages, maximum: pages, shared: false });
  const shared: SharedState = {
    memory,
    control: new Int32Array(controlWords),
    losses: new Float64Array(batchSize),
    correct: new Int32Array(batchSize),
  };
  const floats = new Float32Array(memory.buffer).subarray(session.parameters.at);
  const weights = initialWeights(network, 0);
  for (const operation of operations.list) {
    if (!('matrix' in operation)) continue;
    const { matrix } = operation;
    const bias = matrix.biasName === undefined ? undefined : weights.get(matrix.biasName)!.data;
    storeMatrix(floats, matrix, weights.get(matrix.weightName)!.data, bias);
  }
  let calls: Timed[] = [];
  const module = new webAssembly.Module(assembleModule(recordKernels(wasmTarget), false));
  const executor = new Executor(session, module, shared, 1, 0, (kernels) =>
    clocked(kernels, (call) => calls.push(call)),
  );
  for (const _ of executor.run({ kind: 'derive' }));
  const training = executor.run({
    kind: 'train',
    source: { kind: 'dataset', pixels: dataset.pixels, labels: dataset.labels, fused, order, seed, epoch },
    batchSize,
    from: 0,
    to: warmups + steps,
    optimizer: adam({ lr: 0.001 }),
    optimizerSteps: 0,
    losses: new Float64Array(warmups + steps),
  });
  const result = { calls: [] as Timed[][], milliseconds: [] as number[] };
  for (let step = 0; step < warmups + steps; step++) {
    calls = [];
    const start = performance.now();
    training.next();
    if (step < warmups) continue;
    result.milliseconds.push(performance.now() - start);
    result.calls.push(calls);
  }
  return result;
}

interface Line {
  calls: number;
  milliseconds: number;
  operations: number;
}

function print(model: ModelName): void {
  const { calls, milliseconds } = runSteps(model);
  const whole = summarize(milliseconds).median;
  const rests = milliseconds.map(
    (step, i) => step - calls[i]!.reduce((sum, call) => sum + call.milliseconds, 0),
  );
  const lines = new Map<string, Line>();
  calls[0]!.forEach((call, index) => {
    const key = `${call.kernel.padEnd(24)}${shapeOf(call)}`;
    const line = lines.get(key) ?? { calls: 0, milliseconds: 0, operations: 0 };
    line.calls++;
    line.milliseconds += summarize(calls.map((step) => step[index]!.milliseconds)).median;
    line.operations += operationsIn(call);
    lines.set(key, line);
  });
  const inKernels = [...lines.values()].reduce((sum, line) => sum + line.milliseconds, 0);
  const speed = (operationsOf(networkOf(model), true) * batchSize) / whole / 1e6;
  console.log(
    `\n${model}, batch ${batchSize}, one thread, n = ${steps}: a step takes ${whole.toFixed(2)} ms, ` +
      `${speed.toFixed(1)} GFLOP/s as direct convolution; ${summarize(rests).median.toFixed(2)} ms of it outside kernels`,
  );
  console.log('     ms    share  calls   GFLOP/s   kernel');
  for (const [name, line] of [...lines].toSorted(([, a], [, b]) => b.milliseconds - a.milliseconds)) {
    const flops = line.operations === 0 ? '' : (line.operations / line.milliseconds / 1e6).toFixed(1);
    console.log(
      `${line.milliseconds.toFixed(2).padStart(7)}${((100 * line.milliseconds) / inKernels).toFixed(1).padStart(7)} %` +
        `${String(line.calls).padStart(7)}${flops.padStart(10)}   ${name}`,
    );
  }
}

for (const model of models) print(model as ModelName);
