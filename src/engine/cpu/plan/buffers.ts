/**
 * The buffers of a plan: maps between the operations, their gradients, and working memory. A buffer lives from its first
 * write to its last read (`timeline.ts`). If both fall into one phase, each worker has its own for a chunk of images,
 * and it lives for these operations' times; otherwise all workers share one for the whole batch, and it lives for these
 * phases.
 */
import { granule } from '../../../kernels/language.ts';
import type { MapShape } from '../../map-shape.ts';
import { convolutionGradientHalo, convolutionInputHalo } from '../lower/convolution/geometry.ts';
import { type Halo, type Holds, hasHalo, MapBuffer, noHalo } from './maps.ts';
import { Arena, always, type Lifetime, type Place } from './memory.ts';
import { type Operation, readsVector } from './operations.ts';
import { backwardTime, type Segment, type Timeline } from './timeline.ts';

/** Floats of an image's map with a halo, from which clearing the halo is worth the memory: 128 KiB. */
const sharedFloats = 2 ** 15;

/** Buffers that an operation requests in addition to its maps. */
export interface OperationBuffers {
  /** A map that lasts from the forward to the backward pass. */
  keep(shape: MapShape, halo: Halo): MapBuffer;
  /** A map of the forward pass only. */
  temporary(shape: MapShape, halo: Halo): MapBuffer;
  /** A map of the backward pass only, which processes this many images at a time. */
  gradient(shape: MapShape, halo: Halo, images: number): MapBuffer;
  /** A worker's map of one image of the backward pass. */
  scratchMap(shape: MapShape, halo: Halo): MapBuffer;
  /** A worker's memory during a pass of the operation. */
  working(floats: number, ...passes: ('forward' | 'backward')[]): Place;
  /** All workers' memory during the operation's forward phases, by tasks. */
  together(floats: number): Place;
  /** A worker's memory from the forward to the backward pass of a chunk, which follow each other. */
  kept(floats: number): Place;
  /** A worker's memory for all chunks of a backward phase. */
  accumulator(floats: number): Place;
}

export interface Buffers {
  /** For all workers, and for each one. */
  readonly shared: Arena;
  readonly scratch: Arena;
  /** Input of the network, then the output of each operation. */
  readonly maps: readonly MapBuffer[];
  /** Gradients of the maps; the images' only if it is wanted. Empty without a backward pass. */
  readonly gradients: readonly (MapBuffer | undefined)[];
  /** Indices of the normalizations whose output is computed again for the backward pass. */
  readonly recomputed: ReadonlySet<number>;
  of(operation: number): OperationBuffers;
}

/** Whether a normalization overwrites its output's gradient, which has the same halo, with its input's gradient. */
export const writesOver = (list: readonly Operation[], i: number): boolean =>
  list[i]?.kind === 'batchNorm' && i > 0 && !readsVector(list[i + 1]);

const inputHalo = (operation: Operation | undefined): Halo =>
  operation?.kind === 'convolution' ? convolutionInputHalo(operation) : noHalo;

export class PlanBuffers implements Buffers {
  readonly shared: Arena = new Arena();
  readonly scratch: Arena = new Arena();
  readonly maps: readonly MapBuffer[];
  readonly gradients: readonly (MapBuffer | undefined)[];
  readonly recomputed: ReadonlySet<number>;
  readonly #list: readonly Operation[];
  readonly #timeline: Timeline;

  /** With `logits` the last map is read after all phases. */
  constructor(list: readonly Operation[], input: MapShape, timeline: Timeline, logits = true) {
    this.#list = list;
    this.#timeline = timeline;
    const { training, inference, byTasks } = timeline;
    const hasBackward = (i: number): boolean => training && i >= timeline.backwardFrom;
    const canRecompute = (i: number): boolean => i + 1 < list.length && !timeline.isBarrier(i + 1);
    this.recomputed = new Set(
      list.flatMap(({ kind }, i) =>
        hasBackward(i) && !timeline.isInference(i) && !byTasks && kind === 'batchNorm' && canRecompute(i)
          ? [i]
          : [],
      ),
    );
    this.maps = this.#layOutMaps([input, ...list.map(({ output }) => output)], logits);
    // In training, the gradient of the first operation's input is not wanted.
    const first = timeline.backwardFrom + (inference ? 0 : 1);
    this.gradients = training ? this.#layOutGradients(first) : [];
  }

  /** Whether an operation works in place: its input is not needed afterwards. */
  #isInPlace(i: number): boolean {
    const { training, backwardFrom, isInference } = this.#timeline;
    const kind = this.#list[i]?.kind;
    return (kind === 'batchNorm' || kind === 'dropout') && isInference(i) && (!training || i < backwardFrom);
  }

  /** The last operation that uses map `i` of a chain of operations in place. */
  #readerOf(i: number): number {
    let reader = i;
    while (this.#isInPlace(reader)) reader++;
    return reader;
  }

  #layOutMaps(shapes: readonly MapShape[], logits: boolean): MapBuffer[] {
    const { training, length, backwardFrom } = this.#timeline;
    const isSplitEnd = this.#timeline.isBarrier(length - 1);
    const maps: MapBuffer[] = [];
    shapes.forEach((shape, i) => {
      if (this.#isInPlace(i - 1)) {
        maps.push(maps[i - 1]!);
        return;
      }
      const reader = this.#readerOf(i);
      const halo = inputHalo(this.#list[reader]);
      if (this.recomputed.has(i - 1)) maps.push(this.#recomputedMap(i, shape, halo));
      // Logits are read after all phases, and a split layer's output by other workers.
      else if (reader === length && (logits || isSplitEnd))
        maps.push(this.#batchMap(shape, halo, this.#phaseOf(i - 1), Infinity));
      else {
        const last = training && reader >= backwardFrom ? 'backward' : Math.min(reader, length - 1);
        maps.push(this.#map(shape, halo, Math.max(0, i - 1), last, i === 0));
      }
    });
    return maps;
  }

  /** Gradients of map `first` and all behind it. */
  #layOutGradients(first: number): (MapBuffer | undefined)[] {
    const list = this.#list;
    const { length } = this.#timeline;
    const gradients: (MapBuffer | undefined)[] = [];
    /** The operation that reads a gradient last, in a chain of normalizations that write over it. */
    const lastReader = (i: number): number => {
      let reader = i - 1;
      while (writesOver(list, reader)) reader--;
      return reader;
    };
    for (let i = length; i >= first; i--) {
      if (i < length && writesOver(list, i)) {
        gradients[i] = gradients[i + 1];
        continue;
      }
      const { shape } = this.maps[i]!;
      if (i === 0) {
        // With the padding of the images, to which a convolution scatters.
        gradients[0] = this.#gradientMap(shape, inputHalo(list[0]), 0, 0);
        continue;
      }
      // A chain that is written over ends in the gradient of its first operation's input.
      const reader = lastReader(i);
      const last = list[reader]!;
      const needsHalo = last.kind === 'convolution' && !last.pool && !readsVector(list[reader + 1]);
      const halo = needsHalo ? convolutionGradientHalo(last, reader > 0) : noHalo;
      gradients[i] = this.#gradientMap(shape, halo, i, reader);
    }
    return gradients;
  }

  #phaseOf(operation: number): number {
    return operation < 0 ? 0 : this.#timeline.forwardPhase(operation);
  }

  /** The map that operation `writer` writes, read up to the forward pass of `last` or to the writer's backward pass. */
  #map(shape: MapShape, halo: Halo, writer: number, last: number | 'backward', byHost = false): MapBuffer {
    const { byTasks, levelOf, forwardPhase, backwardPhase } = this.#timeline;
    const from = byHost ? 0 : forwardPhase(writer);
    const to = last === 'backward' ? backwardPhase(writer) : forwardPhase(last);
    if (byTasks || from !== to) return this.#batchMap(shape, halo, from, to, byHost);
    const { segment, level } = levelOf(writer);
    if (last === 'backward') {
      // With several levels, smaller chunks pass before all of it is written, and after a part of it was read.
      const isCut = segment.levels.length > 1;
      const lifetime = {
        from: isCut ? startOf(segment) : writer,
        to: backwardTime(this.#timeline, isCut ? segment.operations[0]! : writer),
      };
      return this.#chunkMap(shape, halo, segment, segment.levels.length - 1, [lifetime], byHost);
    }
    const held = Math.max(level, levelOf(last).level);
    // A map that is joined from smaller chunks lasts while these are processed.
    const start = held > level ? startOf(segment) : writer;
    return this.#chunkMap(shape, halo, segment, held, [{ from: start, to: last }], byHost);
  }

  /** The output of a normalization: for the forward pass of the next segment, and again for its backward pass. */
  #recomputedMap(i: number, shape: MapShape, halo: Halo): MapBuffer {
    const time = (operation: number): number => backwardTime(this.#timeline, operation);
    const { segment } = this.#timeline.levelOf(i);
    const end = segment.operations.at(-1)!;
    const isLast = end === this.#timeline.length - 1;
    const lifetimes = isLast
      ? [{ from: i - 1, to: time(i - 1) }]
      : [
          { from: i - 1, to: segment.levels.length > 1 ? end : i },
          { from: time(end + 1) - 0.5, to: time(i - 1) },
        ];
    return this.#chunkMap(shape, halo, segment, segment.levels.length - 1, lifetimes);
  }

  /** The gradient that operation `i` writes (at the end of the network, the loss) and others read, `reader` last. */
  #gradientMap(shape: MapShape, halo: Halo, i: number, reader: number): MapBuffer {
    const { byTasks, length, backwardPhase, levelOf } = this.#timeline;
    const isLast = i === length;
    const from = isLast ? this.#lossPhase() : backwardPhase(i);
    const to = backwardPhase(reader);
    const byOutputs = i === 0 && this.#timeline.isBarrier(0);
    if (byTasks || byOutputs || from !== to) return this.#batchMap(shape, halo, from, to, isLast);
    const { segment, level } = levelOf(Math.max(0, i - 1));
    const held = isLast ? segment.levels.length - 1 : levelOf(i).level;
    const end = held > level ? Math.min(...segment.operations) : reader;
    const lifetime = { from: backwardTime(this.#timeline, i), to: backwardTime(this.#timeline, end) };
    return this.#chunkMap(shape, halo, segment, held, [lifetime], isLast);
  }

  #lossPhase(): number {
    const { length, byTasks, forwardPhase } = this.#timeline;
    const isSplit = this.#list[length - 1]!.kind === 'linear' && this.#timeline.isBarrier(length - 1);
    return forwardPhase(length - 1) + (byTasks || isSplit ? 1 : 0);
  }

  #batchMap(shape: MapShape, halo: Halo, from: number, to: number, byHost = false): MapBuffer {
    return this.#buffer(this.shared, shape, halo, this.#timeline.batch, 'batch', [{ from, to }], byHost);
  }

  #chunkMap(
    shape: MapShape,
    halo: Halo,
    { levels }: Segment,
    level: number,
    lifetimes: readonly Lifetime[],
    byHost = false,
  ): MapBuffer {
    const { images } = levels[level]!;
    return this.#buffer(this.scratch, shape, halo, images, { level }, lifetimes, byHost);
  }

  #buffer(
    arena: Arena,
    shape: MapShape,
    halo: Halo,
    images: number,
    holds: Holds,
    lifetimes: readonly Lifetime[],
    byHost = false,
  ): MapBuffer {
    const isLarge = shape.height * shape.width * shape.stored >= sharedFloats;
    // The host writes no channels of padding, so they must stay 0; a halo is cleared by whole vectors.
    const { channels, stored } = shape;
    const shares = byHost
      ? isLarge && stored === channels && stored % granule === 0
      : isLarge || !hasHalo(halo);
    return new MapBuffer({
      ...{ arena, shape, halo, images, holds, shares },
      lifetimes: shares ? lifetimes : always,
    });
  }

  of(i: number): OperationBuffers {
    const timeline = this.#timeline;
    const { byTasks } = timeline;
    const training = timeline.training && i >= timeline.backwardFrom;
    const { segment } = timeline.levelOf(i);
    const [forward, backward] = [i, backwardTime(timeline, i)];
    const at = (time: number): Lifetime => ({ from: time, to: time });
    const turns = (shape: MapShape, halo: Halo, images: number, time: number): MapBuffer =>
      this.#buffer(this.scratch, shape, halo, images, 'turns', [at(time)]);
    const { level } = timeline.levelOf(i);
    return {
      keep: (shape, halo) => this.#map(shape, halo, i, training ? 'backward' : i),
      temporary: (shape, halo) =>
        byTasks
          ? this.#batchMap(shape, halo, timeline.forwardPhase(i), timeline.forwardPhase(i))
          : this.#chunkMap(shape, halo, segment, level, [at(forward)]),
      gradient: (shape, halo, images) =>
        byTasks
          ? this.#batchMap(shape, halo, timeline.backwardPhase(i), timeline.backwardPhase(i))
          : turns(shape, halo, images, backward),
      scratchMap: (shape, halo) => turns(shape, halo, 1, backward),
      working: (floats, ...passes) =>
        this.scratch.allocate(
          floats,
          passes.map((pass) => at(pass === 'forward' ? forward : backward)),
        ),
      together: (floats) => this.shared.allocate(floats, [at(timeline.forwardPhase(i))]),
      kept: (floats) => this.scratch.allocate(floats, [{ from: forward, to: backward }]),
      accumulator: (floats) => this.scratch.allocate(floats, [this.#backwardPhaseTimes(segment, i)]),
    };
  }

  /** All times of the phase in which a segment runs backward. */
  #backwardPhaseTimes({ operations }: Segment, i: number): Lifetime {
    if (this.#timeline.byTasks)
      return { from: backwardTime(this.#timeline, i), to: backwardTime(this.#timeline, i) };
    const [first = i, last = i] = [operations[0], operations.at(-1)];
    const isLast = last === this.#timeline.length - 1;
    const from = isLast ? first - 1 : backwardTime(this.#timeline, last + 1) - 0.5;
    return { from, to: backwardTime(this.#timeline, first - 1) };
  }
}

/** The time at which a segment starts. */
const startOf = ({ operations, before }: Segment): number => before ?? operations[0]!;
