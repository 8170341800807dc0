/**
 * `npm run profile -- [--device D] [MODEL …]`: where a training step's time goes, kernel by kernel and shape by shape, on one thread.
 * The real executor runs with a clock around each kernel. A step calls the same kernels in the same order each time,
 * so each call counts with its median over the steps: what disturbs the machine for a moment drops out. GFLOP/s are
 * the multiply-adds that a matrix product really does; the step as a whole is counted as direct convolution.
 */
import { parseArgs } from 'node:util';
import { batchSource, dataLoader } from '../src/data/loader.ts';
import { shapes } from '../src/data/shapes.ts';
import { fuseTransform } from '../src/data/transforms.ts';
import { controlWords, Executor, pictureBytes, type SharedState } from '../src/engine/cpu/executor.ts';
import { nativeKernels, plainWasmKernels, wasmKernels } from '../src/engine/cpu/kernels.ts';
import { type KernelLibrary, openLibrary } from '../src/engine/cpu/library.ts';
import { planOperations, storeMatrix } from '../src/engine/cpu/operations.ts';
import { planFloats, SessionMemory } from '../src/engine/cpu/plan.ts';
import { webAssembly } from '../src/engine/cpu/webassembly.ts';
import { type KernelName, kernelParameters } from '../src/kernels/catalogue.ts';
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
    device: { type: 'string', default: 'native' },
  },
});
const batchSize = Number(options['batch-size']);
const steps = Number(options.steps);
const warmups = 5;
const providers = { native: nativeKernels, wasm: wasmKernels, 'wasm-plain': plainWasmKernels };
const models: readonly string[] = positionals.length > 0 ? positionals : ['simplified', 'vgg7'];
if (
  !(batchSize >= 1 && steps >= 1 && options.device in providers) ||
  models.some((model) => model !== 'simplified' && model !== 'vgg7')
) {
  console.error(
    'npm run profile -- [--device native|wasm|wasm-plain] [--batch-size N] [--steps N] [simplified] [vgg7]',
  );
  process.exit(2);
}

interface Timed {
  readonly kernel: KernelName;
  readonly values: readonly number[];
  readonly milliseconds: number;
}

/** Each kernel call with a clock around it. */
function clocked(library: KernelLibrary, log: (call: Timed) => void): KernelLibrary {
  const timed = (kernel: KernelName, values: readonly number[], run: () => void): void => {
    const start = performance.now();
    run();
    log({ kernel, values, milliseconds: performance.now() - start });
  };
  return {
    bind(calls) {
      const bound = calls.map((call) => ({ call, run: library.bind([call]) }));
      return () => {
        for (const { call, run } of bound) timed(call.kernel, call.arguments, run);
      };
    },
    call: (kernel, values) => timed(kernel, values, () => library.call(kernel, values)),
  };
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
async function runSteps(model: ModelName): Promise<{ calls: Timed[][]; milliseconds: number[] }> {
  const network = networkOf(model);
  const operations = planOperations(network);
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
  const kernels = await openLibrary(
    await providers[options.device as keyof typeof providers](false, console.warn),
    memory,
  );
  const executor = new Executor(
    session,
    clocked(kernels, (call) => calls.push(call)),
    shared,
    1,
    0,
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

async function print(model: ModelName): Promise<void> {
  const { calls, milliseconds } = await runSteps(model);
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

for (const model of models) await print(model as ModelName);
