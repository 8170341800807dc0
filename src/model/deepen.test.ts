import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readWeights } from '../../test/read-weights.ts';
import { DataError } from '../errors.ts';
import { infoOf } from './info.ts';
import { initialWeights } from './initialize.ts';
import { createModel } from './models.ts';
import { buildNetwork } from './network.ts';
import { writeWeights } from './weight-files.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vggnet-deepen-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const input = [3, 32, 32];
const small = (name: string, options = {}) =>
  buildNetwork(createModel(name, { classes: 3, input, options: { width: 1 / 16, ...options } }), input);

test.each([true, false])('the paper’s layers of A start E (metadata in the file: %s)', async (says) => {
  const [shallow, deep] = [small('vgg11', { initialization: 'paper' }), small('vgg19')];
  const trained = initialWeights(shallow, 5);
  const path = join(folder, `a-${says}.safetensors`);
  await writeWeights(path, trained, says ? infoOf(shallow, {}) : undefined);
  const notices: string[] = [];
  const { weights } = await readWeights(path, deep, {
    deepen: true,
    seed: 9,
    onNotice: (line) => notices.push(line),
  });
  // conv1_1, conv2_1, conv3_1, conv3_2 and the classifier, by their places in torchvision's numbering.
  const taken: Readonly<Record<string, string>> = {
    'features.0': 'features.0',
    'features.5': 'features.3',
    'features.10': 'features.6',
    'features.12': 'features.8',
    classifier: 'classifier',
  };
  const drawn = initialWeights(deep, 9);
  for (const [name, { data }] of weights) {
    const [, layer = '', tensor = ''] = /^(.*)\.(\w+)$/.exec(name) ?? [];
    const from = taken[layer];
    const expected = from === undefined ? drawn.get(name)! : trained.get(`${from}.${tensor}`)!;
    expect([...data], name).toEqual([...expected.data]);
  }
  expect(notices).toEqual([
    `${path}: conv1_1, conv2_1, conv3_1, conv3_2, fc6 start vgg19; its other layers are drawn`,
  ]);
});

test('networks that do not fit each other are refused', async () => {
  const shallow = small('vgg11');
  const path = join(folder, 'narrow.safetensors');
  await writeWeights(path, initialWeights(shallow, 5), infoOf(shallow, {}));
  const read = (network: ReturnType<typeof small>, options = {}): Promise<unknown> =>
    readWeights(path, network, { deepen: true, onNotice: () => undefined, ...options });
  await expect(read(small('vgg16', { width: 1 / 8 }))).rejects.toThrow(DataError);
  await expect(read(small('vgg16', { width: 1 / 8 }))).rejects.toThrow(
    'vgg11 cannot start vgg16: conv1_1 has [4, 3, 3, 3] in the file and [8, 3, 3, 3] in the network',
  );
  await expect(read(small('vgg16'), { freshHead: true })).rejects.toThrow('exclude each other');
});
