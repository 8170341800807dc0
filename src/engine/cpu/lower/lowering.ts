/**
 * The interface of a lowered operation, and what it may use. An operation is complete on its own: its output and its
 * gradients do not depend on which operation follows. The gradient of a fused ReLU is applied where it is cheapest, and
 * the plan decides where: the operation that writes `dx` may apply the ReLU of its input (`masksInput`), otherwise the
 * operation applies its own (`masksOutput`).
 */
import type { OperationBuffers } from '../plan/buffers.ts';
import type { Code, Emit } from '../plan/code.ts';
import { type Chunk, hasHalo, imagesOf, type MapBuffer } from '../plan/maps.ts';
import type { ParameterLayout } from '../plan/parameters.ts';
import type { Rule } from '../plan/update.ts';
import type { Piece } from './blocks.ts';

export interface LoweringContext extends OperationBuffers {
  readonly layout: ParameterLayout;
  /** The worker that the code is for. */
  readonly worker: number;
  /** Most images in a chunk. */
  readonly images: number;
  /** Whether few images go operation by operation, each divided into tasks. */
  readonly byTasks: boolean;
  /** Whether its backward pass follows. */
  readonly training: boolean;
  /** Whether it works as in inference: with running moments, and without gradients of parameters. So do frozen layers. */
  readonly inference: boolean;
  /** Whether the backward pass of a chunk directly follows its forward pass. */
  readonly adjacent: boolean;
  /** Input and output, and their gradients if there is a backward pass; `dx` only if needed. */
  readonly x: MapBuffer;
  readonly y: MapBuffer;
  readonly dx: MapBuffer | undefined;
  readonly dy: MapBuffer | undefined;
  /** Whether `dx` is the gradient of the images, with the halo of `x`. */
  readonly toImages: boolean;
  /** Whether `dy` has the halo that the operation's backward pass needs. */
  readonly dyHasHalo: boolean;
  /** Whether the operation applies the gradient of the ReLU before it to `dx`. */
  readonly masksInput: boolean;
  /** Whether the operation must apply the gradient of its own ReLU to `dy`: the next operation does not. */
  readonly masksOutput: boolean;
  /** Whether zeros in `dx` stay: nothing else is ever written there. */
  readonly dxStays: boolean;
  /** The rule that a split layer applies to its parameters; absent if it leaves its gradient to the update. */
  readonly inPlace: Rule | undefined;
}

/** Sets of tasks. Tasks of a set are independent; a set needs the results of the set before it. */
export type ParallelTasks = readonly (readonly Emit[])[];

export interface BackwardTasks {
  readonly tasks: ParallelTasks;
  /** How many slots hold a part of the gradient. */
  readonly slots: number;
}

/** The meeting of all workers inside a batch normalization. `group` numbers the groups of images. */
export interface BatchBarrier {
  /** Adds a chunk's values to its group's moments; `before` images of the group came before. */
  gather(code: Code, chunk: Chunk, group: number, before: number): void;
  combine(code: Code, images: readonly number[]): void;
  /** The same for the sums of the backward pass. */
  gatherGradients(code: Code, chunk: Chunk, group: number, first: boolean): void;
  combineGradients(code: Code, images: readonly number[]): void;
}

/** One operation of a plan. `slot` is the address of the gradient sums of a group of images. */
export interface Lowered {
  forward(code: Code, chunk: Chunk): void;
  /** The forward pass of a few images, with about `parts` tasks per image. */
  forwardTasks(chunk: Chunk, parts: number): ParallelTasks;
  /** Adds gradients of the parameters to the slot, or replaces it if the chunk is the slot's first. */
  backward(code: Code, chunk: Chunk, slot: number, first: boolean): void;
  /** After the slot's last chunk. */
  finish?(code: Code, slot: number): void;
  /**
   * The backward pass of a few images, likewise. `slot` returns the address of slots 0 … `parts` − 1.
   */
  backwardTasks(chunk: Chunk, parts: number, slot: (index: number) => number): BackwardTasks;
  readonly barrier?: BatchBarrier;
}

/** The tasks of an operation without parameters: one per image. */
export function imageTasks(
  lowered: Pick<Lowered, 'forward' | 'backward'>,
): Pick<Lowered, 'forwardTasks' | 'backwardTasks'> {
  return {
    forwardTasks: (chunk) => [imagesOf(chunk).map((image) => (code) => lowered.forward(code, image))],
    backwardTasks: (chunk) => ({
      tasks: [imagesOf(chunk).map((image) => (code) => lowered.backward(code, image, 0, true))],
      slots: 0,
    }),
  };
}

/** Whether a map's halo holds other values before the map is written. */
const losesHalo = (map: MapBuffer | undefined): map is MapBuffer => map?.shares === true && hasHalo(map.halo);

/** Fills the halo of a chunk's images with zeros, if other buffers use the map's memory. */
export function clearHalo(code: Code, map: MapBuffer | undefined, chunk: Chunk): void {
  for (let image = 0; image < chunk.count; image++) clearImageHalo(code, map, chunk, image);
}

/** The same for one image of the chunk. */
export function clearImageHalo(code: Code, map: MapBuffer | undefined, chunk: Chunk, image: number): void {
  if (!losesHalo(map)) return;
  const { shape, halo, rowStride } = map;
  const fill = (out: number, rows: number, length: number): void => {
    if (rows > 0 && length > 0) code.call('fill', { out, outRow: rowStride, rows, length, value: 0 });
  };
  const [left, right] = [halo.left * shape.stored, halo.right * shape.stored];
  const corner = map.at(chunk, image, -halo.top, -halo.left);
  // The end of a row and the start of the next are adjacent.
  fill(corner, 1, halo.top * rowStride + left);
  fill(map.at(chunk, image, 0, shape.width), shape.height - 1, right + left);
  fill(map.at(chunk, image, shape.height - 1, shape.width), 1, right + halo.bottom * rowStride);
}

/** Applies the operation's ReLU to the gradient of its output, if the next operation does not. */
export function applyOwnRelu(code: Code, { y, dy, masksOutput }: LoweringContext, chunk: Chunk): void {
  if (!masksOutput) return;
  for (let image = 0; image < chunk.count; image++) maskGradient(code, dy!, y, chunk, image);
}

/** Fills an image's gradient with zeros, for windows that add to it. */
export function clearGradient(code: Code, gradient: MapBuffer, chunk: Chunk, image: number): void {
  code.call('fill', {
    out: gradient.at(chunk, image),
    outRow: gradient.rowStride,
    rows: gradient.shape.height,
    length: gradient.rowLength,
    value: 0,
  });
}

/** Sets a gradient to 0 where the activation is not above 0. */
export function maskGradient(
  code: Code,
  gradient: MapBuffer,
  activation: MapBuffer,
  chunk: Chunk,
  image: number,
  from: MapBuffer = gradient,
): void {
  code.call('reluBackward', {
    out: gradient.at(chunk, image),
    outRow: gradient.rowStride,
    gradient: from.at(chunk, image),
    gradientRow: from.rowStride,
    activation: activation.at(chunk, image),
    activationRow: activation.rowStride,
    rows: activation.shape.height,
    length: activation.rowLength,
    threshold: 0,
  });
}

/** The same for some rows of an image. */
export function maskRows(
  code: Code,
  gradient: MapBuffer,
  activation: MapBuffer,
  chunk: Chunk,
  { image, row, rows }: Piece,
): void {
  code.call('reluBackward', {
    out: gradient.at(chunk, image, row),
    outRow: gradient.rowStride,
    gradient: gradient.at(chunk, image, row),
    gradientRow: gradient.rowStride,
    activation: activation.at(chunk, image, row),
    activationRow: activation.rowStride,
    rows,
    length: activation.rowLength,
    threshold: 0,
  });
}

/** The same operation as an object whose methods can be copied. */
const bound = (lowered: Lowered): Lowered => ({
  forward: lowered.forward.bind(lowered),
  forwardTasks: lowered.forwardTasks.bind(lowered),
  backward: lowered.backward.bind(lowered),
  ...(lowered.finish && { finish: lowered.finish.bind(lowered) }),
  backwardTasks: lowered.backwardTasks.bind(lowered),
  ...(lowered.barrier && { barrier: lowered.barrier }),
});

/** The same operation, but its backward pass starts with its own ReLU. */
export function withOwnRelu(lowered: Lowered, context: LoweringContext): Lowered {
  if (!context.masksOutput) return lowered;
  return {
    ...bound(lowered),
    backward(code, chunk, slot, first) {
      applyOwnRelu(code, context, chunk);
      lowered.backward(code, chunk, slot, first);
    },
    backwardTasks(chunk, parts, slot) {
      const { tasks, slots } = lowered.backwardTasks(chunk, parts, slot);
      const mask = imagesOf(chunk).map((image) => (code: Code) => applyOwnRelu(code, context, image));
      return { tasks: [mask, ...tasks], slots };
    },
  };
}

/** The same operation, but the halos of the maps that it writes are cleared first. */
export function withClearedHalos(lowered: Lowered, { x, y, dx, dy }: LoweringContext): Lowered {
  // An operation in place leaves the halo as it is.
  const out = y === x || !losesHalo(y) ? undefined : y;
  const gradient = dx === dy || !losesHalo(dx) ? undefined : dx;
  if (!out && !gradient) return lowered;
  const cleared = (map: MapBuffer | undefined, chunk: Chunk, tasks: ParallelTasks): ParallelTasks => {
    if (!map) return tasks;
    const [first = [], ...rest] = tasks;
    const clear = imagesOf(chunk).map((image) => (code: Code) => clearHalo(code, map, image));
    return [[...first, ...clear], ...rest];
  };
  return {
    ...bound(lowered),
    forward(code, chunk) {
      clearHalo(code, out, chunk);
      lowered.forward(code, chunk);
    },
    forwardTasks: (chunk, parts) => cleared(out, chunk, lowered.forwardTasks(chunk, parts)),
    backward(code, chunk, slot, first) {
      clearHalo(code, gradient, chunk);
      lowered.backward(code, chunk, slot, first);
    },
    backwardTasks(chunk, parts, slot) {
      const { tasks, slots } = lowered.backwardTasks(chunk, parts, slot);
      return { tasks: cleared(gradient, chunk, tasks), slots };
    },
  };
}

/** The same operation, but marks what is emitted as part of operation `index`. */
export function marked(lowered: Lowered, index: number): Lowered {
  const { finish, barrier } = bound(lowered);
  const mark = (tasks: ParallelTasks): ParallelTasks =>
    tasks.map((set) => set.map((task) => (code) => code.within(index, () => task(code))));
  return {
    forward: (code, chunk) => code.within(index, () => lowered.forward(code, chunk)),
    forwardTasks: (chunk, parts) => mark(lowered.forwardTasks(chunk, parts)),
    backward: (code, chunk, slot, first) =>
      code.within(index, () => lowered.backward(code, chunk, slot, first)),
    ...(finish && { finish: (code, slot) => code.within(index, () => finish(code, slot)) }),
    backwardTasks(chunk, parts, slot) {
      const { tasks, slots } = lowered.backwardTasks(chunk, parts, slot);
      return { tasks: mark(tasks), slots };
    },
    ...(barrier && { barrier: markedBarrier(barrier, index) }),
  };
}

const markedBarrier = (barrier: BatchBarrier, index: number): BatchBarrier => ({
  gather: (code, ...rest) => code.within(index, () => barrier.gather(code, ...rest)),
  combine: (code, images) => code.within(index, () => barrier.combine(code, images)),
  gatherGradients: (code, ...rest) => code.within(index, () => barrier.gatherGradients(code, ...rest)),
  combineGradients: (code, images) => code.within(index, () => barrier.combineGradients(code, images)),
});
