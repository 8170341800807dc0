/** Our side of the VGG-16 benchmark: a process with the library as a user calls it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromArrays } from '../../src/data/dataset.ts';
import { dataLoader } from '../../src/data/loader.ts';
import { openWeights } from '../../src/model/weight-files.ts';
import type { WeightSource } from '../../src/model/weight-streams.ts';
import { compile } from '../../src/train/model.ts';
import { sgd } from '../../src/train/optimizers.ts';
import { fileNames, side, vgg16, vgg16Network } from './files.ts';
import { type JobOptions, serveJob } from './job.ts';

const seconds = (): number => performance.now() / 1000;
const started = seconds();

await serveJob(async (options: JobOptions & { readonly device: 'native' | 'wasm' }) => {
  const { command, batch, threads, device, folder } = options;
  await using file = await openWeights(join(folder, fileNames.weights), vgg16Network());
  let load = 0;
  let opened: number | undefined;
  const weights: WeightSource = {
    shapes: file.shapes,
    // The model takes all values in a row.
    read: async (...part) => {
      opened ??= seconds();
      await file.read(...part);
      load = seconds() - opened;
    },
  };
  const model = await compile(vgg16(), {
    input: [3, side, side],
    purpose: command === 'predict' ? 'predict' : 'train',
    batchSize: batch,
    device,
    threads,
    weights,
  });
  const { description } = model;
  const opening = { modules: started, compile: seconds() - started - load, load };
  const pixels = new Uint8Array(await readFile(join(folder, fileNames.pixels))).subarray(
    0,
    batch * 3 * side * side,
  );
  if (command === 'predict') {
    const images = Float32Array.from(pixels, (pixel) => pixel / 255);
    return { description, opening, run: async () => (await model.predict(images)).logits };
  }
  const labels = new Uint16Array(
    new Uint8Array(await readFile(join(folder, fileNames.labels))).buffer,
    0,
    batch,
  );
  const loader = dataLoader(fromArrays(pixels, labels, [3, side, side]), { batchSize: batch });
  const optimizer = sgd({ lr: 1e-4, momentum: 0.9 });
  let epoch = 0;
  return {
    description,
    opening,
    run: async () => {
      await model.train(loader, { epoch: ++epoch, optimizer });
      return undefined;
    },
  };
});
