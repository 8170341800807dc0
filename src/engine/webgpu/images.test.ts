/** What the GPU draws and loads is the CPU's, bit by bit. */
import { describe, expect, test } from 'vitest';
import { openSoftwareGpu, softwareGpu } from '../../../test/webgpu.ts';
import { applyFused, fuseTransform, place } from '../../data/fuse.ts';
import { random, streams } from '../../data/random.ts';
import {
  centerCrop,
  colorShift,
  compose,
  cutout,
  normalize,
  pad,
  randomCrop,
  randomHorizontalFlip,
  type Transform,
  toTensor,
} from '../../data/transforms.ts';
import { drawKept } from '../../model/layers/dropout.ts';
import type { ImageSource } from '../driver.ts';
import { mapOf } from '../map-shape.ts';
import { type Gpu, openGpu } from './device.ts';
import { cells, type Piece } from './dispatch.ts';
import { Feed } from './feed.ts';
import { Scratch } from './memory.ts';
import { dropoutKernel } from './pointwise.ts';
import { Submitter } from './submitter.ts';
import { runWords } from './wgsl.ts';

const seed = 2 ** 35 + 12_345;
const epoch = 7;
const count = 37;
const batch = 10;
const order = Uint32Array.from({ length: count }, (_, i) => (i * 11) % count);

function runOf(gpu: Gpu, step: number): GPUBuffer {
  const run = gpu.buffer(4 * runWords, 'run');
  const key = [seed >>> 0, Math.floor(seed / 2 ** 32)];
  gpu.device.queue.writeBuffer(run, 0, Uint32Array.of(step, 0, 0, epoch, ...key, batch, count));
  return run;
}

const chains: readonly (readonly [string, Transform, channels: number])[] = [
  ['nothing but scaling', compose([centerCrop([9, 8]), toTensor()]), 1],
  [
    'pad, flip, crop and normalize',
    compose([
      pad(3),
      randomHorizontalFlip(),
      randomCrop([9, 8]),
      toTensor(),
      normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.25]),
    ]),
    3,
  ],
  [
    'flips of any probability, two crops and cutout',
    compose([
      randomHorizontalFlip(0.3),
      pad(2),
      randomCrop([11, 10]),
      randomHorizontalFlip(0.999),
      randomCrop([9, 8]),
      toTensor(),
      cutout(4),
    ]),
    2,
  ],
  [
    'a crop that is larger than the image',
    compose([centerCrop([15, 13]), centerCrop([9, 8]), toTensor()]),
    3,
  ],
];

describe.skipIf(!softwareGpu)('images on the GPU', () => {
  test('the adapter opens', () => expect(openSoftwareGpu).toBeTypeOf('function'));

  /** The maps of step 2 of a data set, in pieces of 4 images. */
  async function loaded(
    transform: Transform,
    channels: number,
  ): Promise<[actual: Float32Array, expected: Float32Array]> {
    const gpu = await openGpu();
    const shape = [channels, 12, 11] as const;
    const size = channels * 12 * 11;
    const pixels = Uint8Array.from({ length: count * size }, (_, i) => (i * 7919) >> 3);
    const fused = fuseTransform(transform, shape)!;
    const generation = { count: 0 };
    const feed = new Feed(gpu, gpu.mostBytes, generation);
    const labels = new Uint16Array(count);
    const source: ImageSource = { kind: 'dataset', pixels, labels, fused, order, seed, epoch };
    const [step, own] = [2, 10];
    const pieces: Piece[] = [0, 4, 8].map((first, index) => ({
      index,
      first,
      count: Math.min(4, own - first),
    }));
    const map = mapOf(fused.output);
    const floats = map.height * map.width * map.stored;
    const maps = pieces.map(() => gpu.buffer(16 * floats, 'map'));
    feed.open(source);
    if (feed.writesSteps) feed.writeStep(step * batch, own);
    const table = new Scratch(gpu, generation, 'table');
    const list = feed.load({ run: runOf(gpu, step), table, rates: 1, mixes: false }, pieces, maps, map);
    const submitter = new Submitter(gpu);
    submitter.add(await Promise.all(list.map((dispatch) => gpu.bind(dispatch))));
    const ranges = pieces.map((piece) => ({
      buffer: maps[piece.index]!,
      offset: 0,
      bytes: 4 * floats * piece.count,
    }));
    const actual = new Float32Array(await submitter.read(ranges));
    const expected = new Float32Array(own * floats);
    const image = new Float32Array(channels * map.height * map.width);
    for (let i = 0; i < own; i++) {
      const index = order[step * batch + i]!;
      const placement = place(fused, random(seed, streams.transform, epoch, index));
      applyFused(fused, pixels.subarray(index * size, (index + 1) * size), placement, image);
      for (let c = 0; c < channels; c++)
        for (let at = 0; at < map.height * map.width; at++)
          expected[i * floats + at * map.stored + c] = image[c * map.height * map.width + at]!;
    }
    return [actual, expected];
  }

  test.each(chains)('%s: the first map has the bits of the CPU', async (_, transform, channels) => {
    const [actual, expected] = await loaded(transform, channels);
    expect(new Set(expected).size).toBeGreaterThan(20);
    expect(actual).toEqual(expected);
  });

  test('a color shift, which the host draws', async () => {
    const chain = compose([pad(1), randomCrop([9, 8]), toTensor(), colorShift(0.1)]);
    const [actual, expected] = await loaded(chain, 3);
    actual.forEach((value, i) => {
      expect(Math.abs(value - expected[i]!)).toBeLessThan(2e-7);
    });
  });

  test.each([0.1, 0.5, 0.7654321, 1 / 3])('dropout of %f has the draws of the CPU', async (probability) => {
    const gpu = await openGpu();
    const map = mapOf([5, 3, 7]);
    const floats = map.height * map.width * map.stored;
    const [step, own, layer] = [1, 3, 4];
    const generation = { count: 0 };
    const samples = new Scratch(gpu, generation, 'samples');
    samples.require(4 * count);
    gpu.device.queue.writeBuffer(samples.buffer, 0, order.slice());
    const [given, result] = [gpu.buffer(4 * floats * own, 'given'), gpu.buffer(4 * floats * own, 'result')];
    gpu.device.queue.writeBuffer(given, 0, new Float32Array(floats * own).fill(1));
    const piece = { index: 0, first: 2, count: own };
    const kernel = dropoutKernel(map, probability, layer, { masked: false, isBackward: false });
    const submitter = new Submitter(gpu);
    submitter.add([await gpu.bind(cells(kernel, [runOf(gpu, step), samples, given, result], piece, floats))]);
    const actual = new Float32Array(
      await submitter.read([{ buffer: result, offset: 0, bytes: 4 * floats * own }]),
    );
    const kept = new Uint8Array(5 * 21);
    for (let i = 0; i < own; i++) {
      drawKept(kept, probability, { seed, epoch, layer }, order[step * batch + 2 + i]!);
      for (let c = 0; c < 5; c++)
        for (let at = 0; at < 21; at++)
          expect(actual[i * floats + at * map.stored + c]! !== 0).toBe(kept[c * 21 + at] === 1);
    }
  });
});
