/** The three products of a convolution, on the nine shapes of VGG-16's convolutions, with each tile. */

import type { BoundDispatch, Gpu } from '../../src/engine/webgpu/device.ts';
import type { Dispatch } from '../../src/engine/webgpu/dispatch.ts';
import { type Memory, Scratch } from '../../src/engine/webgpu/memory.ts';
import type { Shared } from '../../src/engine/webgpu/operations.ts';
import { Parameters } from '../../src/engine/webgpu/parameters.ts';
import type { Tile } from '../../src/engine/webgpu/product.ts';
import { type TileTable, tileTables } from '../../src/engine/webgpu/tiles.ts';
import { Workspace } from '../../src/engine/webgpu/workspace.ts';
import type { LayerSpec } from '../../src/model/layer.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from '../../src/model/layers/index.ts';
import { buildNetwork, sequential } from '../../src/model/network.ts';
import { reason } from '../../src/reason.ts';
import { median, openTimed, type TimedGpu, unchecked } from './device.ts';
import type { Part, PartOptions } from './part.ts';

interface Shape {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly side: number;
  readonly pooled: boolean;
}

const shape = (name: string, from: number, to: number, side: number, pooled = false): Shape => ({
  ...{ name: `${name}${pooled ? ' + pool' : ''}, ${from}→${to} @${side}²`, from, to, side, pooled },
});

const shapes: readonly Shape[] = [
  shape('conv1_1', 3, 64, 224),
  shape('conv1_2', 64, 64, 224, true),
  shape('conv2_1', 64, 128, 112),
  shape('conv2_2', 128, 128, 112, true),
  shape('conv3_1', 128, 256, 56),
  shape('conv3_2', 256, 256, 56),
  shape('conv4_1', 256, 512, 28),
  shape('conv4_2', 512, 512, 28),
  shape('conv5', 512, 512, 14),
];
const quickShapes = [shape('small', 8, 8, 8)];

const batches = { usual: 32, quick: 2 };

const tile = (bm: number, bn: number, bk: number, tm: number, tn: number): Tile => ({ bm, bn, bk, tm, tn });

/** The table's, and some that it might have. */
const tilesOf = (quick: boolean): readonly Tile[] =>
  quick
    ? tileTables.software.tiles
    : [
        ...tileTables.gpu.tiles,
        tile(128, 128, 8, 8, 8),
        tile(64, 64, 16, 8, 8),
        tile(64, 128, 16, 8, 8),
        tile(128, 64, 32, 8, 4),
      ];

const tileName = ({ bm, bn, bk, tm, tn }: Tile): string => `${bm}×${bn}×${bk}, ${tm}×${tn}`;
const tableColumn = "table's choice";

const passes = ['forward', 'input gradient', 'weight gradient'] as const;
const rowOf = ({ name }: Shape, pass: (typeof passes)[number]): string => `${name}: ${pass}`;

type Lists = Readonly<Record<(typeof passes)[number], readonly Dispatch[]>>;

/** The dispatches of the passes of one convolution. */
function listsOf({ from, to, side, pooled }: Shape, batch: number, memory: Memory): Lists {
  const scratch = (label: string): Scratch => new Scratch(memory, { count: 0 }, label);
  const layers: LayerSpec[] = [
    conv2d({ out: to, kernel: 3, padding: 1 }),
    relu(),
    ...(pooled ? [maxPool2d(2)] : []),
  ];
  // A network ends in scores; only its first operation is measured.
  layers.push(flatten(), linear(1));
  const network = buildNetwork(sequential(layers), [from, side, side]);
  const shared: Shared = {
    ...{ memory, parameters: new Parameters(memory, network), run: memory.buffer(32, 'run') },
    ...{ samples: scratch('order'), slots: scratch('slots'), partial: scratch('partial sums') },
    stretches: scratch('stretches'),
  };
  const workspace = new Workspace(shared, network, { kind: 'train' }, batch);
  const [operation] = workspace.operations as [Workspace['operations'][number]];
  const [gradient, inputGradient] = workspace.gradients!;
  const pieces = workspace.pieces(batch);
  const pass = { gradient, masked: true, finish: () => [] };
  return {
    forward: operation.forward(pieces),
    'input gradient': operation.backward(pieces, { ...pass, inputGradient, learns: false }),
    'weight gradient': operation.backward(pieces, { ...pass, inputGradient: undefined, learns: true }),
  };
}

/** The passes of one convolution with these tiles, on buffers of their own. */
class Products {
  readonly #gpu: Gpu;
  readonly #buffers: GPUBuffer[] = [];
  readonly lists: Lists;

  constructor(gpu: Gpu, shape: Shape, batch: number, tiles: TileTable) {
    this.#gpu = gpu;
    this.lists = listsOf(shape, batch, {
      ...{ mostBytes: gpu.mostBytes, tiles },
      buffer: (bytes, label) => {
        const buffer = gpu.buffer(bytes, label);
        this.#buffers.push(buffer);
        return buffer;
      },
    });
  }

  /** Values of the usual size, since a GPU computes zeros with less power. */
  fill(): void {
    const values = new Float32Array(2 ** 20);
    for (let i = 0; i < values.length; i++) values[i] = Math.random() - 0.5;
    for (const buffer of this.#buffers) {
      if (/winners|run|order/.test(buffer.label)) continue;
      for (let at = 0; at < buffer.size; at += values.byteLength)
        this.#gpu.device.queue.writeBuffer(
          buffer,
          at,
          values,
          0,
          Math.min(values.length, (buffer.size - at) / 4),
        );
    }
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }
}

/** Compiles all kernels of a column side by side. Errors come again where the kernels are used. */
async function compileAll(gpu: Gpu, all: readonly Shape[], batch: number, tiles: TileTable): Promise<void> {
  const memory: Memory = {
    ...{ mostBytes: gpu.mostBytes, tiles },
    // Only its size is looked at.
    buffer: (size, label) => ({ size, label, destroy: () => undefined }) as unknown as GPUBuffer,
  };
  const kernels = all.flatMap((own) =>
    Object.values(listsOf(own, batch, memory)).flatMap((list) => list.map(({ kernel }) => kernel)),
  );
  await Promise.allSettled(kernels.map((kernel) => gpu.compile(kernel)));
}

/** TFLOP/s of each pass, counted as a direct convolution. */
async function measure(
  timed: TimedGpu,
  own: Shape,
  tiles: TileTable,
  { quick }: PartOptions,
  report: (pass: (typeof passes)[number], teraflops: number) => void,
): Promise<void> {
  const { gpu } = timed;
  const products = await gpu.allocating(own.name, () => {
    const made = new Products(gpu, own, quick ? batches.quick : batches.usual, tiles);
    made.fill();
    return made;
  });
  try {
    for (const pass of passes) {
      const list = products.lists[pass];
      const bound: BoundDispatch[] = await Promise.all(list.map((dispatch) => gpu.bind(dispatch)));
      const operations = list.reduce((sum, dispatch) => sum + dispatch.operations, 0);
      const [first = 0] = await timed.seconds(bound, 1);
      // About 30 milliseconds.
      const times = quick ? 1 : Math.min(20, Math.max(3, Math.floor(0.03 / Math.max(first, 1e-5))));
      report(pass, operations / median(await timed.seconds(bound, times)) / 1e12);
    }
  } finally {
    products.destroy();
  }
}

const part = (title: string, flags: readonly string[]): Part => ({
  title,
  seconds: 50,
  rows: (quick) => (quick ? quickShapes : shapes).flatMap((own) => passes.map((pass) => rowOf(own, pass))),
  columns: (quick) => [tableColumn, ...tilesOf(quick).map(tileName)],
  async run(options, { cells, note }) {
    const timed = await openTimed(options.adapter, flags);
    const table = timed.gpu.tiles;
    const clock = timed.hasTimestamps ? 'timestamps' : 'the wall clock';
    const batch = options.quick ? batches.quick : batches.usual;
    note(`TFLOP/s by ${clock}, batch ${batch}, on random values; joins of slices included`);
    const choices: [column: string, tiles: TileTable][] = [
      [tableColumn, table],
      ...tilesOf(options.quick).map((own): [string, TileTable] => [
        tileName(own),
        { ...table, tiles: [own] },
      ]),
    ];
    for (const [column, tiles] of choices) {
      await compileAll(timed.gpu, options.quick ? quickShapes : shapes, batch, tiles);
      for (const own of options.quick ? quickShapes : shapes) {
        try {
          await measure(timed, own, tiles, options, (pass, value) =>
            cells(rowOf(own, pass), { [column]: value }),
          );
        } catch (error) {
          // A tile may need more registers or memory than the device has; others may fit.
          note(`${own.name}, ${column}: ${reason(error)}`);
        }
      }
    }
  },
});

export const productsPart: Part = part('Products of convolutions, by tile', []);
export const uncheckedProductsPart: Part = part('The same without bounds checks (disable_robustness)', [
  unchecked,
]);
