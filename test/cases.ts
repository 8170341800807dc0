/**
 * Networks on which devices are compared with the reference: those that take each path of a planner (which layers are
 * fused, split, or done by which algorithm), and random ones for what nobody thought of.
 */
import { random } from '../src/data/random.ts';
import { VggError } from '../src/errors.ts';
import type { LayerSpec, Shape } from '../src/model/layer.ts';
import type { Sides } from '../src/model/layers/arguments.ts';
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
} from '../src/model/layers/index.ts';
import { buildNetwork, type Sequential, sequential } from '../src/model/network.ts';

/** A stream of `random`, apart from the project's and the golden files'. */
const networkStream = 1101;

export interface Case {
  readonly model: Sequential;
  readonly input: Shape;
  readonly batch: number;
}

const named = (name: string, input: Shape, batch: number, layers: readonly LayerSpec[]): Case => ({
  model: sequential(layers, { name }),
  input,
  batch,
});

const conv = (
  out: number,
  kernel: Sides,
  padding: Sides = 0,
  more: { stride?: Sides; bias?: boolean } = {},
) => conv2d({ out, kernel, padding, ...more });
const pool = (kernel: Sides, stride: Sides = kernel, padding: Sides = 0) =>
  maxPool2d({ kernel, stride, padding });

const average = (kernel: Sides, stride: Sides = kernel, padding: Sides = 0) =>
  avgPool2d({ kernel, stride, padding });

const bn = batchNorm2d;
const adaptive = adaptiveAvgPool2d;
const response = localResponseNorm;

const wideBeforePool: readonly LayerSpec[] = [
  conv(3, 1),
  relu(),
  conv(65, 1),
  relu(),
  conv(5, 3, 1),
  relu(),
  pool(4),
  flatten(),
  linear(4),
];

export const listedCases: readonly Case[] = [
  named('starts with a pool', [3, 9, 8], 3, [pool(2), conv(5, 3), relu(), flatten(), linear(4)]),
  named('starts with a ReLU', [2, 7, 6], 3, [relu(), conv(3, 3, 1), relu(), flatten(), linear(4)]),
  named('starts with flatten', [2, 3, 5], 4, [flatten(), linear(7), relu(), linear(3)]),
  named('starts with a vector', [11], 9, [linear(6), relu(), linear(3)]),
  named('ends with flatten', [3, 7, 6], 9, [conv(5, 3), relu(), pool(2), flatten()]),
  named('ends with flatten behind a hasHalo map', [3, 6, 8], 3, [
    conv(6, 3, 1),
    relu(),
    conv(3, 3, 1),
    flatten(),
  ]),
  named('nothing but a pool before the classes', [3, 8, 8], 8, [pool(3, 2, 1), flatten(), linear(5)]),
  named('no pool at all', [3, 11, 10], 9, [conv(6, 3), relu(), conv(7, 3), relu(), flatten(), linear(5)]),
  named('no bias anywhere', [3, 12, 9], 5, [
    conv(6, 3, 1, { bias: false }),
    relu(),
    conv(9, 3, 1, { bias: false }),
    relu(),
    pool(2),
    flatten(),
    linear({ out: 5, bias: false }),
  ]),
  named('no ReLU before a pool', [3, 13, 11], 8, [
    conv(6, 3, 1),
    pool(2),
    conv(5, 3, 2),
    pool(4),
    flatten(),
    linear(3),
  ]),
  named('a ReLU behind a pool', [3, 10, 10], 3, [
    conv(6, 3, 1),
    pool(2),
    relu(),
    conv(5, 3, 1),
    relu(),
    flatten(),
    linear(3),
  ]),
  named('two ReLUs, two pools', [2, 12, 12], 2, [
    conv(5, 3, 1),
    relu(),
    relu(),
    pool(2),
    pool(2, 1),
    flatten(),
    linear(4),
  ]),
  named('bands of windows, a stride, no bias', [3, 30, 62], 3, [
    conv(6, 3, 1),
    relu(),
    conv(9, 5, 2, { stride: [1, 2], bias: false }),
    relu(),
    pool(3),
    flatten(),
    linear(4),
  ]),
  named('two layers with bands of windows', [4, 60, 60], 2, [
    conv(12, 3, 1, { bias: false }),
    relu(),
    pool(3),
    conv(7, 3, 1),
    pool(3),
    flatten(),
    linear(4),
  ]),
  named('bands of windows on the input', [4, 34, 34], 9, [
    conv(12, 3, 2),
    relu(),
    pool(4),
    flatten(),
    linear(4),
  ]),
  named('overlapping pools, 3 by 2', [3, 15, 13], 3, [
    conv(6, 3, 1),
    relu(),
    pool(3, 2),
    conv(8, 3, 1),
    relu(),
    pool(3, 2),
    flatten(),
    linear(4),
  ]),
  named('a window of 256 positions, one of more', [3, 36, 36], 2, [
    conv(4, 1),
    pool(16, 1),
    conv(5, 3, 1),
    relu(),
    pool([17, 16]),
    flatten(),
    linear(3),
  ]),
  named('a window of more than 256 positions on few channels', [4, 40, 40], 2, [
    conv(4, 3, 1),
    relu(),
    pool(20),
    pool(2),
    flatten(),
    linear(3),
  ]),
  named('padded pools', [3, 11, 12], 8, [
    conv(6, 3, 1),
    relu(),
    pool(3, 2, 1),
    conv(7, 3, 2),
    relu(),
    pool(4, 3, 2),
    flatten(),
    linear(4),
  ]),
  named('pools wider than high', [2, 9, 14], 3, [
    conv(4, [1, 3]),
    relu(),
    pool([1, 2]),
    conv(4, [3, 1], [0, 1]),
    relu(),
    pool([2, 1], [1, 2]),
    flatten(),
    linear(3),
  ]),
  ...[0, 1, 2].flatMap((padding) =>
    [2, 4].map((size) =>
      named(`3×3, padding ${padding}, pool ${size}, twice`, [3, 27, 22], 3, [
        conv(10, 3, padding),
        relu(),
        conv(13, 3, padding),
        relu(),
        pool(size),
        conv(6, 3, padding),
        relu(),
        pool(2),
        flatten(),
        linear(5),
      ]),
    ),
  ),
  // Maps of 4×4 to 8×8, whose tiles are 2×2.
  ...[0, 1, 2].flatMap((padding) =>
    [1, 8].map((batch) =>
      named(`small maps, 3×3, padding ${padding}, pool 2, ${batch} images`, [5, 8, 7], batch, [
        conv(10, 3, padding),
        relu(),
        conv(13, 3, padding),
        relu(),
        pool(2),
        flatten(),
        linear(5),
      ]),
    ),
  ),
  named('small maps, no bias, odd pools', [4, 6, 5], 9, [
    conv(6, 3, 1),
    conv(20, 3, [1, 2], { bias: false }),
    relu(),
    pool(3, 2, 1),
    flatten(),
    linear(4),
  ]),
  named('65 channels on small maps before pool 4', [65, 5, 4], 2, wideBeforePool),
  named('pool 4 behind 3×3 of padding 1, without ReLU', [2, 14, 18], 8, [
    conv(8, 3, 1),
    conv(9, 3, 1),
    pool(4),
    flatten(),
    linear(4),
  ]),
  named('pool 4 behind a stride of 2', [3, 23, 25], 9, [
    conv(7, 3, 1),
    relu(),
    conv(9, 3, 1, { stride: 2 }),
    relu(),
    pool(4),
    flatten(),
    linear(4),
  ]),
  named('pool 4 behind 5×5, stride 1 by 2, no bias', [3, 19, 30], 2, [
    conv(5, 3),
    relu(),
    conv(6, 5, 2, { stride: [1, 2], bias: false }),
    relu(),
    pool(4),
    flatten(),
    linear(4),
  ]),
  named('pool 3 that tiles', [3, 17, 15], 8, [
    conv(6, 3),
    relu(),
    conv(17, 3, 1),
    relu(),
    pool(3),
    flatten(),
    linear(4),
  ]),
  ...[3, 8].map((batch) =>
    named(`pool 3 behind an input with a halo that its gradient lacks, batch ${batch}`, [3, 13, 13], batch, [
      conv(8, 3),
      relu(),
      conv(8, 3),
      relu(),
      pool(3),
      flatten(),
      linear(4),
    ]),
  ),
  named('65 channels before pool 4', [65, 9, 9], 1, wideBeforePool),
  named('one pixel through 3×3', [2, 1, 1], 3, [
    conv(3, 3, 1),
    relu(),
    conv(4, 3, 2),
    relu(),
    flatten(),
    linear(2),
  ]),
  named('strides beyond the kernel', [2, 14, 13], 3, [
    conv(5, 2, 0, { stride: 3 }),
    relu(),
    pool(1, 2),
    flatten(),
    linear(3),
  ]),
  ...[1, 7, 8].map((batch) =>
    named(`a split linear layer, ${batch} images`, [3, 16, 16], batch, [
      conv(17, 3, 1),
      relu(),
      flatten(),
      linear(31),
      relu(),
      linear(5),
    ]),
  ),
  named('split linear layers alone, 9 images', [400], 9, [
    linear(333),
    relu(),
    linear(401),
    relu(),
    linear(3),
  ]),
  named('a split last layer, no bias', [2, 20, 20], 9, [
    conv(12, 3),
    relu(),
    pool(2, 1),
    flatten(),
    linear({ out: 41, bias: false }),
  ]),
];

/** Average pools: what reads them, what they read, and their windows. */
export const averagedCases: readonly Case[] = [
  ...[2, 9].map((batch) =>
    named(
      `average pools behind ReLUs, with odd windows, strides and padding, ${batch} images`,
      [3, 17, 14],
      batch,
      [
        conv(6, 3, 1),
        relu(),
        average(2),
        conv(9, 3, 1),
        relu(),
        average([3, 2], [2, 1], 1),
        conv(5, 3),
        average(3, 1, 1),
        relu(),
        flatten(),
        linear(4),
      ],
    ),
  ),
  named('average pools behind normalizations, with ReLU and without', [3, 13, 11], 9, [
    conv(6, 3, 1),
    bn(),
    relu(),
    average(2),
    bn(),
    average(3, 2, 1),
    bn(),
    relu(),
    flatten(),
    linear(4),
  ]),
  named('starts with an average pool that leaves places out', [3, 9, 8], 8, [
    average([2, 3], [3, 2]),
    conv(5, 3, 1),
    relu(),
    flatten(),
    linear(4),
  ]),
  named('an average pool between max-pools, dropout and a split linear layer', [3, 25, 23], 8, [
    conv(17, 3, 1),
    relu(),
    pool(2),
    average(3, 1),
    dropout(0.2),
    average(1, 1),
    flatten(),
    linear(97),
    relu(),
    linear(5),
  ]),
  named('an average of the whole map, more than 256 positions', [3, 18, 17], 3, [
    conv(6, 3, 1),
    relu(),
    average([18, 17]),
    flatten(),
    linear(4),
  ]),
  named('stride beyond the window, behind a convolution without ReLU', [2, 14, 13], 3, [
    conv(5, 3, 1),
    average(2, 3),
    conv(6, 2),
    relu(),
    flatten(),
    linear(3),
  ]),
];

/** Adaptive pools: what reads them, what they read, and their windows. */
export const adaptiveCases: readonly Case[] = [
  ...[2, 9].map((batch) =>
    named(`an adaptive pool behind a fused pool, before linear layers, ${batch} images`, [3, 19, 17], batch, [
      conv(6, 3, 1),
      relu(),
      pool(2),
      adaptive(7),
      flatten(),
      linear(11),
      relu(),
      linear(4),
    ]),
  ),
  ...[3, 8].map((batch) =>
    named(`an adaptive pool that repeats one pixel, ${batch} images`, [3, 8, 8], batch, [
      conv(9, 3, 1),
      relu(),
      pool(8),
      adaptive(7),
      flatten(),
      linear(5),
    ]),
  ),
  named('adaptive pools of equal windows, of the same size, and of one window', [3, 14, 12], 9, [
    conv(6, 3, 1),
    relu(),
    adaptive([7, 4]),
    adaptive([7, 4]),
    conv(5, 3, 1),
    relu(),
    adaptive([7, 4]),
    adaptive(1),
    flatten(),
    linear(4),
  ]),
  named('an adaptive pool that keeps the size between a convolution, its ReLU and a pool', [3, 8, 6], 8, [
    conv(6, 3, 1),
    adaptive([8, 6]),
    relu(),
    adaptive([8, 6]),
    pool(2),
    flatten(),
    linear(4),
  ]),
  named('adaptive pools around normalizations, wider and higher', [3, 9, 8], 9, [
    adaptive([5, 11]),
    conv(6, 3, 1),
    bn(),
    relu(),
    adaptive([7, 6]),
    bn(),
    adaptive([4, 9]),
    dropout(0.2),
    conv(5, 3, 1),
    adaptive([3, 4]),
    relu(),
    flatten(),
    linear(4),
  ]),
  named('an adaptive pool before a split linear layer', [3, 12, 12], 9, [
    conv(30, 3, 1),
    relu(),
    pool(2),
    adaptive(7),
    flatten(),
    linear(97),
    relu(),
    linear(5),
  ]),
];

/** Local response normalization, and 1×1 convolutions, which are matrix products: between all kinds of neighbors. */
export const pointwiseCases: readonly Case[] = [
  ...[2, 8, 9].map((batch) =>
    named(
      `local responses behind ReLUs, before pools and convolutions, ${batch} images`,
      [3, 13, 11],
      batch,
      [
        conv(7, 3, 1),
        relu(),
        response({ size: 5, alpha: 3, beta: 0.75, k: 2 }),
        pool(2),
        conv(18, 3, 1),
        relu(),
        response({ size: 4, alpha: 2, beta: 0.5 }),
        conv(6, 3, 1),
        response({ size: 30, alpha: 5, beta: 1.3, k: 0.5 }),
        flatten(),
        linear(4),
      ],
    ),
  ),
  named('local responses of the image, twice, and around normalizations', [5, 7, 6], 9, [
    response({ size: 3, alpha: 1, beta: 2 }),
    response({ size: 2, alpha: 2, beta: 0 }),
    conv(6, 3, 1),
    bn(),
    response({ size: 5, alpha: 1, beta: 0.6 }),
    bn(),
    relu(),
    dropout(0.2),
    response(1),
    flatten(),
    linear(4),
  ]),
  ...[1, 3, 8, 9].map((batch) =>
    named(`1×1 as in the paper’s C, ${batch} images`, [3, 20, 18], batch, [
      conv(8, 3, 1),
      relu(),
      conv(12, 3, 1),
      relu(),
      conv(12, 1),
      relu(),
      pool(2),
      conv(20, 3, 1),
      relu(),
      conv(20, 1),
      relu(),
      conv(9, 1),
      pool(2),
      flatten(),
      linear(4),
    ]),
  ),
  ...[2, 8].map((batch) =>
    named(
      `1×1 without bias, with stride, padding, and around normalizations, ${batch} images`,
      [4, 9, 10],
      batch,
      [
        conv(6, 1),
        bn(),
        relu(),
        conv(9, 1, 0, { bias: false }),
        bn(),
        conv(10, 1, 0, { stride: 2 }),
        relu(),
        conv(7, 1, 1),
        relu(),
        conv(5, 1, 0, { bias: false }),
        relu(),
        conv(6, 3, 1),
        relu(),
        flatten(),
        linear(4),
      ],
    ),
  ),
  named('1×1 of the image, of one pixel, and at odd channels', [1, 6, 5], 9, [
    conv(3, 1),
    relu(),
    conv(5, 1),
    average([6, 5]),
    conv(17, 1),
    relu(),
    conv(2, 1),
    flatten(),
  ]),
  ...[2, 9].map((batch) =>
    named(`1×1 with more channels than a panel of weights has columns, ${batch} images`, [3, 9, 8], batch, [
      conv(70, 1),
      relu(),
      conv(150, 1),
      relu(),
      conv(8, 1, 0, { bias: false }),
      pool(3),
      flatten(),
      linear(3),
    ]),
  ),
  named('1×1 on a map of many blocks', [4, 70, 66], 2, [
    conv(32, 1),
    relu(),
    conv(17, 1),
    relu(),
    average(10),
    flatten(),
    linear(3),
  ]),
];

/** Networks with batch normalization and dropout, between each pair of neighbors that a plan tells apart. */
export const normalizedCases: readonly Case[] = [
  ...[2, 7, 8, 9, 21].map((batch) =>
    named(`convolution, normalization, ReLU, pool, ${batch} images`, [3, 11, 10], batch, [
      conv(6, 3, 1),
      bn(),
      relu(),
      conv(9, 3, 1, { bias: false }),
      bn({ momentum: 0.3, epsilon: 0.01 }),
      relu(),
      pool(2),
      conv(7, 3),
      bn({ affine: false }),
      relu(),
      pool(3, 2, 1),
      flatten(),
      linear(5),
    ]),
  ),
  named('one image, normalized over its pixels', [3, 9, 7], 1, [
    conv(5, 3, 1),
    bn(),
    relu(),
    conv(6, 3, 1),
    bn(),
    flatten(),
    linear(4),
  ]),
  named('starts with a normalization', [3, 8, 7], 9, [bn(), conv(5, 3, 1), relu(), flatten(), linear(4)]),
  named('starts with a normalized vector', [13], 10, [batchNorm1d(), linear(6), relu(), linear(3)]),
  ...[3, 8, 18].map((batch) =>
    named(`normalized vectors, ${batch} images`, [3, 5, 5], batch, [
      flatten(),
      linear(10),
      batchNorm1d(),
      relu(),
      linear(7),
      batchNorm1d({ affine: false }),
      relu(),
      linear(4),
    ]),
  ),
  named('normalized classes', [2, 6, 6], 9, [
    conv(5, 3),
    relu(),
    flatten(),
    linear(6),
    batchNorm1d({ epsilon: 0.1 }),
  ]),
  named('normalization behind a ReLU, and twice in a row', [3, 9, 9], 8, [
    conv(6, 3, 1),
    relu(),
    bn(),
    bn({ epsilon: 0.5 }),
    relu(),
    conv(5, 3, 1),
    relu(),
    flatten(),
    linear(4),
  ]),
  named('normalization behind a pool and before one that leaves places out', [3, 15, 13], 8, [
    conv(6, 3, 1),
    relu(),
    pool(2),
    bn(),
    pool(2),
    bn(),
    relu(),
    pool(2, 1),
    flatten(),
    linear(4),
  ]),
  named('normalization without ReLU before pools of 2 and 4 that leave places out', [3, 23, 21], 9, [
    conv(6, 3, 1),
    bn(),
    pool(2),
    conv(5, 3, 1),
    bn(),
    pool(4),
    flatten(),
    linear(4),
  ]),
  named('normalization before a linear layer, 3×3', [3, 8, 8], 9, [
    conv(6, 3, 1),
    relu(),
    conv(5, 3, 1),
    bn(),
    relu(),
    flatten(),
    linear(4),
  ]),
  named('normalization behind 5×5 and stride 2', [3, 14, 13], 9, [
    conv(5, 5, 2, { stride: 2 }),
    bn(),
    relu(),
    conv(6, 2, 0, { bias: false }),
    bn(),
    relu(),
    flatten(),
    linear(4),
  ]),
  ...[4, 8, 19].map((batch) =>
    named(`normalizations around split linear layers, ${batch} images`, [3, 16, 16], batch, [
      conv(17, 3, 1),
      bn(),
      relu(),
      flatten(),
      linear(31),
      batchNorm1d(),
      relu(),
      dropout(0.2),
      linear(5),
    ]),
  ),
  named('a pool of 4 behind 3×3 before and after normalized layers', [3, 20, 18], 8, [
    conv(6, 3, 1),
    relu(),
    pool(4),
    conv(8, 3, 1),
    bn(),
    relu(),
    conv(6, 3, 1),
    relu(),
    pool(2),
    flatten(),
    linear(4),
  ]),
  ...[1, 7, 8, 20].map((batch) =>
    named(`dropout everywhere, ${batch} images`, [3, 9, 7], batch, [
      dropout(0.1),
      conv(5, 3, 1),
      dropout(0.3),
      conv(6, 3, 1),
      relu(),
      dropout(0.25),
      pool(2),
      dropout(0),
      flatten(),
      linear(20),
      relu(),
      dropout(0.5),
      linear(5),
      dropout(0.01),
    ]),
  ),
  named('dropout between convolution and normalization', [3, 10, 9], 9, [
    conv(6, 3, 1),
    dropout(0.2),
    bn(),
    dropout(0.1),
    relu(),
    conv(5, 3, 1),
    bn(),
    relu(),
    dropout(0.3),
    flatten(),
    linear(4),
  ]),
];

/** Each kind of operation at the network's end, with what may follow it there. */
export const lastLayerCases: readonly Case[] = (
  [
    ['convolution', [4, 6, 5], [conv(5, 3, 1)]],
    ['direct convolution', [3, 9, 9], [conv(6, 3, 1)]],
    ['Winograd convolution', [8, 12, 12], [conv(8, 3, 1), conv(8, 3, 1)]],
    ['convolution to one pixel', [3, 3, 3], [conv(7, 3)]],
    ['pooled convolution', [3, 9, 9], [conv(6, 3, 1), relu(), pool(2)]],
    ['normalized convolution', [3, 6, 5], [conv(5, 3, 1), bn()]],
    ['pool', [3, 8, 8], [conv(5, 3, 1), relu(), dropout(0.2), pool(3, 2, 1)]],
    ['1×1 convolution', [5, 4, 3], [conv(6, 1), relu(), conv(5, 1)]],
    ['adaptive pool', [3, 8, 7], [conv(5, 3, 1), relu(), adaptive([3, 5])]],
    ['local response normalization', [3, 5, 4], [conv(6, 3, 1), response({ size: 3, alpha: 2 })]],
    ['average pool', [3, 8, 8], [conv(5, 3, 1), relu(), average(3, 2, 1)]],
    ['linear layer', [2, 5, 4], [flatten(), linear(7)]],
    ['linear layer without bias', [2, 5, 4], [conv(3, 3), flatten(), linear({ out: 6, bias: false })]],
    ['split linear layer', [3, 21, 21], [flatten(), linear(101)]],
    ['normalized linear layer', [2, 5, 4], [flatten(), linear(7), batchNorm1d()]],
    ['normalized split linear layer', [3, 21, 21], [flatten(), linear(101), batchNorm1d({ affine: false })]],
    ['normalization behind flatten', [3, 5, 4], [conv(5, 3, 1), flatten(), batchNorm1d()]],
    ['normalized image', [3, 4, 3], [flatten(), batchNorm1d()]],
  ] satisfies readonly (readonly [string, Shape, readonly LayerSpec[]])[]
).flatMap(([name, input, layers]) =>
  (
    [
      ['', []],
      [', ReLU', [relu()]],
      [', ReLU, idle dropout', [relu(), dropout(0)]],
      [', idle dropout, ReLU', [dropout(0), relu()]],
      [', ReLU, dropout', [relu(), dropout(0.3)]],
    ] satisfies readonly (readonly [string, readonly LayerSpec[]])[]
  ).map(([more, last], i) =>
    // Fewer images than eight take another way through a plan.
    named(`ends with a ${name}${more}`, input, i % 2 === 0 ? 9 : 5, [...layers, ...last, flatten()]),
  ),
);

/** Batch normalization, dropout and linear layers behind a flattened map: flatten is only a view of it. */
export const flattenedCases: readonly Case[] = [
  ...[4, 9, 21].flatMap((batch) => [
    named(`normalization behind flatten, ${batch} images`, [2, 6, 5], batch, [
      conv(5, 3),
      flatten(),
      batchNorm1d(),
      linear(3),
    ]),
    named(`normalization without weights behind flatten, ${batch} images`, [3, 7, 6], batch, [
      conv(6, 3, 1),
      relu(),
      pool(2),
      flatten(),
      batchNorm1d({ affine: false, momentum: 0.3 }),
      relu(),
      linear(4),
    ]),
    named(`normalizations on both sides of flatten, ${batch} images`, [3, 7, 6], batch, [
      conv(6, 3, 1),
      bn(),
      relu(),
      flatten(),
      batchNorm1d(),
      relu(),
      dropout(0.3),
      batchNorm1d(),
      linear(4),
      batchNorm1d(),
    ]),
  ]),
  named('normalization, flatten, normalization, nothing between', [3, 8, 7], 9, [
    conv(8, 3, 1),
    bn(),
    flatten(),
    batchNorm1d(),
    linear(4),
  ]),
  named('dropout behind flatten, twice flattened', [3, 7, 6], 9, [
    conv(6, 3, 1),
    relu(),
    flatten(),
    dropout(0.4),
    flatten(),
    relu(),
    linear(5),
  ]),
  named('a flattened image, normalized and dropped', [3, 5, 4], 9, [
    flatten(),
    batchNorm1d(),
    dropout(0.2),
    relu(),
    linear(5),
  ]),
  named('a split linear layer behind a normalized flattened map', [3, 16, 16], 9, [
    conv(17, 3, 1),
    flatten(),
    batchNorm1d(),
    relu(),
    linear(31),
    relu(),
  ]),
  named('nothing but flatten', [2, 2, 3], 3, [flatten()]),
  named('nothing but idle dropout', [5], 9, [dropout(0)]),
  named('nothing but a ReLU', [2, 2, 3], 9, [relu(), flatten()]),
];

/** Multiply-adds that the reference takes a few milliseconds for. */
const affordable = 1_500_000;
/** Values of a network's output: more say nothing new. */
const mostClasses = 700;

/**
 * A small random network of any layers in any order that their shapes allow, the same one for a number on any machine:
 * maps and vectors, layers repeated, and any of them at the end. It has up to eight layers on maps and up to five on
 * vectors; a layer that does not fit is left out.
 */
export function randomCase(number: number): Case {
  const source = random(number, networkStream);
  const pick = <T>(...choices: readonly T[]): T => choices[source.integer(choices.length)]!;
  const chance = (share: number): boolean => source.uniform() < share;
  const channels = (): number => 1 + source.integer(pick(4, 20));
  const side = (): number => 1 + source.integer(pick(1, 6, 14, 20));
  const input = chance(0.1) ? [1 + source.integer(40)] : [channels(), side(), side()];
  const batch = pick(1, 2, 3, 5, 7, 8, 9, 13);

  const layers: LayerSpec[] = [];
  const shapeOf = (specs: readonly LayerSpec[]): Shape =>
    buildNetwork(sequential([...specs, flatten()]), input).layers.at(-1)!.input;
  const add = (spec: LayerSpec): void => {
    try {
      const { layers: built, output } = buildNetwork(sequential([...layers, spec, flatten()]), input);
      const work = built.reduce((sum, { multiplyAdds }) => sum + multiplyAdds, 0);
      if (work * batch <= affordable && output[0]! <= 20_000) layers.push(spec);
    } catch (error) {
      // Too large for what is left of the map, or two dimensions where there is one.
      if (!(error instanceof VggError)) throw error;
    }
  };
  const convolution = (): LayerSpec => {
    const kernel = pick(1, 2, 3, 3, 3, 3, 3, 4, 5, 7);
    return conv2d({
      out: channels(),
      kernel: pick<Sides>(kernel, kernel, [kernel, pick(1, 3, kernel)]),
      stride: pick(1, 1, 1, 2, 3),
      padding: source.integer(3),
      bias: chance(0.8),
    });
  };
  const anyPool = (): LayerSpec => {
    const size = pick(1, 2, 2, 3, 4, 4);
    const make = chance(0.7) ? pool : average;
    return chance(0.5)
      ? make(size)
      : make(size, 1 + source.integer(4), source.integer(1 + Math.floor(size / 2)));
  };
  // With a smaller epsilon, values that are as good as equal have their rounding enlarged up to 300 times.
  const normalization = (of: typeof batchNorm1d): LayerSpec =>
    of({ affine: chance(0.8), momentum: pick(0.1, 0.3), epsilon: pick(0.01, 0.1) });
  const anyAdaptive = (): LayerSpec =>
    adaptive(chance(0.3) ? 1 + source.integer(8) : [1 + source.integer(9), 1 + source.integer(9)]);
  const anyResponse = (): LayerSpec =>
    response({
      size: 1 + source.integer(6),
      alpha: pick(0.5, 2),
      beta: pick(0.75, 0.75, 0.5, 1.1),
      k: pick(1, 2),
    });
  const anyDropout = (): LayerSpec => dropout(chance(0.3) ? 0 : 0.4 * source.uniform());
  /** Of two values a normalization makes ±1 whatever they were, and of their gradients rounding. */
  const normalizable = (): boolean =>
    batch *
      shapeOf(layers)
        .slice(1)
        .reduce((a, b) => a * b, 1) >
    3;
  const add1 = (makers: readonly (() => LayerSpec | undefined)[]): void => {
    const last = layers.at(-1);
    const spec = last && chance(0.15) ? last : pick(...makers)();
    if (spec && (spec.kind !== 'batchNorm' || normalizable())) add(spec);
  };

  if (input.length === 3) {
    const onMaps = [
      ...[convolution, convolution, convolution, relu, relu, anyPool],
      ...[() => normalization(batchNorm2d), anyDropout, chance(0.5) ? anyAdaptive : anyResponse],
    ];
    for (let i = source.integer(9); i > 0; i--) add1(onMaps);
    layers.push(flatten());
  }
  const features = shapeOf(layers)[0]!;
  const onVectors = [
    () => linear({ out: 1 + source.integer(30), bias: chance(0.8) }),
    // Large enough to be split over the threads.
    () =>
      features > 200 && chance(0.2) ? linear(Math.ceil(131_072 / features)) : linear(2 + source.integer(9)),
    ...[relu, () => normalization(batchNorm1d), anyDropout, flatten],
  ];
  for (let i = source.integer(6); i > 0; i--) add1(onVectors);
  if (shapeOf(layers)[0]! > mostClasses) layers.push(linear(1 + source.integer(12)));
  return { model: sequential(layers, { name: `random ${number}` }), input, batch };
}

/** What every device is compared on. */
export const conformanceCases: readonly Case[] = [
  ...[...listedCases, ...normalizedCases, ...averagedCases, ...adaptiveCases, ...pointwiseCases],
  ...[...lastLayerCases, ...flattenedCases],
  ...Array.from({ length: 150 }, (_, i) => randomCase(i + 1)),
];
