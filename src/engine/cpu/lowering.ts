/**
 * What every lowered operation offers, and what it may use.
 *
 * An operation's gradients are right by its own doing. Of a ReLU that it has fused, the gradient is applied where it
 * is cheapest: the operation behind may do so as it writes `dy` (its `inputFloor`), and where the plan does not have it
 * do so, the operation does it itself (`outputFloor`).
 */
import type { Chunk, Code, Frame, MapBuffer, Place, Region } from './code.ts';
import type { MapShape } from './operations.ts';

export interface LoweringContext {
  /** Memory of one worker. */
  readonly scratch: Region;
  /** Images in a chunk at most. */
  readonly images: number;
  /** Whether a backward pass follows. */
  readonly training: boolean;
  /** Whether all images pass one operation before the next, rather than one chunk all operations. */
  readonly wholeBatch: boolean;
  /** Input and output, and their gradients where there is a backward pass; `dx` only where someone needs it. */
  readonly x: MapBuffer;
  readonly y: MapBuffer;
  readonly dx: MapBuffer | undefined;
  readonly dy: MapBuffer | undefined;
  /** Whether `dy` has the frame that the operation's backward pass needs. */
  readonly dyFramed: boolean;
  /** 0 where the operation before has a ReLU whose gradient this one applies to `dx`, −∞ where not. */
  readonly inputFloor: number;
  /** 0 where this operation has to apply the gradient of its own ReLU to `dy`, −∞ where that is done or there is none. */
  readonly outputFloor: number;
  /** Whether `dx` is written over behind this operation, so that nothing in it stays as it was. */
  readonly dxChanges: boolean;
  readonly parameters: Place;
  /** Floats of a core's second-level cache. */
  readonly cacheFloats: number;
  /** A map that must last from the forward to the backward pass. */
  allocate(shape: MapShape, frame: Frame): MapBuffer;
  /** Maps for use within the backward pass of this operation, which takes so many images at a time. */
  allocateGradient(shape: MapShape, frame: Frame, images: number): MapBuffer;
}

/** Stages that need each other's results, each in pieces that do not. */
export type Stages = ((code: Code) => void)[][];

/** One operation of a plan. `slot` is where the parameters' gradients of a group of images are summed, in floats. */
export interface Lowered {
  forward(code: Code, chunk: Chunk): void;
  /**
   * The forward pass of a few images in stages that need each other's results, each stage in about `parts` pieces
   * an image that do not.
   */
  forwardStages(chunk: Chunk, parts: number): Stages;
  /** Gradients of the parameters are added to the slot, or replace it where the chunk is the slot's first. */
  backward(code: Code, chunk: Chunk, slot: number, first: boolean): void;
  /** After the slot's last chunk. */
  finish?(code: Code, slot: number): void;
  /**
   * The backward pass of a few images likewise. `slot` gives the place of slots 0 … `parts` − 1; the result says how
   * many of them hold a part of the gradient.
   */
  backwardStages(
    chunk: Chunk,
    parts: number,
    slot: (index: number) => number,
  ): { readonly stages: Stages; readonly slots: number };
}

/** The same, with what is emitted marked as a part of operation `index`. */
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

/** Applies the operation's own ReLU to the gradient of its output, where nobody else has. */
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
      floor: 0,
    });
  }
}

/** The same operation, whose backward pass begins with its own ReLU. */
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

/** The stages of an operation without parameters: its images are its only pieces. */
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
