/**
 * When operations run. Operation i of L runs forward at time i and backward at time 2L − i; the loss is computed at time
 * L. Barriers cut the times into phases; the operations between two barriers are a segment. A batch of few images has a
 * phase for each operation in each direction.
 *
 * In a segment, a worker takes a chunk of images through all operations. Large maps go through the first operations one
 * or a few at a time, and are joined for the later ones, whose weights are read once per chunk: operations have levels,
 * and a chunk of a level is cut into smaller ones for the level below.
 */

import type { MapShape } from '../../map-shape.ts';
import type { Chunk } from './maps.ts';
import { isSplit, type Operation } from './operations.ts';

/** Images that usually go through the network together, about one slot's: small maps share a block of tiles. */
export const chunkImages = 8;
/** Most images in a chunk of small maps, whose weights take far longer to read: each is read for more of them. */
const joinedImages = 32;
/** Most floats of a segment's maps in such a chunk: 1 MiB. */
const joinedFloats = 2 ** 18;
/** Fewer images than this are split by rows and outputs instead of by image. */
export const fewImages = 8;
/** Floats that an operation's larger map has in a chunk of more than one image: 8 MiB. */
const levelFloats = 2 ** 21;
/** Floats that a chunk keeps from its forward to its backward pass, if it has more than one image: 128 MiB. */
const keptFloats = 2 ** 25;

export interface Level {
  /** Indices of its operations. */
  readonly operations: readonly number[];
  /** Most images of a chunk. */
  readonly images: number;
}

/** The operations between two barriers. */
export interface Segment {
  readonly operations: readonly number[];
  /** From the first operations to the last, with more images each; at least one. */
  readonly levels: readonly Level[];
  /** The normalization at the barrier before it, whose forward pass starts the segment. */
  readonly before: number | undefined;
  /** The normalization at the barrier behind it, whose backward pass starts the segment's. */
  readonly behind: number | undefined;
}

export interface Timeline {
  /** Images. */
  readonly batch: number;
  /** Number of operations. */
  readonly length: number;
  /** Whether a backward pass follows. */
  readonly training: boolean;
  /** Whether operations work as in inference, also if a backward pass follows. */
  readonly inference: boolean;
  /** The first operation that has a backward pass, if one follows. */
  readonly backwardFrom: number;
  /** Whether an operation works as in inference: all of them, or the frozen ones. */
  isInference(operation: number): boolean;
  /** Whether each operation is a phase of its own, divided into parallel tasks. */
  readonly byTasks: boolean;
  readonly segments: readonly Segment[];
  /** The operation at the barrier behind each segment but the last. */
  readonly cuts: readonly number[];
  /** Whether all workers meet in an operation. */
  isBarrier(operation: number): boolean;
  /** Number of the phase in which an operation runs. */
  forwardPhase(operation: number): number;
  backwardPhase(operation: number): number;
  /** The segment and level of an operation; those of a barrier are the next segment's first ones. */
  levelOf(operation: number): { readonly segment: Segment; readonly level: number };
}

export const backwardTime = ({ length }: Pick<Timeline, 'length'>, operation: number): number =>
  2 * length - operation;

const floatsOf = ({ height, width, stored }: MapShape): number => height * width * stored;

/** The largest power of two of images, up to a chunk's, whose maps have at most `limit` floats. */
const imagesWithin = (limit: number, floats: number): number =>
  floats * chunkImages <= limit ? chunkImages : Math.max(1, 2 ** Math.floor(Math.log2(limit / floats)));

/** Levels of a segment's operations, whose chunks keep `kept` floats of each image. */
function levelsOf(
  list: readonly Operation[],
  operations: readonly number[],
  batch: number,
  kept: number,
): Level[] {
  const all = operations.reduce((sum, i) => sum + floatsOf(list[i]!.input) + floatsOf(list[i]!.output), 0);
  // Most slots have no more than a quarter of the batch.
  const joined = 2 ** Math.floor(Math.log2(Math.min(joinedImages, joinedFloats / all, batch / 4)));
  if (operations.length > 0 && joined > chunkImages) return [{ operations, images: joined }];
  const most = imagesWithin(keptFloats, kept);
  const images = operations.map((i) => {
    const { input, output } = list[i]!;
    return Math.min(most, imagesWithin(levelFloats, Math.max(floatsOf(input), floatsOf(output))));
  });
  // A chunk is cut further only for the operations before.
  for (let i = images.length - 2; i >= 0; i--) images[i] = Math.min(images[i]!, images[i + 1]!);
  const levels: { operations: number[]; images: number }[] = [];
  operations.forEach((operation, i) => {
    if (levels.at(-1)?.images !== images[i]) levels.push({ operations: [], images: images[i]! });
    levels.at(-1)!.operations.push(operation);
  });
  return levels.length > 0 ? levels : [{ operations: [], images: most }];
}

/** What a batch passes through. */
export interface Passes {
  /** Whether all operations work as in inference. */
  readonly inference: boolean;
  /** The first operation of the backward pass; undefined without one. */
  readonly backwardFrom: number | undefined;
  /** Whether an operation is frozen. */
  readonly isFrozen: (operation: Operation) => boolean;
}

export function timelineOf(
  list: readonly Operation[],
  batch: number,
  { inference, backwardFrom, isFrozen }: Passes,
): Timeline {
  const training = backwardFrom !== undefined;
  const byTasks = batch < fewImages;
  const isInference = (i: number): boolean => inference || isFrozen(list[i]!);
  const gathers = (i: number): boolean => list[i]?.kind === 'batchNorm' && !isInference(i);
  const isBarrier = (i: number): boolean => isSplit(list[i]) || (!byTasks && gathers(i));
  const normalizes = (i: number | undefined): number | undefined =>
    i !== undefined && gathers(i) ? i : undefined;
  const cuts = byTasks ? [] : list.flatMap((_, i) => (isBarrier(i) ? [i] : []));
  const segments = [...cuts, list.length].map((end, s): Segment => {
    const start = s === 0 ? 0 : cuts[s - 1]! + 1;
    const operations = Array.from({ length: end - start }, (_, i) => start + i);
    const isLast = s === cuts.length;
    // Only the last segment's backward pass directly follows its forward pass.
    const keeps = (i: number): boolean => training && isLast && i >= backwardFrom;
    const kept = operations.reduce((sum, i) => sum + (keeps(i) ? floatsOf(list[i]!.output) : 0), 0);
    const levels = levelsOf(list, operations, batch, kept);
    return { operations, levels, before: normalizes(cuts[s - 1]), behind: normalizes(cuts[s]) };
  });

  const { length } = list;
  const forward: number[] = [];
  const backward: number[] = [];
  let phase = 0;
  for (let i = 0; i < length; i++) {
    const [isCut, afterSplit] = [isBarrier(i), i > 0 && isSplit(list[i - 1])];
    // Images are loaded in a phase before a barrier at the start.
    if (isCut || (i > 0 && (byTasks || afterSplit))) phase++;
    forward[i] = phase;
  }
  // The loss has a phase only behind tasks or a split layer.
  if (byTasks || isSplit(list.at(-1))) phase++;
  for (let i = length - 1; i >= 0; i--) {
    const isCut = isBarrier(i);
    const afterSplit = i + 1 < length && isSplit(list[i + 1]);
    if (byTasks || isCut || afterSplit) phase++;
    backward[i] = phase;
  }
  const levels = list.map((_, i) => {
    const segment =
      segments.find(({ operations }) => operations.includes(i)) ?? segments[cuts.indexOf(i) + 1]!;
    const level = segment.levels.findIndex(({ operations }) => operations.includes(i));
    return { segment, level: Math.max(0, level) };
  });
  return {
    batch,
    length,
    training,
    inference,
    backwardFrom: backwardFrom ?? 0,
    isInference,
    byTasks,
    segments,
    cuts,
    isBarrier,
    forwardPhase: (i) => forward[i]!,
    backwardPhase: (i) => backward[i]!,
    levelOf: (i) => levels[i]!,
  };
}

/** Cuts images into chunks. */
export const cut = (first: number, count: number, size: number): { first: number; count: number }[] =>
  Array.from({ length: Math.ceil(count / size) }, (_, i) => ({
    first: first + i * size,
    count: Math.min(size, count - i * size),
  }));

/** The chunks of a group of images at a segment's last level. */
export function chunksOf({ levels }: Segment, first: number, count: number): Chunk[] {
  return cut(first, count, levels.at(-1)!.images).map((part) => ({
    ...part,
    starts: levels.map(() => part.first),
  }));
}

/** Visits a chunk's operations forward: `start` before the first level, then each level in smaller chunks. */
export function visitForward(
  { levels }: Segment,
  chunk: Chunk,
  start: (chunk: Chunk) => void,
  visit: (operation: number, chunk: Chunk) => void,
): void {
  const go = (level: number, whole: Chunk): void => {
    for (const part of partsOf(levels, level, whole)) {
      if (level > 0) go(level - 1, part);
      else start(part);
      for (const operation of levels[level]!.operations) visit(operation, part);
    }
  };
  go(levels.length - 1, chunk);
}

/** The same backward. */
export function visitBackward(
  { levels }: Segment,
  chunk: Chunk,
  visit: (operation: number, chunk: Chunk) => void,
): void {
  const go = (level: number, whole: Chunk): void => {
    for (const part of partsOf(levels, level, whole)) {
      for (const operation of levels[level]!.operations.toReversed()) visit(operation, part);
      if (level > 0) go(level - 1, part);
    }
  };
  go(levels.length - 1, chunk);
}

/** A chunk cut into those of a level. */
const partsOf = (levels: readonly Level[], level: number, { first, count, starts }: Chunk): Chunk[] =>
  cut(first, count, levels[level]!.images).map((part) => ({
    ...part,
    starts: starts.map((start, i) => (i <= level ? part.first : start)),
  }));
