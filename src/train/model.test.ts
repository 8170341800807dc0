import { expect, test } from 'vitest';
import { type Dataset, fromArrays } from '../data/dataset.ts';
import { dataLoader } from '../data/loader.ts';
import { random } from '../data/random.ts';
import { DataError, UsageError, VggError } from '../errors.ts';
import type { Weights } from '../model/layer.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from '../model/layers/index.ts';
import { buildNetwork, type Sequential, sequential } from '../model/network.ts';
import { shapesOf, type WeightSource } from '../model/weight-streams.ts';
import { compile, type Model } from './model.ts';
import { adam } from './optimizers.ts';

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

/** 10 images of 1×6×6 whose class is their brightness. */
function smallSet(): Dataset {
  const source = random(1, 100);
  const labels = Array.from({ length: 10 }, (_, i) => i % 3);
  const pixels = labels.flatMap((label) => Array.from({ length: 36 }, () => 80 * label + source.integer(60)));
  return fromArrays(Uint8Array.from(pixels), labels, [1, 6, 6]);
}

const compileSmall = (options: { seed?: number; batchSize?: number } = {}): Promise<Model> =>
  compile(network, { input: [1, 6, 6], device: 'reference', batchSize: 4, ...options });

test('training lowers the loss; steps, images and reports agree', async () => {
  await using model = await compileSmall();
  const loader = dataLoader(smallSet(), { batchSize: 4, shuffle: true });
  const optimizer = adam({ lr: 0.02 });
  const before = await model.evaluate(loader);
  const seen: number[] = [];
  for (let epoch = 1; epoch <= 20; epoch++) {
    const result = await model.train(loader, {
      epoch,
      optimizer,
      onStep: ({ step }) => seen.push(step),
    });
    expect(result).toMatchObject({ steps: 3, images: 10 });
    expect(seen.splice(0)).toEqual([1, 2, 3]);
  }
  expect((await model.evaluate(loader)).loss).toBeLessThan(0.5 * before.loss);
});

test('training in two calls gives the same model as in one', async () => {
  const loader = dataLoader(smallSet(), { batchSize: 4, shuffle: true });
  const after = async (calls: readonly number[]): Promise<unknown> => {
    await using model = await compileSmall();
    for (const epoch of calls) await model.train(loader, { epoch, optimizer: adam(), steps: 2 });
    return model.weights();
  };
  expect(await after([1, 2])).toEqual(await after([1, 2]));
  expect(await after([1, 2])).not.toEqual(await after([2, 1]));
});

test('overlapping calls run in the order in which they were made', async () => {
  await using model = await compileSmall();
  const loader = dataLoader(smallSet(), { batchSize: 4 });
  const [before, , after] = await Promise.all([
    model.weights(),
    model.train(loader, { epoch: 1, optimizer: adam({ lr: 0.1 }) }),
    model.weights(),
  ]);
  expect(before).not.toEqual(after);
  expect(await model.weights()).toEqual(after);
});

test('a failed call does not stop the next one', async () => {
  await using model = await compileSmall();
  await expect(model.setWeights(new Map())).rejects.toThrow(DataError);
  expect((await model.weights()).size).toBe(4);
});

test('the seed decides the initial weights', async () => {
  await using a = await compileSmall({ seed: 1 });
  await using b = await compileSmall({ seed: 1 });
  await using c = await compileSmall({ seed: 2 });
  expect(await a.weights()).toEqual(await b.weights());
  expect(await a.weights()).not.toEqual(await c.weights());
});

test('predict takes one image or many and agrees with evaluate', async () => {
  await using model = await compileSmall();
  const loader = dataLoader(smallSet(), { batchSize: 10 });
  for await (const { images, labels } of loader) {
    const all = await model.predict(images);
    const one = await model.predict(images.subarray(36, 72));
    expect(one.logits).toEqual(all.logits.subarray(3, 6));
    expect(all.labels).toHaveLength(10);
    const row = [...all.probabilities.subarray(0, 3)];
    expect(row.reduce((sum, p) => sum + p)).toBeCloseTo(1, 6);
    expect(row.indexOf(Math.max(...row))).toBe(all.labels[0]);
    const right = all.labels.filter((label, i) => label === labels[i]).length;
    expect((await model.evaluate(loader)).correct).toBe(right);
  }
  await expect(model.predict(new Float32Array(35))).rejects.toThrow(
    '35 values are not whole images of 1×6×6 = 36',
  );
  await expect(model.predict(new Float32Array(0))).rejects.toThrow(UsageError);
  const bytes: unknown = new Uint8Array(36);
  await expect(model.predict(bytes as Float32Array)).rejects.toThrow('images are of type Uint8Array; pass');
});

test.each([
  [[0, Number.NaN, 5], 1],
  [[Number.POSITIVE_INFINITY, 1, Number.NaN], 2],
  [[2, 7, 7], 1],
])('of logits %j, predict answers with class %d, as torch.argmax', async (logits, label) => {
  await using model = await compileSmall();
  const weights = new Map(await model.weights());
  const { shape, data } = weights.get('fc.weight')!;
  weights.set('fc.weight', { shape, data: new Float32Array(data.length) });
  weights.set('fc.bias', { shape: [3], data: Float32Array.from(logits) });
  await model.setWeights(weights);
  const answer = await model.predict(new Float32Array(72));
  expect([...answer.labels]).toEqual([label, label]);
});

test('a loss that is not finite is an error that names epoch, step and learning rate', async () => {
  await using model = await compileSmall();
  const loader = dataLoader(smallSet(), { batchSize: 4 });
  const training = model.train(loader, { epoch: 7, optimizer: adam({ lr: 1e300 }) });
  await expect(training).rejects.toThrow(VggError);
  await expect(training).rejects.toThrow(/the loss became (NaN|Infinity) in epoch 7, step [23]: .*1e\+300/);
});

test('a loader whose batches are too large is rejected', async () => {
  await using model = await compileSmall({ batchSize: 2 });
  const loader = dataLoader(smallSet(), { batchSize: 4 });
  await expect(model.train(loader, { epoch: 1, optimizer: adam() })).rejects.toThrow(
    'pass batchSize: 4 to compile',
  );
});

test('an aborted epoch reports how many steps were done', async () => {
  await using model = await compileSmall();
  const loader = dataLoader(smallSet(), { batchSize: 1 });
  const controller = new AbortController();
  const { steps } = await model.train(loader, {
    epoch: 1,
    optimizer: adam(),
    signal: controller.signal,
    onStep: ({ step }) => {
      if (step === 3) controller.abort();
    },
  });
  expect(steps).toBeGreaterThanOrEqual(3);
  expect(steps).toBeLessThan(10);
});

test('a closed model can be closed again and rejects everything else', async () => {
  const model = await compileSmall();
  await model.close();
  await model.close();
  await expect(model.weights()).rejects.toThrow('the model is closed');
});

test('an unknown device is rejected', async () => {
  const device = 'gpu' as 'wasm';
  await expect(compile(network, { input: [1, 6, 6], device })).rejects.toThrow(
    'there is no device "gpu"; webgpu computes on GPUs of all vendors. Available: auto',
  );
});

const weightsOf = async (): Promise<Weights> => {
  await using model = await compileSmall();
  return model.weights();
};

test('weights of a wrong kind are rejected before anything is drawn', async () => {
  const wrong: readonly unknown[] = [
    null,
    'vgg.safetensors',
    {},
    weightsOf(),
    new Uint8Array(3),
    { read() {} },
  ];
  for (const weights of wrong) {
    const options = { input: [1, 6, 6], device: 'reference', weights: weights as Weights } as const;
    await expect(compile(network, options)).rejects.toThrow(
      /the weights are .*, not a Map of tensors by name/,
    );
  }
  const built = buildNetwork(network, [1, 6, 6]) as unknown as Sequential;
  await expect(compile(built, { input: [1, 6, 6] })).rejects.toThrow('that buildNetwork returned');
  await expect(compile(network, { input: [48, 48, 3] })).rejects.toThrow('did you mean [3, 48, 48]?');
});

test('a source of weights may be an object of a class', async () => {
  const weights = await weightsOf();
  class Source implements WeightSource {
    readonly shapes = shapesOf(weights);
    readonly #weights = weights;

    async read(name: string, from: number, into: Float32Array): Promise<void> {
      into.set(this.#weights.get(name)!.data.subarray(from, from + into.length));
    }
  }
  await using model = await compile(network, {
    input: [1, 6, 6],
    device: 'reference',
    weights: new Source(),
  });
  expect(await model.weights()).toEqual(weights);
});

test('an abort while weights are read cancels compile', async () => {
  const weights = await weightsOf();
  const controller = new AbortController();
  const reads: string[] = [];
  const source: WeightSource = {
    shapes: shapesOf(weights),
    async read(name, from, into) {
      reads.push(name);
      if (reads.length === 2) controller.abort(new Error('enough'));
      into.set(weights.get(name)!.data.subarray(from, from + into.length));
    },
  };
  const options = {
    input: [1, 6, 6],
    device: 'reference',
    weights: source,
    signal: controller.signal,
  } as const;
  await expect(compile(network, options)).rejects.toThrow('enough');
  expect(reads).toHaveLength(2);
});
