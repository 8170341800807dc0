/** Passes whose images workers load: the same values as a loader's, the same bits however they are made. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { writeStored } from '../../../test/stored.ts';
import { fromArrays } from '../../data/dataset.ts';
import { batchSource, dataLoader } from '../../data/loader.ts';
import type { AnyDataset } from '../../data/stored.ts';
import {
  centerCrop,
  colorJitter,
  colorShift,
  compose,
  cutout,
  type Image,
  normalize,
  pad,
  randomCrop,
  randomHorizontalFlip,
  randomResizedCrop,
  randomRotation,
  resize,
  scaleJitter,
  type Transform,
  toTensor,
} from '../../data/transforms.ts';
import { DataError, VggError } from '../../errors.ts';
import { dropout, flatten, linear } from '../../model/layers/index.ts';
import { buildNetwork, sequential } from '../../model/network.ts';
import { sgd } from '../../train/optimizers.ts';
import type { Session, TrainRequest } from '../backend.ts';
import { openCpuSession } from '../cpu/driver.ts';
import { wasmKernels } from '../cpu/kernels/provider.ts';
import { openReference } from '../reference.ts';

const folder = mkdtempSync(join(tmpdir(), 'vggnet-loading-'));
afterAll(() => rmSync(folder, { recursive: true }));

const stored = writeStored(join(folder, 'images'), { count: 23 });
const inMemory = fromArrays(
  Uint8Array.from({ length: 20 * 3 * 20 * 20 }, (_, i) => (i * 37) % 251),
  Array.from({ length: 20 }, (_, i) => i % 3),
  [3, 20, 20],
);

const network = buildNetwork(sequential([dropout({ probability: 0.2 }), flatten(), linear(3)]), [3, 16, 16]);

/** The last part of a photo's chain: what a device computes as it loads an image. */
const last = [
  randomHorizontalFlip(),
  toTensor(),
  colorShift(0.3),
  normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.25]),
  cutout(5),
];
const chains: Readonly<Record<string, Transform>> = {
  'resized crops': compose([randomResizedCrop(16), colorJitter({ brightness: 0.4, hue: 0.1 }), ...last]),
  'scale jitter': compose([scaleJitter(20, 40), randomCrop(16), randomRotation(20), ...last]),
  'the center': compose([resize(18), centerCrop(16), toTensor()]),
  'a chain that does not fuse': compose([
    resize([16, 16]),
    toTensor(),
    cutout(4),
    randomHorizontalFlip(),
    pad(1),
    randomCrop(16),
  ]),
  'a custom function': compose([
    randomResizedCrop(16),
    (image: Image): Image => ({ ...image, values: image.values.map((value) => 255 - value) }),
    ...last,
  ]),
};
const sets: Readonly<Record<string, AnyDataset>> = { 'in a file': stored, 'in memory': inMemory };
const cases = Object.entries(sets).flatMap(([place, dataset]) =>
  Object.entries(chains).map(([chain, transform]) => [chain, place, transform, dataset] as const),
);

async function opened(
  options: { readonly threads?: number; readonly shared?: boolean } = {},
): Promise<Session> {
  const session = await openCpuSession(network, {
    batchSize: 4,
    threads: 2,
    kernels: wasmKernels,
    ...options,
  });
  onTestFinished(() => session.close());
  await session.initialize(3);
  return session;
}

const requestOf = (dataset: AnyDataset, transform: Transform, epoch = 2): TrainRequest => {
  const loader = dataLoader(dataset, { batchSize: 4, shuffle: true, seed: 5, transform });
  return { source: batchSource(loader, epoch), optimizer: sgd({ lr: 0.01 }), from: 0, to: loader.length };
};

/** Weights after an epoch. */
async function trained(session: Session, request: TrainRequest, cut?: number): Promise<Float32Array[]> {
  if (cut !== undefined) {
    await session.train({ ...request, to: cut });
    await session.train({ ...request, from: cut });
  } else await session.train(request);
  return [...(await session.weights()).values()].map((values) => Float32Array.from(values.data));
}

describe.each(cases)('%s, %s', (chain, _, transform, dataset) => {
  test('any number of threads, the calling thread, and a stop in between give the same bits', async () => {
    const request = requestOf(dataset, transform);
    const expected = await trained(await opened({ threads: 1 }), request);
    expect(expected.flatMap((values) => [...values]).some((value) => value !== 0)).toBe(true);
    expect(await trained(await opened({ threads: 3 }), request)).toEqual(expected);
    expect(await trained(await opened({ shared: false }), request)).toEqual(expected);
    expect(await trained(await opened(), request, 3)).toEqual(expected);
    if (chain !== 'the center') {
      const other = requestOf(dataset, transform, 3);
      const source = { ...other.source, order: request.source.order };
      expect(await trained(await opened(), { ...other, source })).not.toEqual(expected);
    }
  });

  test('the device sees what a loader returns', async () => {
    const session = await opened();
    const loader = dataLoader(dataset, { batchSize: 4, shuffle: true, seed: 5, transform });
    let [loss, images] = [0, 0];
    for await (const batch of loader.epoch(0)) {
      const logits = await session.predict(batch.images, batch.labels.length);
      batch.labels.forEach((label, n) => {
        const own = logits.subarray(3 * n, 3 * n + 3);
        loss += Math.log(own.reduce((sum, value) => sum + Math.exp(value), 0)) - own[label]!;
      });
      images += batch.labels.length;
    }
    const result = await session.evaluate(batchSource(loader, 0));
    expect(result.images).toBe(images);
    expect(result.loss).toBeCloseTo(loss / images, 5);
    expect(result.waitSeconds).toBeGreaterThan(0);
    expect(result.waitSeconds).toBeLessThan(result.seconds);
  });

  test('as the reference does', async () => {
    const reference = await openReference(network, { batchSize: 4 });
    await reference.initialize(3);
    const request = requestOf(dataset, transform);
    const { losses } = await reference.train(request);
    const own = await (await opened()).train(request);
    expect(own.steps).toBe(losses.length);
    own.losses.forEach((loss, i) => void expect(loss).toBeCloseTo(losses[i]!, 4));
  });
});

const transform = chains['resized crops']!;

test('an abort stops after the step, and the next pass starts anew', async () => {
  const session = await opened();
  const controller = new AbortController();
  const request = requestOf(stored, transform);
  const result = await session.train({
    ...request,
    signal: controller.signal,
    onSteps: (reports) => reports.some(({ step }) => step === 2) && controller.abort(),
  });
  expect(result.steps).toBe(2);
  const rest = await session.train({ ...request, from: 2 });
  expect(rest.steps).toBe(4);
  const whole = await trained(await opened(), request);
  expect([...(await session.weights()).values()].map((tensor) => Float32Array.from(tensor.data))).toEqual(
    whole,
  );
});

test('an error of the caller ends the pass', async () => {
  const session = await opened();
  const request = requestOf(stored, transform);
  const onSteps = (): void => {
    throw new RangeError('mine');
  };
  await expect(session.train({ ...request, onSteps })).rejects.toThrow(RangeError);
  expect((await session.evaluate(request.source)).images).toBe(23);
});

test('a file that is missing or too short is an error, and the session stays usable', async () => {
  const session = await opened({ threads: 3 });
  const gone = { ...stored, images: { ...stored.images, file: join(folder, 'gone') } };
  const missing = session.train(requestOf(gone, transform));
  await expect(missing).rejects.toThrow(DataError);
  await expect(missing).rejects.toThrow(/gone: no such file or folder; prepare the data set again/);
  const short = writeStored(join(folder, 'short'), { count: 23 });
  truncateSync(short.images.file, 20_000);
  const { source } = requestOf(short, transform);
  await expect(session.evaluate(source)).rejects.toThrow(/has 20000 bytes, but image \d+ ends at byte/);
  expect(await trained(session, requestOf(stored, transform))).toEqual(
    await trained(await opened(), requestOf(stored, transform)),
  );
});

test('an image that cannot be read ends the pass at its batch, not when it is found', async () => {
  const short = writeStored(join(folder, 'cut'), { count: 23 });
  // Batches of four are loaded ahead; image 13 is in the fourth.
  truncateSync(short.images.file, short.images.starts[13]! + 1);
  const loader = dataLoader(short, { batchSize: 4, transform });
  const steps: number[] = [];
  const training = (await opened()).train({
    ...{ source: batchSource(loader, 1), optimizer: sgd({ lr: 0.01 }), from: 0, to: loader.length },
    onSteps: (reports) => void steps.push(...reports.map(({ step }) => step)),
  });
  await expect(training).rejects.toThrow(/but image 1[3-5] ends at byte/);
  expect(steps).toEqual([1, 2, 3]);
});

test('closing a session while it loads ends the pass with an error', async () => {
  const session = await opened();
  // A pass that would take minutes.
  const order = new Uint32Array(1_000_000);
  const { source } = requestOf(stored, transform);
  let steps = 0;
  const training = session.train({
    ...requestOf(stored, transform),
    source: { ...source, order },
    to: 250_000,
    onSteps: () => {
      if (++steps === 3) void session.close();
    },
  });
  await expect(
    Promise.race([training, new Promise((_, reject) => setTimeout(reject, 60_000))]),
  ).rejects.toThrow(VggError);
});

test('closing a session at any moment of the start of its first pass ends that pass', async () => {
  for (const turns of [0, 1, 5, 20]) {
    const session = await opened();
    const training = session.train(requestOf(stored, transform));
    training.catch(() => undefined);
    for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setTimeout(resolve, 5));
    await session.close();
    await training.catch((error: unknown) => expect(error).toBeInstanceOf(VggError));
  }
});

test('closing a session that loads on the calling thread ends the pass with an error', async () => {
  const session = await opened({ shared: false });
  const request = requestOf(stored, chains['a custom function']!);
  let steps = 0;
  const training = session.train({
    ...request,
    source: { ...request.source, order: new Uint32Array(1_000_000) },
    to: 250_000,
    onSteps: () => {
      if (++steps === 3) void session.close();
    },
  });
  await expect(training).rejects.toThrow(VggError);
  expect(steps).toBe(3);
});

test('a program exits although its model loaded images and is open', async () => {
  const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
  const program = `
    const { compile, sequential, flatten, linear, shapes, dataLoader, adam, compose, randomResizedCrop, toTensor } =
      await import(${url('../../index.ts')});
    const { train } = shapes();
    const model = await compile(sequential([flatten(), linear(10)]), { input: train.shape, threads: 2, device: 'wasm' });
    const loader = dataLoader(train, { batchSize: 100, transform: compose([randomResizedCrop(32), toTensor()]) });
    // Nobody waits for it, and yet it is done.
    model.train(loader, { epoch: 1, optimizer: adam(), steps: 2 }).then(({ steps }) => console.log('trained', steps));
  `;
  const args = ['--input-type=module', '--eval', program];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 });
  expect(stdout).toBe('trained 2\n');
});
