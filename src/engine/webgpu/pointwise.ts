/** Kernels that work on each value's place alone: ReLU, dropout, sums, and local response normalization. */
import { streams } from '../../data/random.ts';
import type { LocalResponseNormSpec } from '../../model/layer.ts';
import { windowSides } from '../../model/layers/local-response-norm.ts';
import type { MapShape } from '../map-shape.ts';
import { decisions, eachCell, inputBinding, type Kernel, philox, runStruct, writeGradient } from './wgsl.ts';

const vectorsOf = ({ height, width, stored }: MapShape): number => (height * width * stored) / 4;

export const reluKernel = (map: MapShape): Kernel => ({
  name: 'ReLU',
  bindings: ['input: array<vec4f>', 'output: array<vec4f>, read_write'],
  shape: { vectors: vectorsOf(map) },
  code: `${decisions}${eachCell('s.vectors')}
  output[cell] = relu(input[cell]);
}`,
});

/** A gradient as it is, or masked by the ReLU whose output is the input. */
export const copyGradient = (map: MapShape, masked: boolean): Kernel => ({
  name: 'pass gradient',
  bindings: ['gradient: array<vec4f>', 'inputGradient: array<vec4f>, read_write', ...inputBinding(masked)],
  shape: { vectors: vectorsOf(map) },
  code: `${masked ? decisions : ''}${writeGradient(masked)}${eachCell('s.vectors')}
  inputGradient[cell] = passed(cell, gradient[cell]);
}`,
});

/** sum += values. */
export const addKernel = (map: MapShape): Kernel => ({
  name: 'add',
  bindings: ['values: array<vec4f>', 'sum: array<vec4f>, read_write'],
  shape: { vectors: vectorsOf(map) },
  code: `${eachCell('s.vectors')}
  sum[cell] += values[cell];
}`,
});

/**
 * Values of a map times 0 or 1 / (1 − p), with the draws of `drawKept`; of gradients, too, so that no mask is stored. The
 * cells are single values, since values of a vec4 may have draws of different blocks.
 */
export function dropoutKernel(
  map: MapShape,
  probability: number,
  layer: number,
  { masked, isBackward }: { readonly masked: boolean; readonly isBackward: boolean },
): Kernel {
  const limit = probability * 256;
  const whole = Math.floor(limit);
  const rest = Math.ceil((limit - whole) * 2 ** 32);
  return {
    name: 'dropout',
    bindings: [
      'run: Run',
      'samples: array<u32>',
      'given: array<f32>',
      'result: array<f32>, read_write',
      ...(masked ? ['input: array<f32>'] : []),
    ],
    shape: {
      ...{ places: map.height * map.width, channels: map.channels, stored: map.stored, whole, rest },
      stream: streams.dropout + 65_536 * layer,
      // The loss has counted the step already.
      counted: isBackward ? 1 : 0,
      scale: { float: 1 / (1 - probability) },
    },
    code: `${runStruct}${philox}${eachCell('s.places * s.stored')}
  let image = cell / (s.places * s.stored); let channel = cell % s.stored;
  if (channel >= s.channels) { result[cell] = 0.0; return; }
  let place = channel * s.places + cell / s.stored % s.places;
  let sample = samples[(run.step - s.counted) * run.batch + d.first + image];
  let block = philox(vec4u(place / 16u, s.stream, run.epoch, sample), run.key);
  let byte = (block[place % 16u / 4u] >> (place % 4u * 8u)) & 255u;
  var stays = byte >= s.whole;
  if (byte == s.whole && s.rest > 0u) {
    stays = philox(vec4u(2147483648u + place, s.stream, run.epoch, sample), run.key).x >= s.rest;
  }
  let value = given[cell] * select(0.0, s.scale, stays);
  ${
    masked
      ? `let b = bitcast<u32>(input[cell]);
  result[cell] = select(0.0, value, (b > 0u && b < 0x80000000u) || b > 0xff800000u);`
      : 'result[cell] = value;'
  }
}`,
  };
}

const responseNumbers = (map: MapShape, spec: LocalResponseNormSpec) => {
  const { before, behind } = windowSides(spec);
  return {
    ...{ places: map.height * map.width, channels: map.channels, stored: map.stored, before, behind },
    share: { float: spec.alpha / spec.size },
    k: { float: spec.k },
    beta: { float: spec.beta },
    scale: { float: (2 * spec.alpha * spec.beta) / spec.size },
  };
};

/** b^−β; by square roots where β is a number of quarters up to 1, which is exacter. */
function power(beta: number, base: string): string {
  const roots: Record<number, string> = {
    0.25: `1.0 / sqrt(sqrt(${base}))`,
    0.5: `1.0 / sqrt(${base})`,
    0.75: `1.0 / (sqrt(${base}) * sqrt(sqrt(${base})))`,
    1: `1.0 / ${base}`,
  };
  return roots[beta] ?? `exp2(-s.beta * log2(${base}))`;
}

/** Values of a map divided by powers of `bases`, which are kept for the gradient. */
export const localResponse = (map: MapShape, spec: LocalResponseNormSpec, keepsBases: boolean): Kernel => ({
  name: 'local response norm',
  bindings: [
    'input: array<f32>',
    'output: array<f32>, read_write',
    ...(keepsBases ? ['bases: array<f32>, read_write'] : []),
  ],
  shape: responseNumbers(map, spec),
  code: `${eachCell('s.places * s.stored')}
  let channel = cell % s.stored;
  if (channel >= s.channels) { output[cell] = 0.0; return; }
  let first = cell - channel;
  var sum = 0.0;
  for (var c = max(channel, s.before) - s.before; c <= min(channel + s.behind, s.channels - 1u); c++) {
    sum += input[first + c] * input[first + c];
  }
  let base = s.k + s.share * sum;
  ${keepsBases ? 'bases[cell] = base;' : ''}
  output[cell] = input[cell] * (${power(spec.beta, 'base')});
}`,
});

/** A value's gradient: its own part, and what it adds to the windows that hold it. */
export const localResponseGradient = (
  map: MapShape,
  spec: LocalResponseNormSpec,
  masked: boolean,
): Kernel => ({
  name: 'local response norm gradient',
  bindings: [
    'gradient: array<f32>',
    'bases: array<f32>',
    'inputGradient: array<f32>, read_write',
    'input: array<f32>',
  ],
  shape: responseNumbers(map, spec),
  code: `${eachCell('s.places * s.stored')}
  let channel = cell % s.stored;
  if (channel >= s.channels) { inputGradient[cell] = 0.0; return; }
  let first = cell - channel;
  var sum = 0.0;
  for (var c = max(channel, s.behind) - s.behind; c <= min(channel + s.before, s.channels - 1u); c++) {
    let base = bases[first + c];
    sum += gradient[first + c] * input[first + c] * (${power(spec.beta, 'base')}) / base;
  }
  let own = bases[cell];
  let value = gradient[cell] * (${power(spec.beta, 'own')}) - s.scale * input[cell] * sum;
  ${
    masked
      ? `let b = bitcast<u32>(input[cell]);
  inputGradient[cell] = select(0.0, value, (b > 0u && b < 0x80000000u) || b > 0xff800000u);`
      : 'inputGradient[cell] = value;'
  }
}`,
});
