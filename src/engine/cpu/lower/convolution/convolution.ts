/**
 * Lowers a convolution, with the ReLU and the max-pool after it, to kernel calls. The operation names the algorithm:
 * `winograd.ts`, `im2col.ts` or `direct.ts`, and with a pool possibly `sparse.ts` for the gradients. This file has what
 * they share: halos of zeros, matrices derived from the weights, pooling, and the order of steps.
 *
 * With a pool, the ReLU's gradient is applied while the pool's gradient is spread out; without one, see `lowering.ts`.
 */

import { type Code, type Emit, reluThreshold } from '../../plan/code.ts';
import { type Chunk, type MapBuffer, noHalo } from '../../plan/maps.ts';
import type { Convolution } from '../../plan/operations.ts';
import { type Block, fromImage, group } from '../blocks.ts';
import { clearImageHalo, type Lowered, type LoweringContext, type ParallelTasks } from '../lowering.ts';
import { poolBackward, poolKernel, poolWindows, winnerShape } from '../pool.ts';
import type { ConvolutionWeights } from './derived.ts';
import { directAlgorithm } from './direct.ts';
import { convolutionGradientHalo, poolsInTransform } from './geometry.ts';
import { im2colAlgorithm } from './im2col.ts';
import { sparseGradients } from './sparse.ts';
import { Winograd } from './winograd.ts';
import { blockExceedsImage } from './winograd-blocks.ts';

/** The inputs of an algorithm. */
export interface ConvolutionMaps {
  readonly operation: Convolution;
  readonly derived: ConvolutionWeights;
  readonly context: LoweringContext;
  /** The convolution's output before the pool; absent if a pool is fused. */
  readonly fullMap: MapBuffer | undefined;
  /** Its gradient; absent in inference and if the gradients are `sparse`. */
  readonly fullGradient: MapBuffer | undefined;
  readonly winners: MapBuffer | undefined;
}

/** Whether blocks are the first ones of their chunk and of their slot. */
export interface First {
  readonly ofChunk: boolean;
  readonly ofSlot: boolean;
}

/** The backward half of an algorithm. Blocks of one list may be worked on by different workers. */
export interface ConvolutionGradients {
  weightBlocks(images: number, parts: number): Block[];
  /** Adds to the slot, or to what is kept for the chunk or slot; `first` in each says to replace it. */
  weightGradient(code: Code, chunk: Chunk, blocks: readonly Block[], slot: number, first: First): void;
  /** After a chunk's last block: adds what was kept for the chunk to the slot, or replaces it. */
  finishChunk?(code: Code, slot: number, first: boolean): void;
  /** After a slot's last block. */
  finish?(code: Code, slot: number): void;
  inputBlocks(images: number, parts: number): Block[];
  inputGradient(code: Code, chunk: Chunk, block: Block): void;
}

/** A whole algorithm. `parts` requests at least this many blocks per image, if it has enough rows. */
export interface ConvolutionAlgorithm extends ConvolutionGradients {
  forwardBlocks(images: number, parts: number): Block[];
  forward(code: Code, chunk: Chunk, block: Block): void;
  /** The forward pass of a few images, if not a task per block. */
  forwardTasks?(chunk: Chunk): ParallelTasks | undefined;
}

const algorithms = {
  winograd: (maps: ConvolutionMaps): ConvolutionAlgorithm => new Winograd(maps),
  direct: directAlgorithm,
  im2col: im2colAlgorithm,
};

export function lowerConvolution(operation: Convolution, context: LoweringContext): Lowered {
  const { full, relu, pool, output } = operation;
  const { training, y, dx, dy } = context;
  const derived = context.layout.derived.get(operation)!;
  const sparse = operation.backward === 'sparse';
  const fused = poolsInTransform(operation);
  const winners = pool ? context.keep(winnerShape(pool, output), noHalo) : undefined;
  const fullMap = pool ? (fused ? undefined : context.temporary(full, noHalo)) : y;
  const gradientHalo = convolutionGradientHalo(operation, dx !== undefined);
  /** The gradient comes from a layer that writes it without the halo needed here. */
  const lacksHalo = !pool && !context.dyHasHalo && Object.values(gradientHalo).some((size) => size > 0);
  /** Images whose full gradient is held at once: one if it fills blocks, which then end with it. */
  const together = blockExceedsImage(operation, context.layout.operations.cacheFloats) ? context.images : 1;
  const fullGradient =
    training && !sparse
      ? pool || lacksHalo
        ? context.gradient(full, gradientHalo, together)
        : dy
      : undefined;
  const maps: ConvolutionMaps = { operation, derived, context, fullMap, fullGradient, winners };
  const algorithm = algorithms[operation.forward](maps);
  const gradients = training && sparse ? sparseGradients(maps) : algorithm;

  const pooledWindows = (chunk: Chunk, image: number, map: MapBuffer): Record<string, number> => ({
    pooled: y.at(chunk, image),
    pooledRow: y.rowStride,
    pooledPixel: y.pixelStride,
    ...poolWindows(pool!, map, output, winners!, chunk, image),
  });
  const pools = pool !== undefined && !fused;
  const poolForward = (code: Code, chunk: Chunk, image: number): void =>
    code.call(poolKernel(pool!), pooledWindows(chunk, image, fullMap!));
  /** Fills `fullGradient` from the gradient of the pooled map, or from one without a halo. */
  const expands = fullGradient !== undefined && fullGradient !== dy;
  const expandGradient = (code: Code, chunk: Chunk, image: number): void => {
    const gradient = fullGradient!;
    clearImageHalo(code, gradient, chunk, image);
    if (pool) {
      const windows = {
        ...pooledWindows(chunk, image, gradient),
        gradient: dy!.at(chunk, image),
        gradientRow: dy!.rowStride,
        gradientPixel: dy!.pixelStride,
        threshold: reluThreshold(relu),
      };
      poolBackward(code, pool, full, windows, !gradient.shares);
      return;
    }
    code.call('relu', {
      out: gradient.at(chunk, image),
      outRow: gradient.rowStride,
      map: dy!.at(chunk, image),
      mapRow: dy!.rowStride,
      rows: full.height,
      length: full.width * full.stored,
      threshold: Number.NEGATIVE_INFINITY,
    });
  };
  const eachImage = (chunk: Chunk, body: (code: Code, image: number) => void): Emit[] =>
    Array.from({ length: chunk.count }, (_, image) => (code) => body(code, image));

  return {
    forward(code, chunk) {
      for (const block of algorithm.forwardBlocks(chunk.count, 1)) algorithm.forward(code, chunk, block);
      if (pools) for (let image = 0; image < chunk.count; image++) poolForward(code, chunk, image);
    },
    forwardTasks(chunk, parts) {
      const convolve = algorithm.forwardTasks?.(chunk) ?? [
        algorithm
          .forwardBlocks(chunk.count, parts)
          .map((block) => (code: Code) => algorithm.forward(code, chunk, block)),
      ];
      if (!pools) return convolve;
      return [...convolve, eachImage(chunk, (code, image) => poolForward(code, chunk, image))];
    },
    backward(code, chunk, slot, first) {
      const step = expands ? together : chunk.count;
      for (let from = 0; from < chunk.count; from += step) {
        const count = Math.min(step, chunk.count - from);
        if (expands) for (let i = 0; i < count; i++) expandGradient(code, chunk, from + i);
        const weightBlocks = fromImage(from, gradients.weightBlocks(count, 1));
        const ofChunk = from === 0;
        gradients.weightGradient(code, chunk, weightBlocks, slot, { ofChunk, ofSlot: first && ofChunk });
        if (!dx) continue;
        for (const block of fromImage(from, gradients.inputBlocks(count, 1)))
          gradients.inputGradient(code, chunk, block);
      }
      gradients.finishChunk?.(code, slot, first);
    },
    finish: (code, slot) => gradients.finish?.(code, slot),
    backwardTasks(chunk, parts, slot) {
      const groups = group(gradients.weightBlocks(chunk.count, parts), parts);
      const tasks = groups.map((blocks, i) => (code: Code) => {
        gradients.weightGradient(code, chunk, blocks, slot(i), { ofChunk: true, ofSlot: true });
        gradients.finishChunk?.(code, slot(i), true);
        gradients.finish?.(code, slot(i));
      });
      if (dx) {
        for (const block of gradients.inputBlocks(chunk.count, parts)) {
          tasks.push((code) => gradients.inputGradient(code, chunk, block));
        }
      }
      const expand = eachImage(chunk, (code, image) => expandGradient(code, chunk, image));
      return { tasks: expands ? [expand, tasks] : [tasks], slots: groups.length };
    },
  };
}
