/** A plan in words: the algorithms chosen for each operation of a network. */
import type { Scheme } from '../../../kernels/winograd-schemes.ts';
import { forwardTiles, poolsInTransform } from '../lower/convolution/geometry.ts';
import { columnRows } from '../lower/convolution/im2col.ts';
import { pointwiseRows } from '../lower/convolution/pointwise.ts';
import { winogradBlock } from '../lower/convolution/winograd-blocks.ts';
import type { Convolution, Operation, Operations } from './operations.ts';
import { slotCount } from './parameters.ts';
import { chunkImages, timelineOf } from './timeline.ts';
import { TrainedParameters } from './trained.ts';

export interface PlanRow {
  /** Names of the network's layers that this operation computes. */
  readonly layers: readonly string[];
  readonly kind: Operation['kind'];
  readonly forward: string;
  readonly backward: string;
  /** How the work is divided. */
  readonly blocks: string;
}

function nameOf(algorithm: Convolution['backward'], scheme: Scheme | undefined): string {
  switch (algorithm) {
    case 'winograd':
      return `Winograd F(${tileOf(scheme!)}, 3×3)`;
    case 'direct':
    case 'im2col':
      return algorithm;
    case 'pointwise':
      return 'matrix product';
    case 'sparse':
      return 'sparse (pool winners only)';
  }
}

const tileOf = ({ tile }: Scheme): string => `${tile}×${tile}`;

function rowOf(operation: Operation, index: number, operations: Operations): PlanRow {
  const { layers, kind } = operation;
  switch (kind) {
    case 'convolution': {
      const { forward, backward, relu, pool, scheme } = operation;
      const fused = [...(relu ? ['ReLU'] : []), ...(pool && poolsInTransform(operation) ? ['pool'] : [])];
      const after = pool && !poolsInTransform(operation) ? ', then pool' : '';
      const gradients = index === 0 ? ' (weights only)' : '';
      return {
        layers,
        kind,
        forward: `${nameOf(forward, scheme)}${fused.length > 0 ? ` with ${fused.join(' and ')}` : ''}${after}`,
        backward: `${nameOf(backward, scheme)}${gradients}`,
        blocks:
          forward === 'winograd'
            ? `${winogradBlock(operation, operations.cacheFloats, forwardTiles(operation))} tiles of ${tileOf(scheme!)}`
            : forward === 'im2col'
              ? `${columnRows(operation)} rows of patches`
              : forward === 'pointwise'
                ? `${pointwiseRows(operation)} rows of pixels`
                : 'by image',
      };
    }
    case 'linear':
      return {
        layers,
        kind,
        forward: `dot products${operation.relu ? ' with ReLU' : ''}`,
        backward: 'matrix products',
        blocks: operation.split ? 'whole batch, split by outputs' : 'by image',
      };
    case 'batchNorm':
      return {
        layers,
        kind,
        forward: `moments, then normalize${operation.relu ? ' with ReLU' : ''}`,
        backward: index === 0 ? 'sums' : 'sums, then in place',
        blocks: 'by image; moments over the whole batch',
      };
    case 'dropout':
      return { layers, kind, forward: 'random factors', backward: 'same factors', blocks: 'by image' };
    case 'pool':
      return { layers, kind, forward: 'windows', backward: 'winners', blocks: 'by image' };
    case 'averagePool':
      return { layers, kind, forward: 'windows', backward: 'equal shares', blocks: 'by image' };
    case 'adaptivePool':
      return { layers, kind, forward: 'windows', backward: 'shares', blocks: 'by image' };
    case 'localResponseNorm':
      return { layers, kind, forward: 'sums of squares', backward: 'sums of products', blocks: 'by image' };
    case 'denseLinear':
      return { layers, kind, forward: 'dot products at each position', backward: '', blocks: 'by outputs' };
    case 'relu':
      return { layers, kind, forward: 'maximum', backward: 'mask', blocks: 'by image' };
  }
}

export interface PlanDescription {
  readonly rows: readonly PlanRow[];
  /** Images that go through the network together, and the most of them where maps are small. */
  readonly chunk: number;
  readonly joined: number;
  /** Groups of images with separate gradient sums. */
  readonly slots: number;
  /** Size of the second-level cache that blocks fit. */
  readonly cacheBytes: number;
}

/** `frozen` layers are indices. */
export function describePlan(
  operations: Operations,
  batchSize: number,
  frozen: readonly number[] = [],
): PlanDescription {
  const trained = new TrainedParameters(operations, frozen);
  const slots = slotCount(batchSize, trained.slotLength);
  const chunk = Math.min(chunkImages, batchSize);
  const { segments } = timelineOf(operations.list, batchSize, {
    inference: false,
    backwardFrom: trained.from,
    isFrozen: (operation) => trained.isFrozen(operation),
  });
  const joined = Math.max(...segments.flatMap(({ levels }) => levels.map(({ images }) => images)));
  return {
    rows: operations.list.map((operation, index) => {
      const row = rowOf(operation, index, operations);
      const own = trained.isFrozen(operation) ? { ...row, ...asFrozen(operation, row) } : row;
      return index < trained.from ? { ...own, backward: 'none' } : own;
    }),
    chunk,
    joined: Math.max(chunk, Math.min(Math.ceil(batchSize / slots), joined)),
    slots,
    cacheBytes: operations.cacheFloats * 4,
  };
}

/** What a frozen operation does behind one that learns. */
function asFrozen(operation: Operation, { backward }: PlanRow): Partial<PlanRow> {
  if (operation.kind === 'batchNorm')
    return { forward: `normalize${operation.relu ? ' with ReLU' : ''}`, backward: 'in place' };
  const isSparse = operation.kind === 'convolution' && operation.backward === 'sparse';
  return { backward: `${isSparse ? 'im2col' : backward} (inputs only)` };
}
