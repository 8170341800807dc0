/**
 * A linear layer applied at every position of a map, as a convolution of stride 1 without padding. The rows of its matrix,
 * [out][window rows][window columns][channels], have the order of a map's pixels, so a window's row is contiguous in
 * both: a product of a row of positions and some outputs needs no copies. Weights are read once for all positions of all
 * images. Only in inference.
 */
import { type Code, reluThreshold } from '../plan/code.ts';
import { type Chunk, imagesOf } from '../plan/maps.ts';
import type { DenseLinear } from '../plan/operations.ts';
import { cut } from '../plan/timeline.ts';
import type { Lowered, LoweringContext } from './lowering.ts';

/** Outputs of a task, and floats of depth of a product: their weights stay in the second-level cache. */
const outputBlock = 32;
const depthBlock = 1024;

export function lowerDenseLinear(operation: DenseLinear, context: LoweringContext): Lowered {
  const { spec, matrix, relu, output, input } = operation;
  const { x, y, layout } = context;
  const [kernelRows, kernelColumns] = spec.kernel;
  const run = kernelColumns * input.stored;
  const parameters = layout.parameters.at;
  // Windows of one pixel: all positions are the rows of one product.
  const isPointwise = kernelRows * kernelColumns === 1;
  const positions = isPointwise
    ? { planes: 1, rows: output.height * output.width }
    : { planes: output.height, rows: output.width };

  /** The products with some outputs. */
  const outputs = (code: Code, chunk: Chunk, first: number, count: number): void => {
    for (let row = 0; row < kernelRows; row++) {
      for (let depth = 0; depth < run; depth += depthBlock) {
        for (let image = 0; image < chunk.count; image++) {
          code.call('gemmNT', {
            out: y.at(chunk, image) + first,
            outStride: y.pixelStride,
            outPlane: y.rowStride,
            left: x.at(chunk, image, row) + depth,
            leftStride: x.pixelStride,
            leftPlane: x.rowStride,
            right: parameters + matrix.offset + first * matrix.rowStride + row * run + depth,
            rightStride: matrix.rowStride,
            rightPlane: 0,
            ...positions,
            columns: count,
            depth: Math.min(depthBlock, run - depth),
            accumulate: Number(row > 0 || depth > 0),
          });
        }
      }
    }
    for (let image = 0; image < chunk.count; image++) {
      code.call('addBias', {
        out: y.at(chunk, image) + first,
        outRow: y.pixelStride,
        rows: output.height * output.width,
        columns: count,
        bias: parameters + matrix.bias + first,
        threshold: reluThreshold(relu),
      });
    }
  };
  const none = (): never => {
    throw new TypeError('a dense variant has no gradients');
  };
  return {
    forward: (code, chunk) => outputs(code, chunk, 0, matrix.storedOut),
    forwardTasks(chunk) {
      const ranges = cut(0, matrix.storedOut, outputBlock);
      // Few outputs: by image, too.
      const chunks = ranges.length < 8 ? imagesOf(chunk) : [chunk];
      return [
        chunks.flatMap((part) =>
          ranges.map(
            ({ first, count }) =>
              (code: Code) =>
                outputs(code, part, first, count),
          ),
        ),
      ];
    },
    backward: none,
    backwardTasks: none,
  };
}
