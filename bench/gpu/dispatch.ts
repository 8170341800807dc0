/** What a dispatch costs, whatever it computes, and how fast bytes move. */
import { all, cells as cellsOf } from '../../src/engine/webgpu/dispatch.ts';
import { eachCell } from '../../src/engine/webgpu/wgsl.ts';
import { encodePass, median, openTimed, type TimedGpu, wallSeconds } from './device.ts';
import type { Part, PartOptions, Reporter } from './part.ts';

const sizes = [1, 14, 100];
const rowOf = (size: number): string => `${size} a pass`;
const [copied, written, readBack] = ['copy on the device', 'upload', 'read back'];

export const dispatchPart: Part = {
  title:
    'Cost of a dispatch (µs each: on the device, by the wall clock, and of the host alone), and of bytes (GB/s)',
  seconds: 25,
  rows: () => [...sizes.map(rowOf), copied, written, readBack],
  columns: () => ['device', 'wall', 'host', 'GB/s'],
  applies: (row, column) => row.endsWith('a pass') !== (column === 'GB/s'),
  async run(options, report) {
    const timed = await openTimed(options.adapter);
    if (!timed.hasTimestamps) report.note('the adapter has no timestamps: no times on the device');
    await dispatches(timed, options, report);
    await bytes(timed, options, report);
  },
};

async function dispatches(timed: TimedGpu, { quick }: PartOptions, { cells, note }: Reporter): Promise<void> {
  const { gpu } = timed;
  const values = gpu.buffer(256, 'values');
  // Each waits for the one before, as in a training step.
  const kernel = {
    name: 'increment',
    bindings: ['values: array<f32>, read_write'],
    shape: { length: 64 },
    code: `${eachCell('s.length')} values[cell] += 1.0; }`,
  };
  const one = await gpu.bind(cellsOf(kernel, [values], all, 64));
  let expected = 0;
  for (const size of sizes) {
    const pass = Array.from({ length: size }, () => one);
    const passes = Math.ceil((quick ? 100 : 2000) / size);
    const count = passes * size;
    const times = quick ? 1 : 5;
    const walls: number[] = [];
    // The first is a warm-up.
    for (let i = 0; i <= times; i++) {
      walls.push(
        await wallSeconds(
          gpu,
          Array.from({ length: passes }, () => pass),
        ),
      );
      expected += count;
    }
    cells(rowOf(size), { wall: (1e6 * median(walls.slice(1))) / count });
    const start = performance.now();
    const encoder = gpu.device.createCommandEncoder();
    for (let i = 0; i < passes; i++) encodePass(encoder, pass);
    const commands = encoder.finish();
    cells(rowOf(size), { host: (1000 * (performance.now() - start)) / count });
    gpu.device.queue.submit([commands]);
    expected += count;
    if (!timed.hasTimestamps) continue;
    const device = await timed.seconds(pass, quick ? 2 : 20);
    expected += size * (quick ? 2 : 20);
    cells(rowOf(size), { device: (1e6 * median(device)) / size });
  }
  const [found] = new Float32Array(await gpu.read([{ buffer: values, offset: 0, bytes: 4 }]));
  if (found !== expected) note(`wrong: ${expected} dispatches added ${found}`);
}

async function bytes({ gpu }: TimedGpu, { quick }: PartOptions, { cells }: Reporter): Promise<void> {
  const { device } = gpu;
  const size = Math.min(quick ? 2 ** 20 : 2 ** 29, gpu.mostBytes);
  const [from, to] = [gpu.buffer(size, 'from'), gpu.buffer(size, 'to')];
  const rate = async (count: number, work: () => unknown): Promise<number> => {
    await device.queue.onSubmittedWorkDone();
    const start = performance.now();
    await work();
    await device.queue.onSubmittedWorkDone();
    return count / (performance.now() - start) / 1e6;
  };
  const copy = (): void => {
    const encoder = device.createCommandEncoder();
    for (let i = 0; i < 4; i++) encoder.copyBufferToBuffer(from, 0, to, 0, size);
    device.queue.submit([encoder.finish()]);
  };
  copy();
  // Read and written.
  cells(copied, { 'GB/s': await rate(8 * size, copy) });
  const part = new Uint8Array(Math.min(size, 2 ** 26));
  cells(written, { 'GB/s': await rate(part.length, () => device.queue.writeBuffer(from, 0, part)) });
  const range = { buffer: from, offset: 0, bytes: part.length };
  cells(readBack, { 'GB/s': await rate(part.length, () => gpu.read([range])) });
  for (const buffer of [from, to]) buffer.destroy();
}
