import { expect, test } from 'vitest';
import { type Dataset, fromArrays } from '../data/dataset.ts';
import { dataLoader } from '../data/loader.ts';
import { random } from '../data/random.ts';
import { VggError } from '../errors.ts';
import { flatten, linear } from '../model/layers/index.ts';
import { sequential } from '../model/network.ts';
import { compile, type Model } from './model.ts';
import { adam, sgd } from './optimizers.ts';
import {
  accuracyLine,
  type EpochEvent,
  epochLine,
  lectureLines,
  type Reporter,
  type StepEvent,
} from './reporters.ts';
import { trainer } from './trainer.ts';

/** 10 noisy images of 1×2×2 in two classes. */
function set(): Dataset {
  const source = random(2, 100);
  return fromArrays(
    Uint8Array.from({ length: 40 }, () => source.integer(256)),
    Array.from({ length: 10 }, (_, i) => i % 2),
    [1, 2, 2],
  );
}

async function setUp() {
  const trainLoader = dataLoader(set(), { batchSize: 4, shuffle: true, seed: 5 });
  const testLoader = dataLoader(set(), { batchSize: 10 });
  const model: Model = await compile(sequential([flatten(), linear(2)]), {
    input: [1, 2, 2],
    batchSize: 4,
    device: 'reference',
  });
  const stepEvents: StepEvent[] = [];
  const epochEvents: EpochEvent[] = [];
  const reporter = {
    step: (event: StepEvent): unknown => stepEvents.push(event),
    epoch: (event: EpochEvent): unknown => epochEvents.push(event),
  };
  return { model, trainLoader, testLoader, reporter, stepEvents, epochEvents };
}

test("the lecture's loop reports every step and every epoch", async () => {
  const { stepEvents, epochEvents, ...parts } = await setUp();
  await using model = parts.model;
  const { train, test } = trainer({ ...parts, optimizer: adam(), epochs: 2 });
  for (let epoch = 1; epoch <= 2; epoch++) {
    const { loss, images } = await train(epoch);
    const { accuracy } = await test();
    expect(images).toBe(10);
    expect(epochEvents.at(-1)).toMatchObject({ epoch, epochs: 2, trainLoss: loss, testAccuracy: accuracy });
  }
  expect(stepEvents.map(({ epoch, step }) => [epoch, step])).toEqual([
    [1, 1],
    [1, 2],
    [1, 3],
    [2, 1],
    [2, 2],
    [2, 3],
  ]);
  // The mean counts images: batches of 4, 4 and 2.
  const [a, b, c] = stepEvents.map(({ loss }) => loss);
  expect(epochEvents[0]!.trainLoss).toBeCloseTo((4 * a! + 4 * b! + 2 * c!) / 10, 12);
  expect(model.network.parameterCount).toBe(10);
});

test('steps stop it mid-epoch, and the number of epochs is known beforehand', async () => {
  const { stepEvents, epochEvents, ...parts } = await setUp();
  await using _ = parts.model;
  const { epochs, train, test } = trainer({ ...parts, optimizer: adam(), epochs: 9, steps: 5 });
  expect(epochs).toBe(2);
  for (let epoch = 1; epoch <= epochs; epoch++) {
    await train(epoch);
    await test();
  }
  expect(stepEvents).toHaveLength(5);
  expect(epochEvents).toHaveLength(2);
  expect(epochEvents[1]!.trainLoss).toBeCloseTo((stepEvents[3]!.loss + stepEvents[4]!.loss) / 2, 12);
});

test('the learning rate depends on the epoch alone', async () => {
  const { stepEvents: _steps, epochEvents: _epochs, ...parts } = await setUp();
  await using _ = parts.model;
  const optimizer = adam({ lr: 0.9 });
  const { train } = trainer({ ...parts, optimizer, lrStep: 2, lrGamma: 1 / 3 });
  const rates: number[] = [];
  for (const epoch of [5, 1, 2, 3]) {
    await train(epoch);
    rates.push(Math.round(1000 * optimizer.lr));
  }
  expect(rates).toEqual([100, 900, 900, 300]);
});

test('an abort stops the loop with its reason; the weights stay', async () => {
  const { stepEvents: _steps, epochEvents: _epochs, ...parts } = await setUp();
  await using model = parts.model;
  const controller = new AbortController();
  const reporter = {
    ...parts.reporter,
    step: () => controller.abort(new Error('enough')),
  };
  const { train, test } = trainer({ ...parts, reporter, optimizer: adam(), signal: controller.signal });
  const before = await model.weights();
  await expect(train(1)).rejects.toThrow('enough');
  await expect(test()).rejects.toThrow('enough');
  expect(await model.weights()).not.toEqual(before);
});

test('weights that the last step makes non-finite fail the test', async () => {
  const { stepEvents: _steps, epochEvents: _epochs, ...parts } = await setUp();
  await using _ = parts.model;
  const reporter: Reporter = { step: () => {}, epoch: () => expect.fail('reported it') };
  const { train, test } = trainer({ ...parts, reporter, optimizer: sgd({ lr: 1e300 }), steps: 1 });
  await train(1);
  await expect(test()).rejects.toThrow(VggError);
});

test('epochs count from 1', async () => {
  const { stepEvents: _steps, epochEvents: _epochs, ...parts } = await setUp();
  await using _ = parts.model;
  const { train } = trainer({ ...parts, optimizer: adam() });
  await expect(train(0)).rejects.toThrow('epoch 0 is not a whole number ≥ 1');
});

test("the lines are the lecture's", () => {
  const printed: string[] = [];
  const { step, epoch } = lectureLines({ print: (line) => printed.push(line) });
  for (const number of [99, 100, 101])
    step({ epoch: 1, epochs: 80, step: number, steps: 500, loss: 1.23456, lr: 0.1 });
  epoch({
    epoch: 1,
    epochs: 80,
    step: 500,
    lr: 0.1,
    trainAccuracy: 0.5,
    testTopFive: 0.9,
    trainLoss: 1.5,
    testLoss: 1.25,
    testAccuracy: 0.5678,
    trainSeconds: 2.04,
    testSeconds: 0.2,
    imagesPerSecond: 1,
  });
  expect(printed).toEqual([
    'Epoch [1/80], step [100/500] Loss: 1.2346',
    'Epoch [1/80] Train loss: 1.5000, Test loss: 1.2500, Test accuracy: 56.78 %, 2.2 s',
  ]);
  const event = {
    epoch: 2,
    epochs: 80,
    step: 500,
    lr: 0.1,
    trainLoss: 1.5,
    trainAccuracy: 0.5,
    testLoss: 1.25,
  };
  const times = { trainSeconds: 2.04, testSeconds: 0.2, imagesPerSecond: 1 };
  const held = { validationLoss: 1, validationAccuracy: 0.625, testAccuracy: 0.5678, testTopFive: 0.9 };
  expect(epochLine({ ...event, ...times, ...held })).toBe(
    'Epoch [2/80] Train loss: 1.5000, Validation loss: 1.0000, Validation accuracy: 62.50 %, Test loss: 1.2500, ' +
      'Test accuracy: 56.78 %, 2.2 s',
  );
  expect(accuracyLine(Number.NaN)).toBe('Accuracy of the model on the test images: –');
  expect(accuracyLine(0.7085)).toBe('Accuracy of the model on the test images: 70.85 %');
});
