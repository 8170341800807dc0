import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { random } from '../../data/random.ts';
import { ShapeError, UsageError } from '../../errors.ts';
import type { LayerKind, LayerPass, LayerPasses, LayerSpec, Shape, Tensor } from '../layer.ts';
import { argmax, crossEntropy, rankOf, type SoftTargets, topClasses } from '../loss.ts';
import { sizeOf } from '../network.ts';
import { drawKept } from './dropout.ts';
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
  kindOf as shapesOf,
} from './index.ts';
import { passesOf } from './passes.ts';

/** Shapes and passes of a layer. */
const kindOf = (spec: LayerSpec): LayerKind<LayerSpec> & LayerPasses<LayerSpec> => ({
  ...shapesOf(spec),
  ...passesOf(spec),
});

function randomValues(length: number, seed: number): Float64Array {
  const source = random(seed, 1);
  return Float64Array.from({ length }, () => 2 * source.uniform() - 1);
}

/** Each analytic derivative of `loss` at `values` against the central difference. */
function expectDerivatives(values: Float64Array, analytic: Float64Array, loss: () => number): void {
  expect(analytic.length).toBe(values.length);
  const step = 1e-5;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    values[i] = value + step;
    const above = loss();
    values[i] = value - step;
    const below = loss();
    values[i] = value;
    expect(analytic[i], `derivative ${i}`).toBeCloseTo((above - below) / (2 * step), 6);
  }
}

const tensor = (shape: Shape, values: readonly number[]): Tensor => ({
  shape,
  data: Float64Array.from(values),
});

/** A pass in training over two images; without it in evaluation. */
const pass = (training = true, buffers: readonly Float64Array[] = []): LayerPass => ({
  training,
  buffers,
  draws: { seed: 3, epoch: 2, layer: 1 },
  samples: [17, 4],
});

describe('backward agrees with finite differences of forward', () => {
  const cases: readonly [string, LayerSpec, Shape][] = [
    ['conv2d 3×3', conv2d({ out: 2, kernel: 3 }), [3, 5, 4]],
    ['conv2d 3×3, stride 2, padding 1', conv2d({ out: 3, kernel: 3, stride: 2, padding: 1 }), [2, 6, 5]],
    ['conv2d 1×1', conv2d({ out: 3, kernel: 1 }), [2, 3, 2]],
    ['conv2d 5×5, padding 2, on one pixel', conv2d({ out: 2, kernel: 5, padding: 2 }), [1, 1, 1]],
    ['conv2d, padding beyond the kernel', conv2d({ out: 2, kernel: 1, padding: 2, stride: 2 }), [1, 2, 3]],
    [
      'conv2d 2×3, stride 3×1, padding 0×2, without bias',
      conv2d({ out: 2, kernel: [2, 3], stride: [3, 1], padding: [0, 2], bias: false }),
      [2, 7, 3],
    ],
    ['relu', relu(), [3, 4, 5]],
    ['maxPool2d 2', maxPool2d(2), [2, 5, 4]],
    [
      'maxPool2d 3, stride 1, overlapping, padding 1',
      maxPool2d({ kernel: 3, stride: 1, padding: 1 }),
      [2, 4, 4],
    ],
    ['maxPool2d 2×3, stride 4', maxPool2d({ kernel: [2, 3], stride: 4 }), [1, 8, 9]],
    ['avgPool2d 2', avgPool2d(2), [2, 5, 4]],
    [
      'avgPool2d 3, stride 1, overlapping, padding 1',
      avgPool2d({ kernel: 3, stride: 1, padding: 1 }),
      [2, 4, 4],
    ],
    ['avgPool2d 2×3, stride 4', avgPool2d({ kernel: [2, 3], stride: 4 }), [1, 8, 9]],
    ['adaptiveAvgPool2d, overlapping', adaptiveAvgPool2d([3, 4]), [2, 5, 7]],
    ['adaptiveAvgPool2d, one pixel to 7×7', adaptiveAvgPool2d(7), [2, 1, 1]],
    ['adaptiveAvgPool2d, one window', adaptiveAvgPool2d({ size: 1 }), [2, 3, 4]],
    ['localResponseNorm', localResponseNorm({ size: 5, alpha: 2, k: 2 }), [7, 2, 2]],
    ['localResponseNorm, even', localResponseNorm({ size: 4, alpha: 3, beta: 1.2 }), [6, 1, 2]],
    ['localResponseNorm, wider than the channels', localResponseNorm({ size: 9, alpha: 4 }), [3, 2, 1]],
    ['flatten', flatten(), [2, 3, 2]],
    ['linear', linear(3), [5]],
    ['linear without bias', linear({ out: 1, bias: false }), [4]],
    ['batchNorm2d', batchNorm2d({ epsilon: 0.01 }), [3, 4, 3]],
    ['batchNorm2d, not affine', batchNorm2d({ affine: false }), [2, 3, 5]],
    ['batchNorm1d, two values of each', batchNorm1d({ epsilon: 0.5 }), [5]],
    ['dropout', dropout(0.3), [3, 4, 3]],
  ];
  test.each(cases)('%s', (_name, spec, shape) => {
    const kind = kindOf(spec);
    const input = { shape: [2, ...shape], data: randomValues(2 * sizeOf(shape), 1) };
    const parameters = kind
      .parameters(spec, shape)
      .map((parameter, i) => randomValues(sizeOf(parameter.shape), 2 + i));
    const output = kind.forward(spec, input, parameters, pass());
    expect(output.shape).toEqual([2, ...kind.outputShape(spec, shape)]);
    expect(output.data.length).toBe(sizeOf(output.shape));
    const weights = randomValues(output.data.length, 9);
    const loss = (): number =>
      kind
        .forward(spec, input, parameters, pass())
        .data.reduce((sum, value, i) => sum + value * weights[i]!, 0);
    const gradient = { shape: output.shape, data: weights };
    const gradients = kind.backward(spec, input, parameters, gradient, pass());
    expectDerivatives(input.data, gradients.input.data, loss);
    expect(gradients.parameters.length).toBe(parameters.length);
    for (const [i, parameter] of parameters.entries()) {
      expectDerivatives(parameter, gradients.parameters[i]!, loss);
    }
  });

  test('cross-entropy', () => {
    const logits = { shape: [3, 4], data: randomValues(12, 1) };
    const { gradient } = crossEntropy(logits, [3, 0, 2]);
    expectDerivatives(logits.data, gradient.data, () => crossEntropy(logits, [3, 0, 2]).loss);
  });
});

describe('conv2d', () => {
  test('slides without turning the kernel', () => {
    const input = tensor([1, 1, 2, 3], [1, 2, 3, 4, 5, 6]);
    const spec = conv2d({ out: 1, kernel: [1, 2] });
    const { shape, data } = kindOf(spec).forward(
      spec,
      input,
      [Float64Array.of(10, 1), Float64Array.of(100)],
      pass(),
    );
    expect(shape).toEqual([1, 1, 2, 2]);
    expect([...data]).toEqual([112, 123, 145, 156]);
  });

  test('counts multiply-adds including padding', () => {
    const spec = conv2d({ out: 16, kernel: 3, padding: 1 });
    expect(kindOf(spec).multiplyAdds(spec, [3, 32, 32])).toBe(16 * 32 * 32 * 27);
  });

  test('has the bounds of PyTorch’s initialization', () => {
    const spec = conv2d({ out: 7, kernel: [3, 2] });
    expect(kindOf(spec).parameters(spec, [4, 8, 8])).toEqual([
      { name: 'weight', shape: [7, 4, 3, 2], initial: { uniform: 1 / Math.sqrt(24) } },
      { name: 'bias', shape: [7], initial: { uniform: 1 / Math.sqrt(24) } },
    ]);
  });
});

describe('maxPool2d', () => {
  const spec = maxPool2d(2);
  const pool = kindOf(spec);
  const ones = (shape: Shape): Tensor => tensor(shape, new Array(sizeOf(shape)).fill(1));

  test('of equal values the first takes the gradient', () => {
    const input = tensor([1, 1, 2, 2], [0, 5, 5, 5]);
    expect([...pool.backward(spec, input, [], ones([1, 1, 1, 1]), pass()).input.data]).toEqual([0, 1, 0, 0]);
  });

  test('NaN wins, and the last of several', () => {
    const input = tensor([1, 1, 2, 2], [Number.NaN, 5, Number.NaN, 7]);
    expect([...pool.forward(spec, input, [], pass()).data]).toEqual([Number.NaN]);
    expect([...pool.backward(spec, input, [], ones([1, 1, 1, 1]), pass()).input.data]).toEqual([0, 0, 1, 0]);
  });

  test('padding is never the maximum', () => {
    const padded = maxPool2d({ kernel: 2, padding: 1 });
    const input = tensor([1, 1, 2, 2], [-1, -2, -3, -4]);
    expect([...pool.forward(padded, input, [], pass()).data]).toEqual([-1, -2, -3, -4]);
  });

  test('rows and columns that fill no window are passed over', () => {
    expect(pool.outputShape(spec, [3, 5, 7])).toEqual([3, 2, 3]);
  });
});

describe('avgPool2d', () => {
  test('padding counts as zeros', () => {
    const spec = avgPool2d({ kernel: 2, padding: 1 });
    const input = tensor([1, 1, 2, 2], [4, -8, 12, 20]);
    expect([...kindOf(spec).forward(spec, input, [], pass()).data]).toEqual([1, -2, 3, 5]);
  });

  test('rows and columns that fill no window are passed over', () => {
    const spec = avgPool2d(2);
    const input = tensor([1, 1, 3, 3], [1, 2, 9, 3, 6, 9, 9, 9, 9]);
    expect(kindOf(spec).forward(spec, input, [], pass())).toEqual(tensor([1, 1, 1, 1], [3]));
  });
});

describe('adaptiveAvgPool2d', () => {
  test('takes one number for both sides, or both', () => {
    expect(adaptiveAvgPool2d(7)).toEqual({ kind: 'adaptiveAvgPool2d', size: [7, 7] });
    expect(adaptiveAvgPool2d([7, 5])).toEqual(adaptiveAvgPool2d({ size: [7, 5] }));
  });
});

test('localResponseNorm has the defaults of PyTorch, and divides by the size at the edges', () => {
  expect(localResponseNorm(5)).toEqual({ kind: 'localResponseNorm', size: 5, alpha: 1e-4, beta: 0.75, k: 1 });
  const spec = localResponseNorm({ size: 2, alpha: 2, beta: 1 });
  const input = tensor([1, 3, 1, 1], [1, 2, 3]);
  expect([...kindOf(spec).forward(spec, input, [], pass()).data]).toEqual([1 / 2, 2 / 6, 3 / 14]);
});

interface GoldenLayer {
  readonly spec: LayerSpec;
  readonly shape: Shape;
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly dy: readonly number[];
  readonly dx: readonly number[];
}
const goldenLayers = JSON.parse(
  readFileSync(new URL('../../../test/golden/layers.json', import.meta.url), 'utf8'),
) as readonly GoldenLayer[];

test.each(goldenLayers)('$spec of $shape is PyTorch’s', ({ spec, shape, x, y, dy, dx }) => {
  const kind = kindOf(spec);
  const input = tensor(shape, x);
  const output = kind.forward(spec, input, [], pass());
  const expectClose = (found: Float64Array, expected: readonly number[]): void => {
    expect(found.length).toBe(expected.length);
    for (const [i, value] of expected.entries()) expect(found[i], `value ${i}`).toBeCloseTo(value, 9);
  };
  expectClose(output.data, y);
  expectClose(kind.backward(spec, input, [], tensor(output.shape, dy), pass()).input.data, dx);
});

test('relu keeps NaN and passes no gradient at 0', () => {
  const input = tensor([1, 3], [Number.NaN, 0, 2]);
  expect([...kindOf(relu()).forward(relu(), input, [], pass()).data]).toEqual([Number.NaN, 0, 2]);
  expect([
    ...kindOf(relu()).backward(relu(), input, [], tensor([1, 3], [1, 1, 1]), pass()).input.data,
  ]).toEqual([1, 0, 1]);
});

describe('batchNorm', () => {
  const spec = batchNorm2d({ momentum: 0.25, epsilon: 1 });
  const kind = kindOf(spec);
  const input = tensor([2, 2, 1, 2], [1, 3, 0, 0, 5, 7, 0, 8]);
  const buffers = [Float64Array.of(8, 4), Float64Array.of(3, 2)];
  const parameters = [Float64Array.of(2, 1), Float64Array.of(10, 0)];

  test('normalizes by the batch in training, by the running moments in evaluation', () => {
    // Channel 0 has 1, 3, 5, 7: mean 4, variance 5.
    const trained = kind.forward(spec, input, parameters, pass(true, buffers));
    expect(trained.data[1]).toBeCloseTo(10 + (2 * (3 - 4)) / Math.sqrt(5 + 1), 12);
    const evaluated = kind.forward(spec, input, parameters, pass(false, buffers));
    expect(evaluated.data[1]).toBe(10 + (2 * (3 - 8)) / Math.sqrt(3 + 1));
  });

  test('updates running mean and unbiased variance, without changing its inputs', () => {
    const [mean, variance] = kind.updatedBuffers!(spec, input, buffers);
    expect([...mean!]).toEqual([0.75 * 8 + 0.25 * 4, 0.75 * 4 + 0.25 * 2]);
    expect(variance![0]).toBeCloseTo(0.75 * 3 + (0.25 * 20) / 3, 12);
    expect(buffers[0]![0]).toBe(8);
  });

  test('starts as PyTorch’s', () => {
    const constant = (value: number) => ({ shape: [2], initial: { constant: value } });
    expect(kind.parameters(spec, [2, 1, 2])).toEqual([
      { name: 'weight', ...constant(1) },
      { name: 'bias', ...constant(0) },
    ]);
    expect(kind.buffers!(spec, [2, 1, 2])).toEqual([
      { name: 'running_mean', ...constant(0) },
      { name: 'running_var', ...constant(1) },
    ]);
    expect(kind.parameters(batchNorm2d({ affine: false }), [2, 1, 2])).toEqual([]);
  });
});

describe('dropout', () => {
  const kept = (probability: number, sample = 0, epoch = 1, layer = 2, size = 50_000): Uint8Array => {
    const values = new Uint8Array(size);
    drawKept(values, probability, { seed: 5, epoch, layer }, sample);
    return values;
  };

  test('scales kept values and does nothing in evaluation', () => {
    const input = tensor([2, 3], [1, 2, 3, 4, 5, 6]);
    const spec = dropout(0.2);
    const { data } = kindOf(spec).forward(spec, input, [], pass());
    for (const [i, value] of data.entries()) expect([0, input.data[i]! / (1 - 0.2)]).toContainEqual(value);
    expect(kindOf(spec).forward(spec, input, [], pass(false))).toEqual(input);
  });

  // 0.0009 is below the share of a byte, 0.998 above; 0.3 needs more than a byte.
  test.each([0, 0.0009, 0.3, 0.5, 0.998])('drops a share of %d', (probability) => {
    const size = 200_000;
    const dropped = kept(probability, 0, 1, 2, size).reduce((sum, value) => sum + 1 - value, 0);
    const deviation = Math.sqrt(size * probability * (1 - probability));
    expect(Math.abs(dropped - size * probability)).toBeLessThanOrEqual(4 * deviation);
  });

  test('depends on image, epoch and layer, and a longer mask begins as a shorter one', () => {
    const first = kept(0.5);
    expect(kept(0.5)).toEqual(first);
    for (const other of [kept(0.5, 1), kept(0.5, 0, 2), kept(0.5, 0, 1, 3)]) {
      // Independent masks agree in half of their values.
      const equal = other.reduce((sum, value, i) => sum + Number(value === first[i]), 0);
      expect(Math.abs(equal / other.length - 0.5)).toBeLessThan(0.02);
    }
    expect(kept(0.3, 0, 1, 2, 37)).toEqual(kept(0.3).subarray(0, 37));
  });
});

describe('cross-entropy', () => {
  test('counts correct answers, with the first of equal logits', () => {
    expect(crossEntropy(tensor([2, 2], [1, 1, 0, 3]), [0, 0]).correct).toBe(1);
  });
  test('does not overflow, and loses no digits of logits that are large', () => {
    expect(crossEntropy(tensor([1, 2], [1000, -1000]), [1]).loss).toBe(2000);
    const lossOf = (logits: number[], label: number, targets?: SoftTargets): number =>
      crossEntropy(tensor([1, logits.length], logits), [label], targets).loss;
    expect(lossOf([1e30, 1e30, -1e30], 1)).toBeCloseTo(Math.log(2), 12);
    const small = [1, -2, 0.5];
    const large = small.map((logit) => logit + 2 ** 40);
    const others = { labels: [0], ownShare: 0.7 };
    for (const targets of [{}, { smoothing: 0.1 }, { others }, { smoothing: 0.2, others }]) {
      expect(lossOf(large, 2, targets)).toBeCloseTo(lossOf(small, 2, targets), 12);
    }
    expect(lossOf([0, 0, -1e300], 0, { smoothing: 0.3 })).toBe(0.1 * 1e300);
  });
  test('smoothing and mixup weigh the losses of the classes', () => {
    const logits = tensor([1, 3], [1, -2, 0.5]);
    const [a, b, c] = [0, 1, 2].map((label) => crossEntropy(logits, [label]).loss) as [
      number,
      number,
      number,
    ];
    expect(crossEntropy(logits, [1], { smoothing: 0.3 }).loss).toBeCloseTo(0.7 * b + 0.1 * (a + b + c), 12);
    const others = { labels: [2], ownShare: 0.6 };
    expect(crossEntropy(logits, [0], { others }).loss).toBeCloseTo(0.6 * a + 0.4 * c, 12);
    const both = crossEntropy(logits, [0], { smoothing: 0.3, others });
    expect(both.loss).toBeCloseTo(0.7 * (0.6 * a + 0.4 * c) + 0.1 * (a + b + c), 12);
    expectDerivatives(logits.data, both.gradient.data, () => {
      return crossEntropy(logits, [0], { smoothing: 0.3, others }).loss;
    });
  });
  test('the most probable class and ranks are those of torch.argmax and torch.topk', () => {
    const nan = Number.NaN;
    expect(argmax([1, 3, 3])).toBe(1);
    expect(argmax([1, nan, Number.POSITIVE_INFINITY, nan])).toBe(1);
    expect(argmax([-3])).toBe(0);
    expect(topClasses([1, 3, 3, 2, 0], 3)).toEqual([1, 2, 3]);
    expect(topClasses([1, nan, Number.POSITIVE_INFINITY, nan], 5)).toEqual([1, 3, 2, 0]);
    expect([0, 1, 2, 3].map((label) => rankOf([1, 3, 3, 2], label))).toEqual([3, 0, 1, 2]);
    // NaN comes before every number, and is itself no hit.
    const ranks = [0, 1, 2, 3].map((label) => rankOf([1, nan, 3, nan], label));
    expect(ranks).toEqual([3, expect.any(Number), 2, expect.any(Number)]);
    expect(Math.min(ranks[1]!, ranks[3]!)).toBeGreaterThan(65_535);
  });
  test('rejects a label that is not a class', () => {
    expect(() => crossEntropy(tensor([1, 2], [0, 0]), [2])).toThrow(
      /label 2 of image 0 .* the network's 2 classes/,
    );
  });
});

describe('rejects', () => {
  test.each<[string, () => unknown, string]>([
    ['no output channels', () => conv2d({ out: 0, kernel: 3 }), 'conv2d: out 0 is not a whole number ≥ 1'],
    ['half a kernel', () => conv2d({ out: 1, kernel: 2.5 }), 'conv2d: kernel 2.5 is not a whole number ≥ 1'],
    ['a negative padding', () => conv2d({ out: 1, kernel: 3, padding: -1 }), 'conv2d: padding -1 is not'],
    ['a stride of 0', () => maxPool2d({ kernel: 2, stride: 0 }), 'maxPool2d: stride 0 is not'],
    [
      'three sides',
      () => conv2d({ out: 1, kernel: [1, 2, 3] as unknown as [number, number] }),
      'conv2d: kernel [1, 2, 3] is neither a number nor [height, width]',
    ],
    ['text', () => linear('10' as unknown as number), 'linear: out "10" is not a whole number ≥ 1'],
    [
      'an unknown argument',
      () => conv2d({ out: 1, kernel: 3, pad: 1 } as never),
      'conv2d: there is no argument "pad"',
    ],
    ['a probability of 1', () => dropout(1), 'dropout: probability 1 is not a number ≥ 0 and < 1'],
    ['half a text', () => dropout('0.5' as never), 'dropout: probability "0.5" is not'],
    ['a momentum beyond 1', () => batchNorm1d({ momentum: 1.5 }), 'batchNorm1d: momentum 1.5 is not'],
    ['an epsilon of 0', () => batchNorm2d({ epsilon: 0 }), 'batchNorm2d: epsilon 0 is not above 0'],
    ['eps', () => batchNorm2d({ eps: 1 } as never), 'batchNorm2d: there is no argument "eps"'],
    ['10⁹ channels', () => conv2d({ out: 1e9, kernel: 3 }), 'out 1000000000 is above the limit of 1000000'],
    ['10⁹ features', () => linear(1e9), 'linear: out 1000000000 is above the limit of 1000000'],
    ['a kernel of 10⁶', () => conv2d({ out: 1, kernel: 1e6 }), 'kernel 1000000 is above the limit of 1024'],
    ['a padding of 10⁶', () => conv2d({ out: 1, kernel: 1, padding: [0, 1e6] }), 'padding 1000000 is above'],
    ['a stride of 10⁶', () => conv2d({ out: 1, kernel: 1, stride: 1e6 }), 'stride 1000000 is above'],
    ['a pool of 10⁶', () => maxPool2d(1e6), 'maxPool2d: kernel 1000000 is above the limit of 1024'],
    ['an average of 10⁶', () => avgPool2d(1e6), 'avgPool2d: kernel 1000000 is above the limit of 1024'],
    [
      'ceil mode',
      () => avgPool2d({ kernel: 2, ceil: true } as never),
      'avgPool2d: there is no argument "ceil"',
    ],
    [
      'a bias that is text',
      () => conv2d({ out: 1, kernel: 1, bias: 'no' as never }),
      'bias "no" is not true',
    ],
    ['nothing', () => conv2d(undefined as never), 'conv2d: undefined is not an object with out, kernel'],
    ['null', () => maxPool2d(null as never), 'maxPool2d: kernel null is not a whole number ≥ 1'],
    ['unknown options of relu', () => relu({ inplace: true } as never), 'there is no argument "inplace"'],
    ['unknown options of flatten', () => flatten({ start: 1 } as never), 'there is no argument "start"'],
    ['a long name', () => relu({ name: 'a'.repeat(201) }), 'is not a string of 1 to 200 characters'],
    ['an empty name', () => relu({ name: '' }), 'relu: name "" is not'],
    [
      'too much padding',
      () => maxPool2d({ kernel: 3, padding: 2 }),
      'maxPool2d: padding 2 is more than half the kernel 3',
    ],
    [
      'too much padding of an average',
      () => avgPool2d({ kernel: [4, 3], padding: 2 }),
      'avgPool2d: padding 2 is more than half the kernel 4×3',
    ],
    ['a size of 0', () => adaptiveAvgPool2d(0), 'adaptiveAvgPool2d: size 0 is not a whole number ≥ 1'],
    ['three sizes', () => adaptiveAvgPool2d([1, 2, 3] as never), 'size [1, 2, 3] is neither a number nor'],
    ['no size', () => adaptiveAvgPool2d({} as never), 'adaptiveAvgPool2d: size undefined is not'],
    ['a window of 0', () => localResponseNorm(0), 'localResponseNorm: size 0 is not a whole number ≥ 1'],
    [
      'a negative alpha',
      () => localResponseNorm({ size: 5, alpha: -1 }),
      'localResponseNorm: alpha -1 is not a number from 0 to 1000000',
    ],
    [
      'a k of 0',
      () => localResponseNorm({ size: 5, k: 0 }),
      'localResponseNorm: k 0 is not a number from 0.000001 to 1000000',
    ],
    [
      'a beta that is not a number',
      () => localResponseNorm({ size: 5, beta: Number.NaN }),
      'localResponseNorm: beta NaN is not a number from 0 to 4',
    ],
  ])('%s', (_name, build, message) => {
    expect(build).toThrow(UsageError);
    expect(build).toThrow(message);
  });

  test.each<[LayerSpec, Shape, string]>([
    [conv2d({ out: 1, kernel: 5 }), [1, 4, 9], 'conv2d: kernel 5×5 does not fit the 4×9 input; pad by 1'],
    [
      conv2d({ out: 1, kernel: 7, padding: 1 }),
      [1, 2, 2],
      'conv2d: kernel 7×7 does not fit the 2×2 input padded by 1; pad by 3',
    ],
    [maxPool2d(3), [1, 2, 2], 'maxPool2d: kernel 3×3 does not fit the 2×2 input; use a smaller kernel'],
    [conv2d({ out: 1, kernel: 1 }), [9], 'conv2d: the input is a vector of 9 values, not a feature map'],
    [
      batchNorm2d(),
      [9],
      'batchNorm2d: the input is a vector of 9 values, not a feature map; use batchNorm1d',
    ],
    [
      batchNorm1d(),
      [1, 2, 2],
      'batchNorm1d: the input is a 1×2×2 feature map, not a vector; use batchNorm2d',
    ],
    [adaptiveAvgPool2d(7), [9], 'adaptiveAvgPool2d: the input is a vector of 9 values, not a feature map'],
    [localResponseNorm(5), [9], 'localResponseNorm: the input is a vector of 9 values, not a feature map'],
    [linear(1), [1, 2, 2], 'linear: the input is a 1×2×2 feature map, not a vector; put flatten() before it'],
  ])('$kind on %j', (spec, shape, message) => {
    const build = (): unknown => kindOf(spec).outputShape(spec, shape);
    expect(build).toThrow(ShapeError);
    expect(build).toThrow(message);
  });
});
