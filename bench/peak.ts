/**
 * The machine's floating-point peak as WebAssembly reaches it: independent fused multiply-adds on registers alone, on
 * one core. V8's revectorisation pairs 128-bit operations into 256-bit ones where the processor has them; a flag
 * decides that for a whole process, so each width is measured in a process of its own (this file, run directly).
 * The module is written in bytes because the project's kernels multiply and add in two instructions.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { webAssembly } from '../src/engine/cpu/webassembly.ts';

export interface Peak {
  /** GFLOP/s of one core with 128-bit vectors, a fused multiply-add counted as two. */
  readonly narrow: number;
  /** With V8's revectorisation; absent where V8 or the processor lacks it. */
  readonly wide?: number;
  /** The larger of both. */
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
function measureHere(vectors: number): number {
  const memory = new webAssembly.Memory({ initial: 1, maximum: 1, shared: false });
  const module = new webAssembly.Module(peakModule(vectors));
  const { run } = new webAssembly.Instance(module, { env: { memory } }).exports as {
    run: (count: number) => void;
  };
  const count = 200_000;
  let best = 0;
  for (let repetition = 0; repetition < 100; repetition++) {
    const start = performance.now();
    run(count);
    const seconds = (performance.now() - start) / 1000;
    best = Math.max(best, (count * sums * vectors * lanes * 2) / seconds / 1e9);
  }
  return best;
}

/** The peak of one core. */
export async function measurePeak(): Promise<Peak> {
  const measure = async (flags: string[], vectors: number): Promise<number> => {
    const arguments_ = [...flags, fileURLToPath(import.meta.url), String(vectors)];
    return Number((await promisify(execFile)(process.execPath, arguments_)).stdout);
  };
  const narrow = await measure([], 1);
  // A Node without the flag refuses to start.
  const wide = await measure(['--experimental-wasm-revectorize'], 2).catch(() => undefined);
  return wide === undefined ? { narrow, best: narrow } : { narrow, wide, best: Math.max(narrow, wide) };
}

if (import.meta.main) process.stdout.write(String(measureHere(Number(process.argv[2]))));
