import { expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { layersMatching, rateFactorsOf } from './layer-patterns.ts';
import { createModel } from './models.ts';
import { buildNetwork } from './network.ts';

const network = buildNetwork(
  createModel('vgg11-bn', { classes: 10, options: { width: 0.125 } }),
  [3, 224, 224],
);

/** The names of the layers that patterns choose. */
const chosen = (...patterns: string[]): string[] =>
  layersMatching('freeze', network, patterns).map((i) => network.layers[i]!.name);

test.each<[string[], string[]]>([
  [['features.0'], ['features.0']],
  [['conv1_1'], ['features.0']],
  [['bn1_1'], ['features.1']],
  [['features.0.*'], ['features.0']],
  [[], []],
  [['fc*'], ['classifier.0', 'classifier.3', 'classifier.6']],
  [['classifier'], ['classifier.0', 'classifier.3', 'classifier.6']],
  [
    ['conv3_*', 'fc8'],
    ['features.8', 'features.11', 'classifier.6'],
  ],
  [['*5_1'], ['features.22', 'features.23']],
])('%j', (patterns, names) => {
  expect(chosen(...patterns)).toEqual(names);
});

test('features are the layers with parameters or running moments before the classifier', () => {
  const names = network.layers.filter(({ parameters }) => parameters.length > 0).map(({ name }) => name);
  expect(chosen('features')).toEqual(names.filter((name) => name.startsWith('features.')));
  expect(chosen('features.*')).toEqual(chosen('features'));
  expect(chosen('*')).toEqual(names);
});

test.each([
  ['feature', /freeze: vgg11-bn has no layer "feature"; did you mean "features"\? Layers: features, /],
  ['features.', /has no layer "features\."; did you mean "features"/],
  ['conv9_9', /has no layer "conv9_9"/],
  ['relu1_1', /"relu1_1" chooses only layers without parameters, such as features\.2 \(relu\)/],
  [
    'features.0.weight',
    /chooses features\.0\.weight, but not all parameters of layer features\.0; .* write features\.0$/,
  ],
  ['', /"" is not a name or pattern of layers/],
])('%j is refused', (pattern, message) => {
  const choose = (): unknown => chosen(pattern);
  expect(choose).toThrow(UsageError);
  expect(choose).toThrow(message);
});

test('a pattern of many stars takes no time', () => {
  expect(() => chosen(`${'*a'.repeat(99)}*b`)).toThrow('has no layer');
});

test('the last pattern that chooses a layer gives its factor', () => {
  const factors = rateFactorsOf('lrGroups', network, { features: 0.1, 'conv5_*': 0.5, fc8: 2 });
  const of = (name: string): number => factors[network.layers.findIndex((layer) => layer.name === name)]!;
  expect(['features.0', 'features.22', 'classifier.0', 'classifier.6'].map(of)).toEqual([0.1, 0.5, 1, 2]);
});

test.each([
  [0, /factor 0 of "features" is not a finite number above 0; .* freeze them \(--freeze/],
  [-1, /factor -1 of "features" is not a finite number above 0$/],
  [Number.NaN, /factor NaN/],
])('a factor of %d is refused', (factor, message) => {
  expect(() => rateFactorsOf('lrGroups', network, { features: factor })).toThrow(message);
});
