/** `vgg weights check`, and the images that `vgg predict` writes, as processes. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { initialWeights } from '../src/model/initialize.ts';
import { createModel } from '../src/model/models.ts';
import { buildNetwork } from '../src/model/network.ts';
import { writeWeights } from '../src/model/weight-files.ts';
import { quickVgg, vgg } from './run-vgg.ts';

let folder: string;
let weights: string;
const photo = 'test/golden/images/420.jpg';
const input = [3, 64, 64];
const network = createModel('vgg11', { classes: 3, input, options: { width: 1 / 16, hidden: 8 } });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vggnet-cli-weights-'));
  weights = join(folder, 'tiny.safetensors');
  const info = { network, input, classes: ['cat', 'dog', 'cow'], normalization: null };
  await writeWeights(weights, initialWeights(buildNetwork(network, input), 1), info);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('vgg weights check names format, network and checksum', async () => {
  const text = await vgg(['weights', 'check', weights]);
  expect(text).toMatchObject({ code: 0, stderr: '' });
  expect(text.stdout).toMatch(/: safetensors, 22 tensors, [\d,]+ values\n/);
  expect(text.stdout).toContain('Network: vgg11, 3 classes, images of 3×64×64');
  expect(text.stdout).toContain("Published: no, it is none of torchvision's files");
  const json = await quickVgg(['weights', 'check', weights, '--json']);
  expect(JSON.parse(json.stdout)).toMatchObject({ format: 'safetensors', network: 'vgg11', classes: 3 });
  const missing = await quickVgg(['weights', 'check', join(folder, 'none.pth')]);
  expect(missing).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('none.pth cannot be read') as string,
  });
});

test('vgg weights check finds values that are not finite, also in tensors of no known network', async () => {
  const own = initialWeights(buildNetwork(network, input), 1);
  own.get('classifier.0.bias')!.data[3] = Number.NaN;
  const known = join(folder, 'nan.safetensors');
  await writeWeights(known, own);
  const unknown = join(folder, 'unknown.safetensors');
  const tensor = (...data: readonly number[]) => ({ shape: [data.length], data: Float32Array.from(data) });
  await writeWeights(
    unknown,
    new Map([
      ['a.b', tensor(1, 2)],
      ['c', tensor(1, Infinity)],
    ]),
  );
  for (const [file, network, name] of [
    [known, 'vgg11', 'classifier.0.bias'],
    [unknown, undefined, 'c'],
  ] as const) {
    const { code, stdout } = await quickVgg(['weights', 'check', file, '--json']);
    expect(code).toBe(1);
    const found = JSON.parse(stdout) as Record<string, unknown>;
    expect([found.network, found.notFinite]).toEqual([network, name]);
  }
});

describe('explanations', () => {
  const size = (file: string): readonly number[] => {
    const png = readFileSync(file);
    expect(png.subarray(1, 4).toString()).toBe('PNG');
    return [png.readUInt32BE(16), png.readUInt32BE(20)];
  };

  test('of one image: Grad-CAM, saliency and feature maps', async () => {
    const [cam, saliency, maps] = ['cam.png', 'saliency.png', 'maps.png'].map((name) => join(folder, name));
    const run = await vgg([
      ...['predict', '--weights', weights, '--class', 'DOG', '--cam', cam!, '--saliency', saliency!],
      ...['--features', 'pool1', maps!, photo],
    ]);
    expect(run.code).toBe(0);
    expect(run.stdout).toContain('420.jpg\n');
    expect(run.stderr).toContain(`${cam}: Grad-CAM for dog\n`);
    expect(run.stderr).toContain(`${saliency}: saliency for dog\n`);
    expect(run.stderr).toContain(`${maps}: the maps after pool1\n`);
    expect(size(cam!)).toEqual([448, 448]);
    expect(size(saliency!)).toEqual([448, 448]);
    // Two columns of 32 pixels and a gap, enlarged six times.
    expect(size(maps!)).toEqual([6 * 65, 6 * 65]);
  });

  test('Grad-CAM of a chosen layer, as in the library', async () => {
    const [deep, early] = ['deep.png', 'early.png'].map((name) => join(folder, name)) as [string, string];
    const args = ['predict', '--weights', weights, '--class', 'dog', photo];
    expect((await vgg([...args, '--cam', deep])).code).toBe(0);
    const run = await vgg([...args, '--cam', early, '--cam-layer', 'relu3_2']);
    expect(run.stderr).toContain(`${early}: Grad-CAM for dog\n`);
    const { openModel, camImage, encodePng, inputRaster } = await import('../src/node.ts');
    const { gradCam } = await import('../src/index.ts');
    const { readInput } = await import('../src/runs/classify.ts');
    await using model = await openModel(weights);
    const images = model.prepare(await readInput(model, photo, {}, photo));
    const [heat] = await gradCam(model.compiled, images, { classes: [1], layer: 'relu3_2' });
    expect([heat!.height, heat!.width]).toEqual([16, 16]);
    const expected = encodePng(camImage(inputRaster(images, model.input, model.normalization), heat!));
    expect(readFileSync(early).equals(expected)).toBe(true);
    expect(readFileSync(deep).equals(expected)).toBe(false);
  });

  test.each([
    ['--cam a.jpg IMAGE', '--cam a.jpg: images are written as PNG'],
    ['--cam /nowhere/a.png IMAGE', '--cam /nowhere/a.png: the folder /nowhere does not exist', 1],
    ['--cam a.png IMAGE IMAGE', '--cam draws one image, not 2; name one'],
    ['--class dog IMAGE', '--class has an effect only with --cam or --saliency'],
    ['--cam-layer relu3_2 IMAGE', '--cam-layer has an effect only with --cam'],
    ['--cam CAM --cam-layer relu9_1 IMAGE', 'has no layer "relu9_1"'],
    ['--cam CAM --cam-layer fc6 IMAGE', '--cam-layer fc6: its 8 values are not maps'],
    ['--cam CAM --class dgo IMAGE', 'did you mean "dog"'],
    ['--cam CAM --class 3 IMAGE', 'there is no class "3"'],
    ['IMAGE --features pool1', '--features pool1 needs a file'],
    ['IMAGE --features pool9 CAM', 'has no layer "pool9"'],
    ['IMAGE --features fc6 CAM', 'are not maps'],
    ['--features pool1 CAM', 'name an image file'],
  ] as const)('%s is refused', async (words, message, code: number = 2) => {
    const args = words.replaceAll('IMAGE', photo).replace('CAM', join(folder, 'x.png')).split(' ');
    const run = await quickVgg(['predict', '--weights', weights, ...args]);
    expect(run.stderr).toContain(message);
    expect(run.code).toBe(code);
  });
});
