import { expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { layersMatching } from '../model/layer-patterns.ts';
import { networkOf } from '../model/models.ts';
import { buildNetwork } from '../model/network.ts';
import { parseConfig, parseGivenConfig, refuseUnused, usedOptions } from './config.ts';
import { optimizerNames, scheduleNames, type TrainConfigInput, trainOptions } from './config-table.ts';
import { recipes } from './recipes.ts';
import { plateauSchedule } from './schedules.ts';

const unused: readonly (readonly [given: TrainConfigInput, message: string])[] = [
  [{ nesterov: true }, 'nesterov has no effect with optimizer adam: leave it out, or choose optimizer sgd'],
  [{ optimizer: 'adamw', momentum: 0.9 }, 'momentum has no effect with optimizer adamw'],
  [
    { optimizer: 'sgd', beta1: 0.8 },
    'beta1 has no effect with optimizer sgd: leave it out, or choose optimizer adam or adamw',
  ],
  [{ optimizer: 'sgd', beta2: 0.9 }, 'beta2 has no effect with optimizer sgd'],
  [{ optimizer: 'sgd', epsilon: 0.1 }, 'epsilon has no effect with optimizer sgd'],
  [{ optimizer: 'muon', nesterov: true }, 'nesterov has no effect with optimizer muon'],
  [{ optimizer: 'sgd', otherLr: 2 }, 'otherLr has no effect with optimizer sgd'],
  [{ milestones: [3], schedule: 'cosine' }, 'milestones has no effect with schedule cosine'],
  [{ lrStep: 3, schedule: 'oneCycle' }, 'lrStep has no effect with schedule oneCycle'],
  [{ lrGamma: 0.1, schedule: 'oneCycle' }, 'lrGamma has no effect with schedule oneCycle'],
  [{ warmup: 1, schedule: 'oneCycle' }, 'warmup has no effect with schedule oneCycle'],
  [{ patience: 3 }, 'patience has no effect with schedule step: leave it out, or choose schedule plateau'],
  [{ minLr: 0.1 }, 'minLr has no effect with schedule step'],
  [{ dataset: 'cifar10', labels: 'coarse' }, 'labels has no effect with dataset cifar10'],
  [
    { data: '/tmp' },
    'data has no effect with dataset shapes: leave it out, or choose dataset cifar10 or cifar100',
  ],
  [{ nesterov: true, patience: 1 }, 'choose optimizer sgd; patience has no effect'],
];
test.for(unused)('%j is rejected', ([given, message]) => {
  expect(() => parseGivenConfig(given, 'my.json')).toThrow(UsageError);
  expect(() => parseGivenConfig(given, 'my.json')).toThrow(/^my\.json: /);
  expect(() => parseGivenConfig(given, 'my.json')).toThrow(message);
  // What was complete before may have it.
  expect(parseConfig(given, 'config.json')).toMatchObject(given);
});

test.for<[object, string]>([
  [{ epochs: 2 ** 40 }, 'epochs: 1099511627776 is above the limit of 4294967295'],
  [{ threads: 1e6 }, 'threads: 1000000 is above the limit of 256'],
  [{ milestones: Array.from({ length: 1001 }, (_, i) => i + 1) }, 'milestones'],
  [{ epoch: 3 }, 'config: there is no option "epoch"'],
])('%j is beyond a limit, and the message names it', ([given, message]) => {
  expect(() => parseGivenConfig(given)).toThrow(UsageError);
  expect(() => parseGivenConfig(given)).toThrow(message);
  expect(() => parseGivenConfig(given)).not.toThrow('undefined');
});

test('each option is accepted with each choice of its owner', () => {
  const values: TrainConfigInput = { data: '/tmp', labels: 'coarse' };
  for (const [key, { owners, default: standard }] of Object.entries(trainOptions)) {
    for (const { option, choices = [] } of owners) {
      for (const choice of choices) {
        const value = values[key as keyof TrainConfigInput] ?? standard;
        expect(() =>
          parseGivenConfig({ [option]: choice.replace(/:.*/, ':photos'), [key]: value }, key),
        ).not.toThrow();
      }
    }
  }
});

test('options without effect are neither stored nor returned; the rest is complete', () => {
  for (const optimizer of optimizerNames) {
    for (const schedule of scheduleNames) {
      const config = parseGivenConfig({ optimizer, schedule }, 'test');
      const written = usedOptions(config);
      expect('momentum' in written).toBe(optimizer === 'sgd' || optimizer === 'muon');
      expect('otherLr' in written).toBe(optimizer === 'muon');
      expect('patience' in written).toBe(schedule === 'plateau');
      expect(parseGivenConfig(written, 'written')).toEqual(config);
    }
  }
});

test('a crop of training photos needs augmentation', () => {
  const photos = { dataset: 'folder:photos', crop: 'jitter' } as const;
  expect(parseGivenConfig(photos).crop).toBe('jitter');
  expect(() => parseGivenConfig({ ...photos, augment: false })).toThrow(
    /crop has no effect with augment: leave out one of them$/,
  );
  // A recipe's crop is dropped where another source turns augmentation off.
  expect(usedOptions({ crop: 'jitter' }, { ...photos, augment: false })).toEqual({});
});

test("messages use the source's names of options", () => {
  expect(() => refuseUnused({ lrStep: 2 }, { schedule: 'constant' }, '', (key) => `--${key}`)).toThrow(
    /^--lrStep has no effect with schedule constant: leave it out, or choose --schedule step$/,
  );
});

test('recipes have no options without effect', () => {
  for (const [name, { config, needs = [] }] of Object.entries(recipes)) {
    const values: TrainConfigInput = { init: 'weights.pth', dataset: 'folder:photos' };
    const needed = Object.fromEntries(needs.map((option) => [option, values[option]]));
    const { model, modelOptions, freeze } = parseGivenConfig({ ...config, ...needed }, name);
    // Of a recipe without a model, --init says it.
    const own = networkOf(config.model === undefined ? 'vgg16' : model, {
      classes: 10,
      options: modelOptions,
      input: [3, 32, 32],
    });
    const network = buildNetwork(own, [3, 32, 32]);
    if (freeze) expect(layersMatching(name, network, freeze).length).toBeGreaterThan(0);
  }
});

test('learning rates of the paper fall three times', () => {
  const { lr, lrGamma, minLr } = parseConfig(recipes.paper!.config);
  const schedule = plateauSchedule(lr, lrGamma, minLr);
  const place = { epoch: 1, step: 0, stepsPerEpoch: 1, epochs: 1, totalSteps: 1 };
  const rates = [0, 1, 2, 3, 4, 5].map((plateaus) => schedule({ ...place, plateaus }));
  expect(rates.map((rate) => Number(rate.toPrecision(6)))).toEqual([0.01, 1e-3, 1e-4, 1e-5, 1e-5, 1e-5]);
});
