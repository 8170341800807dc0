/**
 * What only WebGPU can do wrong, on SwiftShader: sums that depend on submits, faults of the device, low limits, and
 * processes that end badly. The conformance suite covers the rest.
 */
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { fromArrays } from '../src/data/dataset.ts';
import { compose, pad, randomCrop, randomHorizontalFlip, toTensor } from '../src/data/transforms.ts';
import { openCpuSession } from '../src/engine/cpu/driver.ts';
import { anyKernels, plainWasmKernels } from '../src/engine/cpu/kernels/provider.ts';
import { openGpu } from '../src/engine/webgpu/device.ts';
import { openWebgpuSession, type WebgpuOptions } from '../src/engine/webgpu/driver.ts';
import { tileTables } from '../src/engine/webgpu/tiles.ts';
import { initialWeights } from '../src/model/initialize.ts';
import type { Network } from '../src/model/layer.ts';
import { layersMatching } from '../src/model/layer-patterns.ts';
import { batchNorm2d, conv2d, dropout, flatten, linear, maxPool2d, relu } from '../src/model/layers/index.ts';
import { createModel } from '../src/model/models.ts';
import { buildNetwork, sequential } from '../src/model/network.ts';
import { expectAllClose } from './allclose.ts';
import { adam } from './conformance/sessions.ts';
import { images, network, request, weights } from './conformance/small.ts';
import { randomImages } from './expected.ts';
import { softwareEnvironment, softwareGpu } from './webgpu.ts';

// Without biases, whose gradients would be rounding: a normalization takes out what they add.
const narrow = conv2d({ out: 6, kernel: 3, padding: 1, bias: false });
const normalized: Network = buildNetwork(
  sequential([
    ...[narrow, batchNorm2d(), relu(), narrow, batchNorm2d(), relu(), maxPool2d(2), dropout(0.3)],
    ...[flatten(), linear(12), relu(), linear(9)],
  ]),
  [3, 10, 9],
);

const open = (own: Network = network, options: Partial<WebgpuOptions> = {}) =>
  openWebgpuSession(own, { batchSize: 7, ...options });

/** Weights and losses after a training, with these options. */
async function trained(own: Network, options: Partial<WebgpuOptions>, steps = [0, 4]) {
  const session = await open(own, options);
  try {
    await session.setWeights(initialWeights(own, 1));
    const losses: number[] = [];
    for (const [i, to] of steps.slice(1).entries()) {
      const result = await session.train({ ...request, from: steps[i]!, to });
      losses.push(...result.losses);
    }
    return { losses, weights: await session.weights() };
  } finally {
    await session.close();
  }
}

describe.skipIf(!softwareGpu)('webgpu', () => {
  test('is on this machine: a software adapter', async () => {
    const gpu = await openGpu();
    expect(gpu.adapter).toMatch(/SwiftShader/);
    expect(gpu.isSoftware).toBe(true);
  });

  test.each([network, normalized])('%#: repeats its bits, whatever the submits', async (own) => {
    const first = await trained(own, {});
    expect(first.losses.every(Number.isFinite)).toBe(true);
    // Each dispatch alone, a few, and all steps at once.
    for (const submitOperations of [1, 1e7, 1e15]) {
      expect(await trained(own, { submitOperations })).toEqual(first);
    }
    expect(await trained(own, {}, [0, 1, 3, 4])).toEqual(first);
  });

  test.each([network, normalized])('%#: with low limits, weights and maps are cut', async (own) => {
    const given = initialWeights(own, 1);
    const count = 23;
    const [low, usual] = [await open(own, { mostBytes: 8192 }), await open(own)];
    const wasm = await openCpuSession(own, { batchSize: 7, shared: false, kernels: plainWasmKernels });
    try {
      for (const session of [low, usual, wasm]) await session.setWeights(given);
      expect(await low.weights()).toEqual(given);
      expectAllClose(await low.predict(images, count), await wasm.predict(images, count), 1e-4, 'logits');
      const [actual, expected] = [await low.train(request), await wasm.train(request)];
      expectAllClose(actual.losses, expected.losses, 1e-4, 'losses');
      const after = await low.weights();
      for (const [name, { data }] of await wasm.weights())
        expectAllClose(after.get(name)!.data, data, 1e-3, name, Math.max(0.02, ...data.map(Math.abs)));
    } finally {
      for (const session of [low, usual, wasm]) await session.close();
    }
  });

  // As on real GPUs: no machine of the tests has one.
  test.each([network, normalized])('%#: with the tiles and constants of real GPUs', async (own) => {
    const expected = await trained(own, {});
    const { tiles, ...table } = tileTables.gpu;
    // Each takes a minute to compile.
    for (const tile of own === network ? [tiles[0]!] : [tiles[2]!]) {
      const options = { constants: true, tiles: { ...table, tiles: [tile], groups: 1 } };
      const actual = await trained(own, options);
      expectAllClose(actual.losses, expected.losses, 1e-4, 'losses');
      for (const [name, { data }] of expected.weights)
        expectAllClose(
          actual.weights.get(name)!.data,
          data,
          1e-3,
          name,
          Math.max(0.02, ...data.map(Math.abs)),
        );
    }
  });

  test('limits too low for one row of weights, or for one map, say so', async () => {
    await expect(open(network, { mostBytes: 256 })).rejects.toThrow('buffers of at most 256 bytes');
    const wide = buildNetwork(
      sequential([conv2d({ out: 64, kernel: 1 }), flatten(), linear(2)]),
      [1, 16, 16],
    );
    const session = await open(wide, { mostBytes: 32_768 }).catch((error: Error) => error);
    if (session instanceof Error) expect(session.message).toContain('buffers of at most 32768 bytes');
    else {
      await expect(session.predict(new Float32Array(256), 1)).rejects.toThrow('one map has');
      await session.close();
    }
  });

  test('NaN in the weights of any layer reaches the loss, and nothing is changed', async () => {
    const session = await open(normalized);
    try {
      const given = initialWeights(normalized, 1);
      for (const [name, { shape, data }] of given) {
        // A running moment does not matter in training.
        if (name.includes('running')) continue;
        const broken = data.slice();
        broken[0] = Number.NaN;
        const all = new Map(given).set(name, { shape, data: broken });
        await session.setWeights(all);
        const result = await session.train(request);
        expect([...result.losses], name).toEqual([Number.NaN]);
        expect(await session.weights(), name).toEqual(all);
      }
    } finally {
      await session.close();
    }
  });

  test('a learning rate that breaks the network stops at the step whose loss is not finite', async () => {
    const session = await open();
    try {
      await session.setWeights(weights);
      const result = await session.train({ ...request, optimizer: adam(3e38) });
      expect(result.steps).toBe(2);
      expect(result.losses[0]).toBeGreaterThan(0);
      expect(Number.isFinite(result.losses[1])).toBe(false);
      expect((await session.state()).optimizerSteps).toBe(1);
    } finally {
      await session.close();
    }
  });

  test('an abort ends training within two submits, and it continues with the same bits', async () => {
    const expected = await trained(network, { submitOperations: 1 });
    const session = await open(network, { submitOperations: 1 });
    try {
      await session.setWeights(weights);
      const aborter = new AbortController();
      const { steps } = await session.train({
        ...request,
        signal: aborter.signal,
        onSteps: () => aborter.abort(),
      });
      expect(steps).toBeGreaterThan(0);
      expect(steps).toBeLessThanOrEqual(3);
      await session.train({ ...request, from: steps });
      expect(await session.weights()).toEqual(expected.weights);
    } finally {
      await session.close();
    }
  });

  test('two sessions take turns', async () => {
    const sessions = [await open(network), await open(normalized)];
    try {
      await sessions[0]!.setWeights(weights);
      await sessions[1]!.setWeights(initialWeights(normalized, 1));
      const results = await Promise.all(sessions.map((session) => session.train(request)));
      expect([...results[0]!.losses]).toEqual((await trained(network, {})).losses);
      expect([...results[1]!.losses]).toEqual((await trained(normalized, {})).losses);
    } finally {
      for (const session of sessions) await session.close();
    }
  });

  test('closing a busy session waits for it', async () => {
    const session = await open();
    await session.setWeights(weights);
    const running = session.train(request).catch((error: Error) => error);
    await session.close();
    await running;
    await expect(session.predict(images, 23)).rejects.toThrow('closed');
  });

  test('memory that the device has not is an error that says so, and the device goes on', async () => {
    // SwiftShader refuses a buffer of 1 GiB, which its limits allow. One alone, since it would fill the machine's memory
    // with smaller ones.
    const gpu = await openGpu();
    await expect(gpu.allocating('huge', () => gpu.buffer(gpu.mostBytes, 'huge'))).rejects.toThrow(
      /cannot provide the memory that it needs .*use a smaller batch/s,
    );
    expect((await trained(network, {})).losses.length).toBe(4);
  });

  test('200 sessions leave nothing behind', async () => {
    const gpu = await openGpu();
    for (let i = 0; i < 3; i++) await trained(network, {}, [0, 1]);
    const [pipelines, before] = [gpu.pipelines, process.memoryUsage.rss()];
    for (let i = 0; i < 200; i++) {
      const session = await open();
      await session.setWeights(weights);
      await session.train({ ...request, to: 1 });
      await session.close();
    }
    expect(gpu.pipelines).toBe(pipelines);
    expect(process.memoryUsage.rss() - before).toBeLessThan(100 * 2 ** 20);
  });
});

/** Losses of `steps` steps of batch `batchSize` on each of two devices, from the same weights. */
async function bothLosses(
  name: string,
  options: Record<string, number | readonly number[]>,
  { steps, batchSize, frozen = [] }: { steps: number; batchSize: number; frozen?: readonly string[] },
): Promise<readonly (readonly [actual: number, expected: number])[]> {
  const input = [3, 32, 32] as const;
  const own = buildNetwork(createModel(name, { classes: 10, input, options }), input);
  const data = fromArrays(
    Uint8Array.from(randomImages(input, 60, 3), (value) => (value + 1) * 128),
    Array.from({ length: 60 }, (_, i) => i % 10),
    input,
  );
  const transform = compose([pad(4), randomHorizontalFlip(), randomCrop(32), toTensor()]);
  const order = Uint32Array.from({ length: steps * batchSize }, (_, i) => (i * 7) % 60);
  const source = { dataset: data, transform, batchSize, order, seed: 1, epoch: 0 };
  const sessions = [
    await openWebgpuSession(own, { batchSize }),
    await openCpuSession(own, { batchSize, kernels: anyKernels }),
  ];
  try {
    const losses: Float64Array[] = [];
    for (const session of sessions) {
      await session.initialize(3);
      await session.freeze(layersMatching('--freeze', own, frozen));
      losses.push((await session.train({ source, optimizer: adam(0.001), from: 0, to: steps })).losses);
    }
    return Array.from(losses[0]!, (loss, i) => [loss, losses[1]![i]!] as const);
  } finally {
    for (const session of sessions) await session.close();
  }
}

describe.skipIf(!softwareGpu)('webgpu follows native', () => {
  test('simplified: within 1e-3 over 20 steps', async () => {
    for (const [actual, expected] of await bothLosses('simplified', {}, { steps: 20, batchSize: 10 }))
      expect(Math.abs(actual - expected)).toBeLessThan(1e-3);
  });

  test('simplified: within 2e-2 over 200 steps', async () => {
    for (const [actual, expected] of await bothLosses('simplified', {}, { steps: 200, batchSize: 2 }))
      expect(Math.abs(actual - expected)).toBeLessThan(2e-2);
  });

  test.each([
    ['vgg7-bn', { channels: [8, 12], hidden: 16 }, []],
    ['vgg16-bn', { width: 0.0625 }, []],
    ['vgg16-bn', { width: 0.0625 }, ['conv1_*', 'conv2_*']],
  ] as const)('%s %o, frozen %o: 20 steps of batch 8', async (name, options, frozen) => {
    const both = await bothLosses(name, { ...options }, { steps: 20, batchSize: 8, frozen });
    for (const [actual, expected] of both) expect(Math.abs(actual - expected)).toBeLessThan(2e-2 * expected);
  });

  test('VGG-16 at 224×224 predicts', async () => {
    const input = [3, 224, 224] as const;
    const own = buildNetwork(createModel('vgg16', { classes: 1000, input }), input);
    const image = randomImages(input, 1, 4);
    const logits: Float32Array[] = [];
    for (const open of [
      () => openWebgpuSession(own, { batchSize: 1, purpose: 'predict' }),
      () => openCpuSession(own, { batchSize: 1, purpose: 'predict', kernels: anyKernels }),
    ]) {
      const session = await open();
      try {
        await session.initialize(1);
        logits.push(await session.predict(image, 1));
      } finally {
        await session.close();
      }
    }
    expectAllClose(logits[0]!, logits[1]!, 1e-4, 'logits');
  });
});

/** A program in a process of its own. */
function run(
  text: string,
  flags: readonly string[] = [],
  environment: Record<string, string> = softwareEnvironment,
) {
  const program = `
    import { openWebgpuSession } from '${new URL('../src/engine/webgpu/driver.ts', import.meta.url)}';
    import { openGpu } from '${new URL('../src/engine/webgpu/device.ts', import.meta.url)}';
    import { network, request, weights } from '${new URL('./conformance/small.ts', import.meta.url)}';
    ${text}`;
  const result = spawnSync(
    process.execPath,
    [...flags, '--input-type=module-typescript', '--eval', program],
    {
      encoding: 'utf8',
      env: { ...process.env, ...environment },
      timeout: 240_000,
      cwd: new URL('..', import.meta.url),
    },
  );
  return {
    status: result.status,
    signal: result.signal,
    out: result.stdout.trim(),
    error: result.stderr.trim(),
  };
}

const train = `
  const session = await openWebgpuSession(network, { batchSize: 7 });
  await session.setWeights(weights);
  const { losses } = await session.train(request);`;

describe.skipIf(!softwareGpu)('processes with webgpu', () => {
  test('end by themselves, without closing the session', () => {
    expect(run(`${train} console.log(losses.length);`)).toEqual({
      status: 0,
      signal: null,
      out: '4',
      error: '',
    });
  });

  test('survive garbage collection, in the middle of work and at the end', () => {
    const text = `${train} globalThis.gc(); await session.train(request); globalThis.gc(); await session.close(); globalThis.gc();
      const again = await openWebgpuSession(network, { batchSize: 7 }); globalThis.gc(); await again.close(); console.log('well');`;
    expect(run(text, ['--expose-gc'])).toEqual({ status: 0, signal: null, out: 'well', error: '' });
  });

  test('train in a worker thread, beside the main thread', () => {
    const text = `
      import { isMainThread, Worker } from 'node:worker_threads';
      import { pathToFileURL } from 'node:url';
      const program = \`
        import { openWebgpuSession } from '${new URL('../src/engine/webgpu/driver.ts', import.meta.url)}';
        import { network, request, weights } from '${new URL('./conformance/small.ts', import.meta.url)}';
        import { parentPort } from 'node:worker_threads';
        ${train} parentPort.postMessage([...losses]);\`;
      const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(program)));
      const theirs = new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
      ${train}
      console.log(JSON.stringify(await theirs) === JSON.stringify([...losses]));`;
    expect(run(text)).toEqual({ status: 0, signal: null, out: 'true', error: '' });
  });

  test('a lost device ends training with an error, and the next session has a new one', () => {
    const text = `${train}
      const gpu = await openGpu();
      const running = session.train(request).then(() => 'done', (error) => error.message);
      gpu.device.destroy();
      console.log(await running);
      await session.close();
      const again = await openWebgpuSession(network, { batchSize: 7 });
      await again.setWeights(weights);
      console.log((await again.train(request)).losses.join() === losses.join());`;
    const { status, out } = run(text);
    expect(out).toMatch(/the GPU device was closed\ntrue$/);
    expect(status).toBe(0);
  });

  test('without an adapter or a loader, the message says what is missing', () => {
    const open = `await openWebgpuSession(network, { batchSize: 7 }).catch((error) => console.log(error.message));`;
    expect(run(open, [], { VK_ICD_FILENAMES: '/nowhere.json' }).out).toMatch(
      /^WebGPU finds no GPU: install the driver/,
    );
  });
});
