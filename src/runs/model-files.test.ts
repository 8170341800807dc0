import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
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
