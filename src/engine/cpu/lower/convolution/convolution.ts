/**
 * Lowers a convolution, with the ReLU and the max-pool after it, to kernel calls. The operation names the algorithm:
 * `winograd.ts`, `im2col.ts`, `direct.ts` or `pointwise.ts`, and with a pool possibly `sparse.ts` for the gradients. This file has what
 * they share: halos of zeros, matrices derived from the weights, pooling, and the order of steps.
 *
 * With a pool, the ReLU's gradient is applied while the pool's gradient is spread out; without one, see `lowering.ts`.
 */

import { type Code, type Emit, reluThreshold } from '../../plan/code.ts';
import { type Chunk, type MapBuffer, noHalo } from '../../plan/maps.ts';
import type { Convolution } from '../../plan/operations.ts';
import { type Block, fromImage, group } from '../blocks.ts';
import {
  type BackwardTasks,
  clearImageHalo,
  type Lowered,
  type LoweringContext,
  type ParallelTasks,
} from '../lowering.ts';
import { poolBackward, poolKernel, poolWindows, winnerShape } from '../pool.ts';
import type { ConvolutionWeights } from './derived.ts';
import { Direct } from './direct.ts';
import { convolutionGradientHalo, poolsInTransform } from './geometry.ts';
import { Im2col } from './im2col.ts';
import { Pointwise } from './pointwise.ts';
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

const algorithms = { winograd: Winograd, direct: Direct, im2col: Im2col, pointwise: Pointwise } as const;

export const lowerConvolution = (operation: Convolution, context: LoweringContext): Lowered =>
  new LoweredConvolution(operation, context);

class LoweredConvolution implements Lowered {
  readonly #maps: ConvolutionMaps;
  readonly #algorithm: ConvolutionAlgorithm;
  readonly #gradients: ConvolutionGradients;
  /** Images whose full gradient is held at once: one if it fills blocks, which then end with it. */
  readonly #together: number;

  constructor(operation: Convolution, context: LoweringContext) {
    const { full, pool, output } = operation;
    const { training, images, y, dx, dy } = context;
    const sparse = operation.backward === 'sparse';
    const fused = poolsInTransform(operation);
    const winners = pool ? context.keep(winnerShape(pool, output), noHalo) : undefined;
    const fullMap = pool ? (fused ? undefined : context.temporary(full, noHalo)) : y;
    const gradientHalo = convolutionGradientHalo(operation, dx !== undefined);
    /** The gradient comes from a layer that writes it without the halo needed here. */
    const lacksHalo = !pool && !context.dyHasHalo && Object.values(gradientHalo).some((size) => size > 0);
    const { cacheFloats } = context.layout.operations;
    this.#together = blockExceedsImage(operation, cacheFloats) ? images : 1;
    const ownGradient = pool !== undefined || lacksHalo;
    const fullGradient =
      training && !sparse
        ? ownGradient
          ? context.gradient(full, gradientHalo, this.#together)
          : dy
        : undefined;
    const derived = context.layout.derivedOf(operation)!;
    this.#maps = { operation, derived, context, fullMap, fullGradient, winners };
    this.#algorithm = new algorithms[operation.forward](this.#maps);
    this.#gradients = !training || operation.backward === operation.forward ? this.#algorithm : this.#other();
  }

  /** Gradients by another algorithm than the forward pass. */
  #other(): ConvolutionGradients {
    const { backward } = this.#maps.operation;
    return backward === 'sparse' ? sparseGradients(this.#maps) : new algorithms[backward](this.#maps);
  }

  /** Whether the pool is a step of its own. */
  get #pools(): boolean {
    const { operation, fullMap } = this.#maps;
    return operation.pool !== undefined && fullMap !== undefined;
  }

  #pooledWindows(chunk: Chunk, image: number, map: MapBuffer): Record<string, number> {
    const { operation, context, winners } = this.#maps;
    const { pool, output } = operation;
    const { y } = context;
    return {
      pooled: y.at(chunk, image),
      pooledRow: y.rowStride,
      pooledPixel: y.pixelStride,
      ...poolWindows(pool!, map, output, winners!, chunk, image),
    };
  }

  #poolForward(code: Code, chunk: Chunk, image: number): void {
    const { operation, fullMap } = this.#maps;
    code.call(poolKernel(operation.pool!), this.#pooledWindows(chunk, image, fullMap!));
  }

  /** Whether the full gradient is filled from the gradient of the pooled map, or from one without a halo. */
  get #expands(): boolean {
    const { fullGradient, context } = this.#maps;
    return fullGradient !== undefined && fullGradient !== context.dy;
  }

  #expandGradient(code: Code, chunk: Chunk, image: number): void {
    const { operation, context, fullGradient } = this.#maps;
    const { full, pool, relu } = operation;
    const gradient = fullGradient!;
    const dy = context.dy!;
    clearImageHalo(code, gradient, chunk, image);
    if (pool) {
      const windows = {
        ...this.#pooledWindows(chunk, image, gradient),
        gradient: dy.at(chunk, image),
        gradientRow: dy.rowStride,
        gradientPixel: dy.pixelStride,
        threshold: reluThreshold(relu),
      };
      poolBackward(code, pool, full, windows, !gradient.shares);
      return;
    }
    code.call('relu', {
      out: gradient.at(chunk, image),
      outRow: gradient.rowStride,
      map: dy.at(chunk, image),
      mapRow: dy.rowStride,
      rows: full.height,
      length: full.width * full.stored,
      threshold: Number.NEGATIVE_INFINITY,
    });
  }

  forward(code: Code, chunk: Chunk): void {
    const algorithm = this.#algorithm;
    for (const block of algorithm.forwardBlocks(chunk.count, 1)) algorithm.forward(code, chunk, block);
    if (!this.#pools) return;
    for (let image = 0; image < chunk.count; image++) this.#poolForward(code, chunk, image);
  }

  forwardTasks(chunk: Chunk, parts: number): ParallelTasks {
    const algorithm = this.#algorithm;
    const convolve = algorithm.forwardTasks?.(chunk) ?? [
      algorithm
        .forwardBlocks(chunk.count, parts)
        .map((block) => (code: Code) => algorithm.forward(code, chunk, block)),
    ];
    if (!this.#pools) return convolve;
    return [...convolve, eachImage(chunk, (code, image) => this.#poolForward(code, chunk, image))];
  }

  backward(code: Code, chunk: Chunk, slot: number, first: boolean): void {
    const gradients = this.#gradients;
    const { dx, inference } = this.#maps.context;
    const expands = this.#expands;
    const step = expands ? this.#together : chunk.count;
    for (let from = 0; from < chunk.count; from += step) {
      const count = Math.min(step, chunk.count - from);
      if (expands) for (let i = 0; i < count; i++) this.#expandGradient(code, chunk, from + i);
      if (!inference) {
        const weightBlocks = fromImage(from, gradients.weightBlocks(count, 1));
        const ofChunk = from === 0;
        gradients.weightGradient(code, chunk, weightBlocks, slot, { ofChunk, ofSlot: first && ofChunk });
      }
      if (!dx) continue;
      for (const block of fromImage(from, gradients.inputBlocks(count, 1)))
        gradients.inputGradient(code, chunk, block);
    }
    if (!inference) gradients.finishChunk?.(code, slot, first);
  }

  finish(code: Code, slot: number): void {
    this.#gradients.finish?.(code, slot);
  }

  backwardTasks(chunk: Chunk, parts: number, slot: (index: number) => number): BackwardTasks {
    const gradients = this.#gradients;
    const { inference } = this.#maps.context;
    const groups = inference ? [] : group(gradients.weightBlocks(chunk.count, parts), parts);
    const tasks = groups.map((blocks, i) => (code: Code) => {
      gradients.weightGradient(code, chunk, blocks, slot(i), { ofChunk: true, ofSlot: true });
      gradients.finishChunk?.(code, slot(i), true);
      gradients.finish?.(code, slot(i));
    });
    if (this.#maps.context.dx) {
      for (const block of gradients.inputBlocks(chunk.count, parts)) {
        tasks.push((code) => gradients.inputGradient(code, chunk, block));
      }
    }
    if (!this.#expands) return { tasks: [tasks], slots: groups.length };
    const expand = eachImage(chunk, (code, image) => this.#expandGradient(code, chunk, image));
    return { tasks: [expand, tasks], slots: groups.length };
  }
}

const eachImage = (chunk: Chunk, body: (code: Code, image: number) => void): Emit[] =>
  Array.from({ length: chunk.count }, (_, image) => (code) => body(code, image));
