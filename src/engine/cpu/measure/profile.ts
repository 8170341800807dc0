/**
 * Profiles a training step call by call, on one thread. The real executor runs with a clock around each kernel call.
 * Every step makes the same calls in the same order, so each call counts with its median over the steps, which removes
 * short disturbances.
 */
import type { ImageShape } from '../../../data/dataset.ts';
import { fuseTransform } from '../../../data/fuse.ts';
import { toTensor } from '../../../data/transforms.ts';
import { type KernelName, kernelNames, recordKernel, wasmTarget } from '../../../kernels/catalogue.ts';
import { countOperations } from '../../../kernels/count.ts';
import { initialWeights } from '../../../model/initialize.ts';
import type { Network } from '../../../model/layer.ts';
import { sizeOf } from '../../../model/network.ts';
import { adam } from '../../../train/optimizers.ts';
import type { OptimizerOptions, StepOptions } from '../../backend.ts';
import { type KernelLibrary, type KernelSource, openLibrary } from '../kernels/library.ts';
import { webAssembly } from '../kernels/webassembly.ts';
import { matrixOf, type Operations, planOperations, storeMatrix } from '../plan/operations.ts';
import { planFloats, SessionMemory } from '../plan/plan.ts';
import { controlWords, Executor, imageBytes, type SharedState } from '../run/executor.ts';
import { cacheSize, wishHugePages } from '../run/threads.ts';

export interface ProfiledCall {
  readonly kernel: KernelName;
  readonly values: readonly number[];
  /** Index of its operation in `operations.list`; absent for reading images. */
  readonly operation: number | undefined;
  /** Median over the steps. */
  readonly milliseconds: number;
  /** Floating-point operations, a multiply-add as two; 0 if not counted. */
  readonly flops: number;
}

export interface Profile {
  readonly operations: Operations;
  /** All kernel calls of a step. */
  readonly calls: readonly ProfiledCall[];
  /** Of a whole step, inside and outside calls. */
  readonly milliseconds: number;
  /** Of these, outside kernels: reading images, the loss, and the clocks themselves. */
  readonly outside: number;
}

const warmups = 3;

const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

export interface ProfileOptions {
  readonly batchSize: number;
  /** `outside` needs ten, because V8 compiles the code outside kernels only as it runs. */
  readonly steps: number;
  /** Whether to count operations, which takes as long as ten to a hundred steps. */
  readonly count?: boolean;
  /** Second-level cache that blocks must fit; this machine's by default. */
  readonly cacheBytes?: number;
  /** Adam by default. */
  readonly optimizer?: OptimizerOptions;
  /** Other options of a step; none by default. */
  readonly stepOptions?: StepOptions;
}

/** Trains `steps` steps on random images and measures their time. */
export async function profileTraining(
  network: Network,
  source: KernelSource,
  {
    batchSize,
    steps,
    count = false,
    cacheBytes,
    optimizer = adam({ lr: 0.001 }),
    stepOptions,
  }: ProfileOptions,
): Promise<Profile> {
  const operations = planOperations(network, cacheBytes ?? (await cacheSize()));
  const session = new SessionMemory(operations, batchSize, 1);
  const shape = network.input as ImageShape;
  const classes = network.output[0]!;
  const total = batchSize * (warmups + steps);
  const pixels = Uint8Array.from(
    { length: total * sizeOf(shape) },
    (_, i) => Math.imul(i, 2_654_435_761) >>> 24,
  );
  const bytes = planFloats(session, batchSize, 'train', 1) * 4 + imageBytes(sizeOf(shape));
  const pages = Math.ceil(bytes / 65_536);
  const memory = new webAssembly.Memory({ initial: pages, maximum: 65_536, shared: false });
  await wishHugePages(memory);
  const shared: SharedState = {
    memory,
    control: new Int32Array(controlWords),
    losses: new Float64Array(batchSize),
    ranks: new Int32Array(batchSize),
  };
  const floats = new Float32Array(memory.buffer);
  const words = new Int32Array(memory.buffer);
  const parameters = floats.subarray(session.parameters.at);
  const weights = initialWeights(network, 0);
  for (const operation of operations.list) {
    const matrix = matrixOf(operation);
    if (!matrix) continue;
    const bias = matrix.biasName === undefined ? undefined : weights.get(matrix.biasName)!.data;
    storeMatrix(parameters, matrix, weights.get(matrix.weightName)!.data, bias);
  }

  const recorded = new Map(kernelNames.map((name) => [name, recordKernel(name, wasmTarget)]));
  let step = -1;
  const calls: Omit<ProfiledCall, 'milliseconds'>[] = [];
  const times: number[][] = Array.from({ length: steps }, () => []);
  const library = await openLibrary(source, memory);
  const timed = (
    kernel: KernelName,
    values: readonly number[],
    operation: number | undefined,
    run: () => void,
  ): void => {
    const start = performance.now();
    run();
    const milliseconds = performance.now() - start;
    if (step < warmups) return;
    times[step - warmups]!.push(milliseconds);
    if (step > warmups) return;
    calls.push({
      kernel,
      values,
      operation,
      flops: count ? countOperations(recorded.get(kernel)!, values, floats, words) : 0,
    });
  };
  const clocked: KernelLibrary = {
    bind(list) {
      const bound = list.map((call) => ({ call, run: library.bind([call]) }));
      return () => {
        for (const { call, run } of bound) timed(call.kernel, call.arguments, call.operation, run);
      };
    },
    call: (kernel, values) => timed(kernel, values, undefined, () => library.call(kernel, values)),
  };
  const executor = new Executor(session, clocked, shared, 1, 0);
  for (const _ of executor.run({ kind: 'derive' }));
  const training = executor.run({
    kind: 'train',
    source: {
      kind: 'dataset',
      pixels,
      labels: Uint16Array.from({ length: total }, (_, i) => i % classes),
      fused: fuseTransform(toTensor(), shape)!,
      order: Uint32Array.from({ length: total }, (_, i) => i),
      seed: 0,
      epoch: 1,
    },
    batchSize,
    from: 0,
    to: warmups + steps,
    optimizer,
    options: {
      ...{ accumulate: 1, labelSmoothing: 0, clipNorm: 0, averageDecay: 0, mixup: 0 },
      ...stepOptions,
    },
    rates: new Float64Array(warmups + steps).fill(optimizer.lr),
    optimizerSteps: 0,
    stepOffset: 0,
    epochImages: total,
    epochBatch: batchSize,
    losses: new Float64Array(warmups + steps),
    correct: new Uint32Array(warmups + steps),
  });
  const milliseconds: number[] = [];
  for (step = 0; step < warmups + steps; step++) {
    const start = performance.now();
    training.next();
    if (step >= warmups) milliseconds.push(performance.now() - start);
  }
  // Counting happens in the first step, which therefore takes too long.
  const rests = times.map((own, i) => milliseconds[i]! - own.reduce((sum, time) => sum + time, 0)).slice(1);
  const outside = median(rests);
  const profiled = calls.map((call, i) => ({ ...call, milliseconds: median(times.map((own) => own[i]!)) }));
  const inKernels = profiled.reduce((sum, call) => sum + call.milliseconds, 0);
  return { operations, calls: profiled, milliseconds: inKernels + outside, outside };
}

/** A training step's time by layer. */
export interface LayerProfile {
  /** Of a whole step, on one thread. */
  readonly milliseconds: number;
  /** For each operation, in order. */
  readonly rows: readonly {
    /** Names of the network's layers that it computes. */
    readonly layers: readonly string[];
    readonly milliseconds: number;
    readonly share: number;
    /** Counted as direct convolution: what PyTorch would compute. */
    readonly gflops: number;
  }[];
  /** Outside layers: reading images, the loss. */
  readonly rest: { readonly milliseconds: number; readonly share: number };
}

/** `profileTraining`, summed by layer. */
export async function profileLayers(
  network: Network,
  source: KernelSource,
  options: ProfileOptions,
): Promise<LayerProfile> {
  const { operations, calls, milliseconds } = await profileTraining(network, source, options);
  // Forward, weights' and inputs' gradients; the images' gradient is not computed.
  const flopsOf = new Map(
    network.layers
      .filter(({ multiplyAdds }) => multiplyAdds > 0)
      .map((layer, i) => [layer.name, 2 * layer.multiplyAdds * options.batchSize * (i === 0 ? 2 : 3)]),
  );
  const rows = operations.list.map(({ layers }, index) => {
    const own = calls.filter(({ operation }) => operation === index);
    const time = own.reduce((sum, call) => sum + call.milliseconds, 0);
    const flops = layers.reduce((sum, name) => sum + (flopsOf.get(name) ?? 0), 0);
    return { layers, milliseconds: time, share: time / milliseconds, gflops: flops / time / 1e6 };
  });
  const rest = milliseconds - rows.reduce((sum, row) => sum + row.milliseconds, 0);
  return { milliseconds, rows, rest: { milliseconds: rest, share: rest / milliseconds } };
}
