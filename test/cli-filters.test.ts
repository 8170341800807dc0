/** `vgg filters` as a process. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { initialWeights } from '../src/model/initialize.ts';
import { flatten, linear } from '../src/model/layers/index.ts';
import { createModel } from '../src/model/models.ts';
import { buildNetwork, type Sequential, sequential } from '../src/model/network.ts';
import { writeWeights } from '../src/model/weight-files.ts';
import { vgg } from './run-vgg.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-cli-filters-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const saved = async (name: string, network: Sequential, described = true): Promise<string> => {
  const path = join(folder, `${name}.safetensors`);
  const weights = initialWeights(buildNetwork(network, [3, 32, 32]), 1);
  await writeWeights(path, weights, described ? { network, input: [3, 32, 32] } : undefined);
  return path;
};

test('draws the filters of the first convolution', async () => {
  const path = await saved('simplified', createModel('simplified', { classes: 10 }));
  const file = join(folder, 'filters.png');
  const { code, stderr } = await vgg(['filters', path, file]);
  expect({ code, stderr }).toEqual({
    code: 0,
    stderr: `16 filters of conv1, 3×3×3 each, are in ${file}.\n`,
  });
  const png = await readFile(file);
  expect(png.subarray(1, 4).toString()).toBe('PNG');
  // Four filters of 3 pixels in a row with gaps of one, 29 times as large.
  expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([15 * 29, 15 * 29]);
  const wide = await vgg(['filters', path, file, '--columns', '16', '--json']);
  expect(JSON.parse(wide.stdout)).toEqual({
    layer: 'conv1',
    shape: [16, 3, 3, 3],
    width: 63 * 7,
    height: 3 * 7,
  });
});

test('says why there are none', async () => {
  const file = join(folder, 'none.png');
  const flat = await vgg(['filters', await saved('flat', sequential([flatten(), linear(3)])), file]);
  expect(flat).toMatchObject({ code: 2, stderr: expect.stringContaining('has no convolution') });
  const bare = await vgg([
    'filters',
    await saved('bare', createModel('simplified', { classes: 10 }), false),
    file,
  ]);
  expect(bare).toMatchObject({ code: 2, stderr: expect.stringContaining('does not say its network') });
});
