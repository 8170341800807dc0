import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { roundedToHalf } from '../model/half.ts';
import type { Weight } from '../model/layer.ts';
import { flatten, linear } from '../model/layers/index.ts';
import { sequential } from '../model/network.ts';
import { compile, type Model } from '../train/model.ts';
import { loadWeights, saveWeights } from './model-files.ts';

test('weights survive a file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vggnet-model-'));
  const compiled = (seed: number): Promise<Model> =>
    compile(sequential([flatten(), linear(3)]), { input: [1, 2, 2], device: 'reference', seed });
  try {
    await using trained = await compiled(3);
    await using other = await compiled(4);
    const path = join(folder, 'weights.safetensors');
    await saveWeights(trained, path);
    expect(await loadWeights(other, path)).toMatchObject({ input: [1, 2, 2] });
    expect(await other.weights()).toEqual(await trained.weights());
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('half precision loads back to the same bits, and takes half the space', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vggnet-model-'));
  try {
    const network = sequential([flatten(), linear(300)]);
    await using model = await compile(network, { input: [1, 20, 20], device: 'reference', seed: 3 });
    const [whole, half, again] = ['whole', 'half', 'again'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    await saveWeights(model, whole);
    await saveWeights(model, half, { half: true });
    expect((await stat(half)).size).toBeLessThan(0.51 * (await stat(whole)).size);
    const rounded = roundedToHalf(await model.weights());
    expect(await loadWeights(model, half)).toMatchObject({ input: [1, 20, 20] });
    expect(await model.weights()).toEqual(rounded);
    await saveWeights(model, again, { half: true });
    expect(Buffer.compare(await readFile(again), await readFile(half))).toBe(0);

    const [[name, { shape, data }]] = [...rounded] as [[string, Weight]];
    await model.setWeights(new Map([...rounded, [name, { shape, data: data.with(7, 70_000) }]]));
    const saved = saveWeights(model, half, { half: true });
    await expect(saved).rejects.toThrow(UsageError);
    await expect(saved).rejects.toThrow(
      /^1\.weight has the value 70000, and half precision holds at most 65504/,
    );
    expect(Buffer.compare(await readFile(again), await readFile(half))).toBe(0);
    await expect(saveWeights(model, half, { half: 1 as never })).rejects.toThrow(
      /half 1 is not true or false/,
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});
