/**
 * What only the CPU engine promises: the same bits for any number of threads, the two ways of reading images, limits
 * of memory, and that nothing is left running. That its numbers are right is shown in `test/conformance`.
 */
import { spawn } from 'node:child_process';
import { describe, expect, test, vi } from 'vitest';
import { expectAllClose } from '../../../test/allclose.ts';
import { compareWithReference } from '../../../test/compare.ts';
import { randomImages } from '../../../test/expected.ts';
import { nativeOf, targetsHere } from '../../../test/native.ts';
import { fromArrays } from '../../data/dataset.ts';
import {
  centerCrop,
  compose,
  cutout,
  normalize,
  pad,
  randomCrop,
  randomHorizontalFlip,
  resize,
  type Transform,
  toTensor,
} from '../../data/transforms.ts';
import { VggError } from '../../errors.ts';
import { initialWeights } from '../../model/initialize.ts';
import type { Network } from '../../model/layer.ts';
import {
  adaptiveAvgPool2d,
  avgPool2d,
  batchNorm2d,
  conv2d,
  flatten,
  linear,
  maxPool2d,
  relu,
} from '../../model/layers/index.ts';
import { createModel, type OptionValue } from '../../model/models.ts';
import { buildNetwork, sequential } from '../../model/network.ts';
import { writeSafetensors } from '../../model/safetensors.ts';
import { machineFault } from '../../tune/faults.ts';
import type { OpenSession, Session, SessionOptions, TrainRequest } from '../backend.ts';
import { openReference } from '../reference.ts';
import { openCpuSession, openWasm } from './driver.ts';
import { plainWasmKernels, wasmKernels } from './kernels/provider.ts';
import { webAssembly } from './kernels/webassembly.ts';
import { memoryOf } from './memory-of.ts';
import { planOperations } from './plan/operations.ts';

const classes = 10;

function networkOf(model: string, options: Readonly<Record<string, OptionValue>> = {}): Network {
  return buildNetwork(createModel(model, { classes, options }), [3, 32, 32]);
}

/** Small enough for a test, and its first linear layer is still split. */
const narrowVgg7 = networkOf('vgg7', { channels: [6, 12], hidden: 180 });

/** The same with a batch normalization behind each convolution, and dropout. */
const normalizedVgg7 = networkOf('vgg7-bn', { channels: [6, 12], hidden: 180, dropout: 0.4 });

const noise = (count: number): ReturnType<typeof fromArrays> =>
  fromArrays(
    Uint8Array.from(randomImages([3, 32, 32], count, 1), (value) => (value + 1) * 128),
    Array.from({ length: count }, (_, i) => (i * 7) % classes),
    [3, 32, 32],
  );

const augment = compose([pad(4), randomHorizontalFlip(), randomCrop(32), toTensor()]);

/** All steps of an epoch over `images` images; the last batch may be smaller. */
function epochOf(images: number, batchSize: number, seed: number, transform: Transform): TrainRequest {
  const dataset = noise(images);
  const order = Uint32Array.from({ length: images }, (_, i) => (i * 11 + seed) % images);
  return {
    source: { dataset, transform, batchSize, order, seed, epoch: 1 },
    optimizer: { kind: 'adam', lr: 0.003, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 },
    from: 0,
    to: Math.ceil(images / batchSize),
  };
}

async function use<T>(session: Session, body: (session: Session) => Promise<T>): Promise<T> {
  try {
    return await body(session);
  } finally {
    await session.close();
  }
}

/** Plans differ by the number of lanes. Which worker takes what does not depend on the kernels, so few are enough. */
const all = [2, 3, 5];
const few = [3];
describe.each([
  ['wasm', plainWasmKernels, all],
  ['wasm, revectorized where it can be', wasmKernels, few],
  ...targetsHere.map((target, i) => [`native, ${target}`, nativeOf(target), i === 0 ? all : few] as const),
] as const)('same seed, same bits, for any number of threads: %s', (_device, kernels, threadCounts) => {
  test.each([
    ['simplified, batches of 20 and 10', networkOf('simplified'), 20],
    ['vgg7 with a split linear layer, batches of 20 and 10', narrowVgg7, 20],
    ['vgg7, batches of 6 and 2: split by rows', narrowVgg7, 6],
    ['vgg7-bn with dropout, batches of 20 and 10', normalizedVgg7, 20],
    ['vgg7-bn with dropout, batches of 6 and 2', normalizedVgg7, 6],
    ['vgg7-bn with frozen layers', normalizedVgg7, 20, [0, 1, 3, 4]],
    ['vgg7 with frozen layers, batches of 6 and 2', narrowVgg7, 6, [2, 5]],
  ] as const)(
    '%s',
    { timeout: 120_000 },
    async (_name, network, batchSize, frozen: readonly number[] = []) => {
      /** What a session trains with each of these seeds, one after the other. */
      const run = async (threads: number, seeds: readonly number[], shared = true): Promise<string[]> => {
        const session = await openCpuSession(network, { batchSize, threads, shared, kernels });
        return use(session, async () => {
          const files: string[] = [];
          await session.freeze(frozen);
          for (const seed of seeds) {
            await session.setWeights(initialWeights(network, seed));
            const { losses } = await session.train(epochOf(50, batchSize, seed, augment));
            const file = writeSafetensors(await session.weights());
            files.push(`${[...losses].join()} ${Buffer.from(file).toString('base64')}`);
          }
          return files;
        });
      };
      const [first, second, again] = await run(1, [1, 2, 1]);
      // Strings of a whole file: on failure the name is enough.
      const same = (name: string, other: string | undefined): void =>
        expect(other === first, name).toBe(true);
      same('again', again);
      expect(second === first, 'another seed').toBe(false);
      for (const threads of threadCounts) same(`${threads} threads`, (await run(threads, [1]))[0]);
      same('unshared memory', (await run(1, [1], false))[0]);
    },
  );

  test('the narrow vgg7 has a split layer', () => {
    expect(planOperations(narrowVgg7).list.some((o) => o.kind === 'linear' && o.split)).toBe(true);
  });
});

describe.each([3, 5])('%i threads on fewer images', (threads) => {
  const model = sequential([
    conv2d({ out: 8, kernel: 3, padding: 1 }),
    relu(),
    maxPool2d(2),
    conv2d({ out: 9, kernel: 3, padding: 1 }),
    relu(),
    flatten(),
    linear(240),
    relu(),
    linear(4),
  ]);
  test.each([1, 2, 4, 9])('%i images', (batch) =>
    compareWithReference(openWasm, model, [2, 16, 15], { batch, threads }),
  );
});

describe('Winograd convolutions whose weights do not stay in the cache', () => {
  // The second map is large enough to share its memory, so that the zeros around its gradient must be written again, and
  // the gradients of several images make a block.
  const model = sequential([
    conv2d({ out: 8, kernel: 3, padding: 1 }),
    relu(),
    conv2d({ out: 64, kernel: 3, padding: 1 }),
    relu(),
    maxPool2d(2),
    conv2d({ out: 20, kernel: 3, padding: 1 }),
    relu(),
    flatten(),
    linear(4),
  ]);
  const open: OpenSession = (network, options) =>
    openCpuSession(network, { ...options, cacheBytes: 2 ** 16, kernels: wasmKernels });

  // Few images divide the planes between tasks.
  test.each([1, 3])('%i images', (batch) =>
    compareWithReference(open, model, [3, 24, 24], { batch, threads: 2 }),
  );

  // Among so many values, a few are so close to 0 that rounding decides about them.
  test('40 images, whose gradients form blocks', async () => {
    const network = buildNetwork(model, [3, 24, 24]);
    const images = randomImages(network.input, 40, 1);
    const labels = Array.from({ length: 40 }, (_, i) => i % 4);
    const gradients = [];
    for (const opener of [open, openReference]) {
      const session = await opener(network, { batchSize: 40, threads: 2 });
      await session.setWeights(initialWeights(network, 3));
      gradients.push((await session.gradients(images, labels)).gradients);
      await session.close();
    }
    for (const [name, { data }] of gradients[0]!) {
      expectAllClose(data, gradients[1]!.get(name)!.data, 2e-3, name);
    }
  });
});

/** Small maps, of which a chunk has up to 32 images; groups of 300 images have nine or ten. */
test.each([wasmKernels, plainWasmKernels])('chunks of many images of small maps', async (kernels) => {
  const block = (out: number) => [conv2d({ out, kernel: 3, padding: 1 }), batchNorm2d(), relu()];
  const model = sequential([
    ...[...block(5), maxPool2d(2), ...block(6), ...block(6), maxPool2d(2)],
    ...[...block(5), avgPool2d(2), flatten(), linear(3)],
  ]);
  const network = buildNetwork(model, [3, 8, 8]);
  const images = randomImages(network.input, 300, 1);
  const labels = Array.from({ length: 300 }, (_, i) => i % 3);
  const results = [];
  for (const open of [
    (options: SessionOptions) => openCpuSession(network, { ...options, shared: false, kernels }),
    (options: SessionOptions) => openReference(network, options),
  ]) {
    const session = await open({ batchSize: 300 });
    await session.setWeights(initialWeights(network, 3));
    results.push(await session.gradients(images, labels));
    await session.close();
  }
  const [own, expected] = results;
  expect(own!.loss).toBeCloseTo(expected!.loss, 5);
  const largest = Math.max(
    ...[...expected!.gradients.values()].flatMap(({ data }) => [...data].map(Math.abs)),
  );
  for (const [name, { data }] of own!.gradients) {
    // Gradients of biases before a normalization are 0 but for rounding.
    if (/\.bias$/.test(name) && Math.max(...data.map(Math.abs)) < 1e-5 * largest) continue;
    expectAllClose(data, expected!.gradients.get(name)!.data, 1e-4, name);
  }
});

describe('images', () => {
  const network = networkOf('simplified');
  const open = (threads: number, batchSize = 16, of = network): Promise<Session> =>
    openCpuSession(of, { batchSize, threads, shared: threads > 1, kernels: wasmKernels });

  test.each([1, 2])(
    'predictions of 1, 7, 100 and 101 images are those of each by itself, %i threads',
    (threads) =>
      open(threads).then((opened) =>
        use(opened, async (session) => {
          await session.setWeights(initialWeights(network, 1));
          const images = randomImages([3, 32, 32], 101, 2);
          const size = 3 * 32 * 32;
          const rows: number[] = [];
          for (const i of [0, 1, 6, 7, 99, 100]) {
            rows.push(...(await session.predict(images.slice(i * size, (i + 1) * size), 1)));
          }
          for (const count of [1, 7, 100, 101]) {
            const logits = await session.predict(images.slice(0, count * size), count);
            expect(logits.length).toBe(count * classes);
            [0, 1, 6, 7, 99, 100].forEach((image, at) => {
              if (image >= count) return;
              const found = logits.subarray(image * classes, (image + 1) * classes);
              expectAllClose(
                found,
                rows.slice(at * classes, (at + 1) * classes),
                1e-5,
                `image ${image} of ${count}`,
              );
            });
          }
        }),
      ),
  );

  test('a refilled array is read again', () =>
    open(2).then((opened) =>
      use(opened, async (session) => {
        await session.setWeights(initialWeights(network, 1));
        const images = randomImages([3, 32, 32], 2, 3);
        const before = await session.predict(images, 2);
        images.reverse();
        const after = await session.predict(images, 2);
        expect(after).not.toEqual(before);
        expect(await session.predict(images.slice(), 2)).toEqual(after);
      }),
    ));

  test.each([
    ['simplified', 1, network],
    ['simplified', 2, network],
    ['vgg7-bn with dropout', 2, normalizedVgg7],
  ] as const)(
    'a transform of the user’s own trains as the fused one does: %s, %i threads',
    async (_name, threads, of) => {
      const fused = compose([
        pad(4),
        randomHorizontalFlip(),
        randomCrop(32),
        toTensor(),
        normalize(0.5, 0.25),
      ]);
      const own = compose([
        pad(4),
        randomHorizontalFlip(),
        randomCrop(32),
        toTensor(),
        ({ shape, values }) => ({ shape, values: values.map((value) => (value - 0.5) / 0.25) }),
      ]);
      const train = (transform: Transform): Promise<Float64Array> =>
        open(threads, 16, of).then((opened) =>
          use(opened, async (session) => {
            await session.setWeights(initialWeights(of, 1));
            // The last batch has 9 images.
            const { losses, images } = await session.train(epochOf(57, 16, 5, transform));
            expect(images).toBe(57);
            const { loss } = await session.evaluate(epochOf(57, 16, 5, transform).source);
            return Float64Array.of(...losses, loss);
          }),
        );
      const losses = await train(own);
      expect(losses.length).toBe(5);
      // A normalization enlarges rounding, and Adam what comes of it.
      const tolerance = of === network ? 1e-5 : 1e-4;
      expectAllClose(losses, await train(fused), tolerance, 'losses');
    },
  );

  test.each<[string, readonly Transform[]]>([
    ['crops', [pad(4), randomHorizontalFlip(), centerCrop([37, 33]), randomCrop(32)]],
    ['pads', [centerCrop([45, 38]), randomHorizontalFlip(), randomCrop(32)]],
    ['crops what was resized', [resize([50, 41]), centerCrop(32)]],
  ])('centerCrop %s, in the workers as by itself', async (_name, chain) => {
    const evaluated = (...more: readonly Transform[]): Promise<number> =>
      open(1, 16, network).then((opened) =>
        use(opened, async (session) => {
          await session.setWeights(initialWeights(network, 1));
          const transform = compose([...chain, toTensor(), ...more]);
          return (await session.evaluate(epochOf(57, 16, 5, transform).source)).loss;
        }),
      );
    // With a function, no chain is fused.
    expect(await evaluated()).toBeCloseTo(await evaluated((image) => image), 6);
    expect(await evaluated()).not.toBeCloseTo(await evaluated(cutout(20)), 4);
  });
});

describe('memory', () => {
  test('a network that is too large is rejected at once, with what it needs and what to change', async () => {
    const network = networkOf('vgg7', { hidden: 200_000 });
    // A layer of 8192 × 200,000 weights takes 6.1 GiB, and as much for each moment.
    const adam = { kind: 'train', batch: 100, optimizer: { kind: 'adam' } } as const;
    const [use] = await memoryOf(network, 2, [adam], 2 ** 34);
    expect(use!.bytes / 2 ** 30).toBeGreaterThan(18.3);
    const before = process.memoryUsage().arrayBuffers;
    const opening = openWasm(network, { batchSize: 100, threads: 2, purpose: 'train' });
    await expect(opening).rejects.toThrow(VggError);
    await expect(opening).rejects.toThrow(
      /^vgg7: training with batches of 100 on 2 threads needs 12\.\d GiB, above WebAssembly's limit of 4 GiB; use fewer channels or hidden units, or smaller images$/,
    );
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
  });

  test('an image too large for the kernels is refused, and the session continues', async () => {
    const network = buildNetwork(
      sequential([conv2d({ out: 512, kernel: 3, padding: 1 }), adaptiveAvgPool2d(1), flatten(), linear(3)]),
      [1, 8, 8],
    );
    const session = await openWasm(network, { batchSize: 1, threads: 2, purpose: 'predict' });
    await use(session, async () => {
      await session.setWeights(initialWeights(network, 1));
      const small = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i));
      const before = await session.predict(small, 1);
      const shape = [1, 1500, 1500];
      await expect(session.predict(new Float32Array(1500 * 1500), 1, { shape })).rejects.toThrow(
        /^sequential: predicting 1 image on 2 threads needs 4\.\d GiB, above WebAssembly's limit of 4 GiB; use fewer channels or hidden units, or smaller images$/,
      );
      expect(await session.predict(small, 1)).toEqual(before);
    });
  });

  test('that the machine does not have is an error of the machine, not of the network', async () => {
    const failure = new RangeError('WebAssembly.Memory(): could not allocate memory');
    vi.spyOn(webAssembly, 'Memory').mockImplementation(
      class {
        constructor() {
          throw failure;
        }
      } as never,
    );
    try {
      const network = buildNetwork(sequential([flatten(), linear(3)]), [1, 1, 1]);
      const error: unknown = await openWasm(network, { batchSize: 1, threads: 1 }).catch(
        (cause: unknown) => cause,
      );
      expect(error).toMatchObject({
        message: expect.stringContaining('this machine cannot provide'),
        cause: failure,
      });
      expect(machineFault(error)?.isMemory).toBe(true);
    } finally {
      vi.restoreAllMocks();
    }
  });
});

describe('the end', () => {
  const script = (body: string): Promise<{ code: number | null; output: string }> => {
    const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
    const source = `
      import { compile } from ${url('../../train/model.ts')};
      import { createModel } from ${url('../../model/models.ts')};
      const model = await compile(createModel('simplified', { classes: 10 }), { input: [3, 32, 32], threads: 2 });
      const { labels } = await model.predict(new Float32Array(2 * 3072));
      console.log(labels.length, 'labels');
      ${body}`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return new Promise((resolve, reject) => {
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
      child.on('error', reject);
      child.on('close', (code) => resolve({ code, output }));
    });
  };

  test('a closed model lets the process end', async () => {
    expect(await script('await model.close();')).toEqual({ code: 0, output: '2 labels\n' });
  });

  test('so does a model declared with `await using`', async () => {
    expect(await script('{ await using closing = model; }')).toEqual({ code: 0, output: '2 labels\n' });
  });
});
