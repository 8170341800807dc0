import { expect, test } from 'vitest';
import { conv2d, flatten, linear, relu } from '../../model/layers/index.ts';
import { buildNetwork, sequential } from '../../model/network.ts';
import { forwardTiles } from './geometry.ts';
import { type Convolution, planOperations } from './operations.ts';
import { winogradBlock } from './winograd.ts';

const wide = conv2d({ out: 128, kernel: 3, padding: 1 });
const network = buildNetwork(sequential([wide, relu(), wide, flatten(), linear({ out: 10 })]), [3, 32, 32]);

test.each([
  ['fits a second-level cache beside the weights', 3.5 * 2 ** 20, 20],
  ['is of 32 tiles where the weights do not stay there', 2 << 20, 32],
  ['is an image at most where all of it stays there', 16 << 20, 64],
])('a block %s', (_, cacheBytes, tiles) => {
  const { list, cacheFloats } = planOperations(network, cacheBytes);
  const convolution = list[1] as Convolution;
  expect(winogradBlock(convolution, cacheFloats, forwardTiles(convolution))).toBe(tiles);
});
