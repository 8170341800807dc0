/**
 * Our side of the comparison of training steps: a process that answers requests, so that steps alternate with PyTorch's.
 * Arguments: the index of the adapter or `-`, then flags of Dawn, which hold for a whole process.
 */
import { createInterface } from 'node:readline';
import { type Dataset, fromArrays } from '../../src/data/dataset.ts';
import { toTensor } from '../../src/data/transforms.ts';
import type { Session } from '../../src/engine/backend.ts';
import { openEntry } from '../../src/engine/webgpu/device-node.ts';
import { openWebgpuSession } from '../../src/engine/webgpu/driver.ts';
import { VggError } from '../../src/errors.ts';
import { sizeOf } from '../../src/model/network.ts';
import { reason } from '../../src/reason.ts';
import { adam } from '../../src/train/optimizers.ts';
import { type BenchNetwork, imageShape, networkOf } from './networks.ts';

export type StepsRequest =
  | { readonly command: 'open'; readonly network: BenchNetwork; readonly batch: number }
  | { readonly command: 'steps'; readonly steps: number }
  | { readonly command: 'close' };

const [, , index = '-', ...flags] = process.argv;
const adapter = index === '-' ? undefined : index;

/** Random images for two batches. */
function imagesFor(network: BenchNetwork, batch: number): Dataset {
  const shape = imageShape(network);
  const pixels = new Uint8Array(2 * batch * sizeOf(shape));
  let state = 1;
  for (let i = 0; i < pixels.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    pixels[i] = state >>> 24;
  }
  const labels = Array.from({ length: 2 * batch }, (_, i) => (i * 7) % network.classes);
  const classes = Array.from({ length: network.classes }, (_, i) => String(i));
  return fromArrays(pixels, labels, shape, { classes });
}

let session: Session | undefined;
let dataset: Dataset;
let batchSize: number;

/** Seconds per step, with all that a step needs: bytes become values on the device. */
async function secondsOf(steps: number): Promise<number> {
  const order = Uint32Array.from({ length: steps * batchSize }, (_, i) => i % dataset.length);
  const source = { dataset, transform: toTensor(), batchSize, order, seed: 0, epoch: 1 };
  const optimizer = adam({ lr: 0.001 });
  const start = performance.now();
  const result = await session!.train({ source, optimizer, from: 0, to: steps });
  const seconds = (performance.now() - start) / 1000;
  if (result.steps !== steps) throw new VggError(`the loss is not finite after ${result.steps} steps`);
  return seconds / steps;
}

async function answer(request: StepsRequest): Promise<object> {
  if (request.command === 'steps') return { seconds: await secondsOf(request.steps) };
  await session?.close();
  session = undefined;
  if (request.command === 'close') return {};
  const network = networkOf(request.network);
  batchSize = request.batch;
  dataset = imagesFor(request.network, batchSize);
  session = await openWebgpuSession(network, { batchSize, adapter });
  await session.initialize(0);
  // Memory is allocated and kernels are compiled.
  await secondsOf(3);
  return { description: session.description };
}

await openEntry(adapter, flags);
const reply = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
reply({});
for await (const line of createInterface({ input: process.stdin })) {
  try {
    reply(await answer(JSON.parse(line) as StepsRequest));
  } catch (error) {
    reply({ error: reason(error) });
  }
}
process.exit(0);
