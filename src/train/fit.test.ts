import { expect, test } from 'vitest';
import { type Dataset, fromArrays } from '../data/dataset.ts';
import { type DataLoader, dataLoader } from '../data/loader.ts';
import { random } from '../data/random.ts';
import { compose, cutout, pad, randomCrop, randomHorizontalFlip, toTensor } from '../data/transforms.ts';
import type { EvaluateResult } from '../engine/backend.ts';
import { UsageError, VggError } from '../errors.ts';
import type { Weights } from '../model/layer.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from '../model/layers/index.ts';
import { sequential } from '../model/network.ts';
import { type Callback, type FitOptions, fit as train } from './fit.ts';
import type { LoopState, Snapshot } from './loop-state.ts';
import { compile, type Model } from './model.ts';
import { adam, sgd } from './optimizers.ts';
import { bestEpoch } from './records.ts';
import type { EpochEvent } from './reporters.ts';
import { cosineSchedule, plateauSchedule, withFactorAfter, withWarmup } from './schedules.ts';

const network = sequential(
  [
    conv2d({ out: 2, kernel: 3, name: 'conv1' }),
    relu(),
    maxPool2d(2),
    flatten(),
    linear({ out: 3, name: 'fc' }),
  ],
  { name: 'small' },
);

/** Images of 1×6×6 whose class is their brightness. */
function brightness(count: number, seed: number): Dataset {
  const source = random(seed, 100);
  const labels = Array.from({ length: count }, (_, i) => i % 3);
  const pixels = labels.flatMap((label) => Array.from({ length: 36 }, () => 80 * label + source.integer(60)));
  return fromArrays(Uint8Array.from(pixels), labels, [1, 6, 6]);
}

const trainLoader = dataLoader(brightness(23, 1), {
  batchSize: 4,
  shuffle: true,
  transform: compose([pad(1), randomHorizontalFlip(), randomCrop(6), toTensor(), cutout(2)]),
});
const testLoader: DataLoader = dataLoader(brightness(9, 2), { batchSize: 9 });

const settings = {
  trainLoader,
  testLoader,
  optimizer: adam({ lr: 0.02 }),
  schedule: withWarmup(cosineSchedule(0.02), 1),
  epochs: 4,
  accumulate: 2,
  averageDecay: 0.9,
  labelSmoothing: 0.1,
  mixup: 0.5,
  clipNorm: 1,
} satisfies Omit<FitOptions, 'model'>;

const compileSmall = (): Promise<Model> =>
  compile(network, { input: [1, 6, 6], device: 'reference', batchSize: 4, seed: 1 });

interface Whole {
  readonly weights: Weights;
  readonly loop: LoopState;
  readonly best: LoopState['best'];
  readonly epochs: readonly Partial<EpochEvent>[];
}

/** Trains and leaves out what depends on time. */
async function run(options: Partial<FitOptions> = {}, ...callbacks: Callback[]): Promise<Whole> {
  await using model = await compileSmall();
  const epochs: Partial<EpochEvent>[] = [];
  const collect: Callback = {
    epoch: ({ trainSeconds: _, testSeconds: __, imagesPerSecond: ___, ...event }) => {
      epochs.push(event);
    },
  };
  const { loop, best } = await train({ ...settings, ...options, model, callbacks: [collect, ...callbacks] });
  return { weights: await model.weights(), loop, best, epochs };
}

test('training lowers the loss; epochs, steps and rates are counted', async () => {
  const { epochs, loop } = await run({ epochs: 20, mixup: 0 });
  expect(epochs.map(({ epoch, step }) => [epoch, step])).toEqual(
    Array.from({ length: 20 }, (_, i) => [i + 1, 6 * (i + 1)]),
  );
  expect(epochs.at(-1)!.testLoss).toBeLessThan(0.8 * epochs[0]!.testLoss!);
  expect(epochs.at(-1)!.testTopFive).toBe(1);
  expect(loop).toMatchObject({ epoch: 21, step: 0, totalSteps: 120, optimizerSteps: 60, finished: true });
});

test('resumed at any checkpoint, it ends with the same bits', async () => {
  const snapshots: Snapshot[] = [];
  const keep: Callback = { checkpoint: (snapshot) => void snapshots.push(structuredClone(snapshot)) };
  const whole = await run({ checkpointEvery: { steps: 2 } }, keep);
  expect(whole.epochs).toEqual((await run()).epochs);
  expect(snapshots.map(({ loop: { totalSteps } }) => totalSteps)).toEqual([
    2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24,
  ]);
  for (const resume of snapshots.slice(0, -1)) {
    const rest = await run({ resume });
    expect(rest.weights).toEqual(whole.weights);
    expect(rest.loop).toEqual(whole.loop);
    expect(rest.epochs).toEqual(whole.epochs.slice(whole.epochs.length - rest.epochs.length));
  }
});

const phased = {
  ...{ freeze: ['conv1'], unfreezeAfter: 2, lrGroups: { conv1: 0.5 } },
  schedule: withFactorAfter(settings.schedule, 2, 0.1),
} satisfies Partial<FitOptions>;

test('fine-tuning in phases: frozen layers stay, then all learn at a lower rate with a fresh optimizer', async () => {
  const snapshots: Snapshot[] = [];
  const keep: Callback = { checkpoint: (snapshot) => void snapshots.push(structuredClone(snapshot)) };
  const { epochs, loop } = await run(phased, keep);
  const plain = await run();
  const [first, second, third, fourth] = snapshots.map(
    ({ state }) => state.weights.get('conv1.weight')!.data,
  );
  expect(second).toEqual(first);
  expect(third).not.toEqual(second);
  expect(fourth).not.toEqual(third);
  expect([...snapshots[1]!.state.moments.firstMoment!.keys()]).toEqual(['fc.weight', 'fc.bias']);
  expect(snapshots[2]!.state.moments.firstMoment!.size).toBe(4);
  expect(snapshots.map(({ loop: own }) => own.optimizerSteps)).toEqual([3, 6, 3, 6]);
  expect(loop.optimizerSteps).toBe(6);
  const factors = epochs.map(({ lr }, i) => lr! / plain.epochs[i]!.lr!);
  expect(factors.map((factor) => Number(factor.toPrecision(6)))).toEqual([1, 1, 0.1, 0.1]);
});

test('fine-tuning in phases resumes at any checkpoint with the same bits', async () => {
  const snapshots: Snapshot[] = [];
  const keep: Callback = { checkpoint: (snapshot) => void snapshots.push(structuredClone(snapshot)) };
  const whole = await run({ ...phased, checkpointEvery: { steps: 2 } }, keep);
  expect(snapshots).toHaveLength(12);
  for (const resume of snapshots) {
    const rest = await run({ ...phased, resume });
    expect(rest.weights).toEqual(whole.weights);
    expect(rest.loop).toEqual(whole.loop);
  }
});

test('fine-tuning in phases is what two trainings in a row are', async () => {
  const options = { averageDecay: 0, schedule: () => 0.02 };
  const whole = await run({ ...options, freeze: ['conv1'], unfreezeAfter: 2 });
  await using model = await compileSmall();
  const part = { ...settings, ...options, model };
  await train({ ...part, freeze: ['conv1'], epochs: 2 });
  await model.freeze([]);
  for (const epoch of [3, 4]) {
    const { accumulate, labelSmoothing, mixup, clipNorm } = settings;
    const rates = new Float64Array(6).fill(0.02);
    const step = { accumulate, labelSmoothing, mixup, clipNorm, rates };
    await model.train(trainLoader, { ...step, epoch, optimizer: settings.optimizer });
  }
  expect(await model.weights()).toEqual(whole.weights);
});

test('freezing is refused where it has no effect or no layer', async () => {
  await expect(run({ unfreezeAfter: 2 })).rejects.toThrow('unfreezeAfter has no effect without freeze');
  await expect(run({ freeze: ['conv'] })).rejects.toThrow('has no layer "conv"; did you mean "conv1"?');
  await expect(run({ freeze: ['*'] })).rejects.toThrow('nothing is left to train');
  await expect(run({ lrGroups: { fc: 0 } })).rejects.toThrow('freeze');
});

test('2n epochs are n epochs and n more', async () => {
  const options = { schedule: () => 0.02 };
  const snapshots: Snapshot[] = [];
  await run(
    { ...options, epochs: 2 },
    { checkpoint: (snapshot) => void snapshots.push(structuredClone(snapshot)) },
  );
  const rest = await run({ ...options, epochs: 4, resume: snapshots.at(-1)! });
  const whole = await run({ ...options, epochs: 4 });
  expect(rest.weights).toEqual(whole.weights);
  expect(rest.epochs).toEqual(whole.epochs.slice(2));
});

test('an interrupted training leaves a checkpoint to resume from', async () => {
  const whole = await run();
  const controller = new AbortController();
  const snapshots: Snapshot[] = [];
  const interrupted = run(
    { signal: controller.signal },
    {
      step: ({ epoch, step }) => {
        if (epoch === 2 && step === 3) controller.abort(new Error('enough'));
      },
      checkpoint: (snapshot) => void snapshots.push(structuredClone(snapshot)),
    },
  );
  await expect(interrupted).rejects.toThrow('enough');
  // The group of accumulated batches was finished.
  expect(snapshots.at(-1)!.loop).toMatchObject({ epoch: 2, step: 4, totalSteps: 10 });
  expect((await run({ resume: snapshots.at(-1)! })).weights).toEqual(whole.weights);
});

test('interrupted during a test, it repeats the test when it resumes', async () => {
  const whole = await run();
  const controller = new AbortController();
  const snapshots: Snapshot[] = [];
  const interrupted = run(
    { signal: controller.signal },
    {
      step: ({ epoch, step }) => {
        if (epoch === 2 && step === 6) controller.abort(new Error('enough'));
      },
      checkpoint: (snapshot) => void snapshots.push(structuredClone(snapshot)),
    },
  );
  await expect(interrupted).rejects.toThrow('enough');
  expect(snapshots.at(-1)!.loop).toMatchObject({ epoch: 2, step: 6, totalSteps: 12 });
  const rest = await run({ resume: snapshots.at(-1)! });
  expect(rest.epochs).toEqual(whole.epochs.slice(1));
  expect(rest.weights).toEqual(whole.weights);
});

test('the test of a partial epoch does not count after a resume', async () => {
  const options = { schedule: plateauSchedule(0.02, 0.5), patience: 0, averageDecay: 0 };
  const snapshots: Snapshot[] = [];
  const whole = await run(options);
  await run(
    { ...options, steps: 8 },
    { checkpoint: (snapshot) => void snapshots.push(structuredClone(snapshot)) },
  );
  const rest = await run({ ...options, resume: snapshots.at(-1)! });
  expect(rest.weights).toEqual(whole.weights);
  expect(rest.loop).toEqual(whole.loop);
});

test('steps stop it mid-epoch, followed by a test', async () => {
  const { epochs, loop } = await run({ steps: 8 });
  expect(epochs.map(({ epoch, step }) => [epoch, step])).toEqual([
    [1, 6],
    [2, 8],
  ]);
  expect(loop).toMatchObject({ epoch: 2, step: 2, totalSteps: 8, finished: true });
});

test('steps are never exceeded: it stops after the last full group of accumulated batches', async () => {
  // 6 batches an epoch: groups end after 4 and 6, 10 and 12, …
  for (const [steps, last, updates] of [
    [4, 4, 1],
    [5, 4, 1],
    [6, 6, 2],
    [9, 6, 2],
    [11, 10, 3],
    [99, 24, 8],
  ] as const) {
    const { epochs, loop } = await run({ steps, accumulate: 4 });
    expect(epochs.at(-1)!.step, `${steps} steps`).toBe(last);
    expect(loop).toMatchObject({ totalSteps: last, optimizerSteps: updates, finished: true });
  }
  // An epoch that is shorter than a group is one.
  expect((await run({ steps: 7, accumulate: 100 })).loop.totalSteps).toBe(6);
  await expect(run({ steps: 3, accumulate: 4 })).rejects.toThrow(
    /steps 3 ends the training before its first optimizer step, which needs 4 batches \(accumulate 4\)/,
  );
});

test('the time of an interrupted epoch is the sum of its parts', async () => {
  const snapshots: Snapshot[] = [];
  await run(
    { checkpointEvery: { steps: 2 } },
    { checkpoint: (snapshot) => void snapshots.push(structuredClone(snapshot)) },
  );
  const inside = snapshots.find(({ loop: { totalSteps } }) => totalSteps === 10)!;
  expect(inside.timed).toEqual({ seconds: expect.any(Number), images: 16 });
  expect(inside.timed!.seconds).toBeGreaterThan(0);
  expect(snapshots.find(({ loop: { step } }) => step === 0)!.timed).toEqual({ seconds: 0, images: 0 });

  const events: EpochEvent[] = [];
  const resume = { ...inside, timed: { seconds: 1e6, images: 16 } };
  await run({ resume }, { epoch: (event) => void events.push(event) });
  const [second, third] = events;
  expect(second!.trainSeconds).toBeGreaterThan(1e6);
  expect(second!.imagesPerSecond * second!.trainSeconds).toBeCloseTo(23, 9);
  expect(third!.trainSeconds).toBeLessThan(1e6);
});

test('wherever steps stop it, result, best weights and records agree on the best epoch', async () => {
  const partsAhead: number[] = [];
  for (let steps = 1; steps <= 24; steps++) {
    const events: EpochEvent[] = [];
    let kept: EpochEvent | undefined;
    const { best } = await run(
      { steps, schedule: () => 0.1, accumulate: 1, averageDecay: 0, mixup: 0 },
      {
        epoch: (event) => void events.push(event),
        best: (_, event) => {
          kept = event;
        },
      },
    );
    expect(bestEpoch(events)).toEqual(kept);
    expect(best).toEqual({ epoch: kept!.epoch, value: kept!.testAccuracy });
    if (events.at(-1)!.testAccuracy > kept!.testAccuracy) partsAhead.push(steps);
  }
  expect(partsAhead).not.toEqual([]);
});

test('a finished training continues only if epochs or steps were raised', async () => {
  const ends: readonly Partial<FitOptions>[] = [
    { epochs: 2 },
    { steps: 8 },
    { schedule: () => 1e-12, averageDecay: 0, earlyStopping: 1, epochs: 9 },
  ];
  for (const options of ends) {
    const snapshots: Snapshot[] = [];
    const keep: Callback = { checkpoint: (snapshot) => void snapshots.push(structuredClone(snapshot)) };
    const whole = await run(options, keep);
    expect(whole.loop.finished).toBe(true);
    const again = await run({ ...options, resume: snapshots.at(-1)! }, keep);
    expect(again.epochs).toEqual([]);
    expect(again.loop).toEqual(whole.loop);
  }
});

test('checkpoints by the clock', async () => {
  let written = 0;
  await run({ checkpointEvery: { seconds: 0.001 } }, { checkpoint: () => void written++ });
  expect(written).toBeGreaterThan(4);
});

test('without progress it stops early, with the best weights', async () => {
  await using model = await compileSmall();
  let best: Weights | undefined;
  let end: Snapshot | undefined;
  const seen: number[] = [];
  const options: FitOptions = {
    ...settings,
    model,
    averageDecay: 0,
    // Much too fast, so that it gets worse soon.
    optimizer: sgd({ lr: 3 }),
    schedule: () => 3,
    clipNorm: 0,
    epochs: 100,
    earlyStopping: 2,
    callbacks: [
      {
        epoch: ({ testAccuracy }) => void seen.push(testAccuracy),
        best: ({ state }) => {
          best = state.weights;
        },
        checkpoint: (snapshot) => {
          end = snapshot;
        },
      },
    ],
  };
  const result = await train(options);
  expect(result.reason).toBe('earlyStopped');
  expect(seen).toHaveLength(result.best!.epoch + 2);
  expect(Math.max(...seen)).toBe(result.best!.value);
  expect(await model.weights()).toEqual(best);
  // The same if early stopping happens in the last epoch.
  const again = await train({ ...options, epochs: seen.length, resume: { ...end!, bestWeights: best! } });
  expect(again).toMatchObject({ reason: 'earlyStopped', last: undefined });
  expect(await model.weights()).toEqual(best);
});

test('validation images select the best epoch', async () => {
  const events: EpochEvent[] = [];
  const { loop } = await run({ validationLoader: testLoader }, { epoch: (event) => void events.push(event) });
  expect(events[0]!.validationLoss).toBe(events[0]!.testLoss);
  expect(loop.best!.value).toBe(Math.max(...events.map(({ validationAccuracy }) => validationAccuracy!)));
});

test('steps decide how far a schedule reaches, in full groups of batches', async () => {
  const options = { accumulate: 2, averageDecay: 0, schedule: cosineSchedule(0.02), epochs: 80 };
  for (const [steps, total] of [
    [8, 8],
    [9, 8],
    [16, 16],
  ] as const) {
    const rates: number[] = [];
    await run({ ...options, steps }, { step: ({ lr }) => void rates.push(lr) });
    expect(rates).toEqual(
      Array.from({ length: total }, (_, i) => 0.02 * ((1 + Math.cos((Math.PI * i) / total)) / 2)).map(
        (rate) => expect.closeTo(rate, 12),
      ),
    );
  }
});

test('plateaus lower the rate', async () => {
  const events: EpochEvent[] = [];
  await run(
    // So slow that the loss does not fall by a ten-thousandth.
    { schedule: plateauSchedule(1e-9, 0.5), optimizer: sgd({ lr: 1e-9 }), patience: 0, averageDecay: 0 },
    { epoch: (event) => void events.push(event) },
  );
  expect(events.map(({ lr }) => lr)).toEqual([1e-9, 1e-9, 0.5e-9, 0.25e-9]);
});

test('a loss that is not finite stops it; the error names position and rate', async () => {
  const failing = run({ schedule: () => 1e300, clipNorm: 0, accumulate: 1, mixup: 0 });
  await expect(failing).rejects.toThrow(VggError);
  await expect(failing).rejects.toThrow(/the loss became (NaN|Infinity) in epoch 1, step [23]: .*1e\+300/);
});

/** A training whose last step makes the weights non-finite, so that no training loss shows it. */
const exploding = (good: number): Partial<FitOptions> => ({
  optimizer: sgd({ lr: 0.01, momentum: 0 }),
  schedule: ({ epoch, step, stepsPerEpoch }) => ((epoch - 1) * stepsPerEpoch + step < good ? 0.01 : 1e300),
  ...{ steps: good + 1, clipNorm: 0, accumulate: 1, mixup: 0, averageDecay: 0 },
});

test.each([
  [0, 'after epoch 1, step 1'],
  [11, 'after epoch 2, step 6'],
] as const)('weights that step %d + 1 makes non-finite are never kept', async (good, place) => {
  for (const averageDecay of [0, 0.9]) {
    const kept: string[] = [];
    const failing = run(
      { ...exploding(good), averageDecay, earlyStopping: 1, checkpointEvery: { steps: 1 } },
      {
        epoch: ({ epoch }) => void kept.push(`epoch ${epoch}`),
        best: (_, { epoch }) => void kept.push(`best ${epoch}`),
        checkpoint: ({ loop }) => void kept.push(`checkpoint ${loop.totalSteps}`),
      },
    );
    await expect(failing).rejects.toThrow(VggError);
    await expect(failing).rejects.toThrow(`the weights are not finite ${place} (`);
    await expect(failing).rejects.toThrow('lower the learning rate (--lr; now 1e+300), limit the gradients');
    const steps = Array.from({ length: good }, (_, i) => `checkpoint ${i + 1}`);
    expect(kept.filter((entry) => entry.startsWith('checkpoint'))).toEqual([...new Set(steps)]);
    expect(kept).not.toContain(`epoch ${good < 6 ? 1 : 2}`);
    expect(kept).not.toContain(`best ${good < 6 ? 1 : 2}`);
  }
});

test('a test or validation loss that is not finite stops it before any callback is called', async () => {
  const broken = async (result: Partial<EvaluateResult>, loader: DataLoader): Promise<unknown> => {
    await using model = await compileSmall();
    const evaluate = model.evaluate.bind(model);
    model.evaluate = async (given, signal) => ({
      ...(await evaluate(given, signal)),
      ...(given === loader && result),
    });
    const heard: Callback = { epoch: () => expect.fail('heard of it'), best: () => expect.fail('kept it') };
    const loaders = loader === testLoader ? {} : { validationLoader: loader };
    return await train({ ...settings, ...loaders, model, callbacks: [heard] });
  };
  await expect(broken({ loss: Number.NaN }, testLoader)).rejects.toThrow(
    'the test loss is NaN after epoch 1, step 6: lower the learning rate',
  );
  const held = dataLoader(brightness(6, 3), { batchSize: 6 });
  await expect(broken({ loss: Infinity }, held)).rejects.toThrow(
    'the validation loss is Infinity after epoch 1, step 6',
  );
});

test('a checkpoint with weights that are not finite is not resumed', async () => {
  const snapshots: Snapshot[] = [];
  await run({ steps: 6 }, { checkpoint: (snapshot) => void snapshots.push(structuredClone(snapshot)) });
  const good = snapshots.at(-1)!;
  good.state.weights.get('fc.bias')!.data[1] = Number.NaN;
  const resumed = run({ resume: good, epochs: 4 });
  await expect(resumed).rejects.toThrow(VggError);
  await expect(resumed).rejects.toThrow(/the checkpoint's training diverged \(NaN in fc\.bias\).*--lr/);
});

test.each([
  [{ epochs: 0.5 }, 'epochs 0.5 is not a whole number ≥ 1'],
  [{ accumulate: 0 }, 'accumulate 0 is not a whole number ≥ 1'],
  [{ labelSmoothing: 1 }, 'labelSmoothing 1 is not a number of at least 0 and below 1'],
  [{ clipNorm: -1 }, 'clipNorm -1 is not a number of at least 0'],
])('%j is rejected', async (options, message) => {
  await expect(run(options)).rejects.toThrow(UsageError);
  await expect(run(options)).rejects.toThrow(message);
});
