import { expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { layerIndex, layerNames } from './layer-names.ts';
import { conv2d, dropout, flatten, linear, maxPool2d, relu } from './layers/index.ts';
import { createModel } from './models.ts';
import { buildNetwork, sequential } from './network.ts';
import { configurations, vggFeatures } from './vgg.ts';

const classifier = [
  flatten({ name: 'flatten' }),
  linear({ out: 8, name: 'classifier.0' }),
  relu({ name: 'classifier.1' }),
  dropout({ name: 'classifier.2' }),
  linear({ out: 8, name: 'classifier.3' }),
  relu({ name: 'classifier.4' }),
  dropout({ name: 'classifier.5' }),
  linear({ out: 10, name: 'classifier.6' }),
];
const vgg = (letter: keyof typeof configurations, batchNorm = false) =>
  buildNetwork(
    sequential([...vggFeatures(configurations[letter], [], { batchNorm }), ...classifier], {
      name: `vgg-${letter}`,
    }),
    [3, 32, 32],
  );

test("VGG-16's layers by torchvision's numbers", () => {
  const network = vgg('D');
  const named = (name: string): string => network.layers[layerIndex('test', network, name)]!.name;
  const features = { relu1_2: 3, relu2_2: 8, relu3_3: 15, relu4_3: 22, relu5_3: 29, conv1_1: 0, pool5: 30 };
  for (const [name, position] of Object.entries(features)) expect(named(name)).toBe(`features.${position}`);
  const heads = { fc6: 0, relu6: 1, drop6: 2, fc7: 3, relu7: 4, fc8: 6 };
  for (const [name, position] of Object.entries(heads)) expect(named(name)).toBe(`classifier.${position}`);
  expect(named('features.15')).toBe('features.15');
});

test("with batch normalization, and of VGG-19, by torchvision's numbers", () => {
  const normalized = vgg('D', true);
  const at = (name: string): string => normalized.layers[layerIndex('test', normalized, name)]!.name;
  expect([at('conv1_1'), at('bn1_1'), at('relu1_1'), at('conv1_2')]).toEqual(
    [0, 1, 2, 3].map((i) => `features.${i}`),
  );
  expect(at('relu3_3')).toBe('features.22');
  const names = layerNames(vgg('E'));
  expect(names.get('relu4_4')).toBe(26);
  expect(names.get('relu5_4')).toBe(35);
});

test('linear layers count on from the blocks of any chain', () => {
  const vgg7 = buildNetwork(createModel('vgg7', { classes: 10 }), [3, 32, 32]);
  expect([...layerNames(vgg7).keys()].slice(-5)).toEqual(['relu2_3', 'pool2', 'fc3', 'relu3', 'fc4']);
  // Without a pool at the end, the last block still counts.
  const open = buildNetwork(
    sequential([
      relu(),
      conv2d({ out: 4, kernel: 3 }),
      maxPool2d(2),
      conv2d({ out: 4, kernel: 3 }),
      flatten(),
      linear(3),
    ]),
    [1, 12, 12],
  );
  expect([...layerNames(open)]).toEqual([
    ['conv1_1', 1],
    ['pool1', 2],
    ['conv2_1', 3],
    ['fc3', 5],
  ]);
});

test('an unknown name gets a suggestion and the list', () => {
  const network = vgg('A');
  const message = (name: string): string => {
    try {
      layerIndex('features', network, name);
    } catch (error) {
      expect(error).toBeInstanceOf(UsageError);
      return (error as UsageError).message;
    }
    throw new Error(`${name} was found`);
  };
  expect(message('relu3_9')).toMatch(
    /^features: vgg-A has no layer "relu3_9"; did you mean "relu3_\d"\? Layers: conv1_1, relu1_1, pool1, /,
  );
  expect(message('block7')).toMatch(
    /no layer "block7"\. Layers: conv1_1, .*, fc8, or features\.0, .*classifier\.6$/,
  );
  expect(() => layerIndex('features', network, 3 as never)).toThrow(
    "features: layer 3 is not a name, such as 'relu2_2'",
  );
});
