/**
 * Direct convolution of an image, whose few channels are stored without padding, without copying patches. The gradient of
 * its input is not needed.
 */

import { reluThreshold } from '../../plan/code.ts';
import { cutRows } from '../blocks.ts';
import type { ConvolutionAlgorithm, ConvolutionMaps } from './convolution.ts';

export function directAlgorithm(maps: ConvolutionMaps): ConvolutionAlgorithm {
  const { operation, context, derived, fullMap, fullGradient } = maps;
  const { spec, input, full, relu, matrix } = operation;
  const { training, x } = context;
  const [paddingY, paddingX] = spec.padding;
  const taps = spec.kernel[0] * spec.kernel[1] * input.stored;
  const filters = full.stored;
  /** Gradients of a slot's weights and biases, [taps + 1][filters]; further rows are zeros. */
  const sums = training ? context.accumulator(matrix.rowStride * filters) : undefined;
  const patches = {
    mapRow: x.rowStride,
    stepRow: spec.stride[0] * x.rowStride,
    stepPixel: spec.stride[1] * x.pixelStride,
    columns: full.width,
    kernelRows: spec.kernel[0],
    run: spec.kernel[1] * input.stored,
    filters,
  };
  const firstRow = (row: number): number => row * spec.stride[0] - paddingY;

  const blocksOf: ConvolutionAlgorithm['forwardBlocks'] = (images, parts) =>
    cutRows(images, full.height, full.width, Math.ceil(full.height / parts));
  return {
    forwardBlocks: blocksOf,
    forward(code, chunk, { pieces }) {
      for (const { image, row, rows } of pieces) {
        code.call('directForward', {
          ...patches,
          out: fullMap!.at(chunk, image, row),
          outRow: fullMap!.rowStride,
          outPixel: fullMap!.pixelStride,
          map: x.at(chunk, image, firstRow(row), -paddingX),
          rows,
          weights: derived.forward.place.at,
          weightRow: derived.forward.rowStride,
          bias: derived.forward.place.at + taps * derived.forward.rowStride,
          threshold: reluThreshold(relu),
        });
      }
    },
    weightBlocks: blocksOf,
    weightGradient(code, chunk, blocks, _slot, first) {
      blocks
        .flatMap(({ pieces }) => pieces)
        .forEach(({ image, row, rows }, index) => {
          const accumulate = Number(!first.ofSlot || index > 0);
          const gradient = fullGradient!;
          code.call('directWeightGradient', {
            ...patches,
            out: sums!.at,
            outRow: filters,
            map: x.at(chunk, image, firstRow(row), -paddingX),
            rows,
            gradient: gradient.at(chunk, image, row),
            gradientRow: gradient.rowStride,
            gradientPixel: gradient.pixelStride,
            accumulate,
          });
          if (!spec.bias) return;
          code.call('sumPixels', {
            out: sums!.at + taps * filters,
            map: gradient.at(chunk, image, row),
            mapRow: gradient.rowStride,
            mapPixel: gradient.pixelStride,
            rows,
            columns: full.width,
            channels: filters,
            accumulate,
          });
        });
    },
    finish(code, slot) {
      const written = taps + Number(spec.bias);
      code.call('fill', {
        out: sums!.at + written * filters,
        outRow: filters,
        rows: matrix.rowStride - written,
        length: filters,
        value: 0,
      });
      code.call('transpose', {
        out: slot + matrix.offset,
        outRow: matrix.rowStride,
        matrix: sums!.at,
        matrixRow: filters,
        rows: matrix.rowStride,
        columns: filters,
      });
    },
    inputBlocks: () => [],
    inputGradient() {
      throw new TypeError('the gradient of an image is not computed');
    },
  };
}
