/**
 * The interface of a lowered operation, and what it may use.
 *
 * An operation does not rely on its successor for correct gradients. The gradient of a fused ReLU is applied where it is
 * cheapest: the next operation may apply it while it writes `dy` (its `inputFloor`); if the plan does not arrange that,
 * the operation applies it itself (`outputFloor`).
 */
import type { Chunk, Code, Halo, MapBuffer, Place, Region } from '../plan/code.ts';
import type { MapShape } from '../plan/operations.ts';

export interface LoweringContext {
  /** Memory of one worker. */
  readonly scratch: Region;
  /** Most images in a chunk. */
  readonly images: number;
  /** Whether a backward pass follows. */
  readonly training: boolean;
  /** Whether all images pass one operation before the next; otherwise one chunk passes all operations. */
  readonly wholeBatch: boolean;
  /** Input and output, and their gradients if there is a backward pass; `dx` only if needed. */
  readonly x: MapBuffer;
  readonly y: MapBuffer;
  readonly dx: MapBuffer | undefined;
  readonly dy: MapBuffer | undefined;
  /** Whether `dy` has the halo that the operation's backward pass needs. */
  readonly dyHasHalo: boolean;
  /** 0 if this operation applies the gradient of the previous operation's ReLU to `dx`, −∞ otherwise. */
  readonly inputFloor: number;
  /** 0 if this operation must apply the gradient of its own ReLU to `dy`, −∞ if that is done or there is none. */
  readonly outputFloor: number;
  /** Whether `dx` is overwritten after this operation, so that none of its content stays. */
  readonly dxChanges: boolean;
  readonly parameters: Place;
  /** Floats of a core's second-level cache. */
  readonly cacheFloats: number;
  /** A map that must last from the forward to the backward pass. */
  allocate(shape: MapShape, halo: Halo): MapBuffer;
  /** Maps for the backward pass of this operation, which processes this many images at a time. */
  allocateGradient(shape: MapShape, halo: Halo, images: number): MapBuffer;
}

/** Stages that need the previous stage's results; the pieces of a stage are independent. */
export type Stages = ((code: Code) => void)[][];

/** One operation of a plan. `slot` is the address (in floats) of the gradient sums of a group of images. */
export interface Lowered {
  forward(code: Code, chunk: Chunk): void;
  /**
   * The forward pass of a few images, in stages with about `parts` independent pieces per image.
   */
  forwardStages(chunk: Chunk, parts: number): Stages;
  /** Adds gradients of the parameters to the slot, or replaces it if the chunk is the slot's first. */
  backward(code: Code, chunk: Chunk, slot: number, first: boolean): void;
  /** After the slot's last chunk. */
  finish?(code: Code, slot: number): void;
  /**
   * The backward pass of a few images, likewise. `slot` returns the address of slots 0 … `parts` − 1; the result says how
   * many of them hold a part of the gradient.
   */
  backwardStages(
    chunk: Chunk,
    parts: number,
    slot: (index: number) => number,
  ): { readonly stages: Stages; readonly slots: number };
}

/** The same, but marks what is emitted as part of operation `index`. */
export function marked(lowered: Lowered, index: number): Lowered {
  const { finish } = lowered;
  const mark = (stages: Stages): Stages =>
    stages.map((pieces) => pieces.map((piece) => (code) => code.within(index, () => piece(code))));
  return {
    forward: (code, chunk) => code.within(index, () => lowered.forward(code, chunk)),
    forwardStages: (chunk, parts) => mark(lowered.forwardStages(chunk, parts)),
    backward: (code, chunk, slot, first) =>
      code.within(index, () => lowered.backward(code, chunk, slot, first)),
    ...(finish && { finish: (code, slot) => code.within(index, () => finish(code, slot)) }),
    backwardStages(chunk, parts, slot) {
      const { stages, slots } = lowered.backwardStages(chunk, parts, slot);
      return { stages: mark(stages), slots };
    },
  };
}

const imagesOf = ({ first, count }: Chunk): Chunk[] =>
  Array.from({ length: count }, (_, i) => ({ first: first + i, count: 1 }));

/** Applies the operation's ReLU to the gradient of its output, if the next operation does not. */
export function applyOwnRelu(code: Code, { y, dy, outputFloor }: LoweringContext, chunk: Chunk): void {
  if (outputFloor !== 0) return;
  for (let image = 0; image < chunk.count; image++) {
    code.call('reluBackward', {
      out: dy!.at(chunk, image),
      outRow: dy!.rowStride,
      gradient: dy!.at(chunk, image),
      gradientRow: dy!.rowStride,
      activation: y.at(chunk, image),
      activationRow: y.rowStride,
      rows: y.shape.height,
      length: y.rowLength,
      threshold: 0,
    });
  }
}

/** The same operation, but its backward pass starts with its own ReLU. */
export function withOwnRelu(lowered: Lowered, context: LoweringContext): Lowered {
  if (context.outputFloor !== 0) return lowered;
  return {
    ...lowered,
    backward(code, chunk, slot, first) {
      applyOwnRelu(code, context, chunk);
      lowered.backward(code, chunk, slot, first);
    },
    backwardStages(chunk, parts, slot) {
      const { stages, slots } = lowered.backwardStages(chunk, parts, slot);
      const mask = imagesOf(chunk).map((image) => (code: Code) => applyOwnRelu(code, context, image));
      return { stages: [mask, ...stages], slots };
    },
  };
}

/** The stages of an operation without parameters: one piece per image. */
export function imageStages(
  lowered: Pick<Lowered, 'forward' | 'backward'>,
): Pick<Lowered, 'forwardStages' | 'backwardStages'> {
  return {
    forwardStages: (chunk) => [imagesOf(chunk).map((image) => (code) => lowered.forward(code, image))],
    backwardStages: (chunk) => ({
      stages: [imagesOf(chunk).map((image) => (code) => lowered.backward(code, image, 0, true))],
      slots: 0,
    }),
  };
}
