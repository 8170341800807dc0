import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { imagenetClasses } from '../data/imagenet.ts';
import { UsageError } from '../errors.ts';
import { type HeadName, heads, type VggName, vggNames } from '../model/family.ts';
import { impliedModel } from '../model/implied.ts';
import { initialWeights } from '../model/initialize.ts';
import type { Shape } from '../model/layer.ts';
import { createModel } from '../model/models.ts';
import { buildNetwork, tensorsOf } from '../model/network.ts';
import { normalizationPresets } from '../model/normalization-presets.ts';
import { writeWeights } from '../model/weight-files.ts';
import { readAll } from '../model/weight-streams.ts';
import { type GivenDescription, openDescribed } from './described-weights.ts';
import { examineWeights } from './examine-weights.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vggnet-described-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const member = (name: VggName, head: HeadName, options = {}, classes = 5) => {
  const side = head === 'imagenet' ? 224 : 32;
  const input = [3, side, side];
  return buildNetwork(createModel(name, { classes, input, options: { head, ...options } }), input);
};
const shapesOf = (network: ReturnType<typeof member>): ReadonlyMap<string, Shape> =>
  new Map(tensorsOf(network).map(({ name, shape }) => [name, shape]));

describe('tensors imply their network', () => {
  // Local response normalization has no tensors.
  const cases = vggNames
    .filter((name) => name !== 'vgg11-lrn')
    .flatMap((name) => heads.map((head) => [name, head] as const));

  test.each(cases)('%s with the head %s', (name, head) => {
    const options = { width: 0.5, ...(head !== 'linear' && { hidden: 24 }) };
    const network = member(name, head, options);
    const implied = impliedModel(shapesOf(network))!;
    expect(implied.input).toEqual(network.input);
    const { layers } = buildNetwork(implied.network, implied.input);
    expect(layers.map(({ spec }) => spec)).toEqual(network.layers.map(({ spec }) => spec));
    expect(implied.network.name).toBe(name);
  });

  test('under names of DataParallel and of timm', () => {
    const network = member('vgg13', 'imagenet', { width: 1 / 16, hidden: 8 });
    const wrapped = new Map([...shapesOf(network)].map(([name, shape]) => [`module.${name}`, shape]));
    expect(impliedModel(wrapped)?.network.name).toBe('vgg13');
    const timm = new Map(
      [...shapesOf(network)].map(([name, shape]) => {
        if (name === 'classifier.0.weight') return ['pre_logits.fc1.weight', [8, 32, 7, 7]];
        if (name === 'classifier.3.weight') return ['pre_logits.fc2.weight', [8, 8, 1, 1]];
        const renamed = name
          .replace('classifier.0', 'pre_logits.fc1')
          .replace('classifier.3', 'pre_logits.fc2')
          .replace('classifier.6', 'head.fc');
        return [renamed, shape];
      }),
    );
    expect(impliedModel(timm)?.network).toMatchObject({
      name: 'vgg13',
      options: { hidden: 8, width: 1 / 16 },
    });
  });

  test('of other networks, nothing', () => {
    const vgg7 = buildNetwork(createModel('vgg7', { classes: 3 }), [3, 32, 32]);
    expect(impliedModel(shapesOf(vgg7))).toBeUndefined();
    const features = [...shapesOf(member('vgg11', 'imagenet'))].filter(([name]) =>
      name.startsWith('features'),
    );
    expect(impliedModel(new Map(features))).toBeUndefined();
    expect(impliedModel(new Map())).toBeUndefined();
    expect(impliedModel(new Map([['a', [2, 2]]]))).toBeUndefined();
  });
});

describe('weights of unknown origin', () => {
  const options = { width: 1 / 16, hidden: 8 };
  const thousand = member('vgg16', 'imagenet', options, 1000);
  const few = member('vgg11', 'linear', { width: 1 / 16 });
  const open = async (network: typeof few, name: string, given: GivenDescription = {}) => {
    const path = join(folder, name);
    await writeWeights(path, initialWeights(network, 1));
    const notices: string[] = [];
    await using file = await openDescribed(path, given, { onNotice: (line) => notices.push(line) });
    return { info: file.info, weights: await readAll(file), notices };
  };

  test('with 1000 classes are taken for ImageNet’s, which is reported', async () => {
    const { info, notices } = await open(thousand, 'a.safetensors');
    const { mean, std } = normalizationPresets.torchvision;
    expect(info).toMatchObject({
      input: [3, 224, 224],
      classes: imagenetClasses,
      normalization: { mean, std },
    });
    expect(notices).toEqual([expect.stringContaining("assuming ImageNet's classes and torchvision's")]);
    const told = await open(thousand, 'a.safetensors', { normalization: null });
    expect(told).toMatchObject({ notices: [], info: { normalization: null } });
  });

  test('with another number have no normalization', async () => {
    const { info, notices } = await open(few, 'b.safetensors');
    expect(info.normalization).toBeUndefined();
    expect(info.classes).toBeUndefined();
    expect(notices).toEqual([]);
  });

  test('caffe-bgr turns the first convolution round', async () => {
    const before = initialWeights(few, 1);
    const { weights, info } = await open(few, 'c.safetensors', { normalization: 'caffe-bgr' });
    expect(info.normalization).toMatchObject({ mean: [123.68 / 255, 116.779 / 255, 103.939 / 255] });
    for (const [name, { shape, data }] of weights) {
      const old = before.get(name)!.data;
      if (name !== 'features.0.weight') expect(data).toEqual(old);
      else {
        expect(shape).toEqual([4, 3, 3, 3]);
        const turned = old.map((_, i) => old[i + 9 * (2 - 2 * (Math.floor(i / 9) % 3))]!);
        expect(data).toEqual(turned);
        expect(data).not.toEqual(old);
      }
    }
    await expect(open(few, 'c.safetensors', { normalization: 'caffe' as never })).rejects.toThrow(UsageError);
  });

  test('take another size of images', async () => {
    const { info } = await open(thousand, 'd.safetensors', { input: [3, 64, 96] });
    expect(info.input).toEqual([3, 64, 96]);
  });

  test('are examined', async () => {
    const path = join(folder, 'e.safetensors');
    const weights = initialWeights(few, 1);
    await writeWeights(path, weights);
    const found = await examineWeights(path);
    expect(found).toMatchObject({ format: 'safetensors', network: 'vgg11', classes: 5, input: [3, 32, 32] });
    expect(found.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(found).not.toHaveProperty('published');
    expect(found).not.toHaveProperty('notFinite');
    weights.get('classifier.bias')!.data[2] = Number.NaN;
    await writeWeights(path, weights);
    expect((await examineWeights(path)).notFinite).toBe('classifier.bias');
  });
});
