/** What every lowered operation offers, and what it may use. */
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
  /** 0 where the input is a ReLU's output whose gradient is to be applied to `dx`, −∞ where not. */
  readonly inputFloor: number;
  readonly parameters: Place;
  /** A map that must last from the forward to the backward pass. */
  allocate(shape: MapShape, frame: Frame): MapBuffer;
}

/** One operation of a plan. `slot` is where the parameters' gradients of a group of images are summed, in floats. */
export interface Lowered {
  /** Once, after memory was cleared. */
  setup?(code: Code): void;
  forward(code: Code, chunk: Chunk): void;
  /**
   * The forward pass of a few images in stages that need each other's results, each stage in about `parts` pieces
   * an image that do not.
   */
  forwardStages(chunk: Chunk, parts: number): ((code: Code) => void)[][];
  /** Gradients of the parameters are added to the slot, or replace it where the chunk is the slot's first. */
  backward(code: Code, chunk: Chunk, slot: number, first: boolean): void;
  /** After the slot's last chunk. */
  finish?(code: Code, slot: number): void;
}

/** Stages of an operation whose images are its only pieces. */
export const imageStages = (lowered: Pick<Lowered, 'forward'>, chunk: Chunk): ((code: Code) => void)[][] => [
  Array.from(
    { length: chunk.count },
    (_, i) => (code: Code) => lowered.forward(code, { first: chunk.first + i, count: 1 }),
  ),
];
