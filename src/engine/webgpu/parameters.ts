/**
 * Parameters, moments and running moments on the GPU. A matrix has a row for each output: [taps][input channels], and a
 * vec4 with its bias. Matrices too large for one buffer are cut by rows. All arrays of a parameter have its layout.
 */

import { VggError } from '../../errors.ts';
import type { Network, NetworkLayer } from '../../model/layer.ts';
import type { MomentName } from '../backend.ts';
import { graphOf } from '../graph.ts';
import { flattenedPlaces, mapOf, roundUp } from '../map-shape.ts';
import { type MatrixLayout, vectorsLayout } from '../matrix.ts';
import { orthogonalizedLayers } from '../muon.ts';
import type { Memory } from './memory.ts';

/** Arrays with the layout of the parameters. */
export type ArrayName = 'weights' | 'gradients' | MomentName;

export interface Part {
  readonly firstRow: number;
  readonly rows: number;
  readonly floats: number;
  readonly arrays: Map<ArrayName, GPUBuffer>;
}

export interface Matrix {
  /** Index of its layer. */
  readonly layer: number;
  readonly layout: MatrixLayout;
  readonly parts: readonly Part[];
}

/** Running moments of a batch normalization, [mean][variance]. */
export interface Running {
  readonly names: readonly [mean: string, variance: string];
  /** Place of each channel. */
  readonly places: Int32Array;
  readonly stored: number;
  readonly buffer: GPUBuffer;
}

/** A tensor's values, in a matrix or in running moments. */
export type TensorPlace =
  | { readonly matrix: Matrix; readonly isBias: boolean }
  | { readonly running: Running; readonly first: number };

export class Parameters {
  readonly #memory: Memory;
  /** By the name of its first tensor. */
  readonly matrices: ReadonlyMap<string, Matrix>;
  /** By the name of the mean. */
  readonly running: ReadonlyMap<string, Running>;
  readonly #places = new Map<string, TensorPlace>();
  /** The layers whose weights Muon orthogonalizes. */
  readonly orthogonalized: ReadonlySet<number>;
  #frozen: ReadonlySet<number> = new Set();

  constructor(memory: Memory, network: Network) {
    this.#memory = memory;
    this.orthogonalized = orthogonalizedLayers(network);
    const matrices = new Map<string, Matrix>();
    const running = new Map<string, Running>();
    for (const node of graphOf(network)) {
      const layer = node.layers[0]!;
      const index = network.layers.indexOf(layer);
      const layout = layoutOf(node, layer);
      if (layout) {
        const parts = partsOf(network.name, layout, memory.mostBytes);
        const matrix = { layer: index, layout, parts };
        matrices.set(layout.weightName, matrix);
        this.#places.set(layout.weightName, { matrix, isBias: false });
        if (layout.biasName !== undefined) this.#places.set(layout.biasName, { matrix, isBias: true });
        this.#make(matrix, 'weights');
      }
      if (node.kind !== 'batchNorm') continue;
      const [mean, variance] = layer.buffers as unknown as readonly [{ name: string }, { name: string }];
      const { places, stored } = channelsOf(node);
      const own: Running = {
        names: [mean.name, variance.name],
        ...{ places, stored },
        buffer: memory.buffer(8 * stored, `running moments of ${layer.name}`),
      };
      running.set(mean.name, own);
      this.#places.set(mean.name, { running: own, first: 0 });
      this.#places.set(variance.name, { running: own, first: stored });
    }
    this.matrices = matrices;
    this.running = running;
  }

  /** Those that learn. */
  get learning(): readonly Matrix[] {
    return [...this.matrices.values()].filter(({ layer }) => !this.#frozen.has(layer));
  }

  isFrozen(layer: number): boolean {
    return this.#frozen.has(layer);
  }

  /** Frees the arrays of training, too. */
  freeze(layers: readonly number[]): void {
    this.#frozen = new Set(layers);
    for (const { parts } of this.matrices.values()) {
      for (const { arrays } of parts) {
        for (const [name, buffer] of arrays) {
          if (name === 'weights') continue;
          buffer.destroy();
          arrays.delete(name);
        }
      }
    }
  }

  /** Allocates an array of the parameters that learn, if it is missing. Its values are 0. */
  ensure(name: Exclude<ArrayName, 'weights'>): void {
    for (const matrix of this.learning) this.#make(matrix, name);
  }

  #make({ parts, layout }: Matrix, name: ArrayName): void {
    for (const { arrays, floats } of parts) {
      if (!arrays.has(name))
        arrays.set(name, this.#memory.buffer(4 * floats, `${name} of ${layout.weightName}`));
    }
  }

  /** Where a tensor's values are. */
  placeOf(name: string): TensorPlace {
    return this.#places.get(name)!;
  }

  destroy(): void {
    for (const { parts } of this.matrices.values())
      for (const { arrays } of parts) for (const buffer of arrays.values()) buffer.destroy();
    for (const { buffer } of this.running.values()) buffer.destroy();
  }
}

/** The stored channels that a batch normalization has, and the place of each in them. */
export function channelsOf({ input, flattened }: { input: readonly number[]; flattened: boolean }): {
  readonly places: Int32Array;
  readonly stored: number;
} {
  const map = mapOf(input);
  const own = flattened ? map : { ...map, height: 1, width: 1 };
  return { places: flattenedPlaces(own), stored: own.height * own.width * own.stored };
}

function layoutOf(node: ReturnType<typeof graphOf>[number], layer: NetworkLayer): MatrixLayout | undefined {
  if (node.kind === 'batchNorm') {
    const { places, stored } = channelsOf(node);
    return node.spec.affine ? vectorsLayout(layer, stored, places) : undefined;
  }
  if (node.kind !== 'convolution' && node.kind !== 'linear') return undefined;
  const map = mapOf(node.input);
  const taps = node.kind === 'linear' ? map.height * map.width : node.spec.kernel[0] * node.spec.kernel[1];
  const values = taps * map.stored;
  const [weight, bias] = layer.parameters;
  const storedOut = roundUp(node.spec.out, 4);
  const rowStride = values + 4;
  return {
    ...{
      weightName: weight!.name,
      biasName: bias?.name,
      offset: 0,
      rowStride,
      storedOut,
      out: node.spec.out,
    },
    ...{ taps, channels: map.channels, stored: map.stored, bias: values, biasStep: rowStride },
    ...{ length: storedOut * rowStride, staged: false },
  };
}

/** @throws VggError if four rows do not fit a buffer. */
function partsOf(
  name: string,
  { rows: order, storedOut, rowStride, length }: MatrixLayout,
  mostBytes: number,
): Part[] {
  if (order) return [{ firstRow: 0, rows: storedOut, floats: length, arrays: new Map() }];
  const most = Math.floor(mostBytes / (16 * rowStride)) * 4;
  if (most === 0) {
    throw new VggError(
      `${name}: this GPU has buffers of at most ${mostBytes} bytes, too few for the weights of one layer; use another device`,
    );
  }
  const parts: Part[] = [];
  for (let firstRow = 0; firstRow < storedOut; firstRow += most) {
    const rows = Math.min(most, storedOut - firstRow);
    parts.push({ firstRow, rows, floats: rows * rowStride, arrays: new Map() });
  }
  return parts;
}
