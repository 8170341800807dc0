import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { vggNames } from './family.ts';
import { completeOptions, createModel, models } from './models.ts';
import { buildNetwork, tensorsOf } from './network.ts';
import { summarize } from './summary.ts';

interface Golden {
  readonly parameters: number;
  readonly tensors: Readonly<Record<string, readonly number[]>>;
}

const { members } = JSON.parse(
  readFileSync(new URL('../../test/golden/family-shapes.json', import.meta.url), 'utf8'),
) as { readonly members: Readonly<Record<string, Golden>> };

const build = (name: string, input: readonly number[] = [3, 224, 224], options = {}, classes = 1000) =>
  buildNetwork(createModel(name, { classes, input, options }), input);

test.each(Object.entries(members))('%s has the tensors of torchvision', (name, { parameters, tensors }) => {
  const network = build(name);
  expect(network.parameterCount).toBe(parameters);
  const own = tensorsOf(network).map((tensor) => [tensor.name, [...tensor.shape]] as const);
  expect(Object.fromEntries(own)).toEqual(tensors);
  expect(own.map(([tensor]) => tensor)).toEqual(Object.keys(tensors));
});

describe('counts at 224×224', () => {
  const linear = 123_633_664;
  test.each([
    ['vgg11', 132_863_336, 7_609_090_048],
    ['vgg11-bn', 132_868_840, 7_609_090_048],
    ['vgg11-lrn', 132_863_336, 7_609_090_048],
    ['vgg13', 133_047_848, 11_308_466_176],
    ['vgg13-bn', 133_053_736, 11_308_466_176],
    ['vgg16', 138_357_544, 15_470_264_320],
    ['vgg16-bn', 138_365_992, 15_470_264_320],
    ['vgg16-c', 133_638_952, 11_770_888_192],
    ['vgg19', 143_667_240, 19_632_062_464],
    ['vgg19-bn', 143_678_248, 19_632_062_464],
  ])('%s: %d parameters, %d multiply-adds', (name, parameters, multiplyAdds) => {
    const { layers, total } = summarize(build(name));
    expect(total.parameters).toBe(parameters);
    expect(total.multiplyAdds).toBe(multiplyAdds);
    const of = (kind: string): number =>
      layers.filter((row) => row.kind === kind).reduce((sum, row) => sum + row.multiplyAdds, 0);
    expect(of('linear')).toBe(linear);
  });
});

test('every member of the table is built, for images from 32×32 on', () => {
  expect(vggNames).toHaveLength(10);
  for (const name of vggNames) {
    for (const input of [
      [3, 32, 32],
      [3, 33, 64],
      [1, 256, 320],
    ] as const) {
      expect(build(name, input, { width: 0.0625 }, 7).output).toEqual([7]);
    }
    expect(() => build(name, [3, 31, 40])).toThrow('does not fit');
  }
});

describe('the classifier', () => {
  const last = (name: string, input: readonly number[], options = {}) =>
    build(name, input, options, 10)
      .layers.filter(({ spec }) => spec.kind === 'linear')
      .map((layer) => [layer.name, ...layer.parameters[0]!.shape]);

  test('depends on the size of the images', () => {
    expect(last('vgg16', [3, 64, 64])).toEqual([
      ['classifier.0', 4096, 25088],
      ['classifier.3', 4096, 4096],
      ['classifier.6', 10, 4096],
    ]);
    expect(last('vgg16', [3, 63, 200])).toEqual([['classifier', 10, 512]]);
    expect(completeOptions('vgg16', {}, [3, 32, 32])).toMatchObject({ head: 'linear' });
    expect(completeOptions('vgg16', {})).toMatchObject({ head: 'imagenet', hidden: 4096 });
  });

  test('can be chosen, with its hidden units', () => {
    expect(last('vgg11', [3, 32, 32], { head: 'small' })).toEqual([
      ['classifier.1', 512, 512],
      ['classifier.4', 512, 512],
      ['classifier.6', 10, 512],
    ]);
    expect(last('vgg11', [3, 32, 32], { head: 'imagenet', hidden: 100, width: 0.5 })).toEqual([
      ['classifier.0', 100, 256 * 49],
      ['classifier.3', 100, 100],
      ['classifier.6', 10, 100],
    ]);
  });

  test('options without effect are refused', () => {
    expect(() => build('vgg16', [3, 32, 32], { hidden: 100 })).toThrow(
      'option hidden=100 has no effect with head=linear, which images of 32 pixels get; leave it out, or use head=small',
    );
    expect(() => build('vgg16', [3, 224, 224], { head: 'linear', dropout: 0.1 })).toThrow(UsageError);
  });

  test('complete options give the same network again', () => {
    for (const input of [
      [3, 32, 32],
      [3, 224, 224],
    ] as const) {
      const model = createModel('vgg13-bn', { classes: 10, input });
      expect(createModel('vgg13-bn', { classes: 10, options: model.options! })).toEqual(model);
    }
  });
});

test('options are checked', () => {
  expect(() => build('vgg16', [3, 224, 224], { head: 'large' })).toThrow(
    'vgg16: option head=large is not one of imagenet, linear, small, auto',
  );
  expect(() => build('vgg16', [3, 224, 224], { width: 0 })).toThrow('a number above 0, at most 16');
  expect(() => build('vgg16', [3, 224, 224], { hidden: '4096,1' })).toThrow('is not a whole number ≥ 1');
  expect(() => createModel('vgg16_bm', { classes: 10 })).toThrow('did you mean "vgg16-bn"');
  expect(Object.keys(models)).toContain('vgg19-bn');
});
