/**
 * Makes `vgg7-table.json`: the test accuracy of `vgg7` for every point of a small space, 3 epochs on the first 10,000
 * images of CIFAR-10. Samplers are compared on it without training anything (`src/tune/samplers/samplers.test.ts`).
 *
 *     node test/golden/make_vgg7_table.ts DIR     DIR has CIFAR-10's binary files; about a quarter of an hour
 *
 * The file is written after each point, and points that it has are not trained again.
 */
import { existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { loadDataset } from '../../src/data/load.ts';
import {
  adam,
  compile,
  compose,
  createModel,
  type Dataset,
  dataLoader,
  normalize,
  pad,
  randomCrop,
  randomHorizontalFlip,
  toTensor,
  trainer,
} from '../../src/index.ts';

const images = 10_000;
const epochs = 3;
const candidates = {
  lr: [0.0005, 0.001, 0.0015, 0.002, 0.0025],
  channels: [16, 32, 48],
  stride: [2, 4],
  hidden: [64, 192],
};

type Point = { readonly [name in keyof typeof candidates]: number };
interface Table {
  readonly what: string;
  readonly candidates: typeof candidates;
  readonly results: (Point & { readonly accuracy: number })[];
}

const file = new URL('vgg7-table.json', import.meta.url);
const table: Table = existsSync(file)
  ? JSON.parse(await readFile(file, 'utf8'))
  : {
      what:
        `test accuracy of vgg7 on CIFAR-10 after ${epochs} epochs on ${images} images; ` +
        'channels of the first block, twice as many in the second; stride of the second pool',
      candidates,
      results: [],
    };

const directory = process.argv[2];
if (directory === undefined) throw new Error('usage: node test/golden/make_vgg7_table.ts DIR');
const { train: all, test } = await loadDataset({ dataset: 'cifar10', data: directory });
const train: Dataset = {
  ...all,
  pixels: all.pixels.subarray(0, images * 3072),
  labels: all.labels.subarray(0, images),
  length: images,
};
const floats = [toTensor(), normalize([0.5, 0.5, 0.5], [0.25, 0.25, 0.25])];

async function accuracyOf({ lr, channels, stride, hidden }: Point): Promise<number> {
  const network = createModel('vgg7', {
    classes: 10,
    options: { channels: [channels, 2 * channels], poolStrides: [2, stride], hidden },
  });
  await using model = await compile(network, { input: train.shape, batchSize: 100, seed: 0 });
  const run = trainer({
    model,
    epochs,
    optimizer: adam({ lr }),
    trainLoader: dataLoader(train, {
      batchSize: 100,
      shuffle: true,
      seed: 0,
      transform: compose([pad(4), randomHorizontalFlip(), randomCrop(32), ...floats]),
    }),
    testLoader: dataLoader(test, { batchSize: 100, transform: compose(floats) }),
  });
  for (let epoch = 1; epoch <= epochs; epoch++) await run.train(epoch);
  return (await run.test()).accuracy;
}

const { lr: lrs, channels: widths, stride: strides, hidden: hiddens } = candidates;
for (const lr of lrs)
  for (const channels of widths)
    for (const stride of strides)
      for (const hidden of hiddens) {
        const point = { lr, channels, stride, hidden };
        const same = (other: Point): boolean =>
          Object.entries(point).every(([name, value]) => other[name as keyof Point] === value);
        if (table.results.some(same)) continue;
        const accuracy = await accuracyOf(point);
        table.results.push({ ...point, accuracy });
        console.log(`${table.results.length} points`, point, accuracy);
        const lines = table.results.map((result) => `    ${JSON.stringify(result)}`).join(',\n');
        const head = JSON.stringify({ what: table.what, candidates }, null, 2).slice(0, -2);
        await writeFile(`${file.pathname}.tmp`, `${head},\n  "results": [\n${lines}\n  ]\n}\n`);
        await rename(`${file.pathname}.tmp`, file);
      }
