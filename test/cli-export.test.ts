/** `vgg export`, and what PyTorch makes of its files. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { random } from '../src/data/random.ts';
import { roundedToHalf } from '../src/model/half.ts';
import { initialWeights } from '../src/model/initialize.ts';
import { createModel } from '../src/model/models.ts';
import { buildNetwork } from '../src/model/network.ts';
import { writeOnnx } from '../src/model/onnx/onnx.ts';
import { writeSafetensors } from '../src/model/safetensors.ts';
import { readInfo, writeWeights } from '../src/model/weight-files.ts';
import { openModel } from '../src/runs/open-model.ts';
import { expectAllClose } from './allclose.ts';
import { readWeights } from './read-weights.ts';
import { jsonLines, quickVgg, vgg } from './run-vgg.ts';

const info = {
  network: createModel('vgg7', { classes: 3, options: { channels: [4, 5], hidden: 6 } }),
  input: [3, 32, 32],
  classes: ['cat', 'dog', 'cow'],
  normalization: { mean: [0.4, 0.5, 0.6], std: [0.2, 0.25, 0.3] },
};
const network = buildNetwork(info.network, info.input);
const weights = initialWeights(network, 1);

let folder: string;
let saved: string;
/** As PyTorch writes it: without a description. */
let plain: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-cli-export-'));
  saved = join(folder, 'saved.safetensors');
  plain = join(folder, 'plain.safetensors');
  await writeWeights(saved, weights, info);
  await writeFile(plain, writeSafetensors(weights));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const settings = ['--model', 'vgg7', '--model-option', 'channels=4,5', '--model-option', 'hidden=6'];

test('a run is exported by its name, as its best weights', { timeout: 240_000 }, async () => {
  const runs = join(folder, 'runs');
  const env = { VGGNET_RUNS: runs };
  await vgg(['train', '--steps', '3', '--device', 'wasm', '--no-report', '--run', join(runs, 'a')], { env });
  const run = await quickVgg(['export', 'a', '--to', 'onnx'], { env });
  expect(run.stderr).toBe('');
  const path = join(runs, 'a', 'best.onnx');
  expect(run.stdout).toMatch(
    /^simplified is in \S+best\.onnx: ONNX, [\d.]+ KiB\.\nInput: images \[n, 3, 32, 32\]/,
  );
  expect(run.stdout).toMatch(/\nOutput: logits \[n, 10\]\.\n$/);
  const best = join(runs, 'a', 'best.safetensors');
  const own = (await readInfo(best))!;
  const { weights: trained } = await readWeights(best, buildNetwork(own.network, own.input));
  expect(Buffer.compare(await readFile(path), await writeOnnx({ ...own, weights: trained }))).toBe(0);

  // The weights alone, without the state of the training.
  const alone = join(folder, 'alone.safetensors');
  expect(
    jsonLines(await quickVgg(['export', best, '--to', 'safetensors', '--output', alone, '--json'])),
  ).toEqual([
    {
      file: alone,
      format: 'safetensors',
      bytes: (await readFile(alone)).length,
      input: [3, 32, 32],
      classes: 10,
    },
  ]);
  expect((await readWeights(alone, buildNetwork(own.network, own.input))).weights).toEqual(trained);
  expect(await readInfo(alone)).toEqual(own);
});

test('options choose precision, input and output', async () => {
  const path = join(folder, 'saved-half.onnx');
  const args = ['export', saved, '--to', 'onnx', '--half', '--softmax', '--preprocess'];
  const run = await quickVgg(args);
  expect(run.stdout).toContain(
    'Input: images [n, 3, 32, 32], pixels from 0 to 255.\nOutput: probabilities [n, 3].\n',
  );
  const expected = await writeOnnx({ ...info, weights }, { half: true, softmax: true, preprocess: true });
  expect(Buffer.compare(await readFile(path), expected)).toBe(0);
});

test('a file that does not say its network needs options', async () => {
  const output = join(folder, 'plain.onnx');
  const refused = await quickVgg(['export', plain, '--to', 'onnx']);
  expect(refused).toMatchObject({ code: 2, stdout: '' });
  expect(refused.stderr).toContain('does not say its network');

  const names = join(folder, 'names.txt');
  await writeFile(names, 'cat\r\ndog\n cow\n\n');
  const more = ['--classes', names, '--input', '3,32,32', '--mean', '0.4,0.5,0.6', '--std', '0.2,1/4,0.3'];
  const run = await quickVgg(['export', plain, '--to', 'onnx', '--preprocess', ...settings, ...more]);
  expect(run.stderr).toBe('');
  const expected = await writeOnnx({ ...info, weights }, { preprocess: true });
  expect(Buffer.compare(await readFile(output), expected)).toBe(0);
});

test('nothing is replaced without --force, and never the source', async () => {
  const output = join(folder, 'existing.onnx');
  await writeFile(output, 'mine');
  const args = ['export', saved, '--to', 'onnx', '--output', output];
  const refused = await quickVgg(args);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toMatch(/existing\.onnx\s+exists; replace it with --force, or\s+name another file/);
  expect(await readFile(output, 'utf8')).toBe('mine');
  expect((await quickVgg([...args, '--force'])).code).toBe(0);
  expect((await readFile(output)).length).toBeGreaterThan(1000);

  const before = await readFile(saved);
  const link = join(folder, 'link.safetensors');
  await symlink(saved, link);
  for (const to of [saved, link]) {
    const same = await quickVgg(['export', saved, '--to', 'safetensors', '--force', '--output', to]);
    expect(same.code).toBe(2);
    expect(same.stderr).toMatch(/is\s+the\s+file\s+that\s+is\s+exported/);
  }
  expect(Buffer.compare(await readFile(saved), before)).toBe(0);
});

test.for<[string, readonly string[], RegExp, number]>([
  ['no format', [], /required option '--to <format>' not specified/, 2],
  ['an unknown format', ['--to', 'onx'], /there is no to "onx"; did you mean "onnx"\?/, 2],
  ['softmax of weights', ['--to', 'safetensors', '--softmax'], /--softmax has no effect on safetensors/, 2],
  ['preprocess of weights', ['--to', 'safetensors', '--preprocess'], /--preprocess has no effect/, 2],
  [
    'another network',
    ['--to', 'onnx', '--model', 'simplified'],
    /trained with model vgg7, which contradicts --model simplified/,
    2,
  ],
  [
    'another option',
    ['--to', 'onnx', ...settings.slice(0, 2), '--model-option', 'hidden=7'],
    /--model-option hidden=7/,
    2,
  ],
  [
    'another number of classes',
    ['--to', 'onnx', '--classes', '4'],
    /has 3 classes, which contradicts --classes with 4/,
    2,
  ],
  [
    'another size',
    ['--to', 'onnx', '--input', '3,28,28'],
    /weights do not fit vgg7 on 3×28×28: .*; the file is for images of 3×32×32/,
    1,
  ],
  [
    'another normalization',
    ['--to', 'onnx', '--mean', '0', '--std', '1'],
    /trained with normalization mean 0\.4000/,
    2,
  ],
  ['a mean alone', ['--to', 'onnx', '--mean', '0'], /--mean and --std go together/, 2],
  [
    'sizes that are no numbers',
    ['--to', 'onnx', '--input', '3,x'],
    /--input 3,x is not a list of whole numbers/,
    2,
  ],
  [
    'a missing folder',
    ['--to', 'onnx', '--output', 'none/a.onnx'],
    /--output none\/a\.onnx: the folder \S+ does not exist/,
    1,
  ],
])('%s is refused', async ([, args, message, code]) => {
  const run = await quickVgg(['export', saved, ...args]);
  expect(run.stderr.replaceAll(/\s+/g, ' ')).toMatch(message);
  expect(run.code).toBe(code);
});

test('sources that are none are named', async () => {
  const none = await quickVgg(['export', join(folder, 'none'), '--to', 'onnx']);
  expect(none).toMatchObject({ code: 2 });
  expect(none.stderr).toMatch(/is neither a weight file nor a run\s+folder/);
  const damaged = join(folder, 'damaged.safetensors');
  await writeFile(damaged, 'no weights');
  const run = await quickVgg(['export', damaged, '--to', 'onnx']);
  expect(run.code).toBe(1);
  expect(run.stderr).toContain('damaged.safetensors');
});

const python = process.env.PYTHON ?? '/usr/bin/python3';
const hasTorch = spawnSync(python, ['-c', 'import torch']).status === 0;
const script = `
import json, struct, sys, numpy, torch
from torch import nn
path, pixels = sys.argv[1:]
data = open(path, "rb").read()
(length,) = struct.unpack("<Q", data[:8])
header = json.loads(data[8 : 8 + length])
del header["__metadata__"]
state = {}
for name, entry in header.items():
    assert entry["dtype"] == "F16", entry
    begin, end = (8 + length + offset for offset in entry["data_offsets"])
    state[name] = torch.from_numpy(numpy.frombuffer(data[begin:end], dtype="<f2").copy()).reshape(entry["shape"])

def block(i, o):
    return [nn.Conv2d(i, o, 3, padding=1), nn.ReLU()]

class Vgg7(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(*block(3, 4), *block(4, 4), nn.MaxPool2d(2),
            *block(4, 5), *block(5, 5), *block(5, 5), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Linear(5 * 8 * 8, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))

model = Vgg7()
model.load_state_dict(state)
x = torch.from_numpy(numpy.frombuffer(open(pixels, "rb").read(), dtype=numpy.uint8).copy()).reshape(-1, 3, 32, 32)
mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3]))
print(json.dumps(model((x / 255 - mean) / std).flatten().tolist()))
`;

test.skipIf(!hasTorch)(
  'half precision computes in PyTorch what it computes here (skipped without torch)',
  async () => {
    const half = join(folder, 'saved-half.safetensors');
    expect((await quickVgg(['export', saved, '--to', 'safetensors', '--half'])).stderr).toBe('');
    expect((await readWeights(half, network)).weights).toEqual(roundedToHalf(weights));
    const source = random(1, 4712);
    const pixels = Uint8Array.from({ length: 4 * 3 * 32 * 32 }, () => source.integer(256));
    const images = join(folder, 'pixels.bin');
    await writeFile(images, pixels);
    const { stdout, stderr } = spawnSync(python, ['-c', script, half, images], { encoding: 'utf8' });
    expect(stderr).toBe('');
    await using model = await openModel(half, { device: 'wasm' });
    const { logits } = await model.predict(pixels);
    expectAllClose(logits, JSON.parse(stdout) as number[], 1e-5, 'logits', 1);
  },
);
