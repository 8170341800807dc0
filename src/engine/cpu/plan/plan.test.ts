import { describe, expect, test } from 'vitest';
import { randomCase } from '../../../../test/cases.ts';
import { randomImages } from '../../../../test/expected.ts';
import { nativeOf, targetsHere } from '../../../../test/native.ts';
import { kernelNames, kernelParameters } from '../../../kernels/catalogue.ts';
import type { Network } from '../../../model/layer.ts';
import { adaptiveAvgPool2d, conv2d, flatten, linear, maxPool2d, relu } from '../../../model/layers/index.ts';
import { buildNetwork, sequential, sizeOf } from '../../../model/network.ts';
import { vgg7 } from '../../../model/vgg.ts';
import type { Session } from '../../backend.ts';
import { openCpuSession } from '../driver.ts';
import { openLibrary } from '../kernels/library.ts';
import { wholePages } from '../kernels/memory.ts';
import { plainWasmKernels } from '../kernels/provider.ts';
import { webAssembly } from '../kernels/webassembly.ts';
import { trainings } from '../measure/examine.ts';
import { Barrier, controlWords } from '../run/barrier.ts';
import { Executor, mostPlans } from '../run/executor.ts';
import { cacheSize } from '../run/threads.ts';
import { usualCacheBytes } from './cache-bytes.ts';
import type { Call } from './code.ts';
import { meet } from './memory.ts';
import { planOperations } from './operations.ts';
import { ParameterLayout, trainingArrays } from './parameters.ts';
import { compilePlan, groupSizesOf, planMemory } from './plan.ts';
import { chunkImages } from './timeline.ts';
import { type Rule, squareCount } from './update.ts';

test.each([
  [100, 32],
  [100, 16],
  [100, 17],
  [33, 32],
  [9, 9],
  [8, 2],
  [1, 1],
  [10_000, 16],
])('%i images in %i groups: all of them, none without, never more than before', (batch, groups) => {
  const sizes = groupSizesOf(batch, groups);
  expect(sizes).toHaveLength(groups);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(batch);
  expect(sizes.toSorted((a, b) => b - a)).toEqual(sizes);
  expect(sizes.at(-1)).toBeGreaterThan(0);
  // Chunks are full if there are enough groups.
  expect(sizes[0]).toBeLessThanOrEqual(Math.max(chunkImages, Math.ceil(batch / groups)));
});

test('the last of many groups are small; a few groups are equal', () => {
  expect(groupSizesOf(100, 32).at(-1)).toBe(1);
  expect(groupSizesOf(8, 2)).toEqual([4, 4]);
});

/** The layout of a session that has trained with Adam and all options. */
function layoutOf(
  network: Network,
  batch: number,
  cacheBytes: number = usualCacheBytes,
  frozen: readonly number[] = [],
): ParameterLayout {
  const optimizer = { kind: 'adam', lr: 0, betas: [0, 0], epsilon: 0, weightDecay: 0 } as const;
  const arrays = trainingArrays(optimizer, { accumulate: 2, clipNorm: 1, averageDecay: 0.9 });
  return new ParameterLayout(planOperations(network, cacheBytes), batch, 1, arrays, 0, frozen);
}

/** Every third layer of a network, from `first` on; empty if nothing would learn. */
function everyThird({ layers }: Network, first: number): readonly number[] {
  const frozen = layers.flatMap((_, i) => (i % 3 === first ? [i] : []));
  return layers.some(({ parameters }, i) => parameters.length > 0 && i % 3 !== first) ? frozen : [];
}

const adamRule: Rule = { kind: 'adam', average: false };

/** All kernel calls of a training step's images. */
function callsOf(network: Network, batch: number, cacheBytes: number): readonly Call[] {
  const { phases } = compilePlan(layoutOf(network, batch, cacheBytes), { batch, mode: 'train' }, 0);
  return phases.flatMap(({ items }) => items.flat().filter((call) => 'kernel' in call));
}

/** A call's arguments by name. */
const named = ({ kernel, arguments: values }: Call): Record<string, number> =>
  Object.fromEntries(Object.keys(kernelParameters[kernel]).map((name, i) => [name, values[i]!]));

const narrow = buildNetwork(vgg7({ classes: 10, channels: [16, 32] }), [3, 32, 32]);

test('maps that do not fit the cache, and only these, are prefetched before a transform', () => {
  const calls = callsOf(narrow, 40, 16 * 1024);
  const transforms = calls.flatMap(({ kernel }, i) => (/^winograd\d(Input|Gradient)$/.test(kernel) ? i : []));
  let prefetches = 0;
  for (const i of transforms) {
    const before = calls[i - 1]!;
    // The gradient that a pool's one is spread out to is of one image, and is in the cache.
    if (before.kernel !== 'prefetchRows') continue;
    prefetches++;
    const [prefetch, transform] = [named(before), named(calls[i]!)];
    const size = calls[i]!.kernel === 'winograd4Input' ? 6 : 4;
    expect(prefetch).toMatchObject({
      map: transform.map,
      mapRow: transform.rowStride,
      rows: 4 * (transform.tileRows! - 1) + size,
      length: (4 * (transform.tileColumns! - 1) + size) * transform.pixelStride!,
    });
  }
  expect(prefetches).toBeGreaterThan(transforms.length / 2);
  expect(callsOf(narrow, 40, 64 * 1024 * 1024).map(({ kernel }) => kernel)).not.toContain('prefetchRows');
});

test("a pool's gradient is spread out for an image when the one before is used up, where an image fills blocks", () => {
  const alone = (calls: readonly Call[]): boolean => {
    const kernels = calls.map(({ kernel }) => kernel).filter((kernel) => /^unpool2|gemmTN/.test(kernel));
    return !kernels.some((kernel, i) => kernel === 'unpool2' && kernels[i + 1] === 'unpool2');
  };
  const large = buildNetwork(vgg7({ classes: 10, channels: [16, 32] }), [3, 96, 96]);
  expect(alone(callsOf(large, 40, 16 * 1024))).toBe(true);
  // With small maps several images make a block.
  expect(alone(callsOf(narrow, 40, 16 * 1024))).toBe(false);
});

test('every range of parameters has a sum of squares', () => {
  const layout = layoutOf(narrow, 8);
  const { update } = compilePlan(layout, { batch: 8, mode: 'train' }, 0);
  const [phase] = update({ rule: adamRule, accumulated: undefined, clip: true });
  expect(squareCount(layout)).toBe(phase!.items.length);
});

test('a network that is too large for any machine is planned without listing its parts', () => {
  const options = { channels: [1e6, 1e6], hidden: 1e6 } as const;
  const huge = buildNetwork(vgg7({ classes: 10, ...options }), [3, 32, 32]);
  const { floats } = planMemory(layoutOf(huge, 100), { batch: 100, mode: 'train' });
  expect(floats).toBeGreaterThan(2 ** 49);
});

test("the doctor's trainings use every kernel", () => {
  const called = new Set<string>(['loadImage', 'peak']);
  for (const { network, input, batchSize, optimizer, stepOptions } of trainings) {
    const built = buildNetwork(network, input);
    const layout = layoutOf(built, batchSize);
    const { phases, update } = compilePlan(layout, { batch: batchSize, mode: 'train' }, 0);
    const clip = stepOptions?.clipNorm !== undefined;
    const average = stepOptions?.averageDecay !== undefined;
    const kind = optimizer?.kind === 'sgd' ? 'sgd' : 'adam';
    const updates = update({ rule: { kind, average }, accumulated: undefined, clip });
    for (const call of [...phases, ...updates].flatMap(({ items }) => items.flat())) {
      if ('kernel' in call) called.add(call.kernel);
    }
  }
  expect([...called].sort()).toEqual([...kernelNames].sort());
});

/** Networks of layers in any order, with batches that go by tasks and by groups. */
const randomCases = Array.from({ length: 60 }, (_, i) => randomCase(1000 + i));

const modes = ['train', 'evaluate'] as const;

describe.each(randomCases)('random network of %#', ({ model, input, batch }) => {
  const network = buildNetwork(model, input);

  const layouts = [[], everyThird(network, batch % 3)].map((frozen) =>
    layoutOf(network, batch, usualCacheBytes, frozen),
  );

  test.each(
    modes.flatMap((mode) => layouts.map((layout) => ({ mode, layout, frozen: layout.trained.frozen }))),
  )('buffers that are alive together do not overlap: $mode, frozen $frozen', ({ mode, layout }) => {
    const { buffers } = planMemory(layout, { batch, mode });
    for (const arena of [buffers.shared, buffers.scratch]) {
      for (const [i, a] of arena.buffers.entries()) {
        for (const b of arena.buffers.slice(i + 1)) {
          const apart =
            a.place.offset + a.floats <= b.place.offset || b.place.offset + b.floats <= a.place.offset;
          expect(apart || !meet(a, b)).toBe(true);
        }
      }
    }
  });
});

/** Runs each item of a phase from the same memory, and fails where two write the same place. */
class ObservedBarrier extends Barrier {
  readonly #floats: Float32Array;
  readonly #scratch: readonly [from: number, to: number];

  constructor(floats: Float32Array, scratch: readonly [from: number, to: number]) {
    super(new Int32Array(controlWords), 1);
    this.#floats = floats;
    this.#scratch = scratch;
  }

  override claim<T>(items: readonly T[], run: (item: T) => void): void {
    const words = new Int32Array(this.#floats.buffer);
    const before = words.slice();
    const written = new Map<number, number>();
    for (const item of items) {
      words.set(before);
      run(item);
      const [from, to] = this.#scratch;
      for (let i = 0; i < words.length; i++) {
        if (words[i] === before[i] || (i >= from && i < to)) continue;
        if (written.has(i)) throw new Error(`two items of a phase write float ${i}`);
        written.set(i, words[i]!);
      }
    }
    words.set(before);
    for (const [i, word] of written) words[i] = word;
  }
}

/** Networks whose memory is compared after each item. */
const observed = randomCases.flatMap(({ model, input, batch: most }) => {
  const batch = Math.min(most, 9);
  const network = buildNetwork(model, input);
  // Half of them with frozen layers.
  const frozen = most % 2 === 0 ? everyThird(network, batch % 3) : [];
  const layout = layoutOf(network, batch, usualCacheBytes, frozen);
  const plan = planMemory(layout, { batch, mode: 'train' });
  return plan.floats > 200_000 ? [] : [{ input, batch, layout, plan }];
});

test('there are networks to observe', () => {
  expect(observed.length).toBeGreaterThanOrEqual(25);
});

test.each(observed.slice(0, 25))(
  'items of a phase write different places: random network of %#',
  async ({ input, batch, layout, plan }) => {
    const { floats: needed, shared, scratch } = plan;
    const memory = new webAssembly.Memory({
      initial: Math.ceil(needed / 2 ** 14),
      maximum: 65_536,
      shared: false,
    });
    const floats = new Float32Array(memory.buffer);
    const kernels = await openLibrary(await plainWasmKernels(false, () => {}), memory);
    const state = {
      memory,
      control: new Int32Array(controlWords),
      losses: new Float64Array(batch),
      ranks: new Int32Array(batch),
    };
    const start = layout.length + shared;
    const barrier = new ObservedBarrier(floats, [start, start + scratch]);
    const executor = new Executor(layout, kernels, state, 0, barrier);
    const values = randomImages(input, batch, 3);
    const labels = new Uint16Array(batch);
    const samples = Uint32Array.from(labels.keys());
    const source = { kind: 'values', values, labels, samples, seed: 1, epoch: 1 } as const;
    for (const command of [
      { kind: 'initialize', seed: 1 },
      { kind: 'derive' },
      { kind: 'gradients', source, batchSize: batch, totals: new Float64Array(3) },
    ] as const) {
      for (const _ of executor.run({ command, arrays: layout.arrays, frozen: layout.trained.frozen }));
    }
    expect(state.losses.every(Number.isFinite)).toBe(true);
  },
);

test('training a head needs little more memory than evaluation', () => {
  const wide = buildNetwork(vgg7({ classes: 10, channels: [64, 128] }), [3, 64, 64]);
  const layers = wide.layers.flatMap(({ parameters }, i) => (parameters.length > 0 ? [i] : []));
  const operations = planOperations(wide);
  const arrays = trainingArrays({ kind: 'sgd' }, {});
  const [frozen, whole] = [layers.slice(0, -1), []].map(
    (own) => new ParameterLayout(operations, 32, 2, arrays, 0, own),
  ) as [ParameterLayout, ParameterLayout];
  const plan = (layout: ParameterLayout, mode: 'train' | 'evaluate') =>
    planMemory(layout, {
      batch: 32,
      mode,
      inPlace: mode === 'train' ? { kind: 'sgd', average: false } : undefined,
    });
  const [small, large, evaluation] = [plan(frozen, 'train'), plan(whole, 'train'), plan(frozen, 'evaluate')];
  const own = ({ shared, scratch }: typeof small): number => shared + 2 * scratch;
  expect(own(small)).toBeLessThan(1.05 * own(evaluation));
  expect(own(small)).toBeLessThan(0.5 * own(large));
  // The head's gradient slots and momentum only.
  const head = wide.layers[layers.at(-1)!]!.parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  const { gradients, optimizer } = frozen.sizes;
  expect(gradients + optimizer).toBeLessThan(50 * head);
  expect(gradients + optimizer).toBeLessThan((whole.sizes.gradients + whole.sizes.optimizer) / 50);
});

/** A session, and the bytes of its memory each time that a plan is bound. */
async function measuredSession(
  network: Network,
  batchSize: number,
): Promise<{ readonly session: Session; readonly sizes: readonly number[] }> {
  const sizes: number[] = [];
  const session = await openCpuSession(network, {
    ...{ batchSize, shared: false, kernels: plainWasmKernels },
    library: (library, memory) => ({
      ...library,
      bind: (calls) => {
        sizes.push(memory.buffer.byteLength);
        return library.bind(calls);
      },
    }),
  });
  return { session, sizes };
}

test.each([[[]], [[0]], [[0, 2, 5, 7]]])(
  'predicted memory is allocated memory, to the byte: frozen %j',
  async (frozen) => {
    const { session, sizes } = await measuredSession(narrow, 9);
    await session.freeze(frozen);
    const images = randomImages([3, 32, 32], 9, 1);
    await session.gradients(images, new Array<number>(9).fill(0));
    await session.close();
    const arrays = ['backwardWeights', 'gradients', 'splitGradients'] as const;
    const layout = new ParameterLayout(planOperations(narrow, await cacheSize()), 9, 1, arrays, 0, frozen);
    const { floats } = planMemory(layout, { batch: 9, mode: 'train' });
    expect(sizes.at(-1)).toBe(wholePages(floats * 4));
  },
);

test('so is that for images of another size, after more plans than are kept', async () => {
  const network = buildNetwork(
    sequential([
      conv2d({ out: 9, kernel: 3, padding: 1 }),
      relu(),
      maxPool2d(2),
      adaptiveAvgPool2d(8),
      flatten(),
      linear(5),
    ]),
    [3, 16, 16],
  );
  const { session, sizes } = await measuredSession(network, 1);
  const shapes = Array.from({ length: mostPlans + 3 }, (_, i) => [3, 160 + 8 * i, 301]);
  const layout = new ParameterLayout(planOperations(network, await cacheSize()), 1, 1);
  const variant = (shape: readonly number[], dense: boolean) => ({ input: shape, dense });
  const binds: number[] = [];
  for (const shape of [...shapes, shapes[0]!, shapes.at(-1)!]) {
    const before = sizes.length;
    await session.predict(randomImages(shape, 1, 1), 1, { shape, dense: true });
    binds.push(sizes.length - before);
    if (binds.length > shapes.length) continue;
    const { floats } = planMemory(layout, { batch: 1, mode: 'evaluate', variant: variant(shape, true) });
    expect(sizes.at(-1)).toBe(wholePages(floats * 4));
  }
  // The plan of the first shape was dropped, the last one was kept.
  expect(binds.at(-2)).toBeGreaterThan(0);
  expect(binds.at(-1)).toBe(0);
  await session.close();
});

describe.skipIf(targetsHere.length === 0)('native memory', () => {
  test('beyond 4 GiB the same values result', async () => {
    const near = await openCpuSession(narrow, {
      batchSize: 9,
      threads: 1,
      kernels: nativeOf(targetsHere[0]!),
    });
    const far = await openCpuSession(narrow, {
      batchSize: 9,
      threads: 1,
      kernels: nativeOf(targetsHere[0]!),
      reservedBytes: 2 ** 32 + 2 ** 20,
    });
    const images = randomImages([3, 32, 32], 9, 1);
    const results = [];
    for (const session of [near, far]) {
      await session.initialize(1);
      const { loss, gradients } = await session.gradients(images, new Array<number>(9).fill(1));
      results.push([
        loss,
        [...(await session.predict(images, 9))],
        [...gradients.values()].map(({ data }) => [...data]),
      ]);
      await session.close();
    }
    expect(results[1]).toEqual(results[0]);
  });
});
