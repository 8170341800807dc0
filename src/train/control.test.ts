import { expect, test } from 'vitest';
import { type Dataset, fromArrays } from '../data/dataset.ts';
import { dataLoader } from '../data/loader.ts';
import { random } from '../data/random.ts';
import { UsageError } from '../errors.ts';
import type { Weights } from '../model/layer.ts';
import { conv2d, flatten, linear, relu } from '../model/layers/index.ts';
import { sequential } from '../model/network.ts';
import type { Change } from './changes.ts';
import { TrainingControl } from './control.ts';
import { type Callback, type FitOptions, fit as train } from './fit.ts';
import type { LoopState, Snapshot } from './loop-state.ts';
import { compile, type Model } from './model.ts';
import { adam, sgd } from './optimizers.ts';
import type { StepEvent } from './reporters.ts';
import { cosineSchedule } from './schedules.ts';

const network = sequential(
  [conv2d({ out: 2, kernel: 3, name: 'conv1' }), relu(), flatten(), linear({ out: 3, name: 'fc' })],
  { name: 'small' },
);

/** Images of 1×4×4 whose class is their brightness. */
function brightness(count: number): Dataset {
  const source = random(1, 100);
  const labels = Array.from({ length: count }, (_, i) => i % 3);
  const pixels = labels.flatMap((label) => Array.from({ length: 16 }, () => 80 * label + source.integer(60)));
  return fromArrays(Uint8Array.from(pixels), labels, [1, 4, 4]);
}

/** 6 steps in an epoch. */
const trainLoader = dataLoader(brightness(23), { batchSize: 4, shuffle: true });
const testLoader = dataLoader(brightness(9), { batchSize: 9 });

const settings = {
  trainLoader,
  testLoader,
  optimizer: sgd({ lr: 0.02, momentum: 0.5 }),
  schedule: cosineSchedule(0.02),
  epochs: 3,
} satisfies Omit<FitOptions, 'model'>;

const compileSmall = (): Promise<Model> =>
  compile(network, { input: [1, 4, 4], device: 'reference', batchSize: 4, seed: 1 });

interface Trained {
  readonly weights: Weights;
  readonly loop: LoopState;
  readonly steps: readonly StepEvent[];
}

async function run(options: Partial<FitOptions> = {}, callback: Callback = {}): Promise<Trained> {
  await using model = await compileSmall();
  const steps: StepEvent[] = [];
  const collect: Callback = { step: (event) => void steps.push(event) };
  const { loop } = await train({ ...settings, ...options, model, callbacks: [collect, callback] });
  return { weights: await model.weights(), loop, steps };
}

/** A callback that does something once a number of steps is trained. */
const after = (steps: number, act: () => void): Callback => {
  let count = 0;
  return {
    step: () => {
      if (++count === steps) act();
    },
  };
};

/** Resolves when the training has come to rest. */
function rests(): { readonly callback: Callback; readonly next: () => Promise<number> } {
  let waiting = Promise.withResolvers<number>();
  return {
    callback: {
      pause: (paused, { totalSteps }) => {
        if (paused) waiting.resolve(totalSteps);
      },
    },
    next: async () => {
      const at = await waiting.promise;
      waiting = Promise.withResolvers<number>();
      return at;
    },
  };
}

test('changes that are made live give the same bits as the same changes listed beforehand', async () => {
  const control = new TrainingControl();
  const made: Change[] = [];
  const live = await run(
    { control },
    {
      ...after(4, () => control.change({ lr: 0.05, momentum: 0.8 })),
      epoch: ({ epoch }) => {
        if (epoch === 2) control.change({ weightDecay: 0.01 });
      },
      change: (change) => void made.push(change),
    },
  );
  const [first, second] = made;
  expect(first).toMatchObject({ lr: 0.05, momentum: 0.8 });
  expect(first!.step).toBeGreaterThanOrEqual(4);
  expect(second).toEqual({ step: 12, weightDecay: 0.01 });
  expect(live.loop.changes).toEqual(made);
  expect(control.changes).toEqual(made);
  const replayed = await run({ changes: made });
  expect(replayed.weights).toEqual(live.weights);
  expect(replayed.steps).toEqual(live.steps);
  expect(replayed.loop).toEqual(live.loop);
  const plain = await run();
  expect(plain.weights).not.toEqual(live.weights);
  expect(plain.loop).not.toHaveProperty('changes');
});

test('each setting has its effect: the rate scales the schedule, momentum and weight decay change the bits', async () => {
  const plain = await run();
  const faster = await run({ changes: [{ step: 7, lr: 0.05 }] });
  expect(faster.steps.slice(0, 7)).toEqual(plain.steps.slice(0, 7));
  for (const [i, { lr }] of plain.steps.entries())
    expect(faster.steps[i]!.lr).toBe(i < 7 ? lr : (lr / 0.02) * 0.05);
  for (const change of [
    { step: 7, momentum: 0.9 },
    { step: 7, weightDecay: 0.1 },
  ]) {
    const changed = await run({ changes: [change] });
    expect(changed.steps.slice(0, 8)).toEqual(plain.steps.slice(0, 8));
    expect(changed.weights).not.toEqual(plain.weights);
  }
});

test('a training resumed at any checkpoint keeps the changes before it and makes those after it', async () => {
  const changes = [
    { step: 0, momentum: 0.4 },
    { step: 3, lr: 0.05 },
    { step: 8, momentum: 0.8 },
    { step: 12, lr: 0.01 },
  ];
  const snapshots: Snapshot[] = [];
  const whole = await run(
    { changes, checkpointEvery: { steps: 1 } },
    { checkpoint: (snapshot) => void snapshots.push(structuredClone(snapshot)) },
  );
  expect(snapshots).toHaveLength(18);
  for (const resume of snapshots.slice(0, -1)) {
    const rest = await run({ resume, changes });
    expect(rest.weights).toEqual(whole.weights);
    expect(rest.loop).toEqual(whole.loop);
  }
  const [third] = snapshots.slice(4);
  const without = await run({ resume: third! });
  expect(without.loop.changes).toEqual(changes.slice(0, 2));
  const { changes: _, ...loop } = third!.loop;
  await expect(run({ resume: { ...third!, loop }, changes })).rejects.toThrow(
    "the change at step 0 is before the checkpoint's step 5, where it had not been made",
  );
});

test('a paused training rests, trains exactly the steps asked for, and ends with the same bits', async () => {
  const control = new TrainingControl();
  const { callback, next } = rests();
  const trained: number[] = [];
  const running = run(
    { control },
    { ...callback, step: ({ epoch, step }) => void trained.push(6 * (epoch - 1) + step) },
  );
  control.pause();
  expect(control.paused).toBe(true);
  expect(await next()).toBe(0);
  expect(control.resting).toBe(true);
  control.step();
  expect(await next()).toBe(1);
  control.step(2);
  control.step();
  expect(await next()).toBe(4);
  // The end of the first epoch: a pause comes before its test.
  control.step(2);
  expect(await next()).toBe(6);
  control.step(100);
  control.step();
  control.resume();
  expect(control.paused).toBe(false);
  const whole = await run();
  const { weights, loop } = await running;
  expect(weights).toEqual(whole.weights);
  expect(loop).toEqual(whole.loop);
  expect(trained).toEqual(Array.from({ length: 18 }, (_, i) => i + 1));
  expect(control.resting).toBe(false);
});

test('steps asked for while it trains are counted from where it is interrupted', async () => {
  const control = new TrainingControl();
  const { callback, next } = rests();
  const running = run({ control, epochs: 40 }, { ...callback, ...after(5, () => control.step(3)) });
  // The device may have trained more steps than it had reported.
  expect(await next()).toBeGreaterThanOrEqual(8);
  expect(control.paused).toBe(true);
  control.resume();
  expect((await running).loop.totalSteps).toBe(240);
});

test('with accumulated batches, pauses and changes wait for the optimizer step', async () => {
  const control = new TrainingControl();
  const { callback, next } = rests();
  const running = run({ control, accumulate: 4 }, callback);
  control.step();
  // Groups of 4 and 2 batches.
  expect(await next()).toBe(4);
  control.change({ lr: 0.05 });
  control.step();
  expect(await next()).toBe(6);
  control.resume();
  const live = await running;
  expect(live.loop.changes).toEqual([{ step: 4, lr: 0.05 }]);
  const planned = await run({ accumulate: 4, changes: [{ step: 1, lr: 0.05 }] });
  expect(planned.weights).toEqual(live.weights);
  expect(planned.loop).toEqual(live.loop);
});

test('an abort ends a pause and leaves a checkpoint from which the training continues with the same bits', async () => {
  const control = new TrainingControl();
  const abort = new AbortController();
  const { callback, next } = rests();
  let last: Snapshot | undefined;
  const keep: Callback = {
    ...callback,
    checkpoint: (snapshot) => {
      last = structuredClone(snapshot);
    },
  };
  const running = run({ control, signal: abort.signal }, keep);
  control.step(8);
  expect(await next()).toBe(8);
  control.change({ lr: 0.05 });
  abort.abort(new Error('enough'));
  await expect(running).rejects.toThrow('enough');
  expect(last!.loop.totalSteps).toBe(8);
  const changes = [{ step: 8, lr: 0.05 }];
  const rest = await run({ resume: last!, changes });
  expect(rest.weights).toEqual((await run({ changes })).weights);
});

test('between two steps the model can be used, and the bits stay the same', async () => {
  const control = new TrainingControl();
  await using model = await compileSmall();
  const seen: number[] = [];
  const running = train({ ...settings, epochs: 20, model, control });
  for (let i = 0; i < 3; i++) {
    const weights = await control.between(() => model.weights());
    seen.push(weights.get('fc.bias')!.data[0]!);
  }
  await running;
  expect(new Set(seen).size).toBe(3);
  const { weights } = await run({ epochs: 20 });
  expect(await model.weights()).toEqual(weights);
  expect(await control.between(async () => 7)).toBe(7);
  await expect(control.between(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
});

test('checkpoints by time are not put off by interruptions', async () => {
  const control = new TrainingControl();
  const many = dataLoader(brightness(6000), { batchSize: 1 });
  let found = false;
  const checkpoint: Callback['checkpoint'] = ({ loop }) => {
    found ||= loop.step > 0;
  };
  const enough = new AbortController();
  const { signal } = enough;
  const running = run(
    { control, trainLoader: many, epochs: 1, checkpointEvery: { seconds: 0.05 }, signal },
    { checkpoint },
  );
  while (!found) await control.between(async () => undefined);
  enough.abort(new Error('enough'));
  await expect(running).rejects.toThrow('enough');
});

test('wrong settings are refused at once, and a control steers one training', async () => {
  const control = new TrainingControl();
  expect(() => control.change({ lr: 0 })).toThrow(
    'TrainingControl.change: lr 0 is not a finite number above 0',
  );
  expect(() => control.change({ momentum: 1 })).toThrow('momentum 1 is not at least 0 and below 1');
  expect(() => control.change({ weightDecay: -1 })).toThrow('weightDecay -1 is not a finite number ≥ 0');
  expect(() => control.change({})).toThrow('no setting is given; give one or more of lr, momentum');
  expect(() => control.change({ moment: 0.5 } as never)).toThrow(
    'there is no setting "moment"; did you mean',
  );
  expect(() => control.step(0)).toThrow('count 0 is not a whole number ≥ 1');
  control.pause();
  const { callback, next } = rests();
  const running = run({ control, optimizer: adam({ lr: 0.02 }) }, callback);
  expect(await next()).toBe(0);
  expect(() => control.change({ momentum: 0.5 })).toThrow(UsageError);
  await expect(run({ control })).rejects.toThrow('this control steers another training');
  expect(() => control.change({ weightDecay: 0.1 })).not.toThrow();
  control.resume();
  await running;
  expect(control.changes).toEqual([{ step: 0, weightDecay: 0.1 }]);
  control.change({ momentum: 0.5 });
  await expect(run({ control, optimizer: adam() })).rejects.toThrow('adam has no momentum to change');
});

test.each([
  [[{ step: 1 }], 'change at step 1: no setting is given'],
  [[{ step: -1, lr: 1 }], 'step -1 of a change is not a whole number ≥ 0'],
  [
    [
      { step: 2, lr: 1 },
      { step: 2, lr: 2 },
    ],
    'the change at step 2 follows one at step 2; list them by ascending steps',
  ],
  [[{ step: 0, lr: Number.NaN }], 'lr NaN is not a finite number above 0'],
  [[{ step: 0, lr: 1, rate: 2 }], 'there is no setting "rate"'],
])('changes %j are refused', async (changes, message) => {
  await expect(run({ changes: changes as readonly Change[] })).rejects.toThrow(message);
});
