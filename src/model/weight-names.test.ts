import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tiny, tinyWeights, vector } from '../../test/pth-vectors.ts';
import { readWeights } from '../../test/read-weights.ts';
import { DataError } from '../errors.ts';
import { initialWeights } from './initialize.ts';
import type { Network, Shape, Weights } from './layer.ts';
import { conv2d, dropout, flatten, linear, maxPool2d, relu } from './layers/index.ts';
import { buildNetwork, sequential, tensorsOf } from './network.ts';
import { writeSafetensors } from './safetensors.ts';
import { openWeights, writeWeights } from './weight-files.ts';
import { fittingTensors } from './weight-names.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-names-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** The network of `tiny-torchvision.safetensors`, at a size of which the adaptive pool is the identity. */
const small = (classes = 6): Network =>
  buildNetwork(
    sequential(
      [
        conv2d({ out: 4, kernel: 3, padding: 1, name: 'features.0' }),
        relu(),
        maxPool2d(2),
        conv2d({ out: 8, kernel: 3, padding: 1, name: 'features.3' }),
        relu(),
        conv2d({ out: 8, kernel: 3, padding: 1, name: 'features.5' }),
        relu(),
        maxPool2d(2),
        conv2d({ out: 8, kernel: 3, padding: 1, name: 'features.8' }),
        relu(),
        maxPool2d(2),
        flatten(),
        linear({ out: 16, name: 'classifier.0' }),
        relu(),
        dropout({ probability: 0.5 }),
        linear({ out: 16, name: 'classifier.3' }),
        relu(),
        linear({ out: classes, name: 'classifier.6' }),
      ],
      { name: 'small' },
    ),
    [3, 56, 56],
  );

const shapesOf = (network: Network): ReadonlyMap<string, Shape> =>
  new Map(tensorsOf(network).map(({ name, shape }) => [name, shape]));
const renamedBy = (rename: (name: string) => string): ReadonlyMap<string, Shape> =>
  new Map([...shapesOf(small())].map(([name, shape]) => [rename(name), shape]));

describe('names of other programs', () => {
  test.each<[string, (name: string) => string]>([
    ['torchvision', (name) => name],
    ['DataParallel', (name) => `module.${name}`],
    ['torch.compile', (name) => `_orig_mod.${name}`],
    ['several wrappers', (name) => `module._orig_mod.model.net.${name}`],
    ['DataParallel of the features', (name) => name.replace('features.', 'features.module.')],
    ['both', (name) => `model.${name.replace('features.', 'features.module.')}`],
    [
      'timm',
      (name) =>
        name
          .replace('classifier.0', 'pre_logits.fc1')
          .replace('classifier.3', 'pre_logits.fc2')
          .replace('classifier.6', 'head.fc'),
    ],
    [
      'a head with dropout first',
      (name) => name.replace('classifier.0', 'classifier.1').replace('classifier.3', 'classifier.4'),
    ],
  ])('%s', (_program, rename) => {
    const { shapes, sources } = fittingTensors(small(), renamedBy(rename));
    expect([...shapes]).toEqual([...shapesOf(small())]);
    expect([...sources]).toEqual([...shapes.keys()].map((name) => [name, rename(name)]));
  });

  test('of timm: its convolutions have the same values in the same order', async () => {
    const own = await readWeights(vector('tiny-torchvision.safetensors'), small());
    const timm = await readWeights(vector('tiny-timm.safetensors'), small());
    const legacy = await readWeights(vector('tiny-torchvision-legacy.pth'), small());
    expect(timm).toEqual(own);
    expect(legacy).toEqual(own);
  });

  test('never fit by position alone', () => {
    const other = renamedBy((name) => name.replace('features.', 'layers.'));
    expect(() => fittingTensors(small(), other)).toThrow(/features\.0\.weight \[4, 3, 3, 3\] is missing/);
    const mixed = new Map([...renamedBy((name) => `module.${name}`), ['epoch', [1]]]);
    expect(() => fittingTensors(small(), mixed)).toThrow(DataError);
    // Two tensors for one name.
    const twice = new Map([...shapesOf(small()), ['features.module.0.weight', [4, 3, 3, 3]]]);
    expect(() => fittingTensors(small(), twice)).toThrow(/features\.module\.0\.weight is unexpected/);
  });

  test('of very many tensors or wrappers are refused', () => {
    const many = new Map(Array.from({ length: 50_000 }, (_, i) => [`model.${i}`, [1]] as const));
    expect(() => fittingTensors(small(), many)).toThrow(/and 50008 more/);
    const deep = renamedBy((name) => 'module.'.repeat(30) + name);
    expect(() => fittingTensors(small(), deep)).toThrow(DataError);
    expect(
      fittingTensors(
        small(),
        renamedBy((name) => 'module.'.repeat(8) + name),
      ).sources.size,
    ).toBe(14);
  });

  test('that fit none are explained for the nearest ones', () => {
    const wrong = new Map(renamedBy((name) => `module.${name}`));
    wrong.set('module.features.3.weight', [8, 5, 3, 3]);
    expect(() => fittingTensors(small(), wrong)).toThrow(
      'weights do not fit small on 3×56×56: features.3.weight is [8, 5, 3, 3], expected [8, 4, 3, 3]',
    );
  });
});

describe('a fresh head', () => {
  test('is offered for another number of classes', async () => {
    await expect(openWeights(vector('checkpoint.pth'), tiny(7))).rejects.toThrow(
      'checkpoint.pth: it has 5 classes, but tiny has 7; to start the last layer, classifier.0, anew and keep all others, ' +
        'use vgg train --init FILE --fresh-head (in the library, { freshHead: true })',
    );
    const wide = new Map([...shapesOf(small()), ['classifier.6.weight', [6, 99]]] as const);
    expect(() => fittingTensors(small(), wide)).toThrow(
      /classifier\.6\.weight is \[6, 99\], expected \[6, 16\]; to start the last layer/,
    );
    // A network that is only a head keeps the plain message.
    const single = buildNetwork(sequential([linear({ out: 2, name: 'fc' })]), [3]);
    expect(() =>
      fittingTensors(
        single,
        new Map([
          ['fc.weight', [5, 3]],
          ['fc.bias', [5]],
        ]),
      ),
    ).toThrow(/fc\.weight is \[5, 3\], expected \[2, 3\]; fc\.bias is \[5\], expected \[2\]$/);
  });

  test('replaces exactly the last layer, with the values of the seed, and says so', async () => {
    const notices: string[] = [];
    const options = { freshHead: true, seed: 3, onNotice: (line: string) => notices.push(line) };
    const { weights } = await readWeights(vector('checkpoint.pth'), tiny(7), options);
    const wanted = new Map([...tinyWeights()]);
    for (const name of ['classifier.0.weight', 'classifier.0.bias'])
      wanted.set(name, initialWeights(tiny(7), 3).get(name)!);
    expect([...weights]).toEqual([...wanted]);
    expect(notices).toEqual([
      `${vector('checkpoint.pth')}: the last layer, classifier.0, starts anew with 7 classes; the file has 5`,
    ]);
    // The same classes: it was asked for.
    const same = await readWeights(vector('checkpoint.pth'), tiny(5), options);
    expect(same.weights.get('classifier.0.bias')).toEqual(
      initialWeights(tiny(5), 3).get('classifier.0.bias'),
    );
    // Without any head in the file.
    const path = join(folder, 'headless.safetensors');
    const body: Weights = new Map([...tinyWeights()].filter(([name]) => !name.startsWith('classifier')));
    await writeFile(path, writeSafetensors(body));
    expect([...(await readWeights(path, tiny(7), options)).weights]).toEqual([...wanted]);
    await expect(readWeights(path, tiny(7))).rejects.toThrow(
      /classifier\.0\.weight \[7, 64\] is missing; .*--fresh-head/,
    );
    expect(notices.at(-1)).toMatch(/starts anew with 7 classes$/);
  });

  test('does not hide other problems', async () => {
    const options = { freshHead: true, onNotice: () => undefined };
    await expect(readWeights(vector('views.pth'), tiny(7), options)).rejects.toThrow(
      /features\.0\.weight .* is missing/,
    );
  });

  test('makes the information of a file that of the new network', async () => {
    const path = join(folder, 'own.safetensors');
    const normalization = { mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2] };
    const infoOf = (network: Network) => ({
      network: { name: network.name, layers: network.layers.map(({ spec }) => spec) },
      input: network.input,
    });
    const classes = ['a', 'b', 'c', 'd', 'e'];
    await writeWeights(path, tinyWeights(), {
      ...infoOf(tiny()),
      dataset: 'letters',
      classes,
      normalization,
    });
    const { info } = await readWeights(path, tiny(7), { freshHead: true, onNotice: () => undefined });
    expect(info).toEqual({ ...infoOf(tiny(7)), normalization });
  });
});
