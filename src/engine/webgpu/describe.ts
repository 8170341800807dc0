/** What a training step needs on a GPU, from its plan alone: no device is opened. */
import type { Network } from '../../model/layer.ts';
import type { OptimizerOptions } from '../backend.ts';
import type { MapShape } from '../map-shape.ts';
import { momentsOf } from '../session.ts';
import type { Dispatch } from './dispatch.ts';
import { type Generation, type Maps, type Memory, Scratch } from './memory.ts';
import { floatsOf, type Shared } from './operations.ts';
import { Parameters } from './parameters.ts';
import { tileTables } from './tiles.ts';
import { type StepKind, trainingStep, updateOf } from './training-step.ts';
import { Workspace } from './workspace.ts';

export interface StepDescription {
  readonly batch: number;
  /** The buffers by what they hold, the largest first. */
  readonly buffers: readonly { readonly label: string; readonly bytes: number }[];
  readonly bytes: number;
  /** The largest one, which a device's limits must allow; larger ones are cut. */
  readonly largestBuffer: number;
  /** With those that load the images. */
  readonly dispatches: number;
  /** Floating-point operations. */
  readonly operations: number;
  /** Bytes that the dispatches of the layers read or write, each buffer once: as if caches held what tiles share. */
  readonly traffic: number;
  /** Operations per byte. */
  readonly intensity: number;
}

/** Dispatches that load images: draws, and bytes to values. */
const loads = 2;

/** A scratch buffer that has the size that was asked for last. */
class Exact extends Scratch {
  override require(bytes: number): void {
    this.destroy();
    super.require(bytes);
  }
}

/** Everything that a training step needs, on buffers that have only a size. */
function layOut(
  network: Network,
  optimizer: OptimizerOptions['kind'],
  mostBytes: number,
  Kind: typeof Scratch,
) {
  const made: GPUBuffer[] = [];
  const memory: Memory = {
    mostBytes,
    tiles: tileTables.gpu,
    buffer: (bytes, label) => {
      const size = Math.max(16, Math.ceil(bytes / 16) * 16);
      const destroy = (): unknown => made.splice(made.indexOf(buffer), 1);
      const buffer = { size, label, destroy } as unknown as GPUBuffer;
      made.push(buffer);
      return buffer;
    },
  };
  const generation: Generation = { count: 0 };
  const scratch = (label: string): Scratch => new Kind(memory, generation, label);
  const parameters = new Parameters(memory, network);
  for (const name of momentsOf(optimizer)) parameters.ensure(name);
  const shared: Shared = {
    ...{ memory, parameters, run: memory.buffer(32, 'run'), samples: scratch('order') },
    ...{ slots: scratch('slots'), partial: scratch('partial sums'), stretches: scratch('stretches') },
  };
  const training = {
    ...{ labels: scratch('labels'), table: scratch('numbers of steps'), ring: scratch('losses') },
    ...{ results: scratch('losses of images'), sums: scratch('squares'), clipping: scratch('clipping') },
  };
  return { made, memory, shared, training };
}

/** A training step of a batch on a GPU whose buffers have at most `mostBytes`. */
export function describeStep(
  network: Network,
  batch: number,
  optimizer: OptimizerOptions['kind'],
  mostBytes: number = 2 ** 32,
): StepDescription {
  const { made, shared, training } = layOut(network, optimizer, mostBytes, Scratch);
  const workspace = new Workspace(shared, network, { kind: 'train' }, batch);
  const list = trainingStep(shared, training, workspace, batch, kindOf(optimizer));
  const operations = list.reduce((sum, dispatch) => sum + dispatch.operations, 0);
  const traffic = trafficOf(network, batch, optimizer, mostBytes);
  const byLabel = new Map<string, number>();
  for (const { label, size } of made) byLabel.set(label, (byLabel.get(label) ?? 0) + size);
  return {
    batch,
    buffers: [...byLabel].map(([label, bytes]) => ({ label, bytes })).toSorted((a, b) => b.bytes - a.bytes),
    bytes: made.reduce((sum, { size }) => sum + size, 0),
    largestBuffer: Math.max(...made.map(({ size }) => size)),
    dispatches: list.length + loads,
    ...{ operations, traffic, intensity: operations / traffic },
  };
}

const kindOf = (optimizer: OptimizerOptions['kind']): StepKind => ({
  ...{ optimizer, labelSmoothing: 0, clipNorm: 0, averages: false, mixes: false, accumulated: undefined },
  ...{ updates: true, rateOf: [], rates: 1, onlyGradients: false },
});

/**
 * Bytes of the buffers of each dispatch of the layers. Buffers that operations share, for gradients of maps and for
 * partial sums, count with what each needs.
 */
function trafficOf(
  network: Network,
  batch: number,
  optimizer: OptimizerOptions['kind'],
  mostBytes: number,
): number {
  const { memory, shared, training } = layOut(network, optimizer, mostBytes, Exact);
  const workspace = new Workspace(shared, network, { kind: 'train' }, batch);
  const pieces = workspace.pieces(batch);
  const maps = (shape: MapShape): Maps =>
    pieces.map(({ count }) => memory.buffer(4 * floatsOf(shape) * count, 'gradient'));
  const { operations } = workspace;
  let bytes = 0;
  const add = (list: readonly Dispatch[]): void => {
    for (const { buffers } of list)
      for (const own of buffers) bytes += (own instanceof Scratch ? own.buffer : own).size;
  };
  for (const [i, operation] of operations.entries()) {
    add(operation.forward(pieces));
    const list = operation.backward(pieces, {
      gradient: maps(operation.outputShape),
      inputGradient: i > 0 ? maps(operation.inputShape) : undefined,
      masked: operations[i - 1]?.endsInRelu ?? false,
      learns: operation.matrix !== undefined,
      finish: (part, { layer }, slices) => [
        updateOf(shared, training, kindOf(optimizer), part, layer, shared.slots, slices),
      ],
    });
    add(list);
  }
  return bytes;
}
