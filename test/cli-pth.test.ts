/** Weights of PyTorch's `torch.save` on the command line. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { initialWeights } from '../src/model/initialize.ts';
import type { Weights } from '../src/model/layer.ts';
import { buildNetwork } from '../src/model/network.ts';
import { readSafetensors } from '../src/model/safetensors.ts';
import { simplified } from '../src/model/vgg.ts';
import { dictOf, legacyFile, tensorOf, vector } from './pth-vectors.ts';
import { quickVgg, vgg } from './run-vgg.ts';

const networkOf = (classes: number) => buildNetwork(simplified({ classes }), [3, 32, 32]);

/** A state dict whose storages have these keys: the tensors' names. */
const stateDict = (weights: Weights, prefix: string): readonly number[] =>
  dictOf(
    Object.fromEntries(
      [...weights].map(([name, { shape, data }]) => {
        const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((size, side) => size * side, 1));
        return [prefix + name, tensorOf({ key: name, count: data.length, shape, strides })];
      }),
    ),
  );
const storagesOf = (weights: Weights): Readonly<Record<string, Float32Array>> =>
  Object.fromEntries([...weights].map(([name, { data }]) => [name, data]));

let folder: string;
let seven: string;
let two: string;
const sevenWeights = initialWeights(networkOf(7), 1);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-cli-pth-'));
  seven = join(folder, 'seven.pth');
  two = join(folder, 'two.pth');
  await writeFile(
    seven,
    legacyFile(dictOf({ state_dict: stateDict(sevenWeights, 'module.') }), storagesOf(sevenWeights)),
  );
  const ten = initialWeights(networkOf(10), 2);
  await writeFile(
    two,
    legacyFile(dictOf({ model: stateDict(ten, ''), net: stateDict(ten, '') }), storagesOf(ten)),
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const short = ['--epochs', '1', '--threads', '1', '--no-report', '--log-every', '1'];

describe('.pth files', () => {
  test('with other classes need --fresh-head, which keeps the other layers', async () => {
    const refused = await quickVgg(['train', ...short, '--no-run', '--init', seven]);
    expect(refused.stderr).toMatch(
      /seven\.pth: it has 7 classes, but simplified has 10; to start the last layer, fc, anew .* vgg train --init FILE --fresh-head/,
    );
    expect(refused.code).toBe(1);
    const [run, saved] = [join(folder, 'run'), join(folder, 'saved.safetensors')];
    // A rate of almost nothing keeps the weights as they start.
    const options = [...short, '--lr', '1e-30', '--seed', '4', '--steps', '1', '--save', saved];
    const fresh = await vgg(['train', ...options, '--run', run, '--init', seven, '--fresh-head']);
    expect(fresh.stderr).toContain(
      'seven.pth: the last layer, fc, starts anew with 10 classes; the file has 7',
    );
    expect(fresh.code).toBe(0);
    const { tensors } = readSafetensors(readFileSync(saved));
    const head = initialWeights(networkOf(10), 4);
    for (const [name, { data }] of tensors)
      expect(data, name).toEqual((name.startsWith('fc.') ? head : sevenWeights).get(name)!.data);
    // A resumed run has its weights from its checkpoint.
    const resumed = await vgg(['train', '--resume', run, '--steps', '2', '--no-report']);
    expect([resumed.code, resumed.stderr.includes('starts anew')]).toEqual([0, false]);
  });

  test('with several state dicts need a key', async () => {
    const { stderr, code } = await quickVgg(['evaluate', two, '--model', 'simplified']);
    expect(stderr).toMatch(
      /two\.pth: it holds several state dicts; choose one: --key "model" or --key "net" \(npx vgg train: --init-key/,
    );
    expect(code).toBe(1);
    const wrong = await quickVgg(['evaluate', two, '--model', 'simplified', '--key', 'nett']);
    expect(wrong.stderr).toMatch(/two\.pth: there is no key "nett"; did you mean "net"/);
    expect(wrong.code).toBe(2);
    const evaluated = await vgg(['evaluate', two, '--model', 'simplified', '--key', 'net', '--json']);
    expect(JSON.parse(evaluated.stdout)).toMatchObject({ images: 2000 });
    const trained = await vgg([
      'train',
      ...short,
      '--steps',
      '1',
      '--no-run',
      '--init',
      two,
      '--init-key',
      'net',
    ]);
    expect(trained.code).toBe(0);
  });

  test.each([
    [['evaluate', vector('evil.pth')], 1, 'evil.pth: it is malicious'],
    [['train', '--fresh-head'], 2, '--fresh-head has no effect without --init: leave it out, or set both'],
    [['train', '--init-key', 'net'], 2, '--init-key has no effect without --init'],
  ] as const)('%s is refused', async (args, exitCode, message) => {
    const { stderr, code } = await quickVgg([...args]);
    expect(stderr).toContain(message);
    expect(code).toBe(exitCode);
  });
});
