/** Blocks are the library's networks: presets keep their layers, and what is impossible is said at its place. */
import { describe, expect, test } from 'vitest';
import type { Shape } from '../../../model/layer.ts';
import { createModel, networkOf } from '../../../model/models.ts';
import { buildNetwork } from '../../../model/network.ts';
import {
  type Block,
  type BlockContent,
  blocksOf,
  descriptionOf,
  fresh,
  measure,
  nextWidth,
  repaired,
  widened,
  withId,
} from './blocks.ts';
import { namedModel, presetBlocks, presetGroups } from './presets.ts';

const image: Shape = [3, 32, 32];
const presets = Object.values(presetGroups).flat();

const made = (...contents: readonly BlockContent[]): readonly Block[] => contents.map(withId);

/** Kinds and shapes of a network's layers, without names. */
const layersOf = (network: ReturnType<typeof buildNetwork>) =>
  network.layers.map(({ spec: { name: _, ...spec }, output }) => ({ spec, output }));

describe.each([
  ['32×32, 10 classes', image, 10],
  ['224×224, 1000 classes', [3, 224, 224] as Shape, 1000],
])('for %s', (_, input, classes) => {
  test.each(presets.filter((name) => namedModel(name) !== undefined))(
    '%s has the layers of its model',
    (name) => {
      const { model, modelOptions } = namedModel(name)!;
      const original = buildNetwork(
        createModel(model, { classes, input, options: modelOptions ?? {} }),
        input,
      );
      const blocks = presetBlocks(name, classes, input);
      const again = buildNetwork(networkOf(descriptionOf('mine', blocks), { classes, input }), input);
      expect(layersOf(again)).toEqual(layersOf(original));
      const { network, figures, impossible } = measure('mine', blocks, input, classes);
      expect(impossible).toBeUndefined();
      expect(network?.parameterCount).toBe(original.parameterCount);
      expect(figures.reduce((sum, { parameters }) => sum + parameters, 0)).toBe(original.parameterCount);
      expect(figures.reduce((sum, { multiplyAdds }) => sum + multiplyAdds, 0)).toBe(
        original.layers.reduce((sum, { multiplyAdds }) => sum + multiplyAdds, 0),
      );
    },
  );
});

test('all presets are possible on small images', () => {
  for (const name of presets)
    expect(measure(name, presetBlocks(name, 10, image), image, 10).impossible, name).toBeUndefined();
});

test('layers without controls keep their settings', () => {
  const blocks = blocksOf(createModel('vgg11-lrn', { classes: 10, input: image }), 10);
  const norm = blocks.find(({ kind }) => kind === 'other');
  expect(norm).toMatchObject({ spec: { kind: 'localResponseNorm', size: 5, beta: 0.75, k: 2 } });
});

describe('an impossible network', () => {
  test('names the block, in the words of the library', () => {
    const blocks = made(fresh.conv, { kind: 'pool', kernel: 40, stride: 2 }, fresh.flatten, fresh.output);
    const { impossible, figures, network } = measure('mine', blocks, image, 10);
    expect(impossible).toMatchObject({ at: 1, repair: undefined });
    expect(impossible?.message).toBe(
      'maxPool2d: kernel 40×40 does not fit the 32×32 input of layer 2; use a smaller kernel',
    );
    expect(figures).toHaveLength(1);
    expect(network).toBeUndefined();
  });

  test.each<[string, readonly BlockContent[], string]>([
    ['a linear layer behind maps', [fresh.conv, fresh.output], 'flatten'],
    ['maps at the end', [fresh.conv], 'flatten'],
    ['too few outputs', [fresh.flatten, fresh.linear], 'output'],
    [
      'a window larger than the map',
      [
        { kind: 'pool', kernel: 8, stride: 8 },
        { ...fresh.conv, kernel: 7, padding: 0 } as BlockContent,
        fresh.flatten,
        fresh.output,
      ],
      'padding',
    ],
  ])('is repaired: %s', (_, contents, way) => {
    const blocks = made(...contents);
    const { impossible } = measure('mine', blocks, image, 10);
    expect(impossible?.repair).toBe(way);
    expect(measure('mine', repaired(blocks, impossible!), image, 10).impossible).toBeUndefined();
  });
});

test('widths follow powers of two and the halves between them', () => {
  expect(nextWidth(64, 1)).toBe(96);
  expect(nextWidth(100, 1)).toBe(128);
  expect(nextWidth(64, -1)).toBe(48);
  expect(nextWidth(1, -1)).toBe(1);
  const [conv] = widened(made(fresh.conv), 0.5);
  expect(conv).toMatchObject({ out: 16 });
  expect(widened(made({ kind: 'linear', out: 1, relu: true }), 0.5)[0]).toMatchObject({ out: 1 });
});
