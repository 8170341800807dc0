/** The lecture's network on generated images of CIFAR-10's size and number: two epochs and a test. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Dataset, fromArrays } from '../../src/data/dataset.ts';
import { dataLoader } from '../../src/data/loader.ts';
import { shapes } from '../../src/data/shapes.ts';
import { compose, pad, randomCrop, randomHorizontalFlip, toTensor } from '../../src/data/transforms.ts';
import { openWebgpuSession } from '../../src/engine/webgpu/driver.ts';
import { buildNetwork } from '../../src/model/network.ts';
import { simplified } from '../../src/model/vgg.ts';
import { Model } from '../../src/train/model.ts';
import { adam } from '../../src/train/optimizers.ts';
import { networksOf } from './networks.ts';
import type { Part, Reporter } from './part.ts';
import { openTorch } from './pytorch.ts';

const rows = ['first epoch, with start-up (s)', 'second epoch (s)', 'test (s)', 'test accuracy (%)'] as const;
const [ours, theirs] = ['ours', 'PyTorch TF32, images on the GPU'];

/** As many images as CIFAR-10 has: those of `shapes`, several times with other noise. */
function generated(base: Dataset, count: number): Dataset {
  const size = 3 * 32 * 32;
  const pixels = new Uint8Array(count * size);
  let state = 1;
  for (let i = 0; i < pixels.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    pixels[i] = base.pixels[i % (base.length * size)]! ^ (state >>> 28);
  }
  const labels = Array.from({ length: count }, (_, i) => base.labels[i % base.length]!);
  return fromArrays(pixels, labels, [3, 32, 32], { classes: base.classes });
}

export const epochPart: Part = {
  title: "The lecture's network on 50,000 generated images of 3×32×32, augmented; test on 10,000",
  seconds: 45,
  rows: () => rows,
  columns: () => [ours, theirs],
  async run({ quick, adapter, torch: device }, report) {
    const batchSize = quick ? 20 : 100;
    const base = shapes();
    const train = generated(base.train, quick ? 40 : 50_000);
    const test = generated(base.test, quick ? 20 : 10_000);
    if (quick) report.note(`only ${train.length} and ${test.length} images, for a test of the benchmark`);
    const network = buildNetwork(simplified({ classes: 10 }), train.shape);
    const session = await openWebgpuSession(network, { batchSize, adapter });
    await using model = new Model(network, session, batchSize);
    await session.initialize(0);
    const transform = compose([pad(4), randomHorizontalFlip(), randomCrop(32), toTensor()]);
    const optimizer = adam({ lr: 0.001 });
    for (const epoch of [1, 2]) {
      const start = performance.now();
      await model.train(dataLoader(train, { batchSize, shuffle: true, transform }), { epoch, optimizer });
      report.cells(rows[epoch - 1]!, { [ours]: (performance.now() - start) / 1000 });
    }
    const { seconds, accuracy } = await model.evaluate(dataLoader(test, { batchSize }));
    report.cells(rows[2], { [ours]: seconds });
    report.cells(rows[3], { [ours]: 100 * accuracy });
    await onTorch(device, train, test, batchSize, report);
  },
};

async function onTorch(
  device: string,
  train: Dataset,
  test: Dataset,
  batch: number,
  { cells, note }: Reporter,
): Promise<void> {
  const torch = await openTorch(device);
  if (typeof torch === 'string') {
    note(torch);
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), 'vggnet-bench-'));
  try {
    const files = { pixels: join(folder, 'pixels'), labels: join(folder, 'labels') };
    await writeFile(files.pixels, train.pixels);
    await writeFile(files.pixels, test.pixels, { flag: 'a' });
    await writeFile(files.labels, Uint8Array.from([...train.labels, ...test.labels]));
    const {
      epochs,
      test: testSeconds,
      accuracy,
    } = await torch.ask<{
      readonly epochs: readonly [number, number];
      readonly test: number;
      readonly accuracy: number;
    }>({
      ...{ command: 'epochs', ...files, train: train.length, test: test.length, epochs: 2, batch },
      network: networksOf(false)[0],
    });
    for (const [i, value] of [...epochs, testSeconds, 100 * accuracy].entries())
      cells(rows[i]!, { [theirs]: value });
    note(`${torch.name}; its images are on the GPU before the first epoch, ours are copied there in it`);
  } finally {
    await torch.close();
    await rm(folder, { recursive: true });
  }
}
