/**
 * The machine's floating-point peak as WebAssembly reaches it: independent multiply-adds on registers alone, on one
 * core. V8's revectorisation pairs 128-bit operations into 256-bit ones where the processor has them; a flag decides
 * that for a whole process, so each width is measured in a process of its own (this file, run directly).
 * The fused module is written in bytes because the project's kernels multiply and add in two instructions; their own
 * limit is that of the kernel `peak`.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { webAssembly } from '../src/engine/cpu/webassembly.ts';
import { recordKernel, wasmTarget } from '../src/kernels/catalogue.ts';
import { assembleModule } from '../src/kernels/wasm.ts';

export interface Peak {
  /** GFLOP/s of one core in 128-bit vectors, multiplied and added apart, as the project's kernels do. */
  readonly separate: number;
  /** With 128-bit fused multiply-adds, each counted as two. */
  readonly narrow: number;
  /** With V8's revectorisation; absent where V8 or the processor lacks it. */
  readonly wide?: number;
  /** The largest of all. */
  readonly best: number;
}

/** Sums in flight: more than latency × throughput (4 × 2), and with the operands within 16 registers. */
const sums = 12;
const lanes = 4;

/** `run(count)`: `count` times a multiply-add on each of `sums · vectors` 128-bit sums. */
function peakModule(vectors: number): Uint8Array<ArrayBuffer> {
  const unsigned = (value: number): number[] =>
    value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)];
  const section = (id: number, content: number[]): number[] => [id, ...unsigned(content.length), ...content];
  const simd = (opcode: number): number[] => [0xfd, ...unsigned(opcode)];
  const load = (offset: number): number[] => [0x41, 0, ...simd(0), 4, ...unsigned(offset)];
  const get = (local: number): number[] => [0x20, local];
  const set = (local: number): number[] => [0x21, local];
  const range = Array.from({ length: sums * vectors }, (_, i) => i);
  const sum = (i: number): number => 1 + 2 * vectors + i;
  const code = [
    // Local 0 counts; then two operands for each vector; then the sums. Adjacent loads and stores are what V8 pairs.
    ...Array.from({ length: 2 * vectors }, (_, i) => [...load(1024 + 16 * i), ...set(1 + i)]).flat(),
    ...range.flatMap((i) => [...load(16 * i), ...set(sum(i))]),
    ...[0x03, 0x40], // loop
    ...range.flatMap((i) => {
      const operand = 1 + (i % vectors);
      // f32x4.relaxed_madd
      return [...get(operand), ...get(operand + vectors), ...get(sum(i)), ...simd(0x105), ...set(sum(i))];
    }),
    ...[...get(0), 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b], // until --count is 0
    ...range.flatMap((i) => [0x41, 0, ...get(sum(i)), ...simd(11), 4, ...unsigned(16 * i)]),
    0x0b,
  ];
  const body = [1, ...unsigned((sums + 2) * vectors), 0x7b, ...code];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 1, 0x7f, 0]),
    ...section(2, [1, ...[3, ...Buffer.from('env')], ...[6, ...Buffer.from('memory')], 2, 1, 1, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1, 3, ...Buffer.from('run'), 0, 0]),
    ...section(10, [1, ...unsigned(body.length), ...body]),
  ]);
}

/** GFLOP/s of this thread: the best of many short runs, since a peak is what nothing disturbs. */
function fastestRun(run: (count: number) => void, operationsPerCount: number): number {
  const count = 200_000;
  let best = 0;
  for (let repetition = 0; repetition < 100; repetition++) {
    const start = performance.now();
    run(count);
    const seconds = (performance.now() - start) / 1000;
    best = Math.max(best, (count * operationsPerCount) / seconds / 1e9);
  }
  return best;
}

function load<Exports>(bytes: Uint8Array<ArrayBuffer>): Exports {
  const memory = new webAssembly.Memory({ initial: 1, maximum: 1, shared: false });
  const instance = new webAssembly.Instance(new webAssembly.Module(bytes), { env: { memory } });
  return instance.exports as Exports;
}

function measureFused(vectors: number): number {
  const { run } = load<{ run: (count: number) => void }>(peakModule(vectors));
  return fastestRun(run, sums * vectors * lanes * 2);
}

function measureSeparate(): number {
  const bytes = assembleModule([recordKernel('peak', wasmTarget)], false);
  const { peak } = load<{ peak: (out: number, rounds: number) => void }>(bytes);
  return fastestRun((count) => peak(1024, count), 16 * lanes * 2);
}

/** The peak of one core. */
export async function measurePeak(): Promise<Peak> {
  const measure = async (flags: string[], vectors: number): Promise<number> => {
    const arguments_ = [...flags, fileURLToPath(import.meta.url), String(vectors)];
    return Number((await promisify(execFile)(process.execPath, arguments_)).stdout);
  };
  const separate = measureSeparate();
  const narrow = await measure([], 1);
  // A Node without the flag refuses to start.
  const wide = await measure(['--experimental-wasm-revectorize'], 2).catch(() => undefined);
  const best = Math.max(separate, narrow, wide ?? 0);
  return { separate, narrow, ...(wide !== undefined && { wide }), best };
}

if (import.meta.main) process.stdout.write(String(measureFused(Number(process.argv[2]))));
