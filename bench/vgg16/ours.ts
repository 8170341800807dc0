/** Our side of the VGG-16 benchmark: a process with the package as a user installs and calls it. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import {
  buildNetwork,
  compile,
  configurations,
  dataLoader,
  dropout,
  flatten,
  fromArrays,
  linear,
  relu,
  sequential,
  sgd,
  VggError,
  vggFeatures,
  type WeightSource,
} from 'vggnet';
import { openWeights } from 'vggnet/node';
import { fileNames, type JobOptions, serveJob, side } from './job.ts';

const seconds = (): number => performance.now() / 1000;
const started = seconds();

/** The first bytes of a file. */
async function readBytes(path: string, count: number): Promise<Uint8Array<ArrayBuffer>> {
  await using file = await open(path);
  const bytes = new Uint8Array(count);
  await file.read(bytes, 0, count, 0);
  return bytes;
}

const hidden = (index: number) => [
  linear({ out: 4096, name: `classifier.${index}` }),
  relu({ name: `classifier.${index + 1}` }),
  dropout({ probability: 0.5, name: `classifier.${index + 2}` }),
];
const vgg16 = sequential([
  ...vggFeatures(configurations.D),
  flatten(),
  ...hidden(0),
  ...hidden(3),
  linear({ out: 1000, name: 'classifier.6' }),
]);

const isRejection = (error: unknown): error is Error => error instanceof VggError;

await serveJob(async (options: JobOptions & { readonly device: 'native' | 'wasm' }) => {
  const { command, batch, threads, device, folder } = options;
  await using file = await openWeights(join(folder, fileNames.weights), buildNetwork(vgg16, [3, side, side]));
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
  const model = await compile(vgg16, {
    input: [3, side, side],
    purpose: command === 'predict' ? 'predict' : 'train',
    freeze: command === 'fineTune' ? ['features'] : [],
    batchSize: batch,
    device,
    threads,
    weights,
  });
  const { description } = model;
  const opening = { modules: started, compile: seconds() - started - load, load };
  const pixels = await readBytes(join(folder, fileNames.pixels), batch * 3 * side * side);
  if (command === 'predict') {
    const images = Float32Array.from(pixels, (pixel) => pixel / 255);
    return { description, opening, run: async () => (await model.predict(images)).logits };
  }
  const labels = new Uint16Array((await readBytes(join(folder, fileNames.labels), 2 * batch)).buffer);
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
}, isRejection);
