/** What a training step needs on a GPU, from its plan alone: no device is opened. */
import type { Network } from '../../model/layer.ts';
import type { OptimizerOptions } from '../backend.ts';
import { momentsOf } from '../session.ts';
import type { Dispatch } from './dispatch.ts';
import { type Generation, type Memory, Scratch } from './memory.ts';
import type { Shared } from './operations.ts';
import { Parameters } from './parameters.ts';
import { tileTables } from './tiles.ts';
import { trainingStep } from './training-step.ts';
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
  /** Bytes of all buffers that each dispatch reads or writes, once. */
  readonly traffic: number;
  /** Operations per byte. */
  readonly intensity: number;
}

/** Dispatches that load images: draws, and bytes to values. */
const loads = 2;

/** A training step of a batch on a GPU whose buffers have at most `mostBytes`. */
export function describeStep(
  network: Network,
  batch: number,
  optimizer: OptimizerOptions['kind'],
  mostBytes: number = 2 ** 32,
): StepDescription {
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
  const scratch = (label: string): Scratch => new Scratch(memory, generation, label);
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
  const workspace = new Workspace(shared, network, { kind: 'train' }, batch);
  const list = trainingStep(shared, training, workspace, batch, {
    ...{ optimizer, labelSmoothing: 0, clipNorm: 0, averages: false, mixes: false, accumulated: undefined },
    ...{ updates: true, rateOf: [], rates: 1, onlyGradients: false },
  });
  const operations = list.reduce((sum, dispatch) => sum + dispatch.operations, 0);
  const traffic = list.reduce((sum, dispatch) => sum + trafficOf(dispatch), 0);
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

const trafficOf = ({ buffers }: Dispatch): number =>
  buffers.reduce((sum, own) => sum + (own instanceof Scratch ? own.buffer : own).size, 0);
