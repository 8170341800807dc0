/** Whether the GPU computes what the CPU does: cases of the conformance suite, each tile, and large networks. */
import { registerHooks } from 'node:module';
import { fromArrays } from '../../src/data/dataset.ts';
import { dataLoader } from '../../src/data/loader.ts';
import { toTensor } from '../../src/data/transforms.ts';
import type { OpenSession } from '../../src/engine/backend.ts';
import { openWasm } from '../../src/engine/cpu/driver.ts';
import { openGpu } from '../../src/engine/webgpu/device.ts';
import { openWebgpuSession } from '../../src/engine/webgpu/driver.ts';
import { type TileTable, tileTables } from '../../src/engine/webgpu/tiles.ts';
import type { Network } from '../../src/model/layer.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from '../../src/model/layers/index.ts';
import { sequential, sizeOf } from '../../src/model/network.ts';
import { reason } from '../../src/reason.ts';
import { Model } from '../../src/train/model.ts';
import { adam } from '../../src/train/optimizers.ts';
import type { Case } from '../../test/cases.ts';
import { imageShape, networkOf, networksOf } from './networks.ts';
import type { Part, PartOptions, Reporter } from './part.ts';

const suite = 'networks of the conformance suite';
const tilesRow = (name: string, isSliced: boolean): string =>
  `tile ${name}${isSliced ? ', sums in slices' : ''}`;
const [steps, logits, repeated] = [
  'losses of 20 training steps against wasm',
  'logits of the largest network against wasm',
  'bits of a repeated training',
];

/** Tables with one tile each: sums whole, and in slices. */
const tables = (quick: boolean): readonly (readonly [row: string, table: TileTable])[] => {
  const { name, tiles } = quick ? tileTables.software : tileTables.gpu;
  return tiles.flatMap((tile) =>
    (quick ? [true] : [false, true]).map((isSliced): [string, TileTable] => [
      tilesRow(`${tile.bm}×${tile.bn}`, isSliced),
      { name, tiles: [tile], groups: isSliced ? 256 : 1, sliceLength: 16 },
    ]),
  );
};

export const checkPart: Part = {
  title: 'Correctness (relative to the largest value)',
  seconds: 60,
  rows: (quick) => [...tables(quick).map(([row]) => row), repeated, steps, logits, suite],
  columns: () => ['cases', 'wrong', 'difference', 'allowed'],
  applies(row, column) {
    const byDifference = row === steps || row === logits;
    return column === 'wrong' ? !byDifference : column === 'cases' || byDifference;
  },
  async run(options, report) {
    const end = performance.now() + 1000 * options.seconds;
    // Without a GPU, nothing is wrong.
    await openGpu({ adapter: options.adapter });
    // Comparisons use vitest, which is for development.
    const plain = new URL('../../test/plain-expect.ts', import.meta.url).href;
    registerHooks({
      resolve: (name, context, next) =>
        name === 'vitest' ? { url: plain, shortCircuit: true } : next(name, context),
    });
    const { conformanceCases } = await import('../../test/cases.ts');
    for (const [row, table] of tables(options.quick))
      await compare(row, productCases, options, report, { table });
    await largeNetworks(options, report);
    const cases = options.quick ? conformanceCases.slice(2, 4) : conformanceCases;
    await compare(suite, cases, options, report, { end });
  },
};

const conv = (out: number, kernel: number, padding: number, stride = 1) =>
  conv2d({ out, kernel, padding, stride });

const productCases: readonly Case[] = [
  {
    model: sequential(
      [
        conv(12, 3, 1),
        relu(),
        maxPool2d(2),
        conv(20, 3, 0),
        relu(),
        flatten(),
        linear(33),
        relu(),
        linear(5),
      ],
      { name: 'products' },
    ),
    input: [3, 18, 17],
    batch: 5,
  },
  {
    model: sequential(
      [conv(9, 5, 2, 2), relu(), conv(70, 1, 0), relu(), maxPool2d(2), flatten(), linear(6)],
      {
        name: 'strides',
      },
    ),
    input: [4, 15, 16],
    batch: 3,
  },
];

async function compare(
  row: string,
  cases: readonly Case[],
  { adapter }: PartOptions,
  { cells, note }: Reporter,
  { table, end = Number.POSITIVE_INFINITY }: { table?: TileTable; end?: number },
): Promise<void> {
  const { compareWithReference } = await import('../../test/compare.ts');
  const open: OpenSession = (network, options) =>
    openWebgpuSession(network, { ...options, adapter, ...(table && { tiles: table }) });
  let [done, wrong] = [0, 0];
  for (const { model, input, batch } of cases) {
    if (performance.now() > end) break;
    try {
      await compareWithReference(open, model, input, { batch });
    } catch (error) {
      wrong++;
      if (wrong <= 5) note(`${row}: ${reason(error)}`);
    }
    done++;
    // The last report counts, wherever time ends.
    cells(row, { cases: done, wrong });
  }
  if (done < cases.length) note(`${row}: ${done} of ${cases.length} in the time given`);
}

const largestIn = (values: ArrayLike<number>): number => {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]!));
  return largest;
};

/** The largest difference over the largest value of b; ∞ where one is not finite. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = 0;
  for (let i = 0; i < b.length; i++) {
    const apart = Math.abs(a[i]! - b[i]!);
    worst = Number.isFinite(apart) ? Math.max(worst, apart) : Number.POSITIVE_INFINITY;
  }
  return worst / largestIn(b);
}

async function largeNetworks({ quick, adapter }: PartOptions, { cells }: Reporter): Promise<void> {
  const networks = networksOf(quick);
  const openers = {
    webgpu: (network: Network) => openWebgpuSession(network, { batchSize: 16, adapter }),
    wasm: (network: Network) => openWasm(network, { batchSize: 16 }),
  };
  const first = networks[0]!;
  const losses = async (device: keyof typeof openers): Promise<readonly number[]> => {
    const network = networkOf(first);
    const session = await openers[device](network);
    await session.initialize(0);
    await using model = new Model(network, session, 16);
    return trainedLosses(model, imageShape(first), quick ? 4 : 20);
  };
  const own = await losses('webgpu');
  const again = await losses('webgpu');
  const wrong = own.filter((loss, i) => !Object.is(loss, again[i])).length;
  cells(repeated, { cases: own.length, wrong });
  cells(steps, { cases: own.length, difference: difference(own, await losses('wasm')), allowed: 1e-3 });
  const last = networks.at(-1)!;
  const network = networkOf(last);
  const images = Float32Array.from({ length: 2 * sizeOf(imageShape(last)) }, (_, i) => Math.sin(i * i));
  const results: Float32Array[] = [];
  for (const open of Object.values(openers)) {
    const session = await open(network);
    await session.initialize(0);
    results.push(await session.predict(images, 2));
    await session.close();
  }
  cells(logits, { cases: 2, difference: difference(results[0]!, results[1]!), allowed: 1e-4 });
}

async function trainedLosses(
  model: Model,
  shape: readonly [number, number, number],
  count: number,
): Promise<readonly number[]> {
  const pixels = Uint8Array.from(
    { length: 16 * count * sizeOf(shape) },
    (_, i) => 255 * Math.sin(i * i) ** 2,
  );
  const labels = Array.from({ length: 16 * count }, (_, i) => i % 10);
  const loader = dataLoader(fromArrays(pixels, labels, shape), { batchSize: 16, transform: toTensor() });
  const { losses } = await model.train(loader, { epoch: 1, optimizer: adam() });
  return [...losses];
}
