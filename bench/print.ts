/** How the benchmark prints its measurements. */
import { counted } from '../src/words.ts';
import type { Contestant, Score, Summary } from './contest.ts';

export const log = (line = ''): void => console.log(line);

export const fixed = (value: number, digits: number): string => value.toFixed(digits);

/** `2.31× (2.25–2.38)`: median and quartiles. */
export const ratio = ({ median, lower, upper }: Summary): string =>
  `${fixed(median, 2)}× (${fixed(lower, 2)}–${fixed(upper, 2)})`;

/** For example `PyTorch, 2 threads`. */
export const contestantName = (side: Contestant['side'], threads: number): string =>
  `${sideNames[side]}, ${counted(threads, 'thread')}`;

export const sideNames: Readonly<Record<Contestant['side'], string>> = {
  native: 'native',
  wasm: 'wasm',
  reference: 'reference',
  torch: 'PyTorch',
  'onnxruntime-node': 'ONNX Runtime',
  'onnxruntime-web': 'ONNX Runtime Web',
};

/** A row per score. `peak` is the multiply-add peak of one core in GFLOP/s, `operations` are those of one image. */
export function printScores(
  scores: readonly Score[],
  operations: number,
  images: number,
  peak: number | undefined,
): void {
  const width = Math.max(18, ...scores.map(({ name }) => name.length + 1));
  log(`${''.padEnd(width + 5)}ms   quartiles            fastest   images/s   GFLOP/s   of peak`);
  for (const { name, threads, median, lower, upper, least } of scores) {
    const speed = (operations * images) / median / 1e9;
    const share = peak === undefined ? '' : `${fixed((100 * speed) / (peak * threads), 0)} %`;
    const quartiles = `${fixed(1000 * lower, 2)}–${fixed(1000 * upper, 2)}`;
    const perSecond = images / median;
    log(
      `${name.padEnd(width)}${fixed(1000 * median, 2).padStart(7)}   ${quartiles.padEnd(18)}` +
        `${fixed(1000 * least, 2).padStart(10)}${fixed(perSecond, perSecond < 10 ? 2 : 0).padStart(11)}${fixed(speed, 1).padStart(10)}${share.padStart(10)}`,
    );
  }
}
