/**
 * Measures the cost of run folders: the time of a vgg7 checkpoint (reading the state from the device, writing both
 * files), and its share of an epoch of CIFAR's size, extrapolated from a few steps.
 *
 *     node bench/checkpoint.ts
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromArrays } from '../src/data/dataset.ts';
import { dataLoader } from '../src/data/loader.ts';
import { createModel } from '../src/model/models.ts';
import { writeCheckpoint } from '../src/runs/checkpoint-files.ts';
import { toCheckpoint } from '../src/runs/snapshots.ts';
import type { LoopState } from '../src/train/loop-state.ts';
import { compile } from '../src/train/model.ts';
import { adam } from '../src/train/optimizers.ts';

const repetitions = 7;
const steps = 5;
const stepsOfEpoch = 500;

const pixels = Uint8Array.from({ length: 1000 * 3072 }, (_, i) => Math.imul(i, 2_654_435_761) >>> 24);
const dataset = fromArrays(
  pixels,
  Array.from({ length: 1000 }, (_, i) => i % 100),
  [3, 32, 32],
);
const loader = dataLoader(dataset, { batchSize: 100 });
await using model = await compile(createModel('vgg7', { classes: 100 }), { input: [3, 32, 32] });
const folder = await mkdtemp(join(tmpdir(), 'vggnet-bench-'));
const loop: LoopState = {
  epoch: 2,
  step: 0,
  totalSteps: 500,
  optimizerSteps: 500,
  running: { lossSum: 0, correct: 0, images: 0 },
  best: null,
  counters: {},
  finished: false,
};
const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
const seconds = { step: [] as number[], state: [] as number[], write: [] as number[] };
await model.train(loader, { epoch: 1, optimizer: adam(), steps: 2 });
for (let i = 0; i < repetitions; i++) {
  const trained = await model.train(loader, { epoch: 1, optimizer: adam(), steps });
  seconds.step.push(trained.seconds / steps);
  let start = performance.now();
  const state = await model.state();
  seconds.state.push((performance.now() - start) / 1000);
  start = performance.now();
  await writeCheckpoint(join(folder, 'last.safetensors'), toCheckpoint({ loop, state }));
  seconds.write.push((performance.now() - start) / 1000);
}
await rm(folder, { recursive: true });
const [step, state, write] = [median(seconds.step), median(seconds.state), median(seconds.write)];
const epoch = step * stepsOfEpoch;
console.log(`${model.description}; medians of ${repetitions}`);
console.log(
  `a step of 100 images: ${(1000 * step).toFixed(1)} ms; an epoch of ${stepsOfEpoch}: ${epoch.toFixed(1)} s`,
);
console.log(
  `reading the state: ${(1000 * state).toFixed(0)} ms; writing a checkpoint: ${(1000 * write).toFixed(0)} ms`,
);
console.log(
  `writing last and best after each epoch: ${((200 * (state + write)) / epoch).toFixed(2)} % of the training time`,
);
