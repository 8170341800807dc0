/**
 * Measures what loading images ahead costs: training steps on photos from memory, whose transforms the device computes,
 * and on the same photos from a cache file, which workers read and transform. Passes alternate; ratios are of
 * neighboring passes; training from the file should not be slower than from memory by more than 3 %. Also the time that
 * each chain of transforms takes for one photo. Progress goes to standard error.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Dataset, fromArrays } from '../src/data/dataset.ts';
import { placementNumbers } from '../src/data/fuse.ts';
import { type DataLoader, dataLoader } from '../src/data/loader.ts';
import { random } from '../src/data/random.ts';
import { planSamples, sampleBytes } from '../src/data/sampling.ts';
import type { AnyDataset, StoredDataset } from '../src/data/stored.ts';
import {
  colorJitter,
  compose,
  normalize,
  randomCrop,
  randomHorizontalFlip,
  randomResizedCrop,
  resize,
  scaleJitter,
  type Transform,
  toTensor,
} from '../src/data/transforms.ts';
import { createModel } from '../src/model/models.ts';
import { compile } from '../src/train/model.ts';
import { sgd } from '../src/train/optimizers.ts';
import { readOptions, wholeNumber } from './options.ts';
import { fixed, log } from './print.ts';

const usage = `Usage: node bench/loading.ts [options]

Options:
  --model <name>   network (default: vgg11)
  --width <x>      its width (default: 0.25)
  --batch <n>      images per step (default: 8)
  --steps <n>      steps per pass (default: 6)
  --rounds <n>     passes of each kind (default: 7)
  --device <name>  native or wasm (default: native)`;

const { values } = readOptions(usage, {
  options: {
    model: { type: 'string', default: 'vgg11' },
    width: { type: 'string', default: '0.25' },
    batch: { type: 'string', default: '8' },
    steps: { type: 'string', default: '6' },
    rounds: { type: 'string', default: '7' },
    device: { type: 'string', default: 'native' },
  },
});
const batchSize = wholeNumber('batch', values.batch, 1, usage);
const steps = wholeNumber('steps', values.steps, 1, usage);
const rounds = wholeNumber('rounds', values.rounds, 1, usage);

/** A photo as it is prepared: 500 × 375 with the shorter side 256. */
const shape = [3, 256, 341] as const;
const size = shape[0] * shape[1] * shape[2];
const count = batchSize * steps;
const classes = 10;

const pixels = Uint8Array.from({ length: count * size }, (_, i) => Math.imul(i, 2_654_435_761) >>> 24);
const labels = Array.from({ length: count }, (_, i) => i % classes);
const memory: Dataset = fromArrays(pixels, labels, shape);
const folder = await mkdtemp(join(tmpdir(), 'vggnet-bench-'));
const file = join(folder, 'images');
await writeFile(file, memory.pixels);
const stored: StoredDataset = {
  ...{ name: 'stored', classes: memory.classes, labels: memory.labels, length: count },
  images: {
    file,
    starts: Float64Array.from({ length: count }, (_, i) => i * size),
    sizes: Uint16Array.from({ length: 2 * count }, (_, i) => shape[1 + (i % 2)]!),
    sources: labels.map(String),
  },
};

const last = [randomHorizontalFlip(), toTensor(), normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])];
const crop = compose([randomCrop(224), ...last]);
const chains: Readonly<Record<string, Transform>> = {
  'random crop': compose([resize(256), randomCrop(224), ...last]),
  'random resized crop': compose([randomResizedCrop(224), ...last]),
  'scale jitter (256–512)': compose([scaleJitter(256, 512), randomCrop(224), ...last]),
  'resized crop, color jitter': compose([
    randomResizedCrop(224),
    colorJitter({ brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }),
    ...last,
  ]),
};

const median = (list: readonly number[]): number => list.toSorted((a, b) => a - b)[list.length >> 1]!;
const quartile = (list: readonly number[], share: number): number =>
  list.toSorted((a, b) => a - b)[Math.round(share * (list.length - 1))]!;

/** Processor time of a worker for one photo, in milliseconds: the bytes that the fused pass takes. */
function chainTime(dataset: Dataset, transform: Transform): number {
  const plan = planSamples(dataset, transform);
  const fused = plan.fused!;
  const into = { pixels: new Uint8Array(size), placements: new Float64Array(placementNumbers) };
  const image = { shape, values: pixels.subarray(0, size) };
  const repetitions = 100;
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    const start = process.threadCpuUsage().user;
    for (let i = 0; i < repetitions; i++) sampleBytes({ ...plan, fused }, image, random(0, 3, 1, i), 0, into);
    best = Math.min(best, (process.threadCpuUsage().user - start) / 1000 / repetitions);
  }
  return best;
}

log('One photo of 256 × 341 in a worker, processor time:');
for (const [name, transform] of Object.entries(chains)) {
  log(`  ${name.padEnd(28)}${fixed(chainTime(memory, transform), 2)} ms`);
}

const network = createModel(values.model, { classes, options: { width: Number(values.width) } });
await using model = await compile(network, {
  input: [3, 224, 224],
  batchSize,
  device: values.device as 'native' | 'wasm',
});
const optimizer = sgd({ lr: 0.001, momentum: 0.9 });
const loaderOf = (dataset: AnyDataset, transform: Transform): DataLoader =>
  dataLoader(dataset, { batchSize, shuffle: true, transform });
const contestants: Readonly<Record<string, DataLoader>> = {
  'memory, random crop': loaderOf(memory, crop),
  ...Object.fromEntries(
    Object.entries(chains).map(([name, transform]) => [`file, ${name}`, loaderOf(stored, transform)]),
  ),
};
const times = new Map(Object.keys(contestants).map((name) => [name, [] as number[]]));
/** Of all threads together, per image; unlike times, it hardly depends on other work on the machine. */
const processor = new Map(Object.keys(contestants).map((name) => [name, [] as number[]]));
const waits = new Map(Object.keys(contestants).map((name) => [name, [] as number[]]));
const begun = performance.now();
let [passes, warm] = [0, 0];
for (let round = -1; round < rounds; round++) {
  for (const [name, loader] of Object.entries(contestants)) {
    const before = process.cpuUsage();
    const { seconds, waitSeconds } = await model.train(loader, { epoch: round + 2, optimizer });
    // The first round starts workers and compiles kernels.
    if (round < 0) {
      warm = performance.now() - begun;
      continue;
    }
    const { user, system } = process.cpuUsage(before);
    processor.get(name)!.push((user + system) / 1000 / count);
    times.get(name)!.push(seconds / count);
    waits.get(name)!.push(waitSeconds / seconds);
    const all = rounds * times.size;
    const left = ((performance.now() - begun - warm) / ++passes) * (all - passes);
    console.error(
      `pass ${passes} of ${all}: ${name}, ${fixed((1000 * seconds) / count, 1)} ms/image; about ${fixed(left / 1000, 0)} s left`,
    );
  }
}
await rm(folder, { recursive: true });

log(
  `\n${values.model}, width ${values.width}, 224², batch ${batchSize}; ${model.description}; ${rounds} passes of ${steps} steps:`,
);
const base = times.get('memory, random crop')!;
for (const [name, own] of times) {
  const ratios = own.map((time, i) => time / base[i]!);
  log(
    `  ${name.padEnd(32)}${fixed(1000 * median(own), 2).padStart(8)} ms/image   ` +
      `${fixed(median(ratios), 3)}× (${fixed(quartile(ratios, 0.25), 3)}–${fixed(quartile(ratios, 0.75), 3)})   ` +
      `processor ${fixed(median(processor.get(name)!), 2)} ms   waited ${fixed(100 * median(waits.get(name)!), 1)} %`,
  );
}
