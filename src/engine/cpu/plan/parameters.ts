/**
 * The part of memory that lasts as long as a session: parameters, what is derived from them, and what training needs.
 * Arrays for training are added when a training first needs them, behind those that are there, so that an address never
 * changes. The layout depends only on the network, the largest batch, the threads and the arrays in their order.
 */
import { byteLevels } from '../../../kernels/maps.ts';
import type { MomentName, OptimizerOptions, StepOptions } from '../../backend.ts';
import { roundUp } from '../../map-shape.ts';
import { mostRates } from '../../step.ts';
import { type BatchNormMemory, partFloats, runningFloats, vectorFloats } from '../lower/batch-norm.ts';
import {
  backwardWeights,
  type ConvolutionWeights,
  forwardWeights,
  type PanelMatrix,
} from '../lower/convolution/derived.ts';
import { type Place, Region } from './memory.ts';
import { isSplit, matrixOf, type Operation, type Operations } from './operations.ts';
import { orthogonalizationFloats, orthogonalizedOperations } from './orthogonalize.ts';
import { chunkImages } from './timeline.ts';
import { TrainedParameters } from './trained.ts';
import { squareCount } from './update.ts';

/** Arrays that only some sessions need. */
export const arrayNames = [
  /** Matrices derived from convolutions' weights for the gradients of their inputs. */
  'backwardWeights',
  /** The same below the first layer that learns, where only gradients with respect to images need them. */
  'lowerBackwardWeights',
  /** Gradient slots, and gradients of batch normalizations. */
  'gradients',
  /** Whole gradients of split layers; without them each part is used up at once. */
  'splitGradients',
  /** SGD's momentum, or Adam's first moment. */
  'firstMoments',
  'secondMoments',
  'averages',
  /** Gradients of several batches. */
  'accumulated',
  /** The sum of squares of each update item's gradients. */
  'squares',
  /** Matrices with which Muon orthogonalizes. */
  'orthogonalization',
] as const;
export type ArrayName = (typeof arrayNames)[number];

/** Those that are one range of floats. */
export type RangeName = Exclude<ArrayName, 'gradients' | 'backwardWeights' | 'lowerBackwardWeights'>;

/** The array of each moment. */
export const momentArrays: Readonly<Record<MomentName, ArrayName>> = {
  firstMoment: 'firstMoments',
  momentum: 'firstMoments',
  secondMoment: 'secondMoments',
  average: 'averages',
};

/** The arrays of a training. */
export function trainingArrays(optimizer: Pick<OptimizerOptions, 'kind'>, options: StepOptions): ArrayName[] {
  const { accumulate = 1, averageDecay = 0, clipNorm = 0 } = options;
  return arrayNames.filter((name) => {
    switch (name) {
      case 'backwardWeights':
      case 'gradients':
      case 'firstMoments':
        return true;
      case 'secondMoments':
        return optimizer.kind === 'adam' || optimizer.kind === 'adamw';
      case 'averages':
        return averageDecay > 0;
      case 'accumulated':
        return accumulate > 1;
      case 'squares':
        return clipNorm > 0;
      case 'orthogonalization':
        return optimizer.kind === 'muon';
      case 'splitGradients':
        return accumulate > 1 || clipNorm > 0 || optimizer.kind === 'muon';
      case 'lowerBackwardWeights':
        return false;
      default:
        return name satisfies never;
    }
  });
}

/** Gradient slots: enough to keep many threads busy and balance the images, few enough to keep their sum cheap. */
export function slotCount(batch: number, slotLength: number): number {
  const affordable = Math.max(4, Math.floor(64_000_000 / Math.max(1, slotLength)));
  return Math.min(batch, slotLength < 100_000 ? 32 : 16, affordable);
}

/** Parts into which a few images are split, each with its own slot. */
export const taskParts = (slotLength: number): number => slotCount(chunkImages, slotLength);

/** A cache line: the rule's settings, then the share of new weights in the average. */
const settingsFloats = 16;
export const averageSetting = 15;

export class ParameterLayout {
  readonly operations: Operations;
  /** The largest training batch. */
  readonly largestBatch: number;
  readonly threads: number;
  readonly arrays: readonly ArrayName[];
  /** Bytes before it, which are not used. */
  readonly start: number;
  readonly trained: TrainedParameters;
  readonly parameters: Place;
  /** By the name of the convolution or normalization: other plans have other operations for them. */
  readonly #derived: ReadonlyMap<string, ConvolutionWeights>;
  readonly #normalizations: ReadonlyMap<string, BatchNormMemory>;
  /** Sums that groups of images gather for the current normalization, `partStride` floats for each. */
  readonly partStride: number;
  /** Floats of it, in total and by category (`MemoryUse`). */
  readonly length: number;
  readonly sizes: { readonly weights: number; readonly gradients: number; readonly optimizer: number };
  readonly #settings: Place;
  readonly #byteValues: Place;
  readonly #arrays = new Map<ArrayName, Place>();
  #slots: Place | undefined;
  #normalizationGradients: Place | undefined;
  #parts: Place | undefined;

  constructor(
    operations: Operations,
    largestBatch: number,
    threads: number,
    arrays: readonly ArrayName[] = [],
    startBytes = 0,
    frozen: readonly number[] = [],
  ) {
    this.operations = operations;
    this.trained = new TrainedParameters(operations, frozen);
    this.largestBatch = largestBatch;
    this.threads = threads;
    this.arrays = arrays;
    this.start = startBytes;
    // Address 0 stays unused.
    const region = new Region(16 + startBytes / 4);
    const { list, input, parameterLength, panelColumns } = operations;
    this.#settings = region.allocate(threads * mostRates * settingsFloats);
    this.#byteValues = region.allocate(threads * input.channels * byteLevels);
    this.parameters = region.allocate(parameterLength);
    const convolutions = list.filter((operation) => operation.kind === 'convolution');
    const normalizations = list.filter((operation) => operation.kind === 'batchNorm');
    const forward = convolutions.map((operation) => forwardWeights(operation, panelColumns, region));
    this.#normalizations = new Map(
      normalizations.map((operation) => [
        operation.layers[0]!,
        {
          vectors: region.allocate(vectorFloats(operation)),
          running: region.allocate(runningFloats(operation)),
        },
      ]),
    );
    const { trained } = this;
    const ownMoments = normalizations.filter((operation) => !trained.isFrozen(operation));
    this.partStride = roundUp(Math.max(0, ...ownMoments.map(partFloats)), 16);
    const weights = region.base + region.length;
    let gradients = 0;
    const backward = new Map<Operation, PanelMatrix | undefined>();
    for (const name of arrays) {
      const before = region.length;
      if (name === 'backwardWeights' || name === 'lowerBackwardWeights') {
        const isLower = name === 'lowerBackwardWeights';
        list.forEach((operation, i) => {
          if (operation.kind !== 'convolution' || i === 0 || i <= trained.from !== isLower) return;
          backward.set(operation, backwardWeights(operation, panelColumns, region));
        });
      } else if (name === 'gradients') {
        const { slotLength, normalizationLength } = trained;
        const slots = Math.max(slotCount(largestBatch, slotLength), taskParts(slotLength));
        this.#slots = region.allocate(slots * slotLength);
        this.#normalizationGradients = region.allocate(normalizationLength);
        this.#parts = region.allocate(Math.max(slots, chunkImages) * this.partStride);
      } else {
        this.#arrays.set(name, region.allocate(this.#floatsOf(name)));
        if (name !== 'splitGradients') continue;
      }
      gradients += region.length - before;
    }
    this.#derived = new Map(
      convolutions.map((operation, i) => [
        operation.layers[0]!,
        { forward: forward[i]!, backward: backward.get(operation) },
      ]),
    );
    this.length = region.base + region.length;
    this.sizes = { weights, gradients, optimizer: this.length - weights - gradients };
  }

  /** Matrices derived from a convolution's weights. */
  derivedOf({ layers }: Operation): ConvolutionWeights | undefined {
    return this.#derived.get(layers[0]!);
  }

  normalizationOf({ layers }: Operation): BatchNormMemory {
    return this.#normalizations.get(layers[0]!)!;
  }

  #floatsOf(name: RangeName): number {
    const { length, slotLength, normalizationLength } = this.trained;
    switch (name) {
      case 'splitGradients':
        return length - slotLength - normalizationLength;
      case 'squares':
        return squareCount(this);
      case 'orthogonalization':
        return this.#orthogonalizations.reduce(
          (sum, operation) => sum + orthogonalizationFloats(operation),
          0,
        );
      case 'firstMoments':
      case 'secondMoments':
      case 'averages':
      case 'accumulated':
        return length;
      default:
        return name satisfies never;
    }
  }

  has(name: ArrayName): boolean {
    return this.arrays.includes(name);
  }

  /** Address of an array. It must have been allocated. */
  array(name: RangeName): number {
    return required(this.#arrays.get(name), name).at;
  }

  /** Address of an operation's part of an array, as if it held all parameters. */
  arrayOf(name: RangeName, operation: Operation): number {
    return this.array(name) - this.trained.shiftOf(operation);
  }

  /** Address of the matrices that orthogonalize an operation's direction. */
  orthogonalizationOf(operation: Operation): number {
    const before = this.#orthogonalizations.slice(0, this.#orthogonalizations.indexOf(operation));
    return before.reduce((at, own) => at + orthogonalizationFloats(own), this.array('orthogonalization'));
  }

  get #orthogonalizations(): readonly Operation[] {
    return orthogonalizedOperations(this.operations, this.trained).map(({ operation }) => operation);
  }

  /** The same layout with more arrays behind. */
  with(arrays: readonly ArrayName[]): ParameterLayout {
    const missing = arrays.filter((name) => !this.has(name));
    return missing.length === 0 ? this : this.#variant([...this.arrays, ...missing], this.trained.frozen);
  }

  /** The same layout without any arrays, and with these layers frozen (indices). */
  freezing(frozen: readonly number[]): ParameterLayout {
    return this.#variant([], frozen);
  }

  #variant(arrays: readonly ArrayName[], frozen: readonly number[]): ParameterLayout {
    return new ParameterLayout(this.operations, this.largestBatch, this.threads, arrays, this.start, frozen);
  }

  /** Address of a worker's optimizer settings for the current step, for layers with the same learning rate. */
  settings(worker: number, rate = 0): number {
    return this.#settings.at + (worker * mostRates + rate) * settingsFloats;
  }

  /** Address of a worker's table of floats for byte values, [input channels][256]. */
  byteValues(worker: number): number {
    return this.#byteValues.at + worker * this.operations.input.channels * byteLevels;
  }

  /** Floats that hold the largest staged matrix while it is written. */
  get stagingFloats(): number {
    return Math.max(
      0,
      ...this.operations.list.map((operation) => {
        const matrix = matrixOf(operation);
        return matrix?.staged ? matrix.length : 0;
      }),
    );
  }

  /** Sums that groups of images gather for the current normalization. */
  get parts(): Place {
    return required(this.#parts, 'gradients');
  }

  /** Start of an operation's gradients in a slot, as if it held all parameters. */
  slot(index: number, operation: Operation): number {
    const { slotLength } = this.trained;
    return required(this.#slots, 'gradients').at + index * slotLength - this.trained.shiftOf(operation);
  }

  /** Start of the summed gradient of an operation's parameters, as if it held all parameters. */
  gradientOf(operation: Operation): number {
    const { slotLength, normalizationLength } = this.trained;
    if (isSplit(operation)) {
      return this.arrayOf('splitGradients', operation) - slotLength - normalizationLength;
    }
    if (operation.kind !== 'batchNorm') return this.slot(0, operation);
    const { at } = required(this.#normalizationGradients, 'gradients');
    return at - slotLength - this.trained.shiftOf(operation);
  }
}

function required(place: Place | undefined, name: ArrayName): Place {
  if (place) return place;
  throw new TypeError(`the session has no memory for ${name}`);
}
