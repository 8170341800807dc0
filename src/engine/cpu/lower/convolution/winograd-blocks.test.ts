import { expect, test } from 'vitest';
import { conv2d, flatten, linear, relu } from '../../../../model/layers/index.ts';
import { buildNetwork, sequential } from '../../../../model/network.ts';
import { type Convolution, planOperations } from '../../plan/operations.ts';
import { forwardTiles } from './geometry.ts';
import { winogradBlock } from './winograd-blocks.ts';

const wide = conv2d({ out: 128, kernel: 3, padding: 1 });
const network = buildNetwork(sequential([wide, relu(), wide, flatten(), linear({ out: 10 })]), [3, 32, 32]);

const narrow = conv2d({ out: 16, kernel: 3, padding: 1 });
const small = buildNetwork(sequential([narrow, relu(), narrow, flatten(), linear({ out: 10 })]), [3, 8, 8]);

test.each([
  ['fits a second-level cache beside the weights', 3.5 * 2 ** 20, 16],
  ['is of 128 tiles where the weights do not stay there', 2 << 20, 128],
  ['is an image at most where all of it stays there', 16 << 20, 64],
])('a block %s', (_, cacheBytes, tiles) => {
  const { list, cacheFloats } = planOperations(network, cacheBytes);
  const convolution = list[1] as Convolution;
  expect(winogradBlock(convolution, cacheFloats, forwardTiles(convolution))).toBe(tiles);
});

test('with several parts per image, a block never crosses an image', () => {
  const { list, cacheFloats } = planOperations(network, 2 << 20);
  const convolution = list[1] as Convolution;
  expect(winogradBlock(convolution, cacheFloats, forwardTiles(convolution), 4)).toBe(16);
});

test('a small image is one block if it fits', () => {
  const { list, cacheFloats } = planOperations(small, 2 << 20);
  const convolution = list[1] as Convolution;
  const tiles = forwardTiles(convolution);
  expect(winogradBlock(convolution, cacheFloats, tiles)).toBe(tiles.rows * tiles.columns);
});
