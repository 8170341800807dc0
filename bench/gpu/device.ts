/** A GPU whose dispatches are timed: by timestamps on the device, or by the wall clock where it has none. */

import { type BoundDispatch, bufferUsage, Gpu, largestLimits } from '../../src/engine/webgpu/device.ts';
import { openEntry } from '../../src/engine/webgpu/device-node.ts';
import { VggError } from '../../src/errors.ts';

/** Leaves out the checks that keep accesses inside buffers. */
export const unchecked = 'enable-dawn-features=disable_robustness';

/** Without it, Dawn rounds timestamps to 100 µs. */
const exactTimestamps = 'disable-dawn-features=timestamp_quantization';
const queryResolve = 0x200;

export interface TimedGpu {
  readonly gpu: Gpu;
  readonly adapter: GPUAdapter;
  /** Whether the device has timestamps. */
  readonly hasTimestamps: boolean;
  /** Seconds of `times` passes, each of which runs these dispatches in order. */
  seconds(dispatches: readonly BoundDispatch[], times: number): Promise<number[]>;
}

export async function openTimed(
  chosen: string | undefined,
  flags: readonly string[] = [],
): Promise<TimedGpu> {
  const entry = await openEntry(chosen, [...flags, exactTimestamps]);
  const adapter = await entry.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new VggError('WebGPU finds no GPU');
  const hasTimestamps = adapter.features.has('timestamp-query');
  const device = await adapter.requestDevice({
    requiredFeatures: hasTimestamps ? ['timestamp-query'] : [],
    requiredLimits: largestLimits(adapter),
  });
  const gpu = new Gpu(device, adapter);
  return {
    ...{ gpu, adapter, hasTimestamps },
    seconds: (dispatches, times) =>
      hasTimestamps ? byTimestamps(gpu, dispatches, times) : byClock(gpu, dispatches, times),
  };
}

/** Encodes a pass. */
export function encodePass(
  encoder: GPUCommandEncoder,
  dispatches: readonly BoundDispatch[],
  timestampWrites?: GPUComputePassTimestampWrites,
): void {
  const pass = encoder.beginComputePass(timestampWrites && { timestampWrites });
  for (const { pipeline, group, groups } of dispatches) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(...groups);
  }
  pass.end();
}

async function byTimestamps(
  gpu: Gpu,
  dispatches: readonly BoundDispatch[],
  times: number,
): Promise<number[]> {
  const { device } = gpu;
  const querySet = device.createQuerySet({ type: 'timestamp', count: 2 * times });
  const bytes = 16 * times;
  const resolved = device.createBuffer({ size: bytes, usage: queryResolve | bufferUsage.copySource });
  const encoder = device.createCommandEncoder();
  for (let i = 0; i < times; i++)
    encodePass(encoder, dispatches, {
      querySet,
      beginningOfPassWriteIndex: 2 * i,
      endOfPassWriteIndex: 2 * i + 1,
    });
  encoder.resolveQuerySet(querySet, 0, 2 * times, resolved, 0);
  const stamps = new BigUint64Array(await gpu.read([{ buffer: resolved, offset: 0, bytes }], encoder));
  resolved.destroy();
  querySet.destroy();
  return Array.from({ length: times }, (_, i) => Number(stamps[2 * i + 1]! - stamps[2 * i]!) / 1e9);
}

async function byClock(gpu: Gpu, dispatches: readonly BoundDispatch[], times: number): Promise<number[]> {
  const seconds: number[] = [];
  for (let i = 0; i < times; i++) seconds.push(await wallSeconds(gpu, [dispatches]));
  return seconds;
}

/** Seconds from encoding passes to their end, in one submit. */
export async function wallSeconds(gpu: Gpu, passes: readonly (readonly BoundDispatch[])[]): Promise<number> {
  const { device } = gpu;
  await device.queue.onSubmittedWorkDone();
  const start = performance.now();
  const encoder = device.createCommandEncoder();
  for (const pass of passes) encodePass(encoder, pass);
  device.queue.submit([encoder.finish()]);
  await device.queue.onSubmittedWorkDone();
  gpu.assertWorks();
  return (performance.now() - start) / 1000;
}

export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
