/**
 * A network compiled for one batch size: the layout of its memory, and a flat list of instructions for each worker. This
 * file is the whole path from operations to code.
 *
 * A plan is a sequence of phases; all workers meet between two phases. A phase's items may run on any worker in any
 * order, because each writes its own memory: maps of its images, a gradient slot, a range of parameters. The next phase
 * sums across items in a fixed order, so results depend neither on timing nor on the number of threads. Most networks
 * need two phases per training step: images (forward and backward, each group of images into its own slot) and
 * parameters (`update.ts`). A split linear layer needs all images at once, which adds a phase before and after it in
 * both directions. A batch normalization needs all images' moments, which ends a phase in both directions; the last
 * worker to arrive combines them. Few images go operation by operation, each divided into parallel tasks.
 */
import type { Variant } from '../../variant.ts';
import { batchNormCall } from '../lower/batch-norm.ts';
import { lowerOperation } from '../lower/lower.ts';
import { type BatchBarrier, clearHalo, type Lowered, type ParallelTasks } from '../lower/lowering.ts';
import { PlanBuffers } from './buffers.ts';
import { type Code, type Emit, emit, type Instruction } from './code.ts';
import { type FeaturesPlan, featuresOperations } from './features.ts';
import { type Chunk, flattened, imagesOf, type MapBuffer } from './maps.ts';
import { isSplit, type Operation, onWholeBatch } from './operations.ts';
import { type ParameterLayout, slotCount, taskParts } from './parameters.ts';
import {
  chunkImages,
  chunksOf,
  type Segment,
  type Timeline,
  timelineOf,
  visitBackward,
  visitForward,
} from './timeline.ts';
import type { TrainedParameters } from './trained.ts';
import { type Phase, type Rule, reduceAll, type Update, updatePhases } from './update.ts';
import { variantOperations } from './variants.ts';

export type PlanMode = 'train' | 'evaluate' | 'features';

export interface PlanRequest {
  readonly batch: number;
  /** Evaluation has no backward pass, and a plan for features only if gradients are given. */
  readonly mode: PlanMode;
  readonly features?: FeaturesPlan | undefined;
  /** The network for images of another size, in evaluation. */
  readonly variant?: Variant | undefined;
  /** The rule that split layers apply in their backward pass (`ruleInPlace`). */
  readonly inPlace?: Rule | undefined;
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

/** The memory of a plan, and the operations that will emit its code. */
interface LaidOut {
  readonly list: readonly Operation[];
  readonly timeline: Timeline;
  readonly buffers: PlanBuffers;
  readonly lowered: readonly Lowered[];
  /** The barriers of batch normalizations in training, by operation index. */
  readonly barriers: ReadonlyMap<number, BatchBarrier>;
  readonly shared: number;
  readonly scratch: number;
  readonly memoryFloats: number;
}

function layOut(layout: ParameterLayout, request: PlanRequest, worker: number): LaidOut {
  const { batch, mode, inPlace, features, variant } = request;
  const { threads, trained } = layout;
  const own = features && featuresOperations(layout.operations, features);
  const trains = mode === 'train';
  const { list: all, input } = variant
    ? variantOperations(layout.operations, variant)
    : (own?.operations ?? layout.operations);
  const list = trains ? all.map((operation) => withInputGradient(operation, trained)) : all;
  const back = (features?.given.length ?? 0) > 0 ? own?.backwardFrom : undefined;
  const timeline = timelineOf(list, batch, {
    inference: !trains,
    backwardFrom: trains ? trained.from : back,
    isFrozen: (operation) => trained.isFrozen(operation),
  });
  const buffers = new PlanBuffers(list, input, timeline, !features);
  const barriers = new Map<number, BatchBarrier>();
  const lowered = list.map((_, i) => {
    const operation = lowerOperation(i, {
      layout,
      timeline,
      buffers,
      worker,
      inPlace,
      list,
      taps: own?.taps,
    });
    if (operation.barrier && !timeline.isInference(i)) barriers.set(i, operation.barrier);
    return operation;
  });
  const [shared, scratch] = [buffers.shared.settle(), buffers.scratch.settle()];
  buffers.shared.base = layout.length;
  buffers.scratch.base = layout.length + shared + worker * scratch;
  const memoryFloats = layout.length + shared + threads * scratch;
  return { list, timeline, buffers, lowered, barriers, shared, scratch, memoryFloats };
}

/** A sparse convolution's input gradient comes with that of its weights, which a frozen one has not. */
function withInputGradient(operation: Operation, trained: TrainedParameters): Operation {
  if (operation.kind !== 'convolution' || operation.backward !== 'sparse') return operation;
  return trained.isFrozen(operation) ? { ...operation, backward: 'im2col' } : operation;
}

/** The memory of a plan, in floats. */
export interface PlanMemory {
  /** Of everything, with the session's part. */
  readonly floats: number;
  /** Of the plan's own part: once for all threads, and for each of them. */
  readonly shared: number;
  readonly scratch: number;
  readonly buffers: PlanBuffers;
}

export function planMemory(layout: ParameterLayout, request: PlanRequest): PlanMemory {
  const { memoryFloats, shared, scratch, buffers } = layOut(layout, request, 0);
  return { floats: memoryFloats, shared, scratch, buffers };
}

/** Compiles a network's operations for a batch, for worker `worker`. */
export function compilePlan(layout: ParameterLayout, request: PlanRequest, worker: number): Plan {
  const laidOut = layOut(layout, request, worker);
  const { timeline, buffers } = laidOut;
  const compiler = new PhaseCompiler(layout, request.batch, laidOut, request.features !== undefined);
  const phases = compiler.phases();
  const { usedSlots } = compiler;
  return {
    batch: request.batch,
    phases,
    update: (update) => {
      const [first, ...rest] = updatePhases(layout, usedSlots, worker, update);
      // Running moments are updated after each batch, as in PyTorch, even while gradients are accumulated.
      return [{ items: [...first!.items, ...compiler.runningMoments()] }, ...rest];
    },
    reduce: timeline.training && !timeline.inference ? emit(reduceAll(layout, usedSlots)) : [],
    memoryFloats: laidOut.memoryFloats,
    workspace: layout.length,
    logits: buffers.maps.at(-1)!,
  };
}

/** Emits the phases of a plan. */
class PhaseCompiler {
  readonly #layout: ParameterLayout;
  readonly #list: readonly Operation[];
  readonly #laidOut: LaidOut;
  readonly #all: Chunk;
  readonly #parts: number;
  readonly #hasLoss: boolean;
  readonly #groupSizes: readonly number[];
  readonly #inferenceGroups: readonly number[];
  readonly #phases: Phase[] = [];
  /** Number of slots that hold a part of each operation's gradient. */
  usedSlots: readonly number[];

  constructor(layout: ParameterLayout, batch: number, laidOut: LaidOut, hasTaps: boolean) {
    const { slotLength } = layout.trained;
    const { list } = laidOut;
    this.#layout = layout;
    this.#hasLoss = !hasTaps;
    this.#list = list;
    this.#laidOut = laidOut;
    this.#all = { first: 0, count: batch, starts: [] };
    this.#parts = taskParts(slotLength);
    const slots = slotCount(batch, slotLength);
    this.usedSlots = list.map(() => slots);
    const { inference } = laidOut.timeline;
    this.#inferenceGroups = groupSizesOf(batch, evaluationGroups(batch));
    this.#groupSizes = inference ? this.#inferenceGroups : groupSizesOf(batch, slots);
  }

  phases(): readonly Phase[] {
    const { training, byTasks, segments, cuts } = this.#laidOut.timeline;
    const usesRunning = (i: number): boolean => this.#laidOut.timeline.isInference(i);
    this.#push([this.#forNormalizations('evaluation', [], usesRunning)]);
    if (byTasks) this.#pushTasks();
    else {
      segments.forEach((segment, s) => {
        this.#forwardPhase(segment, training && s === cuts.length);
        const behind = cuts[s];
        if (behind !== undefined && isSplit(this.#list[behind])) {
          this.#pushSets(this.#laidOut.lowered[behind]!.forwardTasks(this.#all, this.#parts));
        }
      });
      if (training) this.#backwardPhases();
    }
    return this.#phases;
  }

  /** Calls that update the running moments. */
  runningMoments(): (readonly Instruction[])[] {
    const { timeline } = this.#laidOut;
    return this.#forNormalizations('running', [timeline.batch], (i) => !timeline.isInference(i));
  }

  /** A call for each chosen normalization, which needs only the numbers of images. */
  #forNormalizations(
    step: 'evaluation' | 'running',
    images: readonly number[],
    chosen: (operation: number) => boolean,
  ): (readonly Instruction[])[] {
    return this.#list.flatMap((operation, i) =>
      operation.kind === 'batchNorm' && chosen(i)
        ? [
            emit((code) =>
              code.within(i, () => code.host(batchNormCall(operation, step, this.#layout, images))),
            ),
          ]
        : [],
    );
  }

  #push(sets: readonly (readonly (readonly Instruction[])[])[], end: Partial<Phase> = {}): void {
    for (const items of sets) if (items.length > 0) this.#phases.push({ items, ...end });
  }

  #pushSets(tasks: ParallelTasks): void {
    this.#push(tasks.map((set) => set.map((task) => emit(task))));
  }

  /** Few images: operation by operation. */
  #pushTasks(): void {
    const { timeline, lowered } = this.#laidOut;
    this.#pushSets([imagesOf(this.#all).map((image) => (code) => this.#loadImages(code, image))]);
    for (const operation of lowered) this.#pushSets(operation.forwardTasks(this.#all, this.#parts));
    if (this.#hasLoss) this.#push([[emit((code) => this.#loss(code, this.#all))]], { computesLoss: true });
    if (!timeline.training) return;
    const backward = this.#list.map((operation, i) =>
      this.#hasBackward(i)
        ? lowered[i]!.backwardTasks(this.#all, this.#parts, this.#slotOf(operation))
        : { tasks: [], slots: 0 },
    );
    this.usedSlots = backward.map(({ slots }) => slots);
    for (const { tasks } of backward.toReversed()) this.#pushSets(tasks);
  }

  /** Addresses of the slots of an operation's gradient. */
  #slotOf(operation: Operation): (index: number) => number {
    return (index) =>
      onWholeBatch(operation) ? this.#layout.gradientOf(operation) : this.#layout.slot(index, operation);
  }

  /** Whether an operation has a backward pass, if one follows. A plan for features copies gradients below it, too. */
  #hasBackward(operation: number): boolean {
    return !this.#hasLoss || operation >= this.#laidOut.timeline.backwardFrom;
  }

  /** Whether a segment only computes forward, as in inference: then no slots limit its groups. */
  #isForwardOnly({ operations, before, behind }: Segment): boolean {
    return before === undefined && behind === undefined && !operations.some((i) => this.#hasBackward(i));
  }

  #groupSizesOf(segment: Segment): readonly number[] {
    return this.#isForwardOnly(segment) ? this.#inferenceGroups : this.#groupSizes;
  }

  /** A phase with an item for each group of images. */
  #pushGroups(
    segment: Segment,
    pass: (code: Code, chunk: Chunk, group: number, groupStart: number) => void,
    finish: (code: Code, group: number) => void,
    once: Emit,
    computesLoss = false,
  ): void {
    let first = 0;
    const items = this.#groupSizesOf(segment).map((size, group) => {
      const start = first;
      first += size;
      return emit((code) => {
        for (const chunk of chunksOf(segment, start, size)) pass(code, chunk, group, start);
        finish(code, group);
      });
    });
    this.#phases.push({ items, once: emit(once), ...(computesLoss && { computesLoss }) });
  }

  /** The forward pass of a segment; at the end of the network with the loss and the backward pass. */
  #forwardPhase(segment: Segment, backwardToo: boolean): void {
    const { lowered, barriers, timeline } = this.#laidOut;
    const { before, behind } = segment;
    const isFirst = segment === timeline.segments[0];
    const isLast = segment === timeline.segments.at(-1);
    const start = (code: Code, chunk: Chunk): void => {
      if (isFirst) this.#loadImages(code, chunk);
      if (before !== undefined) lowered[before]!.forward(code, chunk);
    };
    this.#pushGroups(
      segment,
      (code, chunk, group, groupStart) => {
        visitForward(
          segment,
          chunk,
          (part) => start(code, part),
          (i, part) => lowered[i]!.forward(code, part),
        );
        if (behind !== undefined) {
          barriers.get(behind)!.gather(code, chunk, group, chunk.first - groupStart);
        }
        if (isLast && this.#hasLoss) this.#loss(code, chunk);
        if (backwardToo) this.#backward(code, segment, chunk, group, groupStart);
      },
      (code, group) => {
        if (backwardToo) this.#finish(code, segment, group);
      },
      (code) => {
        if (behind !== undefined) barriers.get(behind)!.combine(code, this.#groupSizes);
        if (backwardToo && before !== undefined && this.#hasBackward(before)) {
          barriers.get(before)!.combineGradients(code, this.#groupSizes);
        }
      },
      isLast && this.#hasLoss,
    );
  }

  /** The backward phases of all segments before the last. */
  #backwardPhases(): void {
    const { timeline, lowered, barriers, buffers } = this.#laidOut;
    const { segments, cuts } = timeline;
    for (let s = cuts.length - 1; s >= 0; s--) {
      const [segment, behind] = [segments[s]!, cuts[s]!];
      if (!this.#hasBackward(behind)) break;
      const { before } = segment;
      if (isSplit(this.#list[behind])) {
        const { tasks } = lowered[behind]!.backwardTasks(
          this.#all,
          this.#parts,
          this.#slotOf(this.#list[behind]!),
        );
        this.#pushSets(tasks);
      }
      const own = [...segment.operations, before, segment.behind];
      if (!own.some((i) => i !== undefined && this.#hasBackward(i))) continue;
      this.#pushGroups(
        segment,
        (code, chunk, group, groupStart) => {
          if (before !== undefined && buffers.recomputed.has(before)) lowered[before]!.forward(code, chunk);
          this.#backward(code, segment, chunk, group, groupStart);
        },
        (code, group) => this.#finish(code, segment, group),
        (code) => {
          if (before === undefined || !this.#hasBackward(before)) return;
          barriers.get(before)!.combineGradients(code, this.#groupSizes);
        },
      );
    }
  }

  #backward(code: Code, segment: Segment, chunk: Chunk, group: number, groupStart: number): void {
    const { lowered, barriers } = this.#laidOut;
    const { before, behind } = segment;
    const isFirst = (part: Chunk): boolean => part.first === groupStart;
    const pass = (i: number, part: Chunk): void => {
      if (this.#hasBackward(i)) lowered[i]!.backward(code, part, this.#slot(group, i), isFirst(part));
    };
    if (behind !== undefined) pass(behind, chunk);
    visitBackward(segment, chunk, pass);
    if (before === undefined || !this.#hasBackward(before)) return;
    barriers.get(before)!.gatherGradients(code, chunk, group, isFirst(chunk));
  }

  #finish(code: Code, { operations }: Segment, group: number): void {
    for (const i of operations) {
      if (!this.#learns(i)) continue;
      this.#laidOut.lowered[i]!.finish?.(code, this.#slot(group, i));
    }
  }

  #learns(operation: number): boolean {
    const { inference } = this.#laidOut.timeline;
    return !inference && this.#layout.trained.learns(this.#list[operation]!);
  }

  /** Address of an operation's gradients in a group's slot; none without parameters that learn. */
  #slot(group: number, operation: number): number {
    return this.#learns(operation) ? this.#layout.slot(group, this.#list[operation]!) : 0;
  }

  #loadImages(code: Code, chunk: Chunk): void {
    const map = this.#laidOut.buffers.maps[0]!;
    clearHalo(code, map, chunk);
    const { imageStride, rowStride, pixelStride } = map;
    code.host({
      host: 'loadImages',
      first: chunk.first,
      count: chunk.count,
      map: map.at(chunk, 0),
      imageStride,
      rowStride,
      pixelStride,
      shape: map.shape,
    });
  }

  #loss(code: Code, chunk: Chunk): void {
    const { maps, gradients } = this.#laidOut.buffers;
    const logits = maps.at(-1)!;
    const gradient = gradients.at(-1);
    code.host({
      host: 'loss',
      first: chunk.first,
      count: chunk.count,
      logits: logits.at(chunk, 0),
      logitStride: logits.imageStride,
      gradient: gradient ? gradient.at(chunk, 0) : 0,
      gradientStride: gradient?.imageStride ?? 0,
      logitPlaces: flattened(logits),
      gradientPlaces: flattened(gradient ?? logits),
    });
  }
}
