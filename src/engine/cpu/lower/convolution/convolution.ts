/**
 * Lowers a convolution, with the ReLU and the max-pool after it, to kernel calls. The operation names the algorithm:
 * `winograd.ts`, `im2col.ts` or `direct.ts`, and with a pool possibly `sparse.ts` for the gradients. This file has what
 * they share: halos of zeros, matrices derived from the weights, pooling, and the order of steps.
 *
 * With a pool, the ReLU's gradient is applied while the pool's gradient is spread out; without one, see `lowering.ts`.
 */

import {
  type Chunk,
  type Code,
  type MapBuffer,
  type Matrix,
  noHalo,
  type Region,
  reluThreshold,
} from '../../plan/code.ts';
import { type Convolution, unevenStride } from '../../plan/operations.ts';
import { type Block, fromImage, group } from '../blocks.ts';
import type { Lowered, LoweringContext } from '../lowering.ts';
import { poolBackward, poolKernel, poolWindows, winnerShape } from '../pool.ts';
import { directAlgorithm } from './direct.ts';
import { convolutionGradientHalo, poolsInTransform } from './geometry.ts';
import { im2colAlgorithm } from './im2col.ts';
import { sparseGradients } from './sparse.ts';
import { blockExceedsImage, winogradAlgorithm } from './winograd.ts';

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

/** The backward half of an algorithm. Blocks of one list may be worked on by different workers. */
export interface ConvolutionGradients {
  weightBlocks(images: number, parts: number): Block[];
  weightGradient(code: Code, chunk: Chunk, blocks: readonly Block[], slot: number, first: boolean): void;
  /** After a slot's last block. */
  finish?(code: Code, slot: number): void;
  inputBlocks(images: number, parts: number): Block[];
  inputGradient(code: Code, chunk: Chunk, block: Block): void;
}

/** A whole algorithm. `parts` requests at least this many blocks per image, if it has enough rows. */
export interface ConvolutionAlgorithm extends ConvolutionGradients {
  forwardBlocks(images: number, parts: number): Block[];
  forward(code: Code, chunk: Chunk, block: Block): void;
}

/** Matrices computed from the weights after each change. */
export interface ConvolutionWeights {
  readonly forward: Matrix;
  readonly backward: Matrix | undefined;
}

export function convolutionWeights(
  operation: Convolution,
  region: Region,
  needsInputGradient: boolean,
): ConvolutionWeights {
  const { matrix, input, full, scheme } = operation;
  const square = (rows: number, columns: number): Matrix => {
    const rowStride = unevenStride(columns);
    const planeStride = rows * rowStride + 16;
    return { place: region.allocate(scheme!.planes * planeStride), rowStride, planeStride };
  };
  return {
    forward:
      operation.forward === 'winograd'
        ? square(input.stored, full.stored)
        : {
            place: region.allocate(matrix.rowStride * full.stored),
            rowStride: full.stored,
            planeStride: 0,
          },
    backward:
      operation.backward === 'winograd' && needsInputGradient ? square(full.stored, input.stored) : undefined,
  };
}

/** Computes the derived matrices of filters `from` … `to` from the parameters. */
export function deriveConvolution(
  code: Code,
  operation: Convolution,
  derived: ConvolutionWeights,
  parameters: number,
  from: number,
  to: number,
): void {
  const { matrix, input, scheme } = operation;
  const weights = parameters + matrix.offset + from * matrix.rowStride;
  if (operation.forward !== 'winograd') {
    code.call('transpose', {
      out: derived.forward.place.at + from,
      outRow: derived.forward.rowStride,
      matrix: weights,
      matrixRow: matrix.rowStride,
      rows: to - from,
      columns: matrix.rowStride,
    });
  } else {
    code.call(`winograd${scheme!.tile}Weights`, {
      out: derived.forward.place.at + from,
      planeStride: derived.forward.planeStride,
      rowStride: derived.forward.rowStride,
      weights,
      filterStride: matrix.rowStride,
      filters: to - from,
      channels: input.stored,
    });
  }
  if (derived.backward) {
    const { place, planeStride, rowStride } = derived.backward;
    code.call(`winograd${scheme!.tile}WeightsBackward`, {
      out: place.at + from * rowStride,
      planeStride,
      rowStride,
      weights,
      filterStride: matrix.rowStride,
      filters: to - from,
      channels: input.stored,
    });
  }
}

const algorithms = { winograd: winogradAlgorithm, direct: directAlgorithm, im2col: im2colAlgorithm };

export function lowerConvolution(
  operation: Convolution,
  derived: ConvolutionWeights,
  context: LoweringContext,
): Lowered {
  const { full, relu, pool, output } = operation;
  const { training, y, dx, dy } = context;
  const sparse = operation.backward === 'sparse';
  const fused = poolsInTransform(operation);
  const winners = pool ? context.allocate(winnerShape(pool, output), noHalo) : undefined;
  const fullMap = pool ? (fused ? undefined : context.allocate(full, noHalo)) : y;
  const gradientHalo = convolutionGradientHalo(operation, dx !== undefined);
  /** The gradient comes from a layer that writes it without the halo needed here. */
  const lacksHalo = !pool && !context.dyHasHalo && Object.values(gradientHalo).some((size) => size > 0);
  /** Images whose full gradient is held at once: one if it fills blocks, which then end with it. */
  const together = blockExceedsImage(operation, context.cacheFloats) ? context.images : 1;
  const fullGradient =
    training && !sparse
      ? pool || lacksHalo
        ? context.allocateGradient(full, gradientHalo, together)
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
    if (pool) {
      const windows = {
        ...pooledWindows(chunk, image, gradient),
        gradient: dy!.at(chunk, image),
        gradientRow: dy!.rowStride,
        gradientPixel: dy!.pixelStride,
        threshold: reluThreshold(relu),
      };
      poolBackward(code, pool, full, windows, false);
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
  const imagesOf = (chunk: Chunk): number[] => Array.from({ length: chunk.count }, (_, i) => i);

  return {
    forward(code, chunk) {
      for (const block of algorithm.forwardBlocks(chunk.count, 1)) algorithm.forward(code, chunk, block);
      if (pools) for (const image of imagesOf(chunk)) poolForward(code, chunk, image);
    },
    forwardStages(chunk, parts) {
      const blocks = algorithm.forwardBlocks(chunk.count, parts);
      const convolve = blocks.map((block) => (code: Code) => algorithm.forward(code, chunk, block));
      if (!pools) return [convolve];
      return [convolve, imagesOf(chunk).map((image) => (code: Code) => poolForward(code, chunk, image))];
    },
    backward(code, chunk, slot, first) {
      const step = expands ? together : chunk.count;
      for (let from = 0; from < chunk.count; from += step) {
        const count = Math.min(step, chunk.count - from);
        if (expands) for (let i = 0; i < count; i++) expandGradient(code, chunk, from + i);
        const weightBlocks = fromImage(from, gradients.weightBlocks(count, 1));
        gradients.weightGradient(code, chunk, weightBlocks, slot, first && from === 0);
        if (!dx) continue;
        for (const block of fromImage(from, gradients.inputBlocks(count, 1)))
          gradients.inputGradient(code, chunk, block);
      }
    },
    finish: (code, slot) => gradients.finish?.(code, slot),
    backwardStages(chunk, parts, slot) {
      const groups = group(gradients.weightBlocks(chunk.count, parts), parts);
      const pieces = groups.map((blocks, i) => (code: Code) => {
        gradients.weightGradient(code, chunk, blocks, slot(i), true);
        gradients.finish?.(code, slot(i));
      });
      if (dx) {
        for (const block of gradients.inputBlocks(chunk.count, parts)) {
          pieces.push((code) => gradients.inputGradient(code, chunk, block));
        }
      }
      const expand = imagesOf(chunk).map((image) => (code: Code) => expandGradient(code, chunk, image));
      return { stages: expands ? [expand, pieces] : [pieces], slots: groups.length };
    },
  };
}
