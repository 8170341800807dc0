/** Dispatches: a kernel, its buffers, and the workgroups that it runs. A plan is a list of them. */
import type { Scratch } from './memory.ts';
import { cellsInGroup, type Kernel } from './wgsl.ts';

/** Images of a batch that a dispatch computes: maps too large for one buffer are cut by images. */
export interface Piece {
  readonly index: number;
  readonly first: number;
  readonly count: number;
}

/** A buffer, or one that may be replaced by a larger one. */
export type Bindable = GPUBuffer | Scratch;

export interface Dispatch {
  readonly kernel: Kernel;
  /** In the order of the kernel's bindings. */
  readonly buffers: readonly Bindable[];
  readonly piece: Piece;
  readonly groups: readonly [x: number, y: number, z: number];
  /** Floating-point operations, for descriptions and to size submits. */
  readonly operations: number;
}

/** The most workgroups in one dimension of a dispatch, by WebGPU's default limits. */
export const mostGroups = 65_535;

/** Workgroups in a row, folded to two dimensions if they are too many for one. */
export function folded(groups: number, slices = 1): readonly [number, number, number] {
  const rows = Math.max(1, Math.ceil(groups / mostGroups));
  return [Math.ceil(groups / rows), rows, slices];
}

/** A dispatch of a kernel that computes `perImage` cells for each image of a piece. */
export const cells = (
  kernel: Kernel,
  buffers: readonly Bindable[],
  piece: Piece,
  perImage: number,
  operations: number = 4 * perImage * piece.count,
): Dispatch => ({
  ...{ kernel, buffers, piece, operations },
  groups: folded(Math.ceil((piece.count * perImage) / cellsInGroup)),
});

/** A dispatch of kernels that do not depend on images. */
export const all: Piece = { index: 0, first: 0, count: 1 };
