/**
 * A linear layer with the ReLU after it. Weights are stored as one row per output, [out][features], in the memory order
 * of the input map, so that no product needs a transposed copy: the forward pass multiplies by the transposed weights
 * (dot products of rows), the input's gradient is a plain product.
 *
 * A small layer is computed by image like everything else. A large one (`split`) would need its weights in each worker's
 * cache and gradient slots of its own size; it is computed for the whole batch at once, split over the threads by output
 * in the forward pass and by input in the backward pass.
 */
import { type Chunk, type Code, reluThreshold } from '../plan/code.ts';
import type { Linear } from '../plan/operations.ts';
import type { Lowered, LoweringContext } from './lowering.ts';

/** Outputs of a piece of a split forward pass, inputs of a piece of a split backward pass. */
const outputBlock = 32;
const inputBlock = 256;
/** Floats of depth per product, so that a batch of these rows stays in the second-level cache. */
const depthBlock = 1024;

export function lowerLinear(operation: Linear, context: LoweringContext): Lowered {
  const { matrix, relu, spec } = operation;
  const { x, y, dx, dy, parameters } = context;
  const features = matrix.taps * matrix.stored;
  const threshold = reluThreshold(relu);

  /** Outputs `from` … `from + count` of a chunk. */
  const outputs = (code: Code, chunk: Chunk, from: number, count: number): void => {
    for (let depth = 0; depth < features; depth += depthBlock) {
      code.call('gemmNT', {
        out: y.at(chunk, 0) + from,
        outStride: y.imageStride,
        outPlane: 0,
        left: x.at(chunk, 0) + depth,
        leftStride: x.imageStride,
        leftPlane: 0,
        right: parameters.at + matrix.offset + from * matrix.rowStride + depth,
        rightStride: matrix.rowStride,
        rightPlane: 0,
        planes: 1,
        rows: chunk.count,
        columns: count,
        depth: Math.min(depthBlock, features - depth),
        accumulate: Number(depth > 0),
      });
    }
    code.call('addBias', {
      out: y.at(chunk, 0) + from,
      outRow: y.imageStride,
      rows: chunk.count,
      columns: count,
      bias: parameters.at + matrix.bias + from,
      threshold,
    });
  };

  /** Weight gradients and input gradients of features `from` … `from + count`. */
  const gradients = (
    code: Code,
    chunk: Chunk,
    slot: number,
    first: boolean,
    from: number,
    count: number,
  ): void => {
    code.call('gemmTN', {
      out: slot + matrix.offset + from,
      outStride: matrix.rowStride,
      outPlane: 0,
      left: dy!.at(chunk, 0),
      leftStride: dy!.imageStride,
      leftPlane: 0,
      right: x.at(chunk, 0) + from,
      rightStride: x.imageStride,
      rightPlane: 0,
      planes: 1,
      rows: matrix.storedOut,
      columns: count,
      depth: chunk.count,
      accumulate: Number(!first),
    });
    if (!dx) return;
    code.call('gemmNN', {
      out: dx.at(chunk, 0) + from,
      outStride: dx.imageStride,
      outPlane: 0,
      left: dy!.at(chunk, 0),
      leftStride: dy!.imageStride,
      leftPlane: 0,
      right: parameters.at + matrix.offset + from,
      rightStride: matrix.rowStride,
      rightPlane: 0,
      planes: 1,
      rows: chunk.count,
      columns: count,
      depth: matrix.storedOut,
      accumulate: 0,
    });
    if (context.inputFloor === 0) {
      code.call('reluBackward', {
        out: dx.at(chunk, 0) + from,
        outRow: dx.imageStride,
        gradient: dx.at(chunk, 0) + from,
        gradientRow: dx.imageStride,
        activation: x.at(chunk, 0) + from,
        activationRow: x.imageStride,
        rows: chunk.count,
        length: count,
        threshold: 0,
      });
    }
  };

  const biasGradient = (code: Code, chunk: Chunk, slot: number, first: boolean): void => {
    if (!spec.bias) return;
    code.call('sumPixels', {
      out: slot + matrix.bias,
      map: dy!.at(chunk, 0),
      mapRow: 0,
      mapPixel: dy!.imageStride,
      rows: 1,
      columns: chunk.count,
      channels: matrix.storedOut,
      accumulate: Number(!first),
    });
  };

  const cut = (total: number, size: number): { from: number; count: number }[] =>
    Array.from({ length: Math.ceil(total / size) }, (_, i) => ({
      from: i * size,
      count: Math.min(size, total - i * size),
    }));

  return {
    forward: (code, chunk) => outputs(code, chunk, 0, matrix.storedOut),
    forwardStages: (chunk) => [
      cut(matrix.storedOut, outputBlock).map(
        ({ from, count }) =>
          (code: Code) =>
            outputs(code, chunk, from, count),
      ),
    ],
    backward(code, chunk, slot, first) {
      gradients(code, chunk, slot, first, 0, features);
      biasGradient(code, chunk, slot, first);
    },
    backwardStages: (chunk, _, slot) => ({
      stages: [
        [
          (code) => biasGradient(code, chunk, slot(0), true),
          ...cut(features, inputBlock).map(
            ({ from, count }) =>
              (code: Code) =>
                gradients(code, chunk, slot(0), true, from, count),
          ),
        ],
      ],
      slots: 1,
    }),
  };
}
