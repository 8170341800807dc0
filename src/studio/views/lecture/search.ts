/** Exercise 4 in small: six networks, one epoch each, one after the other in a worker. It goes on while other views are open. */
import { type Signal, signal } from '@preact/signals';
import { reached } from '../../state/reached.ts';
import { session } from '../../state/session.ts';
import { type RunSpec, usualConfig } from '../../state/spec.ts';
import { Trainer } from '../../state/trainer.ts';

export interface Trial {
  readonly channels: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly state: 'waiting' | 'running' | 'done' | 'failed';
  readonly parameters?: number;
  readonly accuracy?: number;
  readonly seconds?: number;
  readonly problem?: string;
}

const candidates: readonly Trial[] = (
  [
    [8, 16],
    [16, 32],
  ] as const
).flatMap((channels) =>
  (
    [
      [2, 2],
      [3, 2],
      [4, 2],
    ] as const
  ).map((strides) => ({ channels, strides, state: 'waiting' as const })),
);

export const trials: Signal<readonly Trial[]> = signal(candidates);
export const isSearching: Signal<boolean> = signal(false);

const specOf = ({ channels, strides }: Trial): RunSpec => ({
  config: {
    ...usualConfig,
    model: 'vgg7-bn',
    modelOptions: { channels, poolStrides: strides, hidden: 64 },
    epochs: 1,
    batchSize: 50,
  },
  trainImages: 4000,
});

let trainer: Trainer | undefined;

function update(place: number, change: Partial<Trial>): void {
  trials.value = trials.value.map((trial, i) => (i === place ? { ...trial, ...change } : trial));
}

/** Trains all candidates. The studio's own training gives way, since they share the processor. */
export async function search(): Promise<void> {
  if (isSearching.value) return;
  session.pause();
  trials.value = candidates;
  isSearching.value = true;
  const own = new Trainer(specOf(candidates[0]!));
  trainer = own;
  for (const [place, trial] of candidates.entries()) {
    if (trainer !== own) return;
    update(place, { state: 'running' });
    own.open(specOf(trial));
    const ready = await reached(own, ['ready', 'failed']);
    const started = performance.now();
    if (ready === 'ready') own.train();
    const end = ready === 'ready' ? await reached(own, ['ended', 'diverged', 'failed']) : ready;
    if (trainer !== own) return;
    const parameters = own.facts.value?.parameters;
    const accuracy = own.epochs.value.at(-1)?.testAccuracy;
    const isDone = end === 'ended' && accuracy !== undefined;
    update(place, {
      state: isDone ? 'done' : 'failed',
      seconds: (performance.now() - started) / 1000,
      ...(parameters !== undefined && { parameters }),
      ...(isDone ? { accuracy } : { problem: own.message.value }),
    });
  }
  stopSearch();
}

export function stopSearch(): void {
  trainer?.close();
  trainer = undefined;
  isSearching.value = false;
  trials.value = trials.value.map((trial) =>
    trial.state === 'running' ? { ...trial, state: 'waiting' } : trial,
  );
}
