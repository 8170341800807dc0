/** Protocols against PyTorch, torchvision and Pillow (`test/golden/make_protocol.py`), and their rules. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { expectAllClose } from '../../test/allclose.ts';
import { denseNetworks, formulaWeights } from '../../test/dense-networks.ts';
import { fromArrays } from '../data/dataset.ts';
import type { Sides } from '../data/resize.ts';
import { openCpuSession } from '../engine/cpu/driver.ts';
import { plainWasmKernels } from '../engine/cpu/kernels/provider.ts';
import { openReference } from '../engine/reference.ts';
import { DataError, UsageError } from '../errors.ts';
import { flatten, linear } from '../model/layers/index.ts';
import { buildNetwork, sequential } from '../model/network.ts';
import { compile, Model } from '../train/model.ts';
import { outputsFor } from './classes.ts';
import { evaluateProtocol } from './evaluate.ts';
import { ahead, type LabeledImages, labeledImages, type RawImage } from './labeled-images.ts';
import { chosenProtocol, cropPlaces, gridOffsets, type Protocol, viewsOf } from './protocol.ts';
import { Posterior, Scores } from './scores.ts';

type NetworkName = keyof typeof denseNetworks;

const golden = JSON.parse(
  readFileSync(new URL('../../test/golden/protocol.json', import.meta.url), 'utf8'),
) as {
  readonly images: readonly Sides[];
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly cases: readonly {
    readonly networks: readonly NetworkName[];
    readonly protocol: Protocol;
    readonly posteriors: readonly (readonly number[])[];
  }[];
  readonly offsets: readonly { readonly side: number; readonly size: number; readonly starts: number[] }[];
  readonly places: readonly { readonly sides: Sides; readonly size: Sides; readonly places: number[][] }[];
};

const normalization = { mean: golden.mean, std: golden.std };
const classes = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];

async function modelOf(name: NetworkName): Promise<Model> {
  const network = denseNetworks[name];
  const session = await openCpuSession(network, { batchSize: 1, shared: false, kernels: plainWasmKernels });
  const model = new Model(network, session, 1, { normalization, classes });
  await model.setWeights(formulaWeights(network));
  return model;
}

/** The formula of the script. */
function imageOf(index: number): RawImage {
  const [height, width] = golden.images[index]!;
  const pixels = Uint8Array.from(
    { length: height * width * 3 },
    (_, at) => (at * 31 + Math.floor(at / 97) ** 2 + index * 59) % 256,
  );
  return { height, width, channels: 3, pixels, planar: false };
}

/** Each image once for each label, so that losses are those of all classes. */
const imagesFor = (index: number, planar = false): LabeledImages => ({
  name: 'golden',
  classes,
  labels: classes.map((_, label) => label),
  length: classes.length,
  read: async () => {
    const image = imageOf(index);
    const { height, width, pixels } = image;
    if (!planar) return image;
    const planes = pixels.map((_, i) => {
      const [c, at] = [Math.floor(i / (height * width)), i % (height * width)];
      return pixels[3 * at + c]!;
    });
    return { ...image, pixels: planes, planar };
  },
});

/** The probabilities of all classes, from the losses of images with each label. */
async function posteriorOf(models: readonly Model[], index: number, protocol: Protocol): Promise<number[]> {
  const all = imagesFor(index, index === 1);
  const found: number[] = [];
  for (const label of classes.keys()) {
    const { loss, images } = await evaluateProtocol(models, { ...all, length: 1, labels: [label] }, protocol);
    expect(images).toBe(1);
    found.push(Math.exp(-loss));
  }
  return found;
}

describe('as PyTorch', () => {
  test.each(golden.cases)(
    '$networks $protocol',
    { timeout: 60_000 },
    async ({ networks, protocol, posteriors }) => {
      const models = await Promise.all(networks.map(modelOf));
      for (const [index, expected] of posteriors.entries()) {
        const found = await posteriorOf(models, index, protocol);
        expectAllClose(found, expected, 1e-6, `image ${index}`);
      }
    },
  );

  test.each(golden.offsets)('a grid of $size in $side', ({ side, size, starts }) => {
    expect(gridOffsets(side, size)).toEqual(starts);
  });

  test.each(golden.places)('five crops in $sides', ({ sides, size, places }) => {
    // torchvision: top left, top right, bottom left, bottom right, center.
    expect(cropPlaces(10, sides, size)).toEqual(places);
  });
});

describe('evaluateProtocol', () => {
  test('counts hits and confusions, whatever the groups of images are', async () => {
    const model = await modelOf('small');
    const count = 70;
    const images: LabeledImages = {
      name: 'many',
      classes,
      labels: Uint16Array.from({ length: count }, (_, i) => (i * 3) % 7),
      length: count,
      read: async (i) => imageOf(i % 3),
    };
    const done: number[] = [];
    const result = await evaluateProtocol([model], images, {
      scales: [25],
      onProgress: (now, total) => {
        done.push(now);
        expect(total).toBe(count);
      },
    });
    expect(done).toEqual([8, 24, 56, 70]);
    const answers = await Promise.all([0, 1, 2].map((i) => posteriorOf([model], i, { scales: [25] })));
    const expected = classes.map(() => classes.map(() => 0));
    let [topFive, loss] = [0, 0];
    for (let i = 0; i < count; i++) {
      const posterior = answers[i % 3]!;
      const label = (i * 3) % 7;
      expected[label]![posterior.indexOf(Math.max(...posterior))]!++;
      if (posterior.filter((p) => p > posterior[label]!).length < 5) topFive++;
      loss -= Math.log(posterior[label]!) / count;
    }
    expect(result.confusion).toEqual(expected);
    expect(result.images).toBe(count);
    expect(result.topFive).toBe(topFive / count);
    expect(result.loss).toBeCloseTo(loss, 6);
    expect(result.correct).toBe(expected.reduce((sum, row, i) => sum + row[i]!, 0));
    expect(result.accuracy).toBe(result.correct / count);
    expect(result.classes.map(({ images }) => images)).toEqual(classes.map(() => 10));
    expect(result.others).toEqual(classes.map(() => 0));
  });

  test('takes the images of a data set, also gray ones and any number of channels', async () => {
    const shape = [2, 5, 6] as const;
    const bytes = Uint8Array.from({ length: 12 * 60 }, (_, i) => (i * 37) % 256);
    const dataset = fromArrays(
      bytes,
      Array.from({ length: 12 }, (_, i) => i % 3),
      shape,
    );
    await using model = await compile(sequential([flatten(), linear(3)]), {
      input: shape,
      device: 'reference',
      normalization: null,
    });
    // The shorter side, 5, is enlarged to 6, and 6 columns of 7 are seen.
    const result = await evaluateProtocol([model], labeledImages(dataset));
    expect(result.images).toBe(12);
    expect(result.topFive).toBeUndefined();

    await using gray = await compile(sequential([flatten(), linear(7)]), {
      input: [1, 24, 20],
      device: 'reference',
      normalization: null,
    });
    expect((await evaluateProtocol([gray], imagesFor(0))).images).toBe(7);
    expect((await evaluateProtocol([gray], imagesFor(0, true))).loss).toBe(
      (await evaluateProtocol([gray], imagesFor(0))).loss,
    );
    await expect(evaluateProtocol([model], { ...imagesFor(0), classes: ['0', '1', '2'] })).rejects.toThrow(
      /golden, image 0: the image has 3 channels, and the network takes 2/,
    );
  });

  test('stops when asked, and reads nothing more after an error', async () => {
    const model = await modelOf('pooled');
    const controller = new AbortController();
    const reads: number[] = [];
    const images: LabeledImages = {
      ...imagesFor(0),
      length: 1000,
      labels: new Array<number>(1000).fill(0),
      read: async (i) => {
        reads.push(i);
        if (i === 30) throw new DataError('image 30 is damaged');
        return imageOf(0);
      },
    };
    await expect(evaluateProtocol([model], images)).rejects.toThrow('image 30 is damaged');
    const before = reads.length;
    expect(before).toBeLessThan(60);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(reads.length).toBe(before);
    const stopped = evaluateProtocol([model], imagesFor(0), {
      signal: controller.signal,
      onProgress: () => controller.abort(new Error('enough')),
    });
    await stopped;
    await expect(evaluateProtocol([model], imagesFor(0), { signal: controller.signal })).rejects.toThrow(
      'enough',
    );
  });

  test.each<[string, Protocol | object, RegExp]>([
    [
      'a scale below the input',
      { scales: [20] },
      /scale 20 is smaller than the network's images of 24×20; use scales from 24/,
    ],
    ['a scale twice', { scales: [30, 30] }, /scale 30 is given twice/],
    ['no scale', { scales: [] }, /is not a list of 1 to 20 numbers/],
    ['part of a pixel', { scales: [30.5] }, /scale 30\.5 is not a whole number/],
    ['other crops', { crops: 5 }, /crops 5 is not one of 1, 10, 50/],
    ['a word', { dense: 'yes' }, /dense "yes" is not true or false/],
    ['a misspelled option', { scale: [30] }, /did you mean "scales"/],
  ])('refuses %s', async (_name, protocol, message) => {
    const call = evaluateProtocol([await modelOf('small')], imagesFor(0), protocol as Protocol);
    await expect(call).rejects.toThrow(UsageError);
    await expect(call).rejects.toThrow(message);
  });

  test('refuses models that do not fit together or say too little', async () => {
    const small = await modelOf('small');
    const network = buildNetwork(sequential([flatten(), linear(7)]), [3, 24, 20]);
    const bare = new Model(network, await openReference(network, { batchSize: 1 }), 1, { classes });
    await expect(evaluateProtocol([bare], imagesFor(0))).rejects.toThrow(
      /does not say how its images are normalized/,
    );
    const turned = new Model(network, await openReference(network, { batchSize: 1 }), 1, {
      classes: classes.toReversed(),
      normalization,
    });
    await expect(evaluateProtocol([small, turned], imagesFor(0))).rejects.toThrow(/have different classes/);
    await expect(evaluateProtocol([], imagesFor(0))).rejects.toThrow(/is not a list of models/);
    await expect(evaluateProtocol([small], { ...imagesFor(0), length: 0 })).rejects.toThrow(/has no images/);
    await expect(
      evaluateProtocol([small], { ...imagesFor(0), classes: ['a', 'b'], labels: [0, 1, 2], length: 3 }),
    ).rejects.toThrow(/there is no class with label 2/);
  });
});

describe('views', () => {
  const sidesAt = (scale: number): Sides => [scale, scale + 9];
  const input = [3, 24, 20];
  const views = (protocol: Protocol) => viewsOf(chosenProtocol('test', protocol, input, 30), input, sidesAt);

  test.each<[Protocol, number]>([
    [{}, 1],
    [{ flip: true }, 2],
    [{ crops: 10 }, 10],
    [{ crops: 10, flip: false }, 5],
    [{ crops: 50 }, 50],
    [{ crops: 50, scales: [24, 30, 40] }, 150],
    [{ dense: true }, 2],
    [{ dense: true, scales: [24, 30, 40] }, 6],
    [{ dense: true, crops: 50, scales: [24, 30, 40] }, 156],
  ])('of %j are %i, and weigh 1', (protocol, count) => {
    const all = views(protocol);
    expect(all.length).toBe(count);
    expect(all.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(1, 12);
  });

  test('dense and crops weigh the same', () => {
    const dense = views({ dense: true, crops: 10 }).filter((view) => view.dense);
    expect(dense.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(0.5, 12);
  });
});

describe('scores', () => {
  test('a probability below all floats still has a loss', () => {
    const posterior = new Posterior(2, 1);
    posterior.add(Float32Array.of(1000, 0), 0.5);
    posterior.add(Float32Array.of(2000, 0), 0.5);
    expect(posterior.probabilities).toEqual(Float64Array.of(1, 0));
    expect(posterior.loss).toBeCloseTo(1000 + Math.log(2), 6);
  });

  test('answers that the data set has no class for are counted apart', () => {
    const scores = new Scores(['x', 'y'], [4, 2], 6);
    const answer = (best: number, label: number): void => {
      const posterior = new Posterior(6, [4, 2][label]!);
      posterior.add(
        Float32Array.from({ length: 6 }, (_, c) => (c === best ? 5 : c / 10)),
        1,
      );
      scores.add(label, posterior);
    };
    answer(4, 0);
    answer(0, 0);
    answer(2, 0);
    answer(2, 0);
    answer(0, 1);
    const { confusion, others, classes: byClass, topFive } = scores.result(1);
    expect(confusion).toEqual([
      [1, 2],
      [0, 0],
    ]);
    expect(others).toEqual([1, 1]);
    expect(topFive).toBe(1);
    expect(byClass).toEqual([
      { name: 'x', images: 4, correct: 1, accuracy: 0.25, confusedWith: { name: 'y', images: 2 } },
      { name: 'y', images: 1, correct: 0, accuracy: 0 },
    ]);
  });
});

describe('classes of a data set', () => {
  const names = ['cat', 'dog', 'bird'];

  test.each<[string, readonly string[] | undefined, readonly string[], readonly number[]]>([
    ['in the same order', names, names, [0, 1, 2]],
    ['in another order', names, ['dog', 'bird', 'cat'], [1, 2, 0]],
    ['a part', names, ['bird', 'cat'], [2, 0]],
    ['with other names, as many', names, ['n01', 'n02', 'n03'], [0, 1, 2]],
    ['without names', undefined, ['x', 'y', 'z'], [0, 1, 2]],
  ])('%s', (_name, own, classes, outputs) => {
    expect(outputsFor('net', 3, own, 'data', classes)).toEqual(outputs);
  });

  test('that do not fit are named on both sides', () => {
    expect(() => outputsFor('net', 3, names, 'data', ['cat', 'fish'])).toThrow(
      'net: its network has 3 classes (cat, dog, bird), and data has 2 (cat, fish); the network knows no class "fish"; ' +
        'evaluate weights for these classes, or name the folders like classes of the network',
    );
  });
});

test('reading ahead is bounded and in order', async () => {
  let [reading, most, held, mostHeld] = [0, 0, 0, 0];
  const read = async (i: number): Promise<number> => {
    most = Math.max(most, ++reading);
    await new Promise((resolve) => setTimeout(resolve, (i * 7) % 5));
    reading--;
    mostHeld = Math.max(mostHeld, ++held);
    return i;
  };
  const found: number[] = [];
  for await (const item of ahead(40, read, () => 10, { together: 3, items: 20, bytes: 100 })) {
    found.push(item);
    held--;
    await new Promise((resolve) => setTimeout(resolve, 4));
  }
  expect(found).toEqual(Array.from({ length: 40 }, (_, i) => i));
  expect(most).toBe(3);
  // 100 bytes, and those that were being read.
  expect(mostHeld).toBeGreaterThan(5);
  expect(mostHeld).toBeLessThanOrEqual(13);
});
