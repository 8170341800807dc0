import { expect, test } from 'vitest';
import { random } from '../data/random.ts';
import { parseConfig } from '../train/config.ts';
import { exerciseSpace } from './exercise-space.ts';
import { gridSize } from './samplers/grid.ts';
import { drawRandom } from './samplers/random.ts';
import { isPossible } from './search-space.ts';
import { configOf, parseSpace } from './space.ts';

const vgg7 = { model: 'vgg7' };
const lr = { float: [0.001, 0.1], log: true };

test('candidates become parameters, the rest stays fixed, and a point becomes a config of what has an effect', () => {
  const space = parseSpace(
    {
      model: 'vgg7',
      epochs: 5,
      schedule: 'multiStep',
      nesterov: true,
      lr,
      batchSize: { int: [32, 128], step: 32 },
      augment: { choices: [true, false] },
      milestones: { choices: [[2, 3], []] },
      'modelOptions.hidden': { choices: [256, 512] },
      modelOptions: { channels: [{ int: [32, 96], step: 32 }, 128], poolKernels: [3, 2] },
      optimizer: { choices: ['adam', 'sgd'] },
      momentum: { float: [0.8, 0.99], when: { optimizer: ['sgd'] } },
    },
    'space.json',
  );
  expect(space.parameters.map(({ name }) => name)).toEqual([
    'lr',
    'batchSize',
    'augment',
    'milestones',
    'modelOptions.hidden',
    'modelOptions.channels[0]',
    'optimizer',
    'momentum',
  ]);
  const params = {
    lr: 0.01,
    batchSize: 64,
    augment: false,
    milestones: '2,3',
    'modelOptions.hidden': 256,
    'modelOptions.channels[0]': 96,
    optimizer: 'adam',
  };
  expect(configOf(space, params)).toEqual({
    model: 'vgg7',
    epochs: 5,
    schedule: 'multiStep',
    lr: 0.01,
    batchSize: 64,
    augment: false,
    milestones: [2, 3],
    modelOptions: { hidden: 256, channels: [96, 128], poolKernels: [3, 2] },
    optimizer: 'adam',
  });
  expect(isPossible(space, params)).toBe(true);
  expect(() => configOf(space, { lrr: 1 })).toThrow('no parameter "lrr"; did you mean "lr"?');
});

test('a map smaller than the pool is recognized before it is run', () => {
  const kernel = { choices: [2, 9, 20] };
  const space = parseSpace({ model: 'vgg7', modelOptions: { poolKernels: [kernel, kernel] } }, 'space.json');
  const point = (one: number, other: number) => ({
    'modelOptions.poolKernels[0]': one,
    'modelOptions.poolKernels[1]': other,
  });
  expect(isPossible(space, point(2, 9))).toBe(true);
  expect(space.impossibility(point(2, 20))).toMatch(/pool/);
  // After kernel 2 the map is 16 wide, after 9 it is 12, after 20 it is 7.
  expect(gridSize(space)).toBe(5);
});

test('an end before the first step of the optimizer is recognized before it is run', () => {
  const accumulate = { choices: [1, 4] };
  const space = parseSpace({ steps: 3, accumulate }, 'space.json');
  expect(isPossible(space, { accumulate: 1 })).toBe(true);
  expect(space.impossibility({ accumulate: 4 })).toMatch(/^steps 3 ends the training before/);
  // Batches of half of the 10,000 images are a group of their own if the other half is held out.
  const halves = { steps: 1, accumulate, batchSize: 5000, validation: { choices: [0, 0.5] } };
  expect(gridSize(parseSpace(halves, 'space.json'))).toBe(3);
});

test.each<[string, unknown, string | RegExp]>([
  ['no object', [], 'space.json: a space must be an object of options'],
  ['empty', {}, 'the space is empty'],
  ['nothing varies', { lr: 0.1 }, 'the space is empty'],
  ['unknown option', { learnRate: lr }, 'learnRate: there is no option "learnRate"; did you mean "lr"?'],
  [
    'unknown option of the model',
    { ...vgg7, modelOptions: { chanels: { choices: [1] } } },
    /modelOptions\.chanels.*"channels"/,
  ],
  [
    'option of no candidate model',
    { modelOptions: { hidden: { choices: [1] } } },
    'there is no option "hidden"; none are available',
  ],
  [
    'option of one of the models',
    { model: { choices: ['simplified', 'vgg7'] }, modelOptions: { hidden: { choices: [64] } } },
    'modelOptions.hidden.choices[0]: simplified has no such option; add "when": {"model": ["vgg7"]}',
  ],
  ['unknown model', { model: { choices: ['vgg7', 'vgg8'] } }, 'model.choices[1]: "vgg8"'],
  [
    'a list in place of candidates',
    { lr, batchSize: [50, 100] },
    'batchSize: [50,100] is not a whole number ≥ 1; write candidates as {"choices": [50,100]}',
  ],
  ['fixed value that the option refuses', { lr, epochs: 0 }, 'epochs: 0 is not a whole number ≥ 1'],
  [
    'bounds that contradict each other',
    { lr: { float: [0.1, 0.001] } },
    'lr.float: low 0.1 is above high 0.001',
  ],
  [
    'logarithm of zero',
    { lr: { float: [0, 1], log: true } },
    'lr.float: low 0: a logarithmic range must start above 0',
  ],
  ['logarithm with a step', { batchSize: { int: [1, 9], log: true, step: 2 } }, 'batchSize.int: step 2'],
  ['a step of zero', { batchSize: { int: [1, 9], step: 0 } }, 'batchSize.int: step 0 is not above 0'],
  ['three bounds', { lr: { float: [1, 2, 3] } }, 'lr.float: give [lowest, highest]'],
  ['no whole bounds', { batchSize: { int: [1.5, 3] } }, 'batchSize.int[0]: 1.5 is not a whole number'],
  ['no choices', { lr: { choices: [] } }, 'lr.choices: give at least one choice'],
  [
    'a choice twice',
    { 'modelOptions.channels': { choices: [[64, 128], '64,128'] }, ...vgg7 },
    'choice "64,128" is given twice',
  ],
  [
    'a choice of another type',
    { optimizer: { choices: ['adam', { a: 1 }] } },
    'optimizer.choices[1]: a choice must be',
  ],
  [
    'a choice that the option refuses',
    { optimizer: { choices: ['adam', 'adamm'] } },
    'optimizer.choices[1]: "adamm" is not one of adam, adamw, muon, sgd; did you mean "adam"?',
  ],
  [
    'a bound that the option refuses',
    { batchSize: { int: [0, 8] } },
    'batchSize.int[0]: 0 is not a whole number ≥ 1',
  ],
  [
    'an end that the option excludes',
    { momentum: { float: [0.5, 1] } },
    'momentum.float[1]: 1 is not a number of at least 0 and below 1',
  ],
  [
    'an element that the option refuses, beside a candidate',
    { milestones: [{ int: [1, 5] }, 0] },
    /^space\.json: milestones\[1\]: 0 is not a whole number ≥ 1$/,
  ],
  [
    'elements of which one is a candidate',
    { milestones: [{ int: [0, 5] }, 'a'] },
    /^space\.json: milestones\[0\]\.int\[0\]: 0 is not a whole number ≥ 1; milestones\[1\]: "a" is not a whole number ≥ 1$/,
  ],
  [
    'an element of a choice',
    { milestones: { choices: [[10, 0]] } },
    /^space\.json: milestones\.choices\[0\]\[1\]: 0 is not a whole number ≥ 1$/,
  ],
  [
    'a list for a number',
    { lr: [{ choices: [1] }, 3] },
    /^space\.json: lr: \[1,3\] is not a number above 0$/,
  ],
  ['floats for a whole number', { batchSize: { float: [16, 64] } }, 'batchSize.float: '],
  [
    'too few channels',
    { ...vgg7, modelOptions: { channels: { choices: [[64]] } } },
    'modelOptions.channels.choices[0]',
  ],
  [
    'an element that the model refuses',
    { ...vgg7, modelOptions: { channels: [{ int: [0, 64] }, 64] } },
    'modelOptions.channels[0].int[0]',
  ],
  ['a misspelt key', { lr: { ...lr, setp: 1 } }, 'lr: there is no key "setp"; did you mean "step"?'],
  ['two kinds at once', { lr: { choices: [1], float: [1, 2] } }, 'lr: candidates must be'],
  [
    'given twice',
    { ...vgg7, 'modelOptions.hidden': 64, modelOptions: { hidden: { choices: [1] } } },
    'modelOptions.hidden: given twice',
  ],
  [
    'a condition on an unknown name',
    { lr, momentum: { choices: [0.5], when: { lrr: [1] } } },
    'momentum.when.lrr: there is no parameter "lrr"; did you mean "lr"?',
  ],
  [
    'a condition on what is fixed',
    { lr, optimizer: 'sgd', momentum: { choices: [0.5], when: { optimizer: ['sgd'] } } },
    'optimizer is fixed to "sgd"',
  ],
  [
    'a condition on a later name',
    { momentum: { choices: [0.5], when: { optimizer: ['sgd'] } }, optimizer: { choices: ['sgd'] } },
    'momentum.when.optimizer: optimizer comes after momentum; put it before',
  ],
  [
    'a condition on itself',
    { lr: { choices: [1], when: { lr: [1] } } },
    'lr.when.lr: a parameter cannot depend on itself',
  ],
  [
    'a circle of conditions',
    { lr: { choices: [1], when: { momentum: [0.5] } }, momentum: { choices: [0.5], when: { lr: [1] } } },
    'lr.when.momentum: momentum depends on lr, which makes a cycle',
  ],
  [
    'a condition that can never hold',
    { optimizer: { choices: ['adam', 'sgd'] }, momentum: { choices: [0.5], when: { optimizer: ['sgdd'] } } },
    'momentum.when.optimizer[0]: "sgdd" is not a value of optimizer (one of adam, sgd)',
  ],
  [
    'conditions that exclude each other',
    {
      optimizer: { choices: ['adam', 'sgd'] },
      nesterov: { choices: [true, false], when: { optimizer: ['sgd'] } },
      momentum: { choices: [0.5], when: { optimizer: ['adam'], nesterov: [true] } },
    },
    'momentum.when: can never hold, because it needs optimizer to have two values at once',
  ],
  [
    'a condition on a continuous range',
    { lr, momentum: { choices: [0.5], when: { lr: [0.01] } } },
    'is continuous; a condition needs choices, a step or whole numbers',
  ],
  [
    'a condition without values',
    { lr, momentum: { choices: [0.5], when: { lr: [] } } },
    'momentum.when.lr: name at least one value',
  ],
])('refused: %s', (_, input, message) => {
  expect(() => parseSpace(input, 'space.json')).toThrow(message);
});

test('all problems are told at once', () => {
  const input = { learnRate: lr, batchSize: { int: [0, 8] }, momentum: { float: [0.9, 0.1] } };
  expect(() => parseSpace(input, 'space.json')).toThrow(
    /space\.json: learnRate.*; momentum\.float.*; batchSize\.int\[0\]/,
  );
});

test("exercise 4's space has points, and all of them are configs", () => {
  const space = exerciseSpace();
  for (let number = 0; number < 20; number++) {
    const request = { space, direction: 'maximize', trials: [], fixed: {}, seed: 0 } as const;
    const params = drawRandom({ ...request, random: random(0, 16, number) });
    expect(parseConfig(configOf(space, params), 'point').model).toBe('vgg7');
  }
});
