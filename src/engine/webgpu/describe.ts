/** What a training step needs on a GPU, from its plan alone: no device is opened. */
import type { Network } from '../../model/layer.ts';
import type { OptimizerOptions } from '../backend.ts';
import { momentsOf } from '../session.ts';
import type { Dispatch } from './dispatch.ts';
import { type Generation, type Memory, Scratch } from './memory.ts';
import type { Shared } from './operations.ts';
import { Parameters } from './parameters.ts';
import { type TileTable, tileTables } from './tiles.ts';
import { orthogonalizationOf, type StepKind, type TrainingBuffers, trainingStep } from './training-step.ts';
import { parsed } from './wgsl.ts';
import { Workspace } from './workspace.ts';

export interface StepDescription {
  readonly batch: number;
  readonly optimizer: OptimizerOptions['kind'];
  /** The buffers by what they hold, the largest first. */
  readonly buffers: readonly { readonly label: string; readonly bytes: number }[];
  /** The same in few groups. */
  readonly groups: readonly BufferGroup[];
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

export interface BufferGroup {
  readonly name: string;
  readonly count: number;
  readonly bytes: number;
  /** The largest of its buffers. */
  readonly largest: { readonly label: string; readonly bytes: number };
}

/** Groups of buffers by how their labels begin. */
const groupNames: readonly (readonly [name: string, labels: RegExp])[] = [
  ['weights', /^(weights|running moments) of /],
  ['gradients of weights', /^(gradients of |slots$|squares$|clipping$)/],
  ['optimizer', /^((firstMoment|secondMoment|momentum|average) of |orthogonalization$)/],
  ['images', /^images$/],
  ['maps', /^output of /],
  ['gradients of maps', /^(other )?gradient$/],
  ['winners of pools', /^winners of /],
  ['normalizations', /^(norm of |bases of |stretches$)/],
  ['partial sums', /^partial sums$/],
];

/** Buffers of labels, which several may share, in groups, the largest first. */
function groupsOf(made: readonly { readonly label: string; readonly bytes: number }[]): BufferGroup[] {
  const groups = new Map<string, { label: string; bytes: number }[]>();
  for (const own of made) {
    const [name = 'others'] = groupNames.find(([, labels]) => labels.test(own.label)) ?? [];
    groups.set(name, [...(groups.get(name) ?? []), own]);
  }
  return [...groups]
    .map(([name, own]) => ({
      ...{ name, count: own.length, bytes: own.reduce((sum, { bytes }) => sum + bytes, 0) },
      largest: own.reduce((a, b) => (b.bytes > a.bytes ? b : a)),
    }))
    .toSorted((a, b) => b.bytes - a.bytes);
}

/** Dispatches that load images: draws, and bytes to values. */
const loads = 2;

export interface DescribeOptions {
  readonly optimizer: OptimizerOptions['kind'];
  /** Indices of layers. */
  readonly frozen?: readonly number[];
  /** The most bytes of a buffer; 4 GiB by default. */
  readonly mostBytes?: number;
  /** Those of real GPUs by default. */
  readonly tiles?: TileTable;
}

/** A training step of a batch on a GPU. @throws VggError if an image or a layer does not fit a buffer. */
export function describeStep(
  network: Network,
  batch: number,
  { optimizer, frozen = [], mostBytes = 2 ** 32, tiles = tileTables.gpu }: DescribeOptions,
): StepDescription {
  const made: GPUBuffer[] = [];
  const memory: Memory = {
    ...{ mostBytes, tiles },
    buffer: (bytes, label) => {
      const size = Math.max(16, Math.ceil(bytes / 16) * 16);
      const destroy = (): unknown => made.splice(made.indexOf(buffer), 1);
      const buffer = { size, label, destroy } as unknown as GPUBuffer;
      made.push(buffer);
      return buffer;
    },
  };
  const { list } = planStep(memory, network, batch, { optimizer }, frozen);
  const operations = list.reduce((sum, dispatch) => sum + dispatch.operations, 0);
  const traffic = list.reduce((sum, dispatch) => sum + trafficOf(dispatch), 0);
  const byLabel = new Map<string, number>();
  for (const { label, size } of made) byLabel.set(label, (byLabel.get(label) ?? 0) + size);
  const labeled = made.map(({ label, size: bytes }) => ({ label, bytes }));
  return {
    ...{ batch, optimizer, groups: groupsOf(labeled) },
    buffers: [...byLabel].map(([label, bytes]) => ({ label, bytes })).toSorted((a, b) => b.bytes - a.bytes),
    bytes: made.reduce((sum, { size }) => sum + size, 0),
    largestBuffer: Math.max(...made.map(({ size }) => size)),
    dispatches: list.length + loads,
    ...{ operations, traffic, intensity: operations / traffic },
  };
}

/** A training step laid out in memory. */
export interface StepPlan {
  readonly list: readonly Dispatch[];
  readonly shared: Shared;
  readonly training: TrainingBuffers;
  readonly workspace: Workspace;
}

/** Lays out a step with an optimizer's rule and, if not plain, other settings. */
export function planStep(
  memory: Memory,
  network: Network,
  batch: number,
  settings: Pick<StepKind, 'optimizer'> & Partial<StepKind>,
  frozen: readonly number[] = [],
): StepPlan {
  const generation: Generation = { count: 0 };
  const scratch = (label: string): Scratch => new Scratch(memory, generation, label);
  const parameters = new Parameters(memory, network);
  parameters.freeze(frozen);
  for (const name of momentsOf(settings.optimizer)) parameters.ensure(name);
  if (settings.averages) parameters.ensure('average');
  const shared: Shared = {
    ...{ memory, parameters, run: memory.buffer(32, 'run'), samples: scratch('order') },
    ...{ slots: scratch('slots'), partial: scratch('partial sums'), stretches: scratch('stretches') },
  };
  const training: TrainingBuffers = {
    ...{ labels: scratch('labels'), table: scratch('numbers of steps'), ring: scratch('losses') },
    ...{ results: scratch('losses of images'), sums: scratch('squares'), clipping: scratch('clipping') },
    orthogonalization: orthogonalizationOf(scratch),
  };
  const workspace = new Workspace(shared, network, { kind: 'train' }, batch);
  const list = trainingStep(shared, training, workspace, batch, {
    ...{ labelSmoothing: 0, clipNorm: 0, averages: false, mixes: false, accumulated: undefined },
    ...{ updates: true, rateOf: [], rates: 1, onlyGradients: false },
    ...settings,
  });
  return { list, shared, training, workspace };
}

/** Bytes that a dispatch reads or writes, once. */
export const trafficOf = (dispatch: Dispatch): number =>
  dispatch.buffers.reduce((sum, own, i) => {
    const { size } = own instanceof Scratch ? own.buffer : own;
    return sum + Math.min(size, usedBytes(dispatch, i));
  }, 0);

/** Bytes that a dispatch uses of a buffer that layers share; no limit for buffers of its own. */
function usedBytes({ kernel, piece }: Dispatch, binding: number): number {
  const { name } = parsed(kernel.bindings[binding]!);
  const numbers = Object.entries(kernel.shape).filter(([, value]) => typeof value === 'number');
  const of = Object.fromEntries(numbers) as Readonly<Record<string, number>>;
  const { slices = 1, vectors = 0, stretches = 1, outs = 0, rowStride = 0 } = of;
  switch (name) {
    case 'slots':
      // Of a normalization, two sums.
      return vectors > 0 ? 16 * vectors * Math.max(2, slices) : 4 * slices * outs * rowStride;
    case 'partial': {
      if (vectors > 0) return 48 * vectors * stretches;
      const perImage = kernel.name.includes('forward') ? of.rowsOfImage! * outs : inputFloats(of);
      return 4 * slices * piece.count * perImage;
    }
    case 'inputGradient':
    case 'result':
      return 4 * piece.count * inputFloats(of);
    case 'gradient':
    case 'given':
      return 4 * piece.count * outputFloats(of, kernel.bindings.includes('winners: array<u32>'));
    default:
      return Number.POSITIVE_INFINITY;
  }
}

type Numbers = Readonly<Record<string, number>>;

/** Floats of an image in the maps of a kernel: of products and pools, or of those that keep a map's shape. */
const inputFloats = ({ height, width, channels, stored4, ...of }: Numbers): number =>
  height === undefined ? sameFloats(of) : height * width! * (stored4 === undefined ? channels! : 4 * stored4);

const outputFloats = (
  { outHeight, outWidth, outChannels, stored4, ...of }: Numbers,
  pooled: boolean,
): number => {
  if (outHeight === undefined) return sameFloats(of);
  const places = pooled ? of.poolHeight! * of.poolWidth! : outHeight * outWidth!;
  return places * (stored4 === undefined ? outChannels! : 4 * stored4);
};

const sameFloats = ({ places = 1, stored, vectors = 0 }: Numbers): number => places * (stored ?? 4 * vectors);
