import { describe, expect, test } from 'vitest';
import { ShapeError, UsageError, VggError } from '../errors.ts';
import { initialWeights } from './initialize.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from './layers/index.ts';
import { createModel, models, parseAssignments } from './models.ts';
import { buildNetwork, parametersOf, sequential, tensorsOf } from './network.ts';
import { configurations, type VggLetter, vgg7, vggFeatures } from './vgg.ts';

const build = (...layers: Parameters<typeof sequential>[0][number][]): (() => unknown) => {
  return () => buildNetwork(sequential(layers), [3, 32, 32]);
};

describe('buildNetwork', () => {
  test('infers shapes and names layers by position', () => {
    const network = buildNetwork(
      sequential([
        conv2d({ out: 4, kernel: 3 }),
        relu(),
        maxPool2d(4),
        flatten(),
        linear({ out: 5, name: 'fc' }),
      ]),
      [3, 32, 32],
    );
    expect(network.layers.map((layer) => layer.output)).toEqual([
      [4, 30, 30],
      [4, 30, 30],
      [4, 7, 7],
      [196],
      [5],
    ]);
    expect(parametersOf(network).map((p) => p.name)).toEqual(['0.weight', '0.bias', 'fc.weight', 'fc.bias']);
    expect(network.parameterCount).toBe(4 * 27 + 4 + 5 * 196 + 5);
    expect(JSON.parse(JSON.stringify(network))).toEqual(network);
  });

  test('names the layer whose kernel does not fit, and the way out', () => {
    const faulty = build(
      conv2d({ out: 2, kernel: 3, padding: 1 }),
      maxPool2d(8),
      conv2d({ out: 2, kernel: 5, name: 'conv4' }),
      flatten(),
      linear(10),
    );
    expect(faulty).toThrow(ShapeError);
    expect(faulty).toThrow(
      'conv2d: kernel 5×5 does not fit the 4×4 input of layer 3 (conv4); pad by 1 or drop the pool before it',
    );
  });

  test('rejects a network that ends in a map', () => {
    expect(build(conv2d({ out: 2, kernel: 3 }))).toThrow(
      /its output is a 2×30×30 feature map.*flatten\(\) and linear/,
    );
  });

  test('rejects equal names, an input of two sides, and sides below 1', () => {
    const twice = build(flatten(), linear({ out: 2, name: 'fc' }), linear({ out: 2, name: 'fc' }));
    expect(twice).toThrow(UsageError);
    expect(twice).toThrow(/layers 2 and 3 are both called fc/);
    expect(() => buildNetwork(sequential([flatten()]), [3, 32])).toThrow(
      /neither \[channels, height, width\]/,
    );
    expect(() => buildNetwork(sequential([flatten()]), [3, 0, 32])).toThrow(/input size 0 is not/);
  });
});

describe('models', () => {
  test('simplified is the lecture’s network', () => {
    const network = buildNetwork(createModel('simplified', { classes: 10 }), [3, 32, 32]);
    expect(network.parameterCount).toBe(20_778);
    expect(Object.fromEntries(parametersOf(network).map(({ name, shape }) => [name, shape]))).toEqual({
      'conv1.weight': [16, 3, 3, 3],
      'conv1.bias': [16],
      'conv2.weight': [32, 16, 3, 3],
      'conv2.bias': [32],
      'fc.weight': [10, 1568],
      'fc.bias': [10],
    });
  });

  test('vgg7 counts modules as torchvision does', () => {
    const network = buildNetwork(createModel('vgg7', { classes: 100 }), [3, 32, 32]);
    expect(parametersOf(network).filter(({ name }) => name.endsWith('weight'))).toMatchObject([
      { name: 'features.0.weight', shape: [64, 3, 3, 3] },
      { name: 'features.2.weight', shape: [64, 64, 3, 3] },
      { name: 'features.5.weight', shape: [128, 64, 3, 3] },
      { name: 'features.7.weight', shape: [128, 128, 3, 3] },
      { name: 'features.9.weight', shape: [128, 128, 3, 3] },
      { name: 'classifier.0.weight', shape: [512, 8192] },
      { name: 'classifier.2.weight', shape: [100, 512] },
    ]);
  });

  test('vgg7-bn counts as torchvision’s vgg*_bn', () => {
    const network = buildNetwork(createModel('vgg7-bn', { classes: 100 }), [3, 32, 32]);
    expect(tensorsOf(network).slice(0, 8)).toMatchObject([
      { name: 'features.0.weight', shape: [64, 3, 3, 3] },
      { name: 'features.0.bias', shape: [64] },
      { name: 'features.1.weight', shape: [64] },
      { name: 'features.1.bias', shape: [64] },
      { name: 'features.1.running_mean', shape: [64] },
      { name: 'features.1.running_var', shape: [64] },
      { name: 'features.3.weight', shape: [64, 64, 3, 3] },
      { name: 'features.3.bias', shape: [64] },
    ]);
    const { parameterCount } = buildNetwork(createModel('vgg7', { classes: 100 }), [3, 32, 32]);
    expect(network.parameterCount).toBe(parameterCount + 2 * (2 * 64 + 3 * 128));
    expect(parametersOf(network).some(({ name }) => name.includes('running'))).toBe(false);
    const weights = initialWeights(network, 1);
    expect([...weights.keys()]).toEqual(tensorsOf(network).map(({ name }) => name));
    expect(new Set(weights.get('features.14.weight')!.data)).toEqual(new Set([1]));
    expect(new Set(weights.get('features.14.running_mean')!.data)).toEqual(new Set([0]));
  });

  test('dropout follows the hidden ReLU and changes no tensor names', () => {
    const build = (dropout: number | string) =>
      buildNetwork(createModel('vgg7', { classes: 5, options: { dropout } }), [3, 32, 32]);
    expect(
      build('.25')
        .layers.slice(-3)
        .map(({ spec }) => spec),
    ).toMatchObject([{ kind: 'relu' }, { kind: 'dropout', probability: 0.25 }, { kind: 'linear' }]);
    expect(build(0).layers.some(({ spec }) => spec.kind === 'dropout')).toBe(false);
    expect(tensorsOf(build(0.5))).toEqual(tensorsOf(build(0)));
  });

  test('vgg7 takes its options as numbers and as text', () => {
    const options = { channels: '8, 12', poolKernels: '3,2', poolStrides: [1, 2], hidden: '20' };
    const network = buildNetwork(createModel('vgg7', { classes: 4, options }), [3, 32, 32]);
    expect(network.layers.map(({ output }) => output.join('×'))).toEqual(
      '8×32×32 8×32×32 8×32×32 8×32×32 8×30×30 12×30×30 12×30×30 12×30×30 12×30×30 12×30×30 12×30×30 12×15×15 2700 20 20 4'.split(
        ' ',
      ),
    );
  });

  test.each<[VggLetter, number]>([
    ['A', 9_220_480],
    ['B', 9_404_992],
    ['D', 14_714_688],
    ['E', 20_024_384],
  ])('configuration %s has the parameters of torchvision’s', (letter, parameters) => {
    const model = sequential([...vggFeatures(configurations[letter]), flatten(), linear(10)]);
    expect(buildNetwork(model, [3, 32, 32]).parameterCount).toBe(parameters + 5130);
  });

  test.each(Object.keys(models))('%s can be built with its defaults', (name) => {
    expect(buildNetwork(createModel(name, { classes: 7 }), [3, 32, 32]).output).toEqual([7]);
  });

  test.each<[string, Record<string, string>, string]>([
    ['vgg8', {}, 'there is no model "vgg8"; did you mean "vgg7"?'],
    ['toString', {}, 'there is no model "toString"'],
    ['vgg7', { chanels: '1,2' }, 'there is no option "chanels"; did you mean "channels"?'],
    [
      'vgg7',
      { channels: '64' },
      'option channels=64 is not 2 whole numbers ≥ 1 separated by commas, as in channels=64,128',
    ],
    ['vgg7', { channels: '10000000,64' }, 'option channels=10000000,64 is above the limit of 1000000'],
    ['vgg7', { hidden: '1000000000' }, 'option hidden=1000000000 is above the limit of 1000000'],
    ['vgg7', { channels: '64,0' }, 'option channels=64,0 is not'],
    ['vgg7', { hidden: '0x10' }, 'option hidden=0x10 is not a whole number ≥ 1'],
    ['vgg7', { hidden: '4/2' }, 'option hidden=4/2 is not a whole number ≥ 1'],
    ['alexnet', {}, 'sequential()'],
    ['vgg7', { hidden: '-5' }, 'option hidden=-5 is not'],
    ['vgg7', { dropout: '1' }, 'option dropout=1 is not a number ≥ 0 and < 1, as in dropout=0'],
    ['vgg7', { dropout: 'half' }, 'option dropout=half is not a number'],
    ['simplified', { hidden: '5' }, 'simplified: there is no option "hidden"; none are available'],
  ])('%s with %j is rejected', (name, options, message) => {
    const create = (): unknown => createModel(name, { classes: 10, options });
    expect(create).toThrow(UsageError);
    expect(create).toThrow(message);
  });

  test.each<[string, () => unknown, string]>([
    ['no name', () => createModel(undefined as never, undefined as never), 'createModel: name undefined'],
    ['no settings', () => createModel('vgg7', undefined as never), 'vgg7: the options are undefined, not an'],
    ['no classes', () => createModel('vgg7', {} as never), 'vgg7: the option classes is missing'],
    ['a wrong key', () => createModel('vgg7', { classes: 10, option: {} } as never), 'no option "option"'],
    ['a list for options', () => createModel('vgg7', { classes: 10, options: [] as never }), 'are a list'],
    ['no layers', () => sequential(undefined as never), 'the layers are undefined, not a list'],
    ['a number for a layer', () => sequential([5 as never]), '5 is not a layer'],
    ['an unknown layer', () => sequential([{ kind: 'gru' } as never]), 'kind "gru" is not a layer'],
    ['a layer by hand', () => sequential([{ kind: 'linear', out: 1e9 } as never]), 'out 1000000000 is above'],
    ['1001 layers', () => sequential(new Array(1001).fill(relu())), '1001 layers exceed the limit of 1000'],
    ['no network', () => buildNetwork(undefined as never, [1]), 'undefined is not a network'],
    [
      'no input',
      () => buildNetwork(sequential([linear(1)]), undefined as never),
      'input undefined is neither',
    ],
    ['a large input', () => buildNetwork(sequential([linear(1)]), [1e9]), 'input size 1000000000 is above'],
    ['unknown options', () => vggFeatures([], [], { batchnorm: true } as never), 'no option "batchnorm"'],
    [
      'channels that are no list',
      () => vgg7({ classes: 10, channels: 5 as never }),
      'channels 5 is not a list',
    ],
    [
      'more parameters than can be counted',
      () => buildNetwork(sequential([flatten(), linear(1e6)]), [1e3, 1e4, 1e4]),
      '1.0e+17 parameters exceed the limit of 2^53',
    ],
  ])('rejects %s', (_name, create, message) => {
    expect(create).toThrow(VggError);
    expect(create).toThrow(message);
  });

  test('assignments of the command line', () => {
    expect(parseAssignments(['channels=64,128', 'hidden = 5'])).toEqual({ channels: '64,128', hidden: '5' });
    expect(() => parseAssignments(['channels'])).toThrow(/does not have the form name=value/);
    expect(() => parseAssignments(['a=1', 'a=2'])).toThrow(/given twice/);
  });
});

describe('initialWeights', () => {
  const network = buildNetwork(createModel('simplified', { classes: 10 }), [3, 32, 32]);

  test('fills ±1/√fanIn evenly', () => {
    const { data } = initialWeights(network, 1).get('fc.weight')!;
    const bound = 1 / Math.sqrt(1568);
    expect(Math.max(...data)).toBeLessThan(bound);
    expect(Math.max(...data)).toBeGreaterThan(0.999 * bound);
    expect(Math.min(...data)).toBeLessThan(-0.999 * bound);
    // The variance of a uniform distribution in ±b is b²/3.
    const variance = data.reduce((sum, value) => sum + value * value, 0) / data.length;
    expect(variance / (bound ** 2 / 3)).toBeCloseTo(1, 1);
  });

  test('depends only on the seed', () => {
    expect(initialWeights(network, 2)).toEqual(initialWeights(network, 2));
    expect(initialWeights(network, 3)).not.toEqual(initialWeights(network, 2));
  });
});
