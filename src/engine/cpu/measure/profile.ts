/**
 * Profiles a training step call by call, on one thread. A real session runs with a clock around each kernel call.
 * Every step makes the same calls in the same order, so each call counts with its median over the steps, which removes
 * short disturbances.
 */
import type { ImageShape } from '../../../data/dataset.ts';
import { toTensor } from '../../../data/transforms.ts';
import { type KernelName, kernelNames, recordKernel, wasmTarget } from '../../../kernels/catalogue.ts';
import { countOperations } from '../../../kernels/count.ts';
import type { Kernel } from '../../../kernels/language.ts';
import { initialWeights } from '../../../model/initialize.ts';
import type { Network } from '../../../model/layer.ts';
import { sizeOf } from '../../../model/network.ts';
import { adam } from '../../../train/optimizers.ts';
import type { BatchSource, OptimizerOptions, StepOptions } from '../../backend.ts';
import { openCpuSession } from '../driver.ts';
import type { KernelLibrary, KernelSource } from '../kernels/library.ts';
import type { EngineMemory } from '../kernels/memory.ts';
import type { Operations } from '../plan/operations.ts';
import { plannedFor } from '../plan/planned.ts';
import { cacheSize } from '../run/threads.ts';

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
  /** After so many seconds no further step begins; the figures are then of fewer steps, at least one. */
  readonly seconds?: number;
  /** Whether to count operations, which takes as long as ten to a hundred steps. */
  readonly count?: boolean;
  /** Second-level cache that blocks must fit; this machine's by default. */
  readonly cacheBytes?: number;
  /** Adam by default. */
  readonly optimizer?: OptimizerOptions;
  /** Indices of frozen layers; none by default. */
  readonly frozen?: readonly number[];
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
    seconds = Number.POSITIVE_INFINITY,
    count = false,
    cacheBytes,
    optimizer = adam({ lr: 0.001 }),
    frozen = [],
    stepOptions,
  }: ProfileOptions,
): Promise<Profile> {
  const total = batchSize * (warmups + steps);
  const recorded = new Map(kernelNames.map((name) => [name, recordKernel(name, wasmTarget)]));
  let step = -1;
  const calls: Omit<ProfiledCall, 'milliseconds'>[] = [];
  /** Of each step but the first, which also derives matrices. */
  const times: number[][] = [];
  const clocked = (library: KernelLibrary, memory: EngineMemory): KernelLibrary => {
    const timed = (
      kernel: KernelName,
      values: readonly number[],
      operation: number | undefined,
      run: () => void,
    ): void => {
      const start = performance.now();
      run();
      const milliseconds = performance.now() - start;
      if (step < 1) return;
      times[step - 1] ??= [];
      times[step - 1]!.push(milliseconds);
      if (step > 1) return;
      const flops = count ? flopsOf(recorded.get(kernel)!, values, memory) : 0;
      calls.push({ kernel, values, operation, flops });
    };
    return {
      bind(list) {
        const bound = list.map((call) => ({ call, run: library.bind([call]) }));
        return () => {
          for (const { call, run } of bound) timed(call.kernel, call.arguments, call.operation, run);
        };
      },
      call: (kernel, values) => timed(kernel, values, undefined, () => library.call(kernel, values)),
    };
  };
  const session = await openCpuSession(network, {
    batchSize,
    shared: false,
    kernels: async () => source,
    library: clocked,
    ...(cacheBytes !== undefined && { cacheBytes }),
  });
  await session.setWeights(initialWeights(network, 0));
  await session.freeze(frozen);
  const request = { source: noise(network, total, batchSize), optimizer, ...stepOptions };
  const totals: number[] = [];
  const end = performance.now() + 1000 * seconds;
  for (step = 0; step < warmups + steps && (step <= 2 || performance.now() < end); step++) {
    const result = await session.train({ ...request, from: step, to: step + 1 });
    if (step >= 1) totals.push(result.seconds * 1000);
  }
  await session.close();
  const from = Math.min(warmups - 1, times.length - 1);
  const [own, milliseconds] = [times.slice(from), totals.slice(from)];
  const rests = own.map((calls, i) => milliseconds[i]! - calls.reduce((sum, time) => sum + time, 0));
  const outside = median(rests);
  const profiled = calls.map((call, i) => ({ ...call, milliseconds: median(own.map((step) => step[i]!)) }));
  const inKernels = profiled.reduce((sum, call) => sum + call.milliseconds, 0);
  const operations = plannedFor(network, {
    batch: batchSize,
    cacheBytes: cacheBytes ?? (await cacheSize()),
  });
  return { operations, calls: profiled, milliseconds: inKernels + outside, outside };
}

const flopsOf = (kernel: Kernel, values: readonly number[], { buffer }: EngineMemory): number =>
  countOperations(kernel, values, new Float32Array(buffer), new Int32Array(buffer));

/** An epoch of random images. */
function noise(network: Network, images: number, batchSize: number): BatchSource {
  const shape = network.input as ImageShape;
  const classes = network.output[0]!;
  const pixels = Uint8Array.from(
    { length: images * sizeOf(shape) },
    (_, i) => Math.imul(i, 2_654_435_761) >>> 24,
  );
  const labels = Uint16Array.from({ length: images }, (_, i) => i % classes);
  return {
    dataset: { length: images, name: 'noise', shape, classes: [], pixels, labels },
    transform: toTensor(),
    batchSize,
    order: Uint32Array.from({ length: images }, (_, i) => i),
    seed: 0,
    epoch: 1,
  };
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
