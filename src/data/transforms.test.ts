import { expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { fromArrays, type ImageShape } from './dataset.ts';
import { applyFused, fuseTransform, place } from './fuse.ts';
import { dataLoader } from './loader.ts';
import { type Random, random, streams } from './random.ts';
import { applyTransform, imageFromBytes, transformedShape } from './transforms/apply.ts';
import {
  centerCrop,
  colorJitter,
  colorShift,
  compose,
  cutout,
  grayscale,
  type Image,
  normalize,
  pad,
  randomCrop,
  randomGrayscale,
  randomHorizontalFlip,
  randomResizedCrop,
  randomRotation,
  requireTensor,
  resize,
  scaleJitter,
  type Transform,
  toTensor,
} from './transforms.ts';

const never: Random = {
  uniform: () => expect.unreachable('drew from the random source'),
  integer: () => expect.unreachable('drew from the random source'),
  normal: () => expect.unreachable('drew from the random source'),
};

/** A source that yields the given numbers and records the bounds of integers. */
function scripted(...draws: number[]): Random & { readonly bounds: number[] } {
  const bounds: number[] = [];
  const next = (): number => draws.shift() ?? expect.unreachable('drew too often');
  return {
    bounds,
    uniform: next,
    integer: (bound) => {
      bounds.push(bound);
      return next();
    },
    normal: next,
  };
}

const image = (shape: ImageShape, values: number[]): Image => ({ shape, values: Float32Array.from(values) });

test('pad adds zeros on all sides', () => {
  const padded = applyTransform(pad(1), image([2, 1, 2], [1, 2, 3, 4]), never);
  expect(padded.shape).toEqual([2, 3, 4]);
  expect([...padded.values]).toEqual([
    ...[0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0],
    ...[0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 0],
  ]);
});

test('randomHorizontalFlip mirrors when the draw is below the probability', () => {
  const source = image([1, 2, 3], [1, 2, 3, 4, 5, 6]);
  const flip = randomHorizontalFlip(0.3);
  expect([...applyTransform(flip, source, scripted(0.29)).values]).toEqual([3, 2, 1, 6, 5, 4]);
  expect([...applyTransform(flip, source, scripted(0.3)).values]).toEqual([1, 2, 3, 4, 5, 6]);
  expect([...source.values]).toEqual([1, 2, 3, 4, 5, 6]);
});

test('randomCrop draws top, then left, from all possible positions', () => {
  const source = image([1, 3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  const draws = scripted(1, 2);
  const cropped = applyTransform(randomCrop([2, 2]), source, draws);
  expect(cropped.shape).toEqual([1, 2, 2]);
  expect([...cropped.values]).toEqual([7, 8, 11, 12]);
  expect(draws.bounds).toEqual([2, 3]);
});

test('toTensor divides by 255, normalize subtracts the mean and divides by the deviation', () => {
  const chain = compose([toTensor(), normalize([0.5, 0.25], [0.5, 0.1])]);
  const { values } = applyTransform(chain, image([2, 1, 2], [0, 255, 51, 102]), never);
  for (const [i, expected] of [-1, 1, -0.5, 1.5].entries()) expect(values[i]).toBeCloseTo(expected, 6);
  expect(applyTransform(toTensor(), image([1, 1, 1], [7]), never).values[0]).toBe(Math.fround(7 / 255));
});

test('normalize takes one value for all channels', () => {
  const { values } = applyTransform(normalize(2, 4), image([2, 1, 1], [10, -2]), never);
  expect([...values]).toEqual([2, -1]);
});

test('nested chains are flattened in order', () => {
  const mine = (x: Image): Image => x;
  const chain = compose([pad(1), compose([randomCrop(3), compose([mine])]), toTensor()]);
  expect(chain).toEqual({ kind: 'compose', transforms: [pad(1), randomCrop(3), mine, toTensor()] });
});

test('a function of an image and a random source is a transform', () => {
  const jitter = (x: Image, source: Random): Image => {
    const shift = source.integer(9);
    return { shape: x.shape, values: x.values.map((value) => value + shift) };
  };
  const chain = compose([randomHorizontalFlip(), jitter]);
  expect([...applyTransform(chain, image([1, 1, 2], [1, 2]), scripted(0, 5)).values]).toEqual([7, 6]);
  expect(fuseTransform(chain, [1, 1, 2])).toBeUndefined();
});

test('transformedShape follows the chain, user functions included', () => {
  const top = (x: Image): Image => ({
    shape: [1, x.shape[1], x.shape[2]],
    values: x.values.slice(0, x.shape[1] * x.shape[2]),
  });
  expect(transformedShape(compose([pad(4), randomCrop([30, 20]), top]), [3, 32, 32])).toEqual([1, 30, 20]);
  expect(transformedShape(toTensor(), [3, 5, 7])).toEqual([3, 5, 7]);
});

test('the lecture‘s chain is one pass with byte/255', () => {
  const fused = fuseTransform(
    compose([pad(4), randomHorizontalFlip(), randomCrop(32), toTensor()]),
    [3, 32, 32],
  );
  expect(fused).toEqual({
    source: [3, 32, 32],
    output: [3, 32, 32],
    scale: Array(3).fill(Math.fround(1 / 255)),
    offset: [0, 0, 0],
    links: [pad(4), randomHorizontalFlip(), randomCrop(32)],
    shiftScale: [0, 0, 0],
    cutout: 0,
  });
  // Padded, mirrored, cropped at the top left: x = 0 shows the padding right of the source.
  expect(place(fused!, scripted(0, 0, 0))).toEqual({ top: -4, left: 35, flip: true });
  expect(place(fused!, scripted(0.5, 8, 3))).toEqual({ top: 4, left: -1, flip: false });
});

test('chains that need more than one pass do not fuse', () => {
  const shape: ImageShape = [1, 8, 8];
  expect(fuseTransform(compose([randomCrop(4), pad(2)]), shape)).toBeUndefined();
  expect(fuseTransform(compose([toTensor(), normalize(0.5, 1), pad(2)]), shape)).toBeUndefined();
  expect(fuseTransform(compose([toTensor(), cutout(2), pad(2)]), shape)).toBeUndefined();
  expect(fuseTransform(compose([cutout(2), toTensor()]), shape)).toBeUndefined();
  expect(fuseTransform(compose([toTensor(), pad(2)]), shape)).toBeDefined();
  expect(fuseTransform(compose([randomCrop(4), pad(0)]), shape)).toBeDefined();
});

test('centerCrop rounds half a pixel to the even offset, and pads what is too small', () => {
  const row = image([1, 1, 5], [1, 2, 3, 4, 5]);
  const cropped = (size: number, source = row): number[] => [
    ...applyTransform(centerCrop([1, size]), source, never).values,
  ];
  expect(cropped(3)).toEqual([2, 3, 4]);
  // Offsets of 0.5 and 1.5.
  expect(cropped(4)).toEqual([1, 2, 3, 4]);
  expect(cropped(2)).toEqual([3, 4]);
  expect(cropped(8)).toEqual([0, 1, 2, 3, 4, 5, 0, 0]);
  expect(fuseTransform(compose([centerCrop(7), centerCrop([2, 9])]), [1, 3, 3])).toBeUndefined();
  expect(fuseTransform(compose([toTensor(), normalize(1, 1), centerCrop(7)]), [1, 3, 3])).toBeUndefined();
});

test('resize takes bytes, and a crop behind it computes only what stays', () => {
  const source = image([2, 1, 2], [0, 100, 50.4, 999]);
  const doubled = applyTransform(resize([1, 4]), source, never);
  expect(doubled.shape).toEqual([2, 1, 4]);
  expect([...doubled.values]).toEqual([0, 25, 75, 100, 50, 101, 204, 255]);
  const shape: ImageShape = [3, 300, 1];
  const bytes = Uint8Array.from({ length: 900 }, (_, i) => (i * 37) % 256);
  const crop = compose([resize(60), centerCrop(50)]);
  const whole = applyTransform(resize(60), imageFromBytes(bytes, shape), never);
  expect(whole.shape).toEqual([3, 18_000, 60]);
  expect(applyTransform(crop, imageFromBytes(bytes, shape), never)).toEqual(
    applyTransform(centerCrop(50), whole, never),
  );
  // The whole image would have 3 · 10⁹ values.
  expect(transformedShape(compose([resize(10_000), centerCrop(5)]), [3, 10, 1])).toEqual([3, 5, 5]);
  expect(() => transformedShape(resize(10_000), [3, 10, 1])).toThrow(/resize: images of 3×100000×10000 have/);
});

test('a data set is resized by a loader', async () => {
  const pixels = Uint8Array.from({ length: 2 * 16 }, (_, i) => 8 * i);
  const set = fromArrays(pixels, [0, 1], [1, 4, 4]);
  const transform = compose([resize(2), toTensor()]);
  for await (const batch of dataLoader(set, { batchSize: 2, transform })) {
    expect(batch.shape).toEqual([2, 1, 2, 2]);
    for (const i of [0, 1]) {
      const own = imageFromBytes(pixels.subarray(16 * i, 16 * i + 16), [1, 4, 4]);
      const { values } = applyTransform(transform, own, never);
      for (const [at, value] of values.entries()) expect(batch.images[4 * i + at]).toBeCloseTo(value, 6);
    }
  }
});

test('randomGrayscale keeps the channels, and draws once', () => {
  const source = image([3, 1, 1], [255, 100, 0]);
  expect([...applyTransform(randomGrayscale(0.5), source, scripted(0.5)).values]).toEqual([255, 100, 0]);
  expect([...applyTransform(randomGrayscale(0.5), source, scripted(0.4)).values]).toEqual([135, 135, 135]);
  expect(applyTransform(grayscale(), source, never).shape).toEqual([1, 1, 1]);
});

test('colorShift adds the components, each times a normal number, alone and fused', () => {
  const components = {
    values: [0.5, 0.25, 0.125],
    vectors: [
      [1, 0, 0],
      [0, 0.6, 0.8],
      [0, -0.8, 0.6],
    ],
  };
  const chain = compose([toTensor(), colorShift(0.1, components), normalize(0.5, 0.25)]);
  const expected = [0.1 * 2 * 0.5, 0.1 * (-1 * 0.25 * 0.6 - 4 * 0.125 * 0.8), 0.1 * (-0.25 * 0.8 + 0.3)];
  const bytes = [0, 51, 255, 102, 0, 204];
  const draws = [2, -1, 4];
  const made = applyTransform(chain, image([3, 1, 2], bytes), scripted(...draws));
  const fused = fuseTransform(chain, [3, 1, 2])!;
  const out = new Float32Array(6);
  applyFused(fused, Uint8Array.from(bytes), place(fused, scripted(...draws)), out);
  for (const [i, byte] of bytes.entries()) {
    const value = (byte / 255 + expected[Math.floor(i / 2)]! - 0.5) / 0.25;
    expect(made.values[i]).toBeCloseTo(value, 6);
    expect(out[i]).toBeCloseTo(value, 6);
  }
  // Zeros of a later pad are not shifted.
  expect(fuseTransform(compose([toTensor(), colorShift(), pad(1)]), [3, 4, 4])).toBeUndefined();
});

test('an image that has the size already is not resized', () => {
  const bytes = Uint8Array.from({ length: 75 }, (_, i) => 3 * i);
  const chain = compose([resize(5), randomCrop(3)]);
  const source = imageFromBytes(bytes, [3, 5, 5]);
  expect(applyTransform(chain, source, scripted(1, 2))).toEqual(
    applyTransform(randomCrop(3), source, scripted(1, 2)),
  );
  expect(() => applyTransform(compose([resize(4), randomCrop(5)]), source, never)).toThrow(
    'the window of 5×5 is larger than the image of 4×4',
  );
});

test('cutout blanks a square around a pixel, clipped to the image', () => {
  const ones = image([2, 3, 4], Array(24).fill(1));
  // Row 0, column 2 of the image is the square's middle.
  expect([...applyTransform(cutout(2), ones, scripted(0, 2)).values]).toEqual(
    [1, 2].flatMap(() => [1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
  );
  expect(() => cutout(0)).toThrow('size 0 is not a whole number ≥ 1');
});

test('fused and general path agree on random chains: same draws, same values', () => {
  let fusedChains = 0;
  let compared = 0;
  for (let round = 0; round < 600; round++) {
    const dice = random(11, streams.transform, round);
    const shape: ImageShape = [1 + dice.integer(3), 1 + dice.integer(9), 1 + dice.integer(9)];
    const chain = randomChain(dice, shape);
    const fused = fuseTransform(chain, shape);
    expect(transformedShape(chain, shape)).toEqual(fused?.output ?? transformedShape(chain, shape));
    if (fused === undefined) continue;
    fusedChains++;
    const bytes = Uint8Array.from({ length: shape[0] * shape[1] * shape[2] }, () => dice.integer(256));
    const generalSource = random(3, streams.transform, 1, round);
    const fusedSource = random(3, streams.transform, 1, round);
    const general = applyTransform(chain, imageFromBytes(bytes, shape), generalSource);
    const out = new Float32Array(general.values.length).fill(Number.NaN);
    applyFused(fused, bytes, place(fused, fusedSource), out);
    expect(general.shape).toEqual(fused.output);
    expect(fusedSource.uniform()).toBe(generalSource.uniform());
    const perChannel = fused.output[1] * fused.output[2];
    for (let i = 0; i < out.length; i++) {
      const offset = Math.abs(fused.offset[Math.floor(i / perChannel)]!);
      const bound = 5 * 2 ** -24 * (Math.abs(general.values[i]!) + offset);
      const difference = Math.abs(out[i]! - general.values[i]!);
      if (!(difference <= bound))
        expect.unreachable(`round ${round}, value ${i}: ${out[i]} is not ${general.values[i]}`);
      compared++;
    }
  }
  expect(fusedChains).toBeGreaterThan(200);
  expect(compared).toBeGreaterThan(20_000);
});

function randomChain(dice: Random, shape: ImageShape): Transform {
  let [channels, height, width] = shape;
  const links: Transform[] = [];
  let scaled = false;
  let normalized = false;
  for (let i = dice.integer(7); i > 0; i--) {
    const kind = dice.integer(6);
    if (kind === 0) {
      const padding = dice.integer(4);
      links.push(pad(padding));
      height += 2 * padding;
      width += 2 * padding;
    } else if (kind === 5) {
      height = 1 + dice.integer(height + 3);
      width = 1 + dice.integer(width + 3);
      links.push(centerCrop([height, width]));
    } else if (kind === 1) links.push(randomHorizontalFlip(dice.uniform()));
    else if (kind === 2) {
      height = 1 + dice.integer(height);
      width = 1 + dice.integer(width);
      links.push(randomCrop([height, width]));
    } else if (kind === 3 && !scaled) {
      links.push(toTensor());
      scaled = true;
    } else if (kind === 4 && scaled && !normalized) {
      normalized = true;
      const list = (): number[] => Array.from({ length: channels }, () => 0.1 + dice.uniform());
      links.push(normalize(list(), list()));
    }
  }
  if (scaled && dice.integer(3) === 0) links.push(cutout(1 + dice.integer(5)));
  return compose(links);
}

test.each([
  [() => pad(-1), 'pad: padding -1 is not'],
  [() => pad(1.5), 'pad: padding 1.5 is not'],
  [() => randomHorizontalFlip(1.1), 'randomHorizontalFlip: probability 1.1'],
  [() => randomHorizontalFlip(Number.NaN), 'probability NaN'],
  [() => randomCrop(0), 'randomCrop: size 0 is not a whole number ≥ 1'],
  [() => randomCrop([3, 2.5]), 'randomCrop: size 2.5 is not'],
  [() => resize(0), 'resize: size 0 is not a whole number ≥ 1'],
  [() => resize([3] as never), 'resize: size has 1 numbers; give one, or a list [height, width] of two'],
  [() => resize(1e5), 'resize: size 100000 is above the limit of 10000'],
  [() => centerCrop([3, 0.5]), 'centerCrop: size 0.5 is not'],
  [() => centerCrop([3, 4, 5] as never), 'centerCrop: size has 3 numbers'],
  [() => randomResizedCrop(0), 'randomResizedCrop: size 0 is not'],
  [() => randomResizedCrop(8, { scale: [0.5, 2] }), 'randomResizedCrop: scale 2 is not a number from 0 to 1'],
  [() => randomResizedCrop(8, { ratio: [2, 1] }), 'randomResizedCrop: ratio [2, 1] does not rise; swap'],
  [() => scaleJitter(512, 256), 'scaleJitter: least 512 is above most 256; swap them'],
  [() => randomRotation(-1), 'randomRotation: degrees -1 is not a number from 0 to 360'],
  [() => randomRotation(5, { interpolation: 'cubic' as never }), `interpolation "cubic" is not 'nearest'`],
  [() => colorJitter({ hue: 0.6 }), 'colorJitter: hue 0.6 is not a number from 0 to 0.5'],
  [() => colorJitter({ contrast: [1, -1] }), 'colorJitter: contrast -1 is not'],
  [() => colorJitter({ colour: 1 } as never), 'colorJitter: there is no option "colour"'],
  [() => grayscale(2 as never), 'grayscale: 2 channels are not 1 or 3'],
  [() => randomGrayscale(2), 'randomGrayscale: probability 2'],
  [() => colorShift(-1), 'colorShift: deviation -1 is not a number ≥ 0'],
  [() => colorShift(1, {} as never), 'colorShift: components are an object, not { values, vectors }'],
  [() => compose([colorShift(), toTensor()]), 'compose: colorShift comes before toTensor; put it after'],
  [() => compose([toTensor(), normalize(0, 1), colorShift()]), 'compose: colorShift comes after normalize'],
  [() => compose([toTensor(), colorJitter({})]), 'compose: colorJitter comes after toTensor; put it before'],
  [
    () => transformedShape(colorJitter({}), [2, 3, 3]),
    'colorJitter: the images have 2 channels, and it takes 1 or 3',
  ],
  [() => transformedShape(colorShift(), [1, 3, 3]), 'colorShift: the images have 1 channels, and it takes 3'],
  [() => compose([toTensor(), resize(3)]), 'compose: resize comes after toTensor; put it before'],
  [() => transformedShape(centerCrop(10_000), [1, 3, 3]), 'centerCrop: images of 1×10000×10000 have'],
  [() => fuseTransform(centerCrop(10_000), [1, 3, 3]), 'centerCrop: images of 1×10000×10000 have'],
  [() => normalize([0.5], [0.5, 0.5]), '1 means and 2 deviations'],
  [() => normalize([], []), '0 means'],
  [() => normalize([Number.NaN], [1]), 'mean NaN'],
  [() => normalize([0], [0]), 'deviation 0'],
  [() => compose([toTensor(), compose([toTensor()])]), 'the chain contains toTensor twice'],
  [() => compose([normalize(0, 1), toTensor()]), 'normalize comes before toTensor'],
  [() => requireTensor(compose([pad(2)])), 'the chain (pad) does not scale bytes to 0–1; add toTensor()'],
  [() => fuseTransform(randomCrop(5), [3, 4, 6]), 'the window of 5×5 is larger than the image of 4×6'],
  [() => transformedShape(randomCrop(5), [3, 4, 6]), 'the window of 5×5 is larger than the image of 4×6'],
  [
    () => fuseTransform(normalize([1, 2], [1, 2]), [3, 2, 2]),
    '2 means and deviations for images with 3 channels',
  ],
  [() => transformedShape(normalize([1, 2], [1, 2]), [3, 2, 2]), '2 means and deviations'],
  [
    () => transformedShape(() => ({ shape: [1, 2, 2], values: new Float32Array(3) }), [1, 2, 2]),
    'returned 3 values for the shape [1, 2, 2], which needs 4',
  ],
  [() => transformedShape(() => undefined as unknown as Image, [1, 2, 2]), 'did not return an image'],
])('wrong use %#', (call, message) => {
  expect(call).toThrow(UsageError);
  expect(call).toThrow(message);
});
