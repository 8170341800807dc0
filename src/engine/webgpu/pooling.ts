/** Kernels of max-pools (but 2×2 ones, which convolutions absorb), average pools and adaptive ones. */
import type { AdaptiveAvgPool2dSpec, AvgPool2dSpec, MaxPool2dSpec } from '../../model/layer.ts';
import type { MapShape } from '../map-shape.ts';
import { decisions, eachCell, inputBinding, type Kernel, writeGradient } from './wgsl.ts';

const numbersOf = (
  { kernel, stride, padding }: MaxPool2dSpec | AvgPool2dSpec,
  input: MapShape,
  output: MapShape,
) => ({
  height: input.height,
  width: input.width,
  outHeight: output.height,
  outWidth: output.width,
  stored4: input.stored / 4,
  kernelHeight: kernel[0],
  kernelWidth: kernel[1],
  strideY: stride[0],
  strideX: stride[1],
  paddingY: padding[0],
  paddingX: padding[1],
});

const outputCell = `${eachCell('s.outHeight * s.outWidth * s.stored4')}
  let channel = cell % s.stored4; let x = cell / s.stored4 % s.outWidth;
  let y = cell / (s.stored4 * s.outWidth) % s.outHeight; let image = cell / (s.stored4 * s.outWidth * s.outHeight);`;

const inputCell = `${eachCell('s.height * s.width * s.stored4')}
  let channel = cell % s.stored4; let x = cell / s.stored4 % s.width;
  let y = cell / (s.stored4 * s.width) % s.height; let image = cell / (s.stored4 * s.width * s.height);`;

/** Windows [y0, y1) × [x0, x1) that hold a place of the input, of windows at fixed distances. */
const windowsOfPlace = `
  let y0 = (max(y + s.paddingY, s.kernelHeight - 1u) - (s.kernelHeight - 1u) + s.strideY - 1u) / s.strideY;
  let x0 = (max(x + s.paddingX, s.kernelWidth - 1u) - (s.kernelWidth - 1u) + s.strideX - 1u) / s.strideX;
  let y1 = min((y + s.paddingY) / s.strideY + 1u, s.outHeight);
  let x1 = min((x + s.paddingX) / s.strideX + 1u, s.outWidth);`;

/** The maximum of each window; `winners` are places in it. The first of equal values wins, and a NaN. */
export const maxPool = (
  spec: MaxPool2dSpec,
  input: MapShape,
  output: MapShape,
  keepsWinners: boolean,
): Kernel => ({
  name: 'max-pool',
  bindings: [
    'input: array<vec4f>',
    'output: array<vec4f>, read_write',
    ...(keepsWinners ? ['winners: array<vec4u>, read_write'] : []),
  ],
  shape: numbersOf(spec, input, output),
  code: `${decisions}${outputCell}
  var best = vec4f(); var winner = vec4u(); var isFirst = true;
  for (var i = 0u; i < s.kernelHeight * s.kernelWidth; i++) {
    let top = i32(y * s.strideY + i / s.kernelWidth) - i32(s.paddingY);
    let left = i32(x * s.strideX + i % s.kernelWidth) - i32(s.paddingX);
    if (top < 0 || top >= i32(s.height) || left < 0 || left >= i32(s.width)) { continue; }
    let value = input[((image * s.height + u32(top)) * s.width + u32(left)) * s.stored4 + channel];
    let wins = beats(value, best) | vec4<bool>(isFirst);
    best = select(best, value, wins); winner = select(winner, vec4u(i), wins); isFirst = false;
  }
  output[cell] = best;
  ${keepsWinners ? 'winners[cell] = winner;' : ''}
}`,
});

export const maxPoolGradient = (
  spec: MaxPool2dSpec,
  input: MapShape,
  output: MapShape,
  masked: boolean,
): Kernel => ({
  name: 'max-pool gradient',
  bindings: [
    'gradient: array<vec4f>',
    'winners: array<vec4u>',
    'inputGradient: array<vec4f>, read_write',
    ...inputBinding(masked),
  ],
  shape: numbersOf(spec, input, output),
  code: `${decisions}${writeGradient(masked)}${inputCell}${windowsOfPlace}
  var sum = vec4f();
  for (var v = y0; v < y1; v++) {
    for (var u = x0; u < x1; u++) {
      let own = (y + s.paddingY - v * s.strideY) * s.kernelWidth + x + s.paddingX - u * s.strideX;
      let at = ((image * s.outHeight + v) * s.outWidth + u) * s.stored4 + channel;
      sum += select(vec4f(), gradient[at], winners[at] == vec4u(own));
    }
  }
  inputGradient[cell] = passed(cell, sum);
}`,
});

/** Windows of an average: those of a spec with a kernel, or adaptive ones, which differ in size. */
export type AverageSpec = AvgPool2dSpec | AdaptiveAvgPool2dSpec;

const averageNumbers = (spec: AverageSpec, input: MapShape, output: MapShape) =>
  spec.kind === 'avgPool2d'
    ? numbersOf(spec, input, output)
    : {
        height: input.height,
        width: input.width,
        outHeight: output.height,
        outWidth: output.width,
        stored4: input.stored / 4,
      };

/** One over the size of a window of an adaptive pool, and its bounds. */
const adaptiveWindow = `
fn bounds(i: u32, size: u32, windows: u32) -> vec2u { return vec2u(i * size / windows, ((i + 1u) * size + windows - 1u) / windows); }`;

export const averagePool = (spec: AverageSpec, input: MapShape, output: MapShape): Kernel => ({
  name: spec.kind === 'avgPool2d' ? 'average pool' : 'adaptive pool',
  bindings: ['input: array<vec4f>', 'output: array<vec4f>, read_write'],
  shape: averageNumbers(spec, input, output),
  code: `${spec.kind === 'avgPool2d' ? '' : adaptiveWindow}${outputCell}
  ${
    spec.kind === 'avgPool2d'
      ? `let rows = vec2u(max(y * s.strideY, s.paddingY) - s.paddingY, min(y * s.strideY + s.kernelHeight - s.paddingY, s.height));
  let columns = vec2u(max(x * s.strideX, s.paddingX) - s.paddingX, min(x * s.strideX + s.kernelWidth - s.paddingX, s.width));
  let count = s.kernelHeight * s.kernelWidth;`
      : `let rows = bounds(y, s.height, s.outHeight); let columns = bounds(x, s.width, s.outWidth);
  let count = (rows.y - rows.x) * (columns.y - columns.x);`
  }
  var sum = vec4f();
  for (var v = rows.x; v < rows.y; v++) {
    for (var u = columns.x; u < columns.y; u++) {
      sum += input[((image * s.height + v) * s.width + u) * s.stored4 + channel];
    }
  }
  output[cell] = sum * (1.0 / f32(count));
}`,
});

export const averagePoolGradient = (
  spec: AverageSpec,
  input: MapShape,
  output: MapShape,
  masked: boolean,
): Kernel => ({
  name: spec.kind === 'avgPool2d' ? 'average pool gradient' : 'adaptive pool gradient',
  bindings: ['gradient: array<vec4f>', 'inputGradient: array<vec4f>, read_write', ...inputBinding(masked)],
  shape: averageNumbers(spec, input, output),
  code: `${masked ? decisions : ''}${writeGradient(masked)}${spec.kind === 'avgPool2d' ? '' : adaptiveWindow}${inputCell}
  ${
    spec.kind === 'avgPool2d'
      ? windowsOfPlace
      : `let y0 = y * s.outHeight / s.height; let y1 = ((y + 1u) * s.outHeight + s.height - 1u) / s.height;
  let x0 = x * s.outWidth / s.width; let x1 = ((x + 1u) * s.outWidth + s.width - 1u) / s.width;`
  }
  var sum = vec4f();
  for (var v = y0; v < y1; v++) {
    for (var u = x0; u < x1; u++) {
      ${
        spec.kind === 'avgPool2d'
          ? 'let count = s.kernelHeight * s.kernelWidth;'
          : `let rows = bounds(v, s.height, s.outHeight); let columns = bounds(u, s.width, s.outWidth);
      let count = (rows.y - rows.x) * (columns.y - columns.x);`
      }
      sum += gradient[((image * s.outHeight + v) * s.outWidth + u) * s.stored4 + channel] * (1.0 / f32(count));
    }
  }
  inputGradient[cell] = passed(cell, sum);
}`,
});
