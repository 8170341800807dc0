import { expect, test } from 'vitest';
import { conv2d, flatten, linear, relu } from '../../model/layers/index.ts';
import { buildNetwork, sequential } from '../../model/network.ts';
import { forwardTiles } from './geometry.ts';
import { type Convolution, planOperations } from './operations.ts';
import { winogradBlock } from './winograd.ts';

const wide = conv2d({ out: 128, kernel: 3, padding: 1 });
const network = buildNetwork(sequential([wide, relu(), wide, flatten(), linear({ out: 10 })]), [3, 32, 32]);

test.each([
  ['fits a second-level cache', 2 << 20, 32],
  ['is of 24 tiles in a small one', 512 << 10, 24],
  ['is an image at most where its planes and the weights stay in a large one', 16 << 20, 64],
])('a block %s', (_, cacheBytes, tiles) => {
  const { list, cacheFloats } = planOperations(network, cacheBytes);
  const convolution = list[1] as Convolution;
  expect(winogradBlock(convolution, cacheFloats, forwardTiles(convolution))).toBe(tiles);
});
