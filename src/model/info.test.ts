import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { compose, normalize, pad, toTensor } from '../data/transforms.ts';
import { DataError, UsageError } from '../errors.ts';
import { packageVersion } from '../version.ts';
import { contradictions, dataInfoOf, infoOf, type ModelInfo, networkDifference } from './info.ts';
import { formatInfo, infoIn } from './info-text.ts';
import { batchNorm2d, conv2d, dropout, flatten, linear, maxPool2d, relu } from './layers/index.ts';
import { createModel } from './models.ts';
import { buildNetwork, sequential } from './network.ts';

const classes = ['disc', 'ring', 'square'];
const normalization = { mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6] };
const vgg7 = createModel('vgg7', { classes: 3, options: { channels: [4, 8], hidden: 16, dropout: 0.5 } });
const custom = sequential(
  [
    conv2d({ out: 2, kernel: [3, 1] }),
    batchNorm2d({ epsilon: 1e-7 }),
    relu(),
    dropout(0.1),
    flatten(),
    linear(3),
  ],
  { name: 'custom' },
);
const infoFor = (model: typeof vgg7): ModelInfo =>
  infoOf(buildNetwork(model, [3, 32, 32]), { dataset: 'shapes', classes, normalization });
const textOf = (changes: object, info: ModelInfo = infoFor(vgg7)): Record<string, string> => ({
  vggnet: JSON.stringify({ ...(JSON.parse(formatInfo(info)) as object), ...changes }),
});

test('the version is that of the package', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(packageVersion()).toBe(version);
});

describe('metadata of weights', () => {
  test.for([vgg7, custom, createModel('simplified', { classes: 3 })])(
    '$name is read as it was written',
    (model) => {
      const info = infoFor(model);
      expect(infoIn({ vggnet: formatInfo(info) })).toEqual(info);
    },
  );

  test('a model by its name and options, with the version', () => {
    expect(JSON.parse(formatInfo(infoFor(vgg7)))).toMatchObject({
      version: packageVersion(),
      network: { model: 'vgg7', classes: 3, options: { channels: [4, 8], hidden: 16, dropout: 0.5 } },
      input: [3, 32, 32],
      dataset: 'shapes',
    });
    // Whoever changes a model's layers has another network.
    const changed = infoFor({ ...vgg7, layers: vgg7.layers.filter(({ kind }) => kind !== 'dropout') });
    expect(JSON.parse(formatInfo(changed))).toMatchObject({ network: { layers: changed.network.layers } });
  });

  test('files of others say nothing', () => {
    expect(infoIn({ format: 'pt' })).toBeUndefined();
  });

  test.for<[string, Record<string, string>, string]>([
    ['no JSON', { vggnet: '{' }, 'it is not JSON'],
    ['a text of 5 MB', { vggnet: ' '.repeat(5 * 2 ** 20) }, 'above the limit of 4194304'],
    ['deep JSON', { vggnet: '['.repeat(1e6) }, 'nests lists and objects more than 8 deep'],
    ['an unknown model', textOf({ network: { model: 'vgg8', classes: 3, options: {} } }), 'no model "vgg8"'],
    [
      '10⁹ channels',
      textOf({ network: { model: 'vgg7', classes: 3, options: { hidden: 1e9 } } }),
      'hidden=1000000000 is above the limit of 1000000',
    ],
    [
      '10⁹ classes',
      textOf({ network: { model: 'simplified', classes: 1e9, options: {} } }),
      'classes: 1000000000 is above the limit of 1000000',
    ],
    [
      'an unknown layer',
      textOf({ network: { name: 'a', layers: [{ kind: 'constructor' }] } }),
      'kind "constructor" is not a layer',
    ],
    [
      'a layer with a wrong value',
      textOf({ network: { name: 'a', layers: [{ kind: 'conv2d', out: 1, kernel: 'x' }] } }),
      'kernel "x" is not a whole number',
    ],
    ['a huge input', textOf({ input: [3, 1e9, 1e9] }), 'input[1]: 1000000000 is above the limit of 1000000'],
    ['two sides', textOf({ input: [32, 32] }), 'is neither [channels, height, width] nor [features]'],
    ['too few classes', textOf({ classes: ['a'] }), 'the network has 3 classes, not 1'],
    ['long names', textOf({ classes: ['a', 'b', 'c'.repeat(201)] }), 'has more than 200 characters'],
    ['names that are numbers', textOf({ classes: [1, 2, 3] }), '1 is not text'],
    [
      'two means',
      textOf({ normalization: { mean: [1, 2], std: [1, 1] } }),
      'a number for each of 3 channels',
    ],
    ['a deviation of 0', textOf({ normalization: { mean: [1], std: [0] } }), 'deviations above 0'],
    ['labels of its own', textOf({ labels: 'medium' }), 'labels: "medium" is not one of fine, coarse'],
    ['a prototype', { vggnet: '{"__proto__":{"version":"1"}}' }, 'version: is missing'],
  ])('rejects %s', ([, metadata, problem]) => {
    expect(() => infoIn(metadata)).toThrow(DataError);
    expect(() => infoIn(metadata)).toThrow(problem);
  });

  test('what cannot be read is not written', () => {
    const info = { ...infoFor(vgg7), classes: ['a', 'b', 'c'.repeat(201)] };
    expect(() => formatInfo(info)).toThrow(UsageError);
  });
});

test('a loader tells data set, classes and normalization, unless a function may do anything', () => {
  const dataset = { name: 'cifar100', classes: Array.from({ length: 20 }, String) };
  const said = { dataset: 'cifar100', labels: 'coarse', classes: dataset.classes };
  expect(dataInfoOf({ dataset, transform: toTensor() })).toEqual({ ...said, normalization: null });
  const chain = compose([pad(4), toTensor(), normalize([0.1], [0.2])]);
  expect(dataInfoOf({ dataset, transform: chain })).toEqual({
    ...said,
    normalization: { mean: [0.1], std: [0.2] },
  });
  expect(dataInfoOf({ dataset, transform: compose([toTensor(), (image) => image]) })).toEqual(said);
});

test('networks differ by what they compute, not by dropout, momentum or names', () => {
  const build = (stride: number, ...more: Parameters<typeof sequential>[0][number][]): typeof custom =>
    sequential([conv2d({ out: 2, kernel: 3, stride }), ...more, maxPool2d(2), flatten(), linear(3)]);
  expect(networkDifference(build(1), build(1, dropout(0.5)))).toBeUndefined();
  expect(
    networkDifference(build(1, batchNorm2d()), build(1, batchNorm2d({ momentum: 0.5 }))),
  ).toBeUndefined();
  expect(networkDifference(build(1), build(2))).toContain('stride 1×1');
  expect(networkDifference(build(1), build(1, relu()))).toContain('has relu()');
  expect(networkDifference(build(1, batchNorm2d()), build(1, batchNorm2d({ epsilon: 1 })))).toContain(
    'epsilon 1',
  );
});

test.for<[Parameters<typeof contradictions>[1], unknown]>([
  [{}, []],
  [{ model: 'vgg7', modelOptions: { hidden: '16', dropout: 0 }, dataset: 'shapes', normalize: true }, []],
  [{ model: 'simplified' }, [{ option: 'model', stored: 'vgg7', chosen: 'simplified' }]],
  [{ modelOptions: { hidden: 32 } }, [{ option: 'modelOptions', stored: 'hidden=16', chosen: 'hidden=32' }]],
  [{ dataset: 'cifar10' }, [{ option: 'dataset', stored: 'shapes', chosen: 'cifar10' }]],
  [{ normalize: false }, [{ option: 'normalize', stored: 'true', chosen: 'false' }]],
])('choices that contradict a file: %j', ([chosen, found]) => {
  expect(contradictions(infoFor(vgg7), chosen)).toEqual(found);
});

test('a custom network contradicts every model except an equal one', () => {
  const equal = sequential(createModel('simplified', { classes: 3 }).layers);
  expect(contradictions(infoFor(equal), { model: 'simplified' })).toEqual([]);
  expect(contradictions(infoFor(custom), { model: 'simplified' })).toMatchObject([{ option: 'model' }]);
});
