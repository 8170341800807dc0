/**
 * Networks on which devices are compared with the reference: those that take each path of a planner (which layers are
 * fused, split, or done by which algorithm), and random ones for what nobody thought of.
 */
import { random } from '../src/data/random.ts';
import type { LayerSpec, Shape } from '../src/model/layer.ts';
import type { Sides } from '../src/model/layers/arguments.ts';
import {
  batchNorm1d,
  batchNorm2d,
  conv2d,
  dropout,
  flatten,
  linear,
  maxPool2d,
  relu,
} from '../src/model/layers/index.ts';
import { buildNetwork, type Sequential, sequential } from '../src/model/network.ts';

/** A stream of `random`, apart from the project's and the golden files'. */
const networkStream = 1101;
/** What a random network has beside its convolutions. */
const extraStream = 1102;

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
  named('ends with flatten behind a framed map', [3, 6, 8], 3, [
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
    named(`pool 3 behind an input with a frame that its gradient lacks, batch ${batch}`, [3, 13, 13], batch, [
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

const bn = batchNorm2d;

/** Networks with batch normalisation and dropout, between each pair of neighbours that a plan tells apart. */
export const normalizedCases: readonly Case[] = [
  ...[2, 7, 8, 9, 21].map((batch) =>
    named(`convolution, normalisation, ReLU, pool, ${batch} images`, [3, 11, 10], batch, [
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
  named('one image, normalised over its pixels', [3, 9, 7], 1, [
    conv(5, 3, 1),
    bn(),
    relu(),
    conv(6, 3, 1),
    bn(),
    flatten(),
    linear(4),
  ]),
  named('starts with a normalisation', [3, 8, 7], 9, [bn(), conv(5, 3, 1), relu(), flatten(), linear(4)]),
  named('starts with a normalised vector', [13], 10, [batchNorm1d(), linear(6), relu(), linear(3)]),
  ...[3, 8, 18].map((batch) =>
    named(`normalised vectors, ${batch} images`, [3, 5, 5], batch, [
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
  named('normalised classes', [2, 6, 6], 9, [
    conv(5, 3),
    relu(),
    flatten(),
    linear(6),
    batchNorm1d({ epsilon: 0.1 }),
  ]),
  named('normalisation behind a ReLU, and twice in a row', [3, 9, 9], 8, [
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
  named('normalisation behind a pool and before one that leaves places out', [3, 15, 13], 8, [
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
  named('normalisation without ReLU before pools of 2 and 4 that leave places out', [3, 23, 21], 9, [
    conv(6, 3, 1),
    bn(),
    pool(2),
    conv(5, 3, 1),
    bn(),
    pool(4),
    flatten(),
    linear(4),
  ]),
  named('normalisation before a linear layer, 3×3', [3, 8, 8], 9, [
    conv(6, 3, 1),
    relu(),
    conv(5, 3, 1),
    bn(),
    relu(),
    flatten(),
    linear(4),
  ]),
  named('normalisation behind 5×5 and stride 2', [3, 14, 13], 9, [
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
    named(`normalisations around split linear layers, ${batch} images`, [3, 16, 16], batch, [
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
  named('a pool of 4 behind 3×3 before and after normalised layers', [3, 20, 18], 8, [
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
  named('dropout between convolution and normalisation', [3, 10, 9], 9, [
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

/**
 * A small random network: one to three convolutions of any kernel, stride and padding, with or without ReLU and pool.
 * Twenty numbers in a row have 1 to 20 channels in their first layer. With `extras` the same network also has batch
 * normalisation and dropout here and there, and more than one image.
 */
export function randomCase(number: number, extras = false): Case {
  const source = random(number, networkStream);
  const more = random(number, extraStream);
  const extra = (share: number, spec: LayerSpec): void => {
    if (extras && more.uniform() < share) layers.push(spec);
  };
  const pick = <T>(...choices: readonly T[]): T => choices[source.integer(choices.length)]!;
  const channels = (): number => 1 + source.integer(pick(4, 20));
  const side = (): number => 1 + source.integer(pick(6, 14, 20));
  const input = [channels(), side(), side()];
  const layers: LayerSpec[] = [];
  const classes = 2 + source.integer(12);
  const add = (spec: LayerSpec): void => {
    try {
      buildNetwork(sequential([...layers, spec, flatten(), linear(classes)]), input);
      layers.push(spec);
    } catch {
      // Too large for what is left of the map.
    }
  };
  const convolutions = 1 + source.integer(3);
  for (let i = 0; i < convolutions; i++) {
    const kernel = pick(1, 2, 3, 3, 3, 3, 3, 4, 5, 7);
    const rectangle: readonly [number, number] = [kernel, pick(1, 3, kernel)];
    add(
      conv2d({
        out: i === 0 ? 1 + (number % 20) : channels(),
        kernel: pick<Sides>(kernel, kernel, rectangle),
        stride: pick(1, 1, 1, 2, 3),
        padding: source.integer(3),
        bias: source.uniform() < 0.8,
      }),
    );
    extra(0.6, bn({ affine: more.uniform() < 0.8 }));
    if (source.uniform() < 0.8) add(relu());
    extra(0.15, bn());
    extra(0.2, dropout(0.3 * more.uniform()));
    if (source.uniform() < 0.6) {
      const size = pick(2, 2, 3, 4, 4);
      add(pick(pool(size), pool(size, 1 + source.integer(4), pick(0, 0, Math.floor(size / 2)))));
      if (source.uniform() < 0.2) add(relu());
    }
  }
  layers.push(flatten());
  if (source.uniform() < 0.3) {
    layers.push(linear(1 + source.integer(30)));
    extra(0.5, batchNorm1d());
    layers.push(relu());
    extra(0.5, dropout(0.5));
  }
  layers.push(linear({ out: classes, bias: source.uniform() < 0.8 }));
  const batch = pick(1, 2, 3, 5, 7, 8, 13);
  return {
    model: sequential(layers, { name: `random ${number}${extras ? ' with extras' : ''}` }),
    input,
    // Of two values, normalised ones are ±1 whatever they were, and their gradients are rounding.
    batch: extras ? Math.max(batch, 3) : batch,
  };
}
