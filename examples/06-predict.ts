/**
 * Classifies photos with trained weights: a weight file, a checkpoint or a run folder. Decoding, resizing and cropping
 * give the same bytes as Pillow and torchvision.
 *
 *     node examples/06-predict.ts runs/a cat.jpg dog.png
 *
 * `--small` first trains the lecture's network on the built-in shapes for 2 epochs, and classifies 100 test images that
 * it saved as PNG files.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import {
  accuracyLine,
  adam,
  compile,
  createModel,
  dataLoader,
  lectureLines,
  shapes,
  toTensor,
  trainer,
} from '../src/index.ts';
import { decodeImage, openModel, saveWeights } from '../src/node.ts';

/** Trains a small network; returns its weight file, and images with their classes. */
async function trained(folder: string): Promise<{ weights: string; files: string[]; labels: string[] }> {
  const { train: trainSet, test: testSet } = shapes();
  await using model = await compile(createModel('simplified', { classes: 10 }), { input: trainSet.shape });
  const { train, test } = trainer({
    model,
    trainLoader: dataLoader(trainSet, { batchSize: 100, shuffle: true, transform: toTensor() }),
    testLoader: dataLoader(testSet, { batchSize: 100 }),
    optimizer: adam({ lr: 0.002 }),
    epochs: 2,
    reporter: lectureLines(),
  });
  for (const epoch of [1, 2]) await train(epoch);
  await test();
  const weights = join(folder, 'shapes.safetensors');
  await saveWeights(model, weights);

  const [, height, width] = testSet.shape;
  const plane = height * width;
  const files: string[] = [];
  for (let i = 0; i < 100; i++) {
    // Data sets hold planes, image files pixels.
    const planes = testSet.pixels.subarray(3 * plane * i, 3 * plane * (i + 1));
    const pixels = Uint8Array.from(planes, (_, k) => planes[(k % 3) * plane + Math.floor(k / 3)]!);
    const file = join(folder, `${i}.png`);
    await sharp(pixels, { raw: { width, height, channels: 3 } }).toFile(file);
    files.push(file);
  }
  return { weights, files, labels: files.map((_, i) => testSet.classes[testSet.labels[i]!]!) };
}

const small = process.argv.includes('--small');
const folder = small ? await mkdtemp(join(tmpdir(), 'vggnet-predict-')) : '';
const [given = '', ...photos] = process.argv.slice(2);
const { weights, files, labels } = small
  ? await trained(folder)
  : { weights: given, files: photos, labels: [] };

// The model knows its network, classes, image size and normalization.
await using model = await openModel(weights, { purpose: 'predict' });
const shown = small ? files.slice(0, 3) : files;
for (const [i, top] of (await model.classify(shown, { top: 3 })).entries()) {
  const { width, height } = await decodeImage(await readFile(shown[i]!));
  const best = top.map(({ class: name, probability }) => `${name} ${(100 * probability).toFixed(2)} %`);
  console.log(`${shown[i]} (${width}×${height}): ${best.join(', ')}`);
}
if (small) {
  const tops = await model.classify(files, { top: 1 });
  const correct = tops.filter(([top], i) => top!.class === labels[i]).length;
  console.log(accuracyLine(correct / files.length));
  await rm(folder, { recursive: true });
}
