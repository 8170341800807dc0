/**
 * A network compiled for one batch size: the layout of its memory, and a flat list of instructions for each worker. This
 * file is the whole path from operations to code.
 *
 * A plan is a sequence of phases; all workers meet between two phases. A phase's items may run on any worker in any
 * order, because each writes its own memory: maps of its images, a gradient slot, a range of parameters. The next phase
 * sums across items in a fixed order, so results depend neither on timing nor on the number of threads. Most networks
 * need two phases per training step: images (forward and backward, each group of images into its own slot) and
 * parameters (sum of slots, optimizer, matrices derived from the weights). A split linear layer needs all images at
 * once, which adds a phase before and after it in both directions. A batch normalization needs all images' moments,
 * which ends a phase in both directions; the last worker to arrive combines them.
 */
import { byteLevels } from '../../../kernels/maps.ts';
import {
  type BatchBarrier,
  type BatchNormMemory,
  batchNormCall,
  lowerBatchNorm,
  partFloats,
  runningFloats,
  vectorFloats,
} from '../lower/batch-norm.ts';
import {
  type ConvolutionWeights,
  convolutionWeights,
  deriveConvolution,
  lowerConvolution,
} from '../lower/convolution/convolution.ts';
import { convolutionGradientHalo, convolutionInputHalo } from '../lower/convolution/geometry.ts';
import { lowerDropout } from '../lower/dropout.ts';
import { lowerLinear } from '../lower/linear.ts';
import { type Lowered, type LoweringContext, marked, type Stages, withOwnRelu } from '../lower/lowering.ts';
import { lowerPool, lowerRelu } from '../lower/pool.ts';
import {
  type Chunk,
  Code,
  flattened,
  type Halo,
  type Instruction,
  MapBuffer,
  noHalo,
  type Place,
  Region,
  reluThreshold,
} from './code.ts';
import {
  type BatchNorm,
  isSplit,
  type MapShape,
  type MatrixLayout,
  matrixOf,
  type Operation,
  type Operations,
  onWholeBatch,
  readsVector,
  roundUp,
} from './operations.ts';

/** The work between two barriers of the workers. */
export interface Phase {
  readonly items: readonly (readonly Instruction[])[];
  /** Done once for all, by the last worker to reach the end. */
  readonly once?: readonly Instruction[];
}

/** The update after a batch's gradients. */
export interface Update {
  /** The rule that changes the weights; absent while gradients are still accumulated. */
  readonly rule: 'adam' | 'sgd' | undefined;
  /** Whether gradients of several batches are accumulated, and whether this batch is the first. */
  readonly accumulated: 'first' | 'more' | undefined;
  /** Whether the gradient's norm is needed first. */
  readonly clip: boolean;
  /** Whether to update the weights' moving average. */
  readonly average: boolean;
}

export interface Plan {
  readonly batch: number;
  /** Forward pass and, in training, gradients. */
  readonly phases: readonly Phase[];
  /** Training: sums the slots and applies the optimizer, in the phases that this update needs. */
  readonly update: (update: Update) => readonly Phase[];
  /** Training: only sums the slots, into the first. */
  readonly reduce: readonly Instruction[];
  /** Floats of all memory, and the start of this plan's own part. */
  readonly memoryFloats: number;
  readonly workspace: number;
  /** The last map, whose values are the logits. */
  readonly logits: MapBuffer;
}

/**
 * Gradient slots: enough to keep many threads busy and balance the images, few enough to keep their sum cheap.
 */
export function slotCount(batch: number, slotLength: number): number {
  const affordable = Math.max(4, Math.floor(64_000_000 / Math.max(1, slotLength)));
  return Math.min(batch, slotLength < 100_000 ? 32 : 16, affordable);
}

/** Groups of a batch without gradients: a third more than whole chunks would need. */
const evaluationGroups = (batch: number): number => Math.ceil((4 * batch) / (3 * chunkImages));

/**
 * The number of images in each group. With many groups, later ones are smaller, so that workers, which claim groups one
 * by one, end together. A group is larger than a chunk only if there are too few groups.
 */
export function groupSizesOf(batch: number, groups: number): number[] {
  const sizes: number[] = [];
  const share = groups < 8 ? 1 : 1.5;
  for (let left = batch, open = groups; open > 0; open--) {
    const mean = left / open;
    const size = Math.max(Math.ceil(mean), Math.min(Math.round(share * mean), chunkImages));
    sizes.push(Math.min(size, left - (open - 1)));
    left -= sizes.at(-1)!;
  }
  return sizes;
}

/** Parts into which a few images are split, each with its own slot. */
const stageParts = (slotLength: number): number => slotCount(8, slotLength);

/** Images that go through the network together, about one slot's: small maps share a block of tiles. */
export const chunkImages = 8;
/** Fewer images than this are split by rows and outputs instead of by image. */
const fewImages = 8;
/** Floats of an item in the parameters' phase: few, so that workers end it together. */
const updateFloats = 4096;

/** A cache line for each worker: the rule's settings, then the share of new weights in the average. */
const settingsFloats = 16;
export const averageSetting = 15;

/** Memory for a whole session; it depends only on the network and the largest batch. */
export class SessionMemory {
  readonly operations: Operations;
  readonly #settings: Place;
  readonly #byteValues: Place;
  readonly parameters: Place;
  readonly firstMoments: Place;
  /** Adam's moments; SGD uses only the first, as its momentum. */
  readonly secondMoments: Place;
  /** The weights' moving average. */
  readonly averages: Place;
  /** Gradients of several batches. */
  readonly accumulated: Place;
  /** The sum of squares of each update item's gradients. */
  readonly squares: Place;
  readonly slots: Place;
  readonly splitGradients: Place;
  /** For each operation that is a convolution. */
  readonly derived: ReadonlyMap<Operation, ConvolutionWeights>;
  /** For each batch normalization. */
  readonly normalizations: ReadonlyMap<Operation, BatchNormMemory>;
  /** Sums that groups of images gather for the current normalization. */
  readonly parts: Place;
  readonly partStride: number;
  /** Floats of it. */
  readonly length: number;

  constructor(operations: Operations, largestBatch: number, threads: number) {
    const region = new Region();
    // Address 0 stays unused.
    region.base = 16;
    this.#settings = region.allocate(threads * settingsFloats);
    this.#byteValues = region.allocate(threads * operations.input.channels * byteLevels);
    const { list, parameterLength, slotLength } = operations;
    this.operations = operations;
    this.parameters = region.allocate(parameterLength);
    this.firstMoments = region.allocate(parameterLength);
    this.secondMoments = region.allocate(parameterLength);
    this.averages = region.allocate(parameterLength);
    this.accumulated = region.allocate(parameterLength);
    this.squares = region.allocate(squareCount(operations));
    const slots = Math.max(slotCount(largestBatch, slotLength), stageParts(slotLength));
    this.slots = region.allocate(slots * slotLength);
    this.splitGradients = region.allocate(parameterLength - slotLength);
    this.derived = new Map(
      list.flatMap((operation, i) =>
        operation.kind === 'convolution' ? [[operation, convolutionWeights(operation, region, i > 0)]] : [],
      ),
    );
    const normalizations = list.filter((operation) => operation.kind === 'batchNorm');
    this.normalizations = new Map(
      normalizations.map((operation) => [
        operation,
        {
          vectors: region.allocate(vectorFloats(operation)),
          running: region.allocate(runningFloats(operation)),
        },
      ]),
    );
    this.partStride = roundUp(Math.max(0, ...normalizations.map(partFloats)), 16);
    this.parts = region.allocate(Math.max(slots, fewImages) * this.partStride);
    this.length = region.base + region.length;
  }

  /** Address (in floats) of a worker's optimizer settings for the current step. */
  settings(worker: number): number {
    return this.#settings.at + worker * settingsFloats;
  }

  /** Address of a worker's table of floats for byte values, [input channels][256]. */
  byteValues(worker: number): number {
    return this.#byteValues.at + worker * this.operations.input.channels * byteLevels;
  }

  /** Start of a slot's gradients, as if they held all parameters. */
  slot(index: number): number {
    return this.slots.at + index * this.operations.slotLength;
  }

  get splitSlot(): number {
    return this.splitGradients.at - this.operations.slotLength;
  }

  /** Address of the summed gradient of a layer's parameters. */
  gradientOf(operation: Operation): number {
    return onWholeBatch(operation) ? this.splitSlot : this.slot(0);
  }
}

/** Whether an operation ends in a ReLU whose gradient must be applied to the gradient of its output. */
const endsInRelu = (operation: Operation | undefined): boolean =>
  (operation?.kind === 'convolution' && operation.relu && !operation.pool) ||
  ((operation?.kind === 'linear' || operation?.kind === 'batchNorm') && operation.relu);

const inputHalo = (operation: Operation | undefined): Halo =>
  operation?.kind === 'convolution' ? convolutionInputHalo(operation) : noHalo;

/** Computes all matrices derived from the weights; must run after weights were set. */
export function deriveAll(memory: SessionMemory): Instruction[] {
  const code = new Code();
  for (const [operation, derived] of memory.derived) {
    if (operation.kind !== 'convolution') continue;
    deriveConvolution(code, operation, derived, memory.parameters.at, 0, operation.matrix.storedOut);
  }
  return code.instructions;
}

/** The layout of a plan's memory, and the operations that will emit its code. */
interface LaidOut {
  /** A few images pass operation by operation, in small parts. */
  readonly stages: boolean;
  /** The barriers of batch normalizations, by operation index; empty without training. */
  readonly barriers: ReadonlyMap<number, BatchBarrier>;
  /** Indices of the normalizations whose output is computed again for the backward pass. */
  readonly recomputed: ReadonlySet<number>;
  readonly maps: readonly MapBuffer[];
  /** Gradients of the maps, without the images'; empty without training. */
  readonly gradients: readonly (MapBuffer | undefined)[];
  readonly lowered: readonly Lowered[];
  readonly memoryFloats: number;
}

function layOut(
  memory: SessionMemory,
  batch: number,
  mode: 'train' | 'evaluate',
  threads: number,
  worker: number,
): LaidOut {
  const { operations } = memory;
  const { list } = operations;
  const training = mode === 'train';
  const stages = batch < fewImages;
  const meets = (operation: Operation | undefined): boolean =>
    isSplit(operation) || (training && onWholeBatch(operation));
  const wholeBatch = stages || list.some(meets);
  const shared = new Region();
  const scratch = new Region();

  // Maps between the operations, and their gradients.
  const outputs: MapShape[] = list.map((operation) => operation.output);
  const shapes = [operations.input, ...outputs];
  const allocate = (shape: MapShape, halo: Halo, whole: boolean): MapBuffer =>
    whole
      ? new MapBuffer(shared, shape, halo, batch, 'batch')
      : new MapBuffer(scratch, shape, halo, chunkImages, 'chunk');
  /** Operations that work in place: in evaluation their input is not needed afterwards. */
  const inPlace = list.map(({ kind }) => !training && (kind === 'batchNorm' || kind === 'dropout'));
  const recomputed = new Set<number>();
  const maps: MapBuffer[] = [];
  shapes.forEach((shape, i) => {
    const producer = list[i - 1];
    if (inPlace[i - 1]) {
      maps.push(maps[i - 1]!);
      return;
    }
    let reader = i;
    while (inPlace[reader]) reader++;
    const again = training && !stages && producer?.kind === 'batchNorm' && list[i] && !meets(list[i]);
    if (again) recomputed.add(i - 1);
    const whole = (wholeBatch && !again) || reader === list.length;
    maps.push(allocate(shape, inputHalo(list[reader]), whole));
  });
  const gradients: (MapBuffer | undefined)[] = [];
  /** Whether a normalization overwrites its output's gradient, which has the same halo, with its input's gradient. */
  const writesOver = (i: number): boolean =>
    list[i]?.kind === 'batchNorm' && i > 0 && !readsVector(list[i + 1]);
  /** Whether operation `i` applies the previous operation's ReLU to the gradient that it writes. The loss does not. */
  const appliesRelu = (i: number): boolean => i < list.length && endsInRelu(list[i - 1]);
  shapes.forEach((shape, i) => {
    if (!training || i === 0) {
      gradients.push(undefined);
      return;
    }
    if (writesOver(i - 1)) {
      gradients.push(gradients[i - 1]);
      return;
    }
    const producer = list[i - 1]!;
    const hasHalo = producer.kind === 'convolution' && !producer.pool && !readsVector(list[i]);
    const halo = hasHalo ? convolutionGradientHalo(producer, i > 1) : noHalo;
    gradients.push(allocate(shape, halo, stages || meets(list[i]) || meets(producer)));
  });
  const barriers = new Map<number, BatchBarrier>();
  const lower = (operation: Operation, i: number): Lowered => {
    const context: LoweringContext = {
      scratch,
      images: chunkImages,
      training,
      wholeBatch,
      x: maps[i]!,
      y: maps[i + 1]!,
      dx: gradients[i],
      dy: gradients[i + 1],
      dyHasHalo: !readsVector(list[i + 1]),
      inputFloor: reluThreshold(appliesRelu(i)),
      outputFloor: reluThreshold(endsInRelu(operation) && !appliesRelu(i + 1)),
      dxChanges: writesOver(i - 1),
      parameters: memory.parameters,
      cacheFloats: operations.cacheFloats,
      allocate: (shape, halo) => allocate(shape, halo, wholeBatch),
      allocateGradient: (shape, halo, images) =>
        stages ? allocate(shape, halo, true) : new MapBuffer(scratch, shape, halo, images, 'turns'),
    };
    switch (operation.kind) {
      case 'convolution':
        return withOwnRelu(lowerConvolution(operation, memory.derived.get(operation)!, context), context);
      case 'linear':
        return withOwnRelu(lowerLinear(operation, context), context);
      case 'pool':
        return lowerPool(operation, context);
      case 'relu':
        return lowerRelu(operation, context);
      case 'dropout':
        return lowerDropout(operation, context);
      case 'batchNorm': {
        const places = normalizationPlaces(memory, operation);
        const normalization = lowerBatchNorm(
          operation,
          memory.normalizations.get(operation)!,
          context,
          places,
        );
        if (training) barriers.set(i, normalization.barrier);
        return normalization;
      }
    }
  };
  const lowered = list.map((operation, i) => marked(lower(operation, i), i));

  scratch.settle();
  shared.base = memory.length;
  scratch.base = shared.base + shared.length + worker * scratch.length;
  const memoryFloats = shared.base + shared.length + threads * scratch.length;
  return { stages, barriers, recomputed, maps, gradients, lowered, memoryFloats };
}

/** Addresses of a batch normalization's parameters, gradients and parts. */
const normalizationPlaces = (
  memory: SessionMemory,
  operation: BatchNorm,
): Parameters<typeof batchNormCall>[3] => ({
  parameters: memory.parameters.at,
  gradients: memory.gradientOf(operation),
  parts: memory.parts,
  partStride: memory.partStride,
});

/** Total floats that a plan needs. */
export const planFloats = (
  memory: SessionMemory,
  batch: number,
  mode: 'train' | 'evaluate',
  threads: number,
): number => layOut(memory, batch, mode, threads, 0).memoryFloats;

/** Compiles a network's operations for a batch, for worker `worker` of `threads`. */
export function compilePlan(
  memory: SessionMemory,
  batch: number,
  mode: 'train' | 'evaluate',
  threads: number,
  worker: number,
): Plan {
  const laidOut = layOut(memory, batch, mode, threads, worker);
  const { stages, barriers, recomputed, maps, gradients, lowered, memoryFloats } = laidOut;
  const { operations } = memory;
  const { list } = operations;
  const training = mode === 'train';

  const emit = (...parts: ((code: Code) => void)[]): readonly Instruction[] => {
    const code = new Code();
    for (const part of parts) part(code);
    return code.instructions;
  };
  const all: Chunk = { first: 0, count: batch };
  const cut = ({ first, count }: Chunk, size: number): Chunk[] =>
    Array.from({ length: Math.ceil(count / size) }, (_, i) => ({
      first: first + i * size,
      count: Math.min(size, count - i * size),
    }));
  const loadImages = (code: Code, chunk: Chunk): void => {
    const map = maps[0]!;
    code.host({
      host: 'loadImages',
      first: chunk.first,
      count: chunk.count,
      map: map.at(chunk, 0),
      imageStride: map.imageStride,
      rowStride: map.rowStride,
      pixelStride: map.pixelStride,
    });
  };
  const logits = maps.at(-1)!;
  const gradient = gradients.at(-1);
  const logitPlaces = flattened(logits);
  const gradientPlaces = gradient ? flattened(gradient) : logitPlaces;
  const loss = (code: Code, chunk: Chunk): void => {
    code.host({
      host: 'loss',
      first: chunk.first,
      count: chunk.count,
      logits: logits.at(chunk, 0),
      logitStride: logits.imageStride,
      gradient: gradient ? gradient.at(chunk, 0) : 0,
      gradientStride: gradient?.imageStride ?? 0,
      logitPlaces,
      gradientPlaces,
    });
  };

  // Segments of operations between barriers of the workers.
  const segments: number[][] = [[]];
  const cuts: number[] = [];
  list.forEach((operation, i) => {
    if (isSplit(operation) || barriers.has(i)) {
      cuts.push(i);
      segments.push([]);
    } else segments.at(-1)!.push(i);
  });
  const normalizations = list.flatMap((operation, i) =>
    operation.kind === 'batchNorm' ? [{ operation, i }] : [],
  );
  /** A call for each normalization, which needs only the numbers of images. */
  const forNormalizations = (step: 'evaluation' | 'running', images: readonly number[]) =>
    normalizations.map(({ operation, i }) =>
      emit((code) =>
        code.within(i, () => {
          const own = memory.normalizations.get(operation)!;
          code.host(batchNormCall(operation, step, own, normalizationPlaces(memory, operation), images));
        }),
      ),
    );

  const phases: Phase[] = [];
  const push = (stagesOf: Stages): void => {
    for (const stage of stagesOf) phases.push({ items: stage.map((part) => emit(part)) });
  };
  const parts = stageParts(operations.slotLength);
  const slotOf = (operation: Operation) => (index: number) =>
    onWholeBatch(operation) ? memory.splitSlot : memory.slot(index);
  /** Number of slots that hold a part of each operation's gradient. */
  let usedSlots = list.map(() => slotCount(batch, operations.slotLength));
  if (!training && normalizations.length > 0) phases.push({ items: forNormalizations('evaluation', []) });
  if (stages) {
    push([cut(all, 1).map((chunk) => (code) => loadImages(code, chunk))]);
    for (const operation of lowered) push(operation.forwardStages(all, parts));
    push([[(code) => loss(code, all)]]);
    if (training) {
      const backward = list.map((operation, i) => lowered[i]!.backwardStages(all, parts, slotOf(operation)));
      usedSlots = backward.map(({ slots }) => slots);
      for (const { stages: stagesOf } of backward.toReversed()) push(stagesOf);
    }
  } else {
    const slots = training ? slotCount(batch, operations.slotLength) : evaluationGroups(batch);
    let first = 0;
    const groups = groupSizesOf(batch, slots).map((count) => {
      const chunks = cut({ first, count }, chunkImages);
      first += count;
      return chunks;
    });
    const groupSizes = groups.map((chunks) => chunks.reduce((sum, { count }) => sum + count, 0));
    /** The normalization between a segment and the next, if there is one. */
    const barrierBehind = (
      segment: number,
    ): { readonly i: number; readonly barrier: BatchBarrier } | undefined => {
      const i = cuts[segment];
      const barrier = i === undefined ? undefined : barriers.get(i);
      return barrier && { i: i!, barrier };
    };
    const forward = (code: Code, chunk: Chunk, segment: number, slot: number): void => {
      if (segment === 0) loadImages(code, chunk);
      const [before, behind] = [barrierBehind(segment - 1), barrierBehind(segment)];
      if (before) lowered[before.i]!.forward(code, chunk);
      for (const i of segments[segment]!) lowered[i]!.forward(code, chunk);
      if (behind) {
        const seen = chunk.first - groups[slot]![0]!.first;
        code.within(behind.i, () => behind.barrier.gather(code, chunk, slot, seen));
      }
      if (segment === cuts.length) loss(code, chunk);
    };
    const backward = (code: Code, chunk: Chunk, segment: number, slot: number, first: boolean): void => {
      const [before, behind] = [barrierBehind(segment - 1), barrierBehind(segment)];
      // In the last segment the forward pass has just computed it.
      if (before && recomputed.has(before.i) && segment < cuts.length)
        lowered[before.i]!.forward(code, chunk);
      for (const i of [...(behind ? [behind.i] : []), ...segments[segment]!.toReversed()]) {
        lowered[i]!.backward(code, chunk, memory.slot(slot), first);
      }
      if (before) code.within(before.i, () => before.barrier.gatherGradients(code, chunk, slot, first));
    };
    const finish = (code: Code, segment: number, slot: number): void => {
      for (const i of segments[segment]!) lowered[i]!.finish?.(code, memory.slot(slot));
    };
    const pushGroups = (
      pass: (code: Code, chunk: Chunk, slot: number, first: boolean) => void,
      end: (code: Code, slot: number) => void,
      once: (code: Code) => void,
    ): void => {
      const items = groups.map((chunks, slot) =>
        emit((code) => {
          chunks.forEach((chunk, index) => void pass(code, chunk, slot, index === 0));
          end(code, slot);
        }),
      );
      phases.push({ items, once: emit(once) });
    };
    for (let segment = 0; segment <= cuts.length; segment++) {
      const backwardToo = training && segment === cuts.length;
      pushGroups(
        (code, chunk, slot, first) => {
          forward(code, chunk, segment, slot);
          if (backwardToo) backward(code, chunk, segment, slot, first);
        },
        (code, slot) => {
          if (backwardToo) finish(code, segment, slot);
        },
        (code) => {
          barrierBehind(segment)?.barrier.combine(code, groupSizes);
          if (backwardToo) barrierBehind(segment - 1)?.barrier.combineGradients(code, groupSizes);
        },
      );
      const split = cuts[segment];
      if (split !== undefined && !barriers.has(split)) push(lowered[split]!.forwardStages(all, parts));
    }
    for (let segment = cuts.length - 1; training && segment >= 0; segment--) {
      const behind = cuts[segment]!;
      if (!barriers.has(behind))
        push(lowered[behind]!.backwardStages(all, parts, slotOf(list[behind]!)).stages);
      const before = barrierBehind(segment - 1);
      if (segments[segment]!.length === 0 && !before && !barriers.has(behind)) continue;
      pushGroups(
        (code, chunk, slot, first) => backward(code, chunk, segment, slot, first),
        (code, slot) => finish(code, segment, slot),
        (code) => before?.barrier.combineGradients(code, groupSizes),
      );
    }
  }

  return {
    batch,
    phases,
    update: (update) => {
      const [first, ...rest] = updatePhases(memory, usedSlots, worker, update);
      // Running moments are updated after each batch, as in PyTorch, even while gradients are accumulated.
      return [{ items: [...first!.items, ...forNormalizations('running', [batch])] }, ...rest];
    },
    reduce: emit((code) => {
      list.forEach((operation, i) => {
        const matrix = matrixOf(operation);
        if (!training || !matrix) return;
        reduce(code, memory, operation, usedSlots[i]!, matrix.offset, matrix.length);
      });
    }),
    memoryFloats,
    workspace: memory.length,
    logits,
  };
}

/** Sums the slots of parameters `from` … `from + length` of an operation into the first slot. */
function reduce(
  code: Code,
  memory: SessionMemory,
  operation: Operation,
  slots: number,
  from: number,
  length: number,
): void {
  if (onWholeBatch(operation) || slots < 2) return;
  code.call('reduceSlots', {
    gradient: memory.slot(0) + from,
    slots: memory.slot(0) + from,
    slotStride: memory.operations.slotLength,
    slotCount: slots,
    length,
  });
}

/** Parameters that one item updates: a part of an operation's matrix by whole outputs, or its biases. */
interface UpdateRange {
  /** Index of the operation. */
  readonly index: number;
  /** Floats from the start of the parameters. */
  readonly from: number;
  readonly length: number;
  /** The outputs, if they are a convolution's: matrices are derived from them. */
  readonly outputs?: readonly [from: number, to: number];
}

/** Outputs of a convolution's update range. */
const rangeRows = ({ rowStride }: MatrixLayout): number =>
  Math.max(16, Math.floor(updateFloats / rowStride / 16) * 16);

function updateRanges({ list }: Operations): UpdateRange[] {
  return list.flatMap((operation, index): UpdateRange[] => {
    const matrix = matrixOf(operation);
    if (!matrix) return [];
    const ranges: UpdateRange[] = [];
    if (operation.kind === 'convolution') {
      // Ranges of 16 outputs never share a cache line of a derived matrix.
      const rows = rangeRows(matrix);
      for (let from = 0; from < matrix.storedOut; from += rows) {
        const to = Math.min(from + rows, matrix.storedOut);
        ranges.push({
          index,
          from: matrix.offset + from * matrix.rowStride,
          length: (to - from) * matrix.rowStride,
          outputs: [from, to],
        });
      }
    } else {
      const floats = matrix.storedOut * matrix.rowStride;
      for (let at = 0; at < floats; at += updateFloats) {
        ranges.push({ index, from: matrix.offset + at, length: Math.min(updateFloats, floats - at) });
      }
    }
    if (matrix.biasStep === 1) ranges.push({ index, from: matrix.bias, length: matrix.storedOut });
    return ranges;
  });
}

/**
 * Slots → gradient → optimizer → derived matrices, by ranges of parameters. If the gradient's norm is needed, the workers
 * meet between the gradient and the optimizer.
 */
function updatePhases(
  memory: SessionMemory,
  usedSlots: readonly number[],
  worker: number,
  { rule, accumulated, clip, average }: Update,
): readonly Phase[] {
  const { operations } = memory;
  /** Address of a range's final gradient. */
  const gradientOf = ({ index, from }: UpdateRange): number =>
    (accumulated ? memory.accumulated.at : memory.gradientOf(operations.list[index]!)) + from;

  const gradient = (code: Code, range: UpdateRange): void => {
    const { index, from, length } = range;
    const operation = operations.list[index]!;
    reduce(code, memory, operation, usedSlots[index]!, from, length);
    if (!accumulated) return;
    const own = memory.gradientOf(operation) + from;
    const all = gradientOf(range);
    code.call('reduceSlots', {
      gradient: all,
      slots: accumulated === 'first' ? own : all,
      slotStride: own - all,
      slotCount: accumulated === 'first' ? 1 : 2,
      length,
    });
  };

  const step = (code: Code, range: UpdateRange): void => {
    const { index, from, length, outputs } = range;
    const operation = operations.list[index]!;
    const settings = memory.settings(worker);
    const common = { parameters: memory.parameters.at + from, gradient: gradientOf(range), length, settings };
    switch (rule) {
      case 'adam':
        code.call('adam', {
          ...common,
          firstMoment: memory.firstMoments.at + from,
          secondMoment: memory.secondMoments.at + from,
        });
        break;
      case 'sgd':
        code.call('sgd', { ...common, momentum: memory.firstMoments.at + from });
        break;
      case undefined:
        return;
      default:
        rule satisfies never;
    }
    if (average) {
      code.call('moveAverage', {
        average: memory.averages.at + from,
        parameters: memory.parameters.at + from,
        length,
        settings: settings + averageSetting,
      });
    }
    if (operation.kind === 'convolution' && outputs) {
      deriveConvolution(code, operation, memory.derived.get(operation)!, memory.parameters.at, ...outputs);
    }
  };

  const phase = (...parts: ((code: Code, range: UpdateRange, item: number) => void)[]): Phase => ({
    items: updateRanges(operations).map((range, item) => {
      const code = new Code();
      code.within(range.index, () => {
        for (const part of parts) part(code, range, item);
      });
      return code.instructions;
    }),
  });
  const squares = (code: Code, range: UpdateRange, item: number): void =>
    code.call('sumSquares', {
      out: memory.squares.at + item,
      values: gradientOf(range),
      length: range.length,
    });
  return rule && clip ? [phase(gradient, squares), phase(step)] : [phase(gradient, step)];
}

/** Number of sums of squares. */
export function squareCount({ list }: Operations): number {
  // Counted, not listed: a network that is far too large would have billions.
  return list.reduce((sum, operation) => {
    const matrix = matrixOf(operation);
    if (!matrix) return sum;
    const { storedOut, rowStride } = matrix;
    const ranges =
      operation.kind === 'convolution'
        ? storedOut / rangeRows(matrix)
        : (storedOut * rowStride) / updateFloats;
    return sum + Math.ceil(ranges) + (matrix.biasStep === 1 ? 1 : 0);
  }, 0);
}
