/**
 * Exercise 3 of the lecture: a network of seven layers learns CIFAR-100. Training is stored in a run folder: after
 * Ctrl-C or a power cut, the same command resumes it with bit-identical results. At the end it writes a report.
 *
 *     npx vgg download cifar100
 *     node examples/04-vgg7-cifar100.ts
 *     open runs/exercise-3/report.html
 *
 * `--small` runs the same program on the built-in shapes for 2 epochs, in a temporary folder, and interrupts it once.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  accuracyLine,
  type Callback,
  lectureLines,
  parseConfig,
  recipes,
  type TrainConfigInput,
} from '../src/index.ts';
import { reportRuns, runTraining } from '../src/node.ts';

const small = process.argv.includes('--small');
const smaller: TrainConfigInput = {
  dataset: 'shapes',
  modelOptions: { channels: [8, 16], hidden: 64 },
  optimizer: 'adam',
  lr: 0.005,
  weightDecay: 0,
  epochs: 2,
};

// Every option of `vgg train`, by name. Missing options have their defaults.
const config = parseConfig(
  { ...recipes['cifar100-vgg7']?.config, checkpointEvery: '60s', ...(small && smaller) },
  'exercise 3',
);
const folder = small ? await mkdtemp(join(tmpdir(), 'vggnet-exercise-3-')) : 'runs/exercise-3';

// Callbacks are notified of steps, epochs, checkpoints and best epochs.
const tellBest: Callback = {
  best: ({ loop }) => console.log(`Best epoch so far: ${loop.best?.epoch}`),
};

/** Starts or resumes the run. When aborted, it finishes the current step first. */
async function train(stop: AbortController, ...callbacks: readonly Callback[]): Promise<number> {
  const begun = existsSync(join(folder, 'config.json'));
  const { training, last, best } = await runTraining(config, {
    ...(begun ? { resume: folder } : { folder }),
    callbacks: [lectureLines(), tellBest, ...callbacks],
    signal: stop.signal,
    onStart: (_, from) => {
      if (from) console.log(`Resuming at epoch ${from.loop.epoch}, after ${from.loop.step} of its steps`);
    },
  });
  await training.model.close();
  return last?.testAccuracy ?? best?.value ?? 0;
}

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

if (small) {
  const early = new AbortController();
  const interrupt: Callback = {
    step: ({ epoch, step }) => {
      if (epoch === 2 && step === 50) early.abort();
    },
  };
  await train(early, interrupt).catch((error: unknown) => {
    if (!early.signal.aborted) throw error;
  });
}
const accuracy = await train(stop);
console.log(`Report: ${await reportRuns([folder])}`);
console.log(accuracyLine(accuracy));
if (small) await rm(folder, { recursive: true });
