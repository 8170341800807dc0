import { expect, test } from 'vitest';
import { formatTable } from '../words.ts';
import { blockCells } from './block-table.ts';
import { batchNorm2d, conv2d, dropout, flatten, linear, maxPool2d, relu } from './layers/index.ts';
import { buildNetwork, sequential } from './network.ts';

test('equal layers in a row are one block; layers are numbered as in the paper', () => {
  const convolution = (out: number) => [conv2d({ out, kernel: 3, padding: 1 }), batchNorm2d(), relu()];
  const network = buildNetwork(
    sequential(
      [
        ...convolution(4),
        ...convolution(4),
        conv2d({ out: 4, kernel: 3, padding: 1 }),
        maxPool2d({ kernel: 2, stride: [1, 2] }),
        flatten(),
        ...[dropout(0), linear(5), relu(), dropout(0.5), linear(3)],
      ],
      { name: 'mine' },
    ),
    [2, 6, 8],
  );
  const text = formatTable(blockCells(network), 3, true);
  expect(text.split('\n').map((line) => line.trimEnd())).toEqual([
    '   layer            maps   size  kernel  stride         activation  parameters  multiply-adds',
    '─'.repeat(93),
    '   input            2     6×8×2',
    '1  2 × convolution  4     6×8×4     3×3       1   batch norm, relu         240         10,368',
    '3  convolution      4     6×8×4     3×3       1                            148          6,912',
    '   max-pool         4     5×4×4     2×2     1×2',
    '4  linear           5         5                  relu, dropout 0.5         405            400',
    '5  linear           3         3                            softmax          18             15',
    '─'.repeat(93),
    '   mine                                                                    811         17,695',
  ]);
});
