/**
 * The maps of a network for batches of a size, and its passes as lists of dispatches. A workspace to train keeps every
 * map for the backward pass; gradients take turns in two buffers. One to evaluate has two maps, which take turns.
 */
import { VggError } from '../../errors.ts';
import type { Network } from '../../model/layer.ts';
import { graphOf } from '../graph.ts';
import { type MapShape, mapOf } from '../map-shape.ts';
import { cells, type Dispatch, type Piece } from './dispatch.ts';
import { type Maps, type Memory, piecesOf } from './memory.ts';
import {
  type Backward,
  floatsOf,
  type Operation,
  operationOf,
  type Shared,
  type Step,
  stepsOf,
} from './operations.ts';
import { addKernel, copyGradient } from './pointwise.ts';

export type Mode =
  | { readonly kind: 'train' }
  | { readonly kind: 'evaluate' }
  /** Values after layers, and gradients with respect to them; layers are indices. */
  | { readonly kind: 'features'; readonly wanted: readonly number[]; readonly backward: boolean };

/** The most floats of an image in one of its buffers. */
function largestMap(network: Network, steps: readonly Step[]): number {
  return Math.max(floatsOf(mapOf(network.input)), ...steps.map(({ output }) => floatsOf(output)));
}

/** The operations of a network in a mode. */
export function stepsIn(network: Network, mode: Mode): readonly Step[] {
  if (mode.kind === 'train') return stepsOf(graphOf(network));
  const wanted = mode.kind === 'features' ? mode.wanted : [];
  const last = mode.kind === 'features' ? Math.max(...wanted) : Number.POSITIVE_INFINITY;
  return stepsOf(graphOf(network, { wanted: new Set(wanted) })).filter(({ node }) => node.last <= last);
}

/** Bytes of the maps of one image, to choose how many are computed at a time. */
export function imageBytes(network: Network, mode: Mode): number {
  const steps = stepsIn(network, mode);
  if (mode.kind === 'evaluate') return 8 * largestMap(network, steps);
  return 4 * steps.reduce((sum, { output }) => sum + floatsOf(output), 3 * largestMap(network, steps));
}

export class Workspace {
  readonly capacity: number;
  readonly input: Maps;
  readonly inputShape: MapShape;
  readonly operations: readonly Operation[];
  readonly mode: Mode;
  /** Gradients take turns in these. */
  readonly gradients: readonly [Maps, Maps] | undefined;
  readonly #pieceSize: number;
  readonly #buffers: GPUBuffer[] = [];

  /** @throws VggError if one image's maps do not fit the device's buffers. */
  constructor(shared: Shared, network: Network, mode: Mode, capacity: number) {
    const { memory } = shared;
    const steps = stepsIn(network, mode);
    const largest = largestMap(network, steps);
    this.mode = mode;
    this.capacity = capacity;
    this.#pieceSize = Math.min(capacity, Math.floor(memory.mostBytes / (4 * largest)));
    if (this.#pieceSize === 0) {
      throw new VggError(
        `${network.name}: this GPU has buffers of at most ${memory.mostBytes} bytes, but one map has ${4 * largest}; ` +
          'use smaller images or another device',
      );
    }
    const tracked: Memory = {
      ...{ mostBytes: memory.mostBytes, tiles: memory.tiles },
      buffer: (bytes, label) => {
        const buffer = memory.buffer(bytes, label);
        this.#buffers.push(buffer);
        return buffer;
      },
    };
    const maps = (floats: number, label: string): Maps =>
      piecesOf(capacity, this.#pieceSize).map(({ count }) => tracked.buffer(4 * floats * count, label));
    const keeps = mode.kind === 'train' || (mode.kind === 'features' && mode.backward);
    const own = mode.kind !== 'evaluate';
    const turns = own ? [] : [maps(largest, 'map'), maps(largest, 'other map')];
    this.inputShape = mapOf(network.input);
    this.input = turns[0] ?? maps(floatsOf(this.inputShape), 'images');
    let input = this.input;
    this.operations = steps.map((step, i) => {
      const label = `output of ${step.node.layers.at(-1)!.name}`;
      const output = turns[(i + 1) % 2] ?? maps(floatsOf(step.output), label);
      const place = { input, output, keeps, trains: mode.kind === 'train', maps };
      input = output;
      return operationOf({ ...shared, memory: tracked }, step, place);
    });
    this.gradients = keeps ? [maps(largest, 'gradient'), maps(largest, 'other gradient')] : undefined;
  }

  /** The map of logits. */
  get output(): Maps {
    return this.operations.at(-1)?.output ?? this.input;
  }

  get outputShape(): MapShape {
    return this.operations.at(-1)?.outputShape ?? this.inputShape;
  }

  pieces(count: number): readonly Piece[] {
    return piecesOf(count, this.#pieceSize);
  }

  forward(pieces: readonly Piece[]): Dispatch[] {
    return this.operations.flatMap((operation) => operation.forward(pieces));
  }

  /** From the gradient of the logits, in the first of `gradients`, to those of all parameters that learn. */
  backward(
    pieces: readonly Piece[],
    learns: (operation: Operation) => boolean,
    finish: Backward['finish'],
  ): Dispatch[] {
    const { operations } = this;
    const first = operations.findIndex(learns);
    if (first < 0) return [];
    let [gradient, other] = this.gradients!;
    const list: Dispatch[] = [];
    for (let i = operations.length - 1; i >= first; i--) {
      const operation = operations[i]!;
      const inputGradient = i > first ? other : undefined;
      const masked = operations[i - 1]?.endsInRelu ?? false;
      list.push(
        ...operation.backward(pieces, { gradient, inputGradient, masked, learns: learns(operation), finish }),
      );
      [gradient, other] = [other, gradient];
    }
    return list;
  }

  /**
   * Gradients of values: from those after layers, which `load` writes to maps, to that after layer `to`. Returns the map
   * of the result, too.
   */
  backwardTo(
    pieces: readonly Piece[],
    layers: readonly number[],
    to: number,
    load: (layer: number, maps: Maps, shape: MapShape) => Dispatch[],
  ): { readonly list: readonly Dispatch[]; readonly result: Maps; readonly shape: MapShape } {
    const list: Dispatch[] = [];
    let [gradient, other] = this.gradients!;
    let isEmpty = true;
    const add = (operation: Operation | undefined): void => {
      const shape = operation?.outputShape ?? this.inputShape;
      for (const layer of layers) if (this.#endOf(layer) === operation) addOne(layer, shape);
    };
    const addOne = (layer: number, shape: MapShape): void => {
      list.push(...load(layer, isEmpty ? gradient : other, shape));
      if (!isEmpty) {
        for (const piece of pieces)
          list.push(
            cells(
              addKernel(shape),
              [other[piece.index]!, gradient[piece.index]!],
              piece,
              floatsOf(shape) / 4,
            ),
          );
      }
      isEmpty = false;
    };
    const from = Math.max(...layers);
    const end = this.#endOf(to);
    for (const operation of this.operations.toReversed()) {
      if (operation.last > from) continue;
      if (operation === end) break;
      const { outputShape } = operation;
      add(operation);
      if (operation.endsInRelu) {
        for (const piece of pieces) {
          const buffers = [gradient, other, operation.output].map((maps) => maps[piece.index]!);
          list.push(cells(copyGradient(outputShape, true), buffers, piece, floatsOf(outputShape) / 4));
        }
        [gradient, other] = [other, gradient];
      }
      const pass = { gradient, inputGradient: other, masked: false, learns: false, finish: () => [] };
      list.push(...operation.backward(pieces, pass));
      [gradient, other] = [other, gradient];
    }
    add(end);
    return { list, result: gradient, shape: this.after(to).shape };
  }

  /** The operation whose output are the values after a layer, which may only pass them on; undefined: the images. */
  #endOf(layer: number): Operation | undefined {
    return this.operations.findLast(({ last }) => last <= layer);
  }

  /** The map after a layer; −1: the images. */
  after(layer: number): { readonly maps: Maps; readonly shape: MapShape } {
    const operation = this.#endOf(layer);
    return operation
      ? { maps: operation.output, shape: operation.outputShape }
      : { maps: this.input, shape: this.inputShape };
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }
}
