import { expect, test } from 'vitest';
import { formatTable } from '../words.ts';
import {
  adaptiveAvgPool2d,
  avgPool2d,
  batchNorm1d,
  batchNorm2d,
  conv2d,
  dropout,
  flatten,
  linear,
  localResponseNorm,
  maxPool2d,
  relu,
} from './layers/index.ts';
import { createModel } from './models.ts';
import { buildNetwork, sequential } from './network.ts';
import { formatBytes, summarize, summaryCells } from './summary.ts';

test('the lecture’s network as a table', () => {
  const network = buildNetwork(createModel('simplified', { classes: 10 }), [3, 32, 32]);
  const text = formatTable(summaryCells(summarize(network)), 3, true);
  expect(text.split('\n').map((line) => line.trimEnd())).toEqual([
    'layer       kind                     output    parameters  multiply-adds     memory',
    '─'.repeat(83),
    'input                                3×32×32                               12.0 KiB',
    'conv1       conv2d 3×3               16×30×30         448        388,800   56.3 KiB',
    '1           relu                     16×30×30                              56.3 KiB',
    'conv2       conv2d 3×3               32×28×28       4,640      3,612,672   98.0 KiB',
    '3           relu                     32×28×28                              98.0 KiB',
    '4           maxPool2d 4×4, stride 4  32×7×7                                 6.1 KiB',
    '5           flatten                  1568',
    'fc          linear                   10            15,690         15,680       40 B',
    '─'.repeat(83),
    'simplified                                         20,778      4,017,152  314.7 KiB',
  ]);
});

test('settings that differ from the usual are named', () => {
  const network = buildNetwork(
    sequential([
      conv2d({ out: 2, kernel: [3, 5], stride: 2, padding: [1, 2], bias: false, name: 'first' }),
      relu(),
      maxPool2d({ kernel: 2, stride: [1, 2], padding: 1 }),
      avgPool2d({ kernel: [2, 3], stride: 1 }),
      localResponseNorm({ size: 5, alpha: 5e-4, k: 2 }),
      adaptiveAvgPool2d([4, 2]),
      flatten(),
      linear({ out: 3, bias: false }),
    ]),
    [1, 8, 8],
  );
  const { layers, total } = summarize(network);
  expect(layers.map(({ settings }) => settings)).toEqual([
    '3×5, stride 2, padding 1×2, no bias',
    '',
    '2×2, stride 1×2, padding 1',
    '2×3, stride 1',
    '5 channels, alpha 0.0005, k 2',
    'to 4×2',
    '',
    'no bias',
  ]);
  expect(layers[0]).toMatchObject({
    output: [2, 4, 4],
    parameters: 30,
    multiplyAdds: 480,
    activationBytes: 128,
  });
  expect(total).toEqual({
    parameters: 30 + 48,
    multiplyAdds: 480 + 48,
    activationBytes: 128 + 128 + 120 + 32 + 32 + 64 + 12,
  });
});

test('batch normalization and dropout: parameters without buffers, settings that are not the usual', () => {
  const network = buildNetwork(
    sequential([
      conv2d({ out: 4, kernel: 3 }),
      batchNorm2d(),
      batchNorm2d({ momentum: 0.01, epsilon: 0.001, affine: false }),
      dropout(0.25),
      flatten(),
      batchNorm1d(),
      linear(3),
    ]),
    [1, 4, 4],
  );
  const { layers, total } = summarize(network);
  expect(layers.slice(1, 6)).toMatchObject([
    { kind: 'batchNorm2d', settings: '', parameters: 8, multiplyAdds: 0, activationBytes: 64 },
    { kind: 'batchNorm2d', settings: 'momentum 0.01, epsilon 0.001, not affine', parameters: 0 },
    { kind: 'dropout', settings: '0.25', parameters: 0, multiplyAdds: 0, activationBytes: 64 },
    { kind: 'flatten' },
    { kind: 'batchNorm1d', settings: '', parameters: 32 },
  ]);
  expect(total.parameters).toBe(40 + 8 + 32 + 51);
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1.5 * 1024 ** 3, '1.5 GiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});
