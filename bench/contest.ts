/**
 * Lets contestants take turns: one burst each per round (A B C D, then B C D A, …), so that other work on the machine
 * affects all equally. A burst is a few consecutive steps, as in training; its result is seconds per step.
 */
import { setTimeout as sleep } from 'node:timers/promises';

export interface Contestant {
  readonly name: string;
  readonly threads: number;
  /** One of our devices, or a peer. */
  readonly side: 'native' | 'wasm' | 'reference' | 'torch' | 'onnxruntime-node' | 'onnxruntime-web';
  /** Runs one burst and returns seconds per step. */
  readonly burst: () => Promise<number>;
}

/** Median, quartiles and smallest value. */
export interface Summary {
  readonly median: number;
  readonly lower: number;
  readonly upper: number;
  readonly least: number;
  readonly n: number;
}

export interface Score extends Summary {
  readonly name: string;
  readonly threads: number;
  readonly side: Contestant['side'];
  /** Seconds per step, one value per round. */
  readonly seconds: readonly number[];
}

export function summarize(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  const quantile = (share: number): number => {
    const place = share * (sorted.length - 1);
    const below = sorted[Math.floor(place)]!;
    return below + (sorted[Math.ceil(place)]! - below) * (place % 1);
  };
  return {
    median: quantile(0.5),
    lower: quantile(0.25),
    upper: quantile(0.75),
    least: quantile(0),
    n: values.length,
  };
}

/** How many times faster `b` is than `a`, compared within each round, when the machine was in the same state. */
export function speedup(a: Score, b: Score): Summary {
  return summarize(a.seconds.map((seconds, round) => seconds / b.seconds[round]!));
}

/** The score with the lowest median. */
export function fastest(scores: readonly Score[]): Score | undefined {
  return scores.toSorted((a, b) => a.median - b.median)[0];
}

/** Runs `rounds` rounds after some warm-up rounds, because V8 optimizes WebAssembly while it runs. */
export async function contest(
  contestants: readonly Contestant[],
  rounds: number,
  warmups = 2,
): Promise<Score[]> {
  const seconds = contestants.map((): number[] => []);
  for (let round = -warmups; round < rounds; round++) {
    for (let turn = 0; turn < contestants.length; turn++) {
      const place = (turn + round + warmups) % contestants.length;
      // Threads of the previous contestant may still spin for a few milliseconds.
      await sleep(20);
      const result = await contestants[place]!.burst();
      if (round >= 0) seconds[place]!.push(result);
    }
  }
  return contestants.map(({ name, threads, side }, place) => {
    return { name, threads, side, seconds: seconds[place]!, ...summarize(seconds[place]!) };
  });
}
