import { expect, test } from 'vitest';
import { closeName, nearest, unknownName } from './suggest.ts';

const models = ['simplified', 'vgg7', 'vgg7-bn'];
const devices = ['auto', 'native', 'wasm', 'webgpu', 'reference'];
const options = ['model', 'dataset', 'batchSize', 'epochs', 'lr', 'lrStep', 'weightDecay', 'device'];

test.for<[string, readonly string[], string | undefined]>([
  ['vgg8', models, 'vgg7'],
  ['VGG7', models, 'vgg7'],
  ['vgg7bn', models, 'vgg7-bn'],
  ['simplifed', models, 'simplified'],
  ['vgg', models, 'vgg7'],
  ['vgg16', models, undefined],
  ['resnet18', models, undefined],
  ['', models, undefined],
  ['cuda', devices, undefined],
  ['gpu', devices, undefined],
  ['nativ', devices, 'native'],
  ['wasm32', devices, 'wasm'],
  ['epoch', options, 'epochs'],
  ['batch-size', options, 'batchSize'],
  ['lr_step', options, 'lrStep'],
  ['learningRate', options, 'lr'],
  ['flavour', options, undefined],
  ['setp', ['step', 'stop'], 'step'],
  ['lrr', ['lr', 'seed'], 'lr'],
  ['cifar', ['shapes', 'cifar10', 'cifar100'], 'cifar10'],
])('the name close to "%s" among %j is %s', ([name, known, close]) => {
  expect(closeName(name, known)).toBe(close);
});

test.for<[string, string, readonly string[], string]>([
  ['model', 'resnet18', models, 'not networks with branches'],
  ...['cuda', 'cuda:0', 'gpu', 'mps'].map((name): [string, string, readonly string[], string] => [
    'device',
    name,
    devices,
    'webgpu computes on GPUs',
  ]),
  ['device', 'cpu', devices, 'native and wasm compute on the processor'],
  ['dataset', 'mnist', ['shapes', 'cifar10'], 'folder:DIR'],
  ['dataset', 'imagenet', ['shapes', 'cifar10'], 'folder:DIR'],
  ['optimizer', 'rmsprop', ['adam', 'adamw', 'muon', 'sgd'], 'adam and adamw also adapt'],
  ['optimizer', 'nadam', ['adam', 'adamw', 'sgd'], 'adam and adamw also adapt'],
  ['schedule', 'exponential', ['constant', 'step'], 'step with lrStep 1'],
])('the %s %s is unknown, and the message names alternatives', ([what, name, known, words]) => {
  const message = unknownName(what, name, known);
  expect(message).toContain(words);
  expect(message).toContain(`. Available: ${known.join(', ')}`);
  expect(message).not.toContain('did you mean');
});

test('messages', () => {
  expect(unknownName('model', 'vgg8', models)).toBe(
    'there is no model "vgg8"; did you mean "vgg7"? Available: simplified, vgg7, vgg7-bn',
  );
  expect(unknownName('model', 'x', models)).toBe(
    'there is no model "x"; available: simplified, vgg7, vgg7-bn',
  );
  expect(unknownName('option', 'x', [])).toBe('there is no option "x"; none are available');
  expect(nearest('dataset', 'shape', ['shapes'])).toBe(
    'there is no data set "shape"; did you mean "shapes"?',
  );
  expect(nearest('key', 'x', ['step'])).toBe('there is no key "x"');
});
