import { describe, expect, test } from 'vitest';
import { random } from '../../data/random.ts';
import { ShapeError, UsageError } from '../../errors.ts';
import type { LayerSpec, Shape, Tensor } from '../layer.ts';
import { crossEntropy } from '../loss.ts';
import { sizeOf } from '../network.ts';
import { conv2d, flatten, kindOf, linear, maxPool2d, relu } from './index.ts';

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
    ['flatten', flatten(), [2, 3, 2]],
    ['linear', linear(3), [5]],
    ['linear without bias', linear({ out: 1, bias: false }), [4]],
  ];
  test.each(cases)('%s', (_name, spec, shape) => {
    const kind = kindOf(spec);
    const input = { shape: [2, ...shape], data: randomValues(2 * sizeOf(shape), 1) };
    const parameters = kind
      .parameters(spec, shape)
      .map((parameter, i) => randomValues(sizeOf(parameter.shape), 2 + i));
    const output = kind.forward(spec, input, parameters);
    expect(output.shape).toEqual([2, ...kind.outputShape(spec, shape)]);
    expect(output.data.length).toBe(sizeOf(output.shape));
    const weights = randomValues(output.data.length, 9);
    const loss = (): number =>
      kind.forward(spec, input, parameters).data.reduce((sum, value, i) => sum + value * weights[i]!, 0);
    const gradients = kind.backward(spec, input, parameters, { shape: output.shape, data: weights });
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
    const { shape, data } = kindOf(spec).forward(spec, input, [Float64Array.of(10, 1), Float64Array.of(100)]);
    expect(shape).toEqual([1, 1, 2, 2]);
    expect([...data]).toEqual([112, 123, 145, 156]);
  });

  test('counts multiply-adds with the padded places', () => {
    const spec = conv2d({ out: 16, kernel: 3, padding: 1 });
    expect(kindOf(spec).multiplyAdds(spec, [3, 32, 32])).toBe(16 * 32 * 32 * 27);
  });

  test('has the bounds of PyTorch’s initialisation', () => {
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
    expect([...pool.backward(spec, input, [], ones([1, 1, 1, 1])).input.data]).toEqual([0, 1, 0, 0]);
  });

  test('NaN wins, and the last of several', () => {
    const input = tensor([1, 1, 2, 2], [Number.NaN, 5, Number.NaN, 7]);
    expect([...pool.forward(spec, input, []).data]).toEqual([Number.NaN]);
    expect([...pool.backward(spec, input, [], ones([1, 1, 1, 1])).input.data]).toEqual([0, 0, 1, 0]);
  });

  test('padded places never win', () => {
    const padded = maxPool2d({ kernel: 2, padding: 1 });
    const input = tensor([1, 1, 2, 2], [-1, -2, -3, -4]);
    expect([...pool.forward(padded, input, []).data]).toEqual([-1, -2, -3, -4]);
  });

  test('rows and columns that fill no window are passed over', () => {
    expect(pool.outputShape(spec, [3, 5, 7])).toEqual([3, 2, 3]);
  });
});

test('relu keeps NaN and passes no gradient at 0', () => {
  const input = tensor([1, 3], [Number.NaN, 0, 2]);
  expect([...kindOf(relu()).forward(relu(), input, []).data]).toEqual([Number.NaN, 0, 2]);
  expect([...kindOf(relu()).backward(relu(), input, [], tensor([1, 3], [1, 1, 1])).input.data]).toEqual([
    1, 0, 1,
  ]);
});

describe('cross-entropy', () => {
  test('counts right answers, the first of equal logits', () => {
    expect(crossEntropy(tensor([2, 2], [1, 1, 0, 3]), [0, 0]).correct).toBe(1);
  });
  test('does not overflow', () => {
    expect(crossEntropy(tensor([1, 2], [1000, -1000]), [1]).loss).toBe(2000);
  });
  test('refuses a label that is no class', () => {
    expect(() => crossEntropy(tensor([1, 2], [0, 0]), [2])).toThrow(
      /label 2 of image 0 .* the network's 2 classes/,
    );
  });
});

describe('refuses', () => {
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
      'conv2d: no argument is named "pad"',
    ],
    ['an empty name', () => relu({ name: '' }), 'relu: name "" is not'],
    [
      'too much padding',
      () => maxPool2d({ kernel: 3, padding: 2 }),
      'maxPool2d: padding 2 is more than half the kernel 3',
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
    [linear(1), [1, 2, 2], 'linear: the input is a 1×2×2 feature map, not a vector; put flatten() before it'],
  ])('$kind on %j', (spec, shape, message) => {
    const build = (): unknown => kindOf(spec).outputShape(spec, shape);
    expect(build).toThrow(ShapeError);
    expect(build).toThrow(message);
  });
});
