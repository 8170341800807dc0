/** Times the kernels of training steps on an adapter, each dispatch by itself. */
import { fuseTransform } from '../../data/fuse.ts';
import { compose, pad, randomCrop, randomHorizontalFlip, toTensor } from '../../data/transforms.ts';
import type { Network } from '../../model/layer.ts';
import { sizeOf } from '../../model/network.ts';
import type { ImageSource } from '../driver.ts';
import { planStep, trafficOf } from './describe.ts';
import { type BoundDispatch, bufferUsage, type Gpu } from './device.ts';
import type { Dispatch } from './dispatch.ts';
import { Feed } from './feed.ts';
import type { Memory } from './memory.ts';
import type { TileTable } from './tiles.ts';
import { gradientRow, type StepKind } from './training-step.ts';

export interface TimedNetwork {
  readonly network: Network;
  readonly batch: number;
  readonly settings: Pick<StepKind, 'optimizer'> & Partial<StepKind>;
}

export interface TimedDispatch {
  /** The kernel's name. */
  readonly name: string;
  readonly milliseconds: number;
  readonly operations: number;
  /** Bytes read and written, once. */
  readonly bytes: number;
}

/** Times a training step, dispatch by dispatch, with its images' loading unless only `wanted` kernels count. */
export async function timeStep(
  gpu: Gpu,
  tiles: TileTable,
  { network, batch, settings }: TimedNetwork,
  wanted: (name: string) => boolean = () => true,
): Promise<TimedDispatch[]> {
  const made: GPUBuffer[] = [];
  const memory: Memory = {
    ...{ mostBytes: gpu.mostBytes, tiles },
    buffer: (bytes, label) => {
      const buffer = gpu.buffer(bytes, label);
      // GPUs clock higher where all values are 0.
      if (label.startsWith('weights of ')) {
        for (let at = 0; at < bytes; at += 4 * weights.length)
          gpu.device.queue.writeBuffer(buffer, at, weights, 0, Math.min(weights.length, (bytes - at) / 4));
      }
      made.push(buffer);
      return buffer;
    },
  };
  const feed = new Feed(gpu, gpu.mostBytes, { count: 0 });
  try {
    const list = await gpu.allocating(network.name, () => {
      const plan = planStep(memory, network, batch, settings);
      const { shared, training, workspace } = plan;
      const { run } = shared;
      const { queue } = gpu.device;
      queue.writeBuffer(run, 0, Uint32Array.of(0, 0, 0, 1, 1, 0, batch, batch));
      training.ring.require(8);
      training.labels.require(4 * batch);
      shared.samples.require(4 * batch);
      const row = gradientRow(batch);
      training.table.require(row.byteLength);
      queue.writeBuffer(training.table.buffer, 0, row);
      feed.open(imagesOf(network, batch));
      if (feed.writesSteps) feed.writeStep(0, batch);
      const numbers = { run, table: training.table, mixes: false, rates: 1 };
      const { input, inputShape } = workspace;
      return [...feed.load(numbers, workspace.pieces(batch), input, inputShape), ...plan.list];
    });
    const own = list.filter(({ kernel }) => wanted(kernel.name));
    const bound = await Promise.all(own.map((dispatch) => gpu.bind(dispatch)));
    const times = gpu.device.features.has('timestamp-query')
      ? await timestamps(gpu, bound)
      : await manyTimes(gpu, bound);
    return own.map((dispatch, i) => timed(dispatch, times[i]!));
  } finally {
    feed.destroy();
    for (const buffer of made) buffer.destroy();
  }
}

const timed = (dispatch: Dispatch, milliseconds: number): TimedDispatch => ({
  ...{ name: dispatch.kernel.name, milliseconds, operations: dispatch.operations },
  bytes: trafficOf(dispatch),
});

/** Small values of both signs. */
const weights = Float32Array.from(
  { length: 2 ** 16 },
  (_, i) => (((i * 40_503) % 65_521) / 65_521 - 0.5) / 8,
);

/** A data set of noise, for a step of `batch`, with the lecture's augmentation. */
function imagesOf({ input }: Network, batch: number): ImageSource {
  const shape = input as readonly [number, number, number];
  const transform = compose([
    ...[pad(4), randomHorizontalFlip(), randomCrop([shape[1], shape[2]]), toTensor()],
  ]);
  return {
    kind: 'dataset',
    pixels: Uint8Array.from({ length: batch * sizeOf(input) }, (_, i) => (i * 40_503) % 251),
    labels: new Uint16Array(batch),
    fused: fuseTransform(transform, shape)!,
    order: Uint32Array.from({ length: batch }, (_, i) => i),
    ...{ seed: 1, epoch: 1 },
  };
}

/** Steps that are timed, after one that is not; the median counts. */
const repeats = 5;
const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

const queryResolve = 512;

/** Milliseconds of each dispatch by the adapter's clock: a pass of its own for each, in the order of the step. */
async function timestamps(gpu: Gpu, bound: readonly BoundDispatch[]): Promise<number[]> {
  const { device } = gpu;
  const querySet = device.createQuerySet({ type: 'timestamp', count: 2 * bound.length });
  const bytes = 16 * bound.length;
  const buffer = device.createBuffer({ size: bytes, usage: queryResolve | bufferUsage.copySource });
  try {
    const all: number[][] = [];
    for (let repeat = 0; repeat <= repeats; repeat++) {
      const encoder = device.createCommandEncoder();
      for (const [i, own] of bound.entries()) {
        const timestampWrites = {
          querySet,
          ...{ beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        };
        encode(encoder.beginComputePass({ timestampWrites }), own, 1);
      }
      encoder.resolveQuerySet(querySet, 0, 2 * bound.length, buffer, 0);
      const ticks = new BigUint64Array(await gpu.read([{ buffer, offset: 0, bytes }], encoder));
      if (repeat > 0) all.push(bound.map((_, i) => Number(ticks[2 * i + 1]! - ticks[2 * i]!) / 1e6));
    }
    return bound.map((_, i) => median(all.map((times) => times[i]!)));
  } finally {
    querySet.destroy();
    buffer.destroy();
  }
}

function encode(
  pass: GPUComputePassEncoder,
  { pipeline, group, groups }: BoundDispatch,
  times: number,
): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  for (let i = 0; i < times; i++) pass.dispatchWorkgroups(...groups);
  pass.end();
}

/** A submit takes so long that its own cost does not matter, and no driver resets the GPU. */
const submitMilliseconds = 50;
const mostDispatches = 1000;

/** Milliseconds of each dispatch by the host's clock: a submit of many dispatches, without an empty submit's time. */
async function manyTimes(gpu: Gpu, bound: readonly BoundDispatch[]): Promise<number[]> {
  const probe = gpu.buffer(16, 'probe');
  const submit = async (own: BoundDispatch | undefined, times: number): Promise<number> => {
    const encoder = gpu.device.createCommandEncoder();
    if (own) encode(encoder.beginComputePass(), own, times);
    const begun = performance.now();
    await gpu.read([{ buffer: probe, offset: 0, bytes: 4 }], encoder);
    return performance.now() - begun;
  };
  const several = async (own: BoundDispatch | undefined, times: number): Promise<number> => {
    const all: number[] = [];
    for (let repeat = 0; repeat < repeats; repeat++) all.push(await submit(own, times));
    return median(all);
  };
  const empty = await several(undefined, 0);
  const results: number[] = [];
  for (const own of bound) {
    await submit(own, 1);
    const once = Math.max(0.001, (await submit(own, 10)) - empty) / 10;
    const times = Math.max(1, Math.min(mostDispatches, Math.round(submitMilliseconds / once)));
    results.push(Math.max(0, (await several(own, times)) - empty) / times);
  }
  probe.destroy();
  return results;
}
