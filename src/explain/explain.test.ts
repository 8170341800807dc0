import { afterAll, describe, expect, test } from 'vitest';
import { random } from '../data/random.ts';
import { UsageError } from '../errors.ts';
import { initialWeights } from '../model/initialize.ts';
import type { Weights } from '../model/layer.ts';
import { batchNorm1d, conv2d, dropout, flatten, linear, maxPool2d, relu } from '../model/layers/index.ts';
import { buildNetwork, sequential } from '../model/network.ts';
import { compile, type Model } from '../train/model.ts';
import { featureLayers, gradCam, lastFeatureLayer, saliency } from './explain.ts';
import type { GradientOf } from './features.ts';
import { perceptualDistance } from './perceptual.ts';

const chain = sequential([
  conv2d({ out: 5, kernel: 3, padding: 1 }),
  relu(),
  maxPool2d(2),
  conv2d({ out: 6, kernel: 3, padding: 1, name: 'last' }),
  relu(),
  maxPool2d(2),
  flatten(),
  linear({ out: 20, name: 'hidden' }),
  batchNorm1d({ name: 'norm' }),
  relu(),
  dropout(0.5),
  linear({ out: 3, name: 'scores' }),
]);
const input = [3, 12, 8];
const size = 3 * 12 * 8;
const network = buildNetwork(chain, input);
const source = random(0, 99);
const weights = new Map(initialWeights(network, 4));
// As after a training: moments that are neither 0 nor 1.
for (const name of ['norm.running_mean', 'norm.running_var', 'norm.weight', 'norm.bias']) {
  const { shape, data } = weights.get(name)!;
  weights.set(name, { shape, data: data.map(() => 0.2 + source.uniform()) });
}
const images = Float32Array.from({ length: 2 * size }, () => source.normal());

const open = (given: Weights = weights): Promise<Model> =>
  compile(chain, { input, device: 'reference', weights: given });
const model = await open();
afterAll(() => model.close());

test('a feature map is a convolution with what belongs to it, or a pool', () => {
  expect(featureLayers(network)).toEqual([1, 2, 4, 5]);
  expect(lastFeatureLayer(network)).toBe(4);
  expect(lastFeatureLayer(buildNetwork(sequential([flatten(), linear(2)]), [1, 2, 2]))).toBeUndefined();
});

describe('features', () => {
  test('by any name of a layer, with the shape of PyTorch', async () => {
    const found = await model.features(images, ['relu2_1', 4, 'scores', 'conv2_1', 'last', '6']);
    expect([...found.keys()]).toEqual(['relu2_1', 4, 'scores', 'conv2_1', 'last', '6']);
    expect(found.get(4)!.shape).toEqual([2, 6, 6, 4]);
    expect(found.get('relu2_1')).toEqual(found.get(4));
    expect(found.get('last')).toEqual(found.get('conv2_1'));
    expect(found.get(4)!.data).toEqual(found.get('last')!.data.map((value) => Math.max(value, 0)));
    expect(found.get('6')!.shape).toEqual([2, 36]);
    expect(found.get('scores')!.data).toEqual((await model.predict(images)).logits);
  });

  test('wrong images and layers are refused in words', async () => {
    await expect(model.features(images.slice(1), ['relu1_1'])).rejects.toThrow(
      '575 values are not whole images',
    );
    await expect(model.features([] as never, ['relu1_1'])).rejects.toThrow('images are of type Array');
    await expect(model.features(images, [])).rejects.toThrow('is not a list of names');
    await expect(model.features(images, ['relu1_2'])).rejects.toThrow(
      /no layer "relu1_2"; did you mean "relu\d_1"/,
    );
    await expect(model.features(images, [12])).rejects.toThrow('layer 12: sequential has layers 0 to 11');
  });
});

/** The sum of the scores of a function's values, for finite differences. */
async function scoreOf(of: GradientOf, shown: Float32Array): Promise<number> {
  if ('features' in of) {
    const layers = [...of.features.keys()];
    const values = await model.features(shown, layers);
    return layers.reduce<number>(
      (sum, layer) =>
        sum + of.features.get(layer)!.reduce((all, slope, i) => all + slope * values.get(layer)!.data[i]!, 0),
      0,
    );
  }
  const { logits, probabilities } = await model.predict(shown);
  if ('classes' in of) return of.classes[0]! >= 0 ? logits[of.classes[0]!]! + logits[3 + of.classes[1]!]! : 0;
  return -(Math.log(probabilities[of.labels[0]!]!) + Math.log(probabilities[3 + of.labels[1]!]!)) / 2;
}

describe('the gradient with respect to images', () => {
  const slopes = (length: number): Float32Array => Float32Array.from({ length }, () => source.normal());
  test.each<[string, GradientOf]>([
    ['of logits', { classes: [2, 0] }],
    ['of the cross-entropy', { labels: [1, 1] }],
    [
      'of features',
      {
        features: new Map<string | number, Float32Array>([
          ['conv1_1', slopes(2 * 480)],
          ['pool2', slopes(2 * 36)],
        ]),
      },
    ],
  ])('%s is that of finite differences', async (_, of) => {
    const { shape, data } = await model.inputGradient(images, of);
    expect(shape).toEqual([2, ...input]);
    const step = 1e-3;
    for (let i = 0; i < data.length; i += 41) {
      const moved = (by: number): Float32Array => images.with(i, images[i]! + by);
      const [above, below] = [await scoreOf(of, moved(step)), await scoreOf(of, moved(-step))];
      expect(data[i]).toBeCloseTo((above - below) / (2 * step), 1);
    }
    expect(data.some((value) => Math.abs(value) > 1e-3)).toBe(true);
  });

  test('is refused in words where it does not exist', async () => {
    const refused = (of: unknown, options?: object) => model.inputGradient(images, of as GradientOf, options);
    await expect(refused({})).rejects.toThrow('pass { classes } or { labels }');
    await expect(refused({ classes: [1, 1], labels: [1, 1] })).rejects.toThrow(
      'classes and labels exclude each other',
    );
    await expect(refused({ classes: [1] })).rejects.toThrow('1 classes are not one for each of 2 images');
    await expect(refused({ labels: [1, 3] })).rejects.toThrow('class 3 is not a whole number from 0 to 2');
    await expect(refused({ features: new Map([['pool1', slopes(3)]]) })).rejects.toThrow(
      'the gradient after 2 has 3 values, not [2, 5, 6, 4]',
    );
    const features = new Map([['pool1', slopes(240)]]);
    await expect(refused({ features }, { layer: 'pool2' })).rejects.toThrow('layer 5 is behind 2');
    await expect(refused({ features }, { layer: 'pool2' })).rejects.toThrow(UsageError);
  });
});

describe('Grad-CAM', () => {
  test('weighs maps by the mean gradient of the score', async () => {
    const { data: maps } = (await model.features(images, ['last'])).get('last')!;
    // Values before the ReLU have no ties that a pool would have to break.
    const behind = buildNetwork(
      sequential(network.layers.slice(4).map(({ spec, name }) => ({ ...spec, name }))),
      [6, 6, 4],
    );
    await using head = await compile(sequential(behind.layers.map(({ spec }) => spec)), {
      input: [6, 6, 4],
      device: 'reference',
      weights: new Map([...weights].filter(([name]) => /^(hidden|norm|scores)\./.test(name))),
    });
    const area = 24;
    const label = 1;
    // The mean of the gradient is the slope of the score when a whole map rises.
    const map = maps.slice(6 * area);
    const step = 1e-3;
    const sums = new Float64Array(area);
    for (let c = 0; c < 6; c++) {
      let slope = 0;
      for (let i = 0; i < area; i++) {
        const at = c * area + i;
        const score = async (by: number): Promise<number> =>
          (await head.predict(map.with(at, map[at]! + by))).logits[label]!;
        slope += ((await score(step)) - (await score(-step))) / (2 * step) / area;
      }
      for (let i = 0; i < area; i++) sums[i]! += slope * map[c * area + i]!;
    }
    const largest = Math.max(...sums);
    expect(largest).toBeGreaterThan(0);
    const [, heat] = await gradCam(model, images, { classes: [0, label], layer: 'last' });
    expect(heat).toMatchObject({ label, height: 6, width: 4 });
    for (const [i, value] of sums.entries())
      expect(heat!.values[i]).toBeCloseTo(Math.max(value, 0) / largest, 2);
  });

  test('explains the most likely class, of a layer by name', async () => {
    const { labels } = await model.predict(images);
    const heats = await gradCam(model, images, { layer: 'relu1_1' });
    expect(heats.map(({ label }) => label)).toEqual([...labels]);
    expect(heats[0]).toMatchObject({ height: 12, width: 8 });
    await expect(gradCam(model, images, { layer: 'hidden' })).rejects.toThrow('20 values without positions');
    await expect(gradCam(model, images, { classes: [0, 9] })).rejects.toThrow('class 9');
  });

  test('is dark where nothing speaks for the class', async () => {
    await using none = await open(
      new Map([...weights].map(([name, { shape, data }]) => [name, { shape, data: data.map(() => 0) }])),
    );
    const [heat] = await gradCam(none, images);
    expect([...heat!.values].every((value) => value === 0)).toBe(true);
  });
});

test('saliency is the largest absolute gradient of a pixel', async () => {
  const [, heat] = await saliency(model, images, { classes: [0, 2] });
  const { data } = await model.inputGradient(images, { classes: [0, 2] });
  const own = Array.from({ length: 96 }, (_, i) =>
    Math.max(...[0, 1, 2].map((c) => Math.abs(data[size + c * 96 + i]!))),
  );
  expect(heat).toMatchObject({ label: 2, height: 12, width: 8 });
  for (const [i, value] of own.entries()) expect(heat!.values[i]).toBeCloseTo(value / Math.max(...own), 6);
});

describe('the perceptual distance', () => {
  const targets = Float32Array.from({ length: 2 * size }, () => source.normal());
  const layers = ['relu1_1', 'relu2_1'];

  test('is the mean squared difference of features', async () => {
    const { distances, gradient } = await perceptualDistance(model, images, targets, { layers: ['relu2_1'] });
    const [a, b] = [await model.features(images, ['relu2_1']), await model.features(targets, ['relu2_1'])];
    const difference = a.get('relu2_1')!.data.map((value, i) => value - b.get('relu2_1')!.data[i]!);
    const mean = (part: Float32Array): number => part.reduce((sum, x) => sum + x * x, 0) / part.length;
    expect(distances[0]).toBeCloseTo(mean(difference.subarray(0, 144)), 6);
    expect(distances[1]).toBeCloseTo(mean(difference.subarray(144)), 6);
    expect(gradient).toBeUndefined();
    expect((await perceptualDistance(model, images, images, { layers })).distances).toEqual(
      new Float64Array(2),
    );
  });

  test('has the gradient of finite differences, also against features', async () => {
    const known = await model.features(targets, layers);
    const { distances, gradient } = await perceptualDistance(model, images, known, {
      layers,
      gradient: true,
    });
    expect(distances).toEqual((await perceptualDistance(model, images, targets, { layers })).distances);
    const step = 1e-2;
    for (let i = 7; i < images.length; i += 53) {
      const at = async (by: number): Promise<number> => {
        const moved = images.with(i, images[i]! + by);
        return (await perceptualDistance(model, moved, known, { layers })).distances[i < size ? 0 : 1]!;
      };
      expect(gradient!.data[i]).toBeCloseTo(((await at(step)) - (await at(-step))) / (2 * step), 3);
    }
  });

  test('needs the layers and as many targets', async () => {
    await expect(perceptualDistance(model, images, targets)).rejects.toThrow('no layer "relu2_2"');
    await expect(perceptualDistance(model, images, targets.slice(size), { layers })).rejects.toThrow(
      "the targets' features after relu1_1 are [1, 5, 12, 8], but those of the images [2, 5, 12, 8]",
    );
  });
});
