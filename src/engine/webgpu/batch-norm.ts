/**
 * Kernels of batch normalization. Moments are collected in stretches of rows (a row is a place of an image), each by a
 * workgroup: Welford's update in an invocation, then halves joined by Chan's rule; the stretches are joined in order. So
 * no digits cancel, and sums have one order. `norm` holds, for each vec4 of channels, mean, 1 / √(variance + ε) and variance.
 */
import type { BatchNormSpec } from '../../model/layer.ts';
import type { MapShape } from '../map-shape.ts';
import { decisions, eachCell, inputBinding, type Kernel, runStruct, writeGradient } from './wgsl.ts';

/** Vec4s that a stretch leaves for each vec4 of channels: mean, squared deviations and count, or two sums. */
export const partialVectors = 3;

/** Vec4s of `norm` for each vec4 of channels. */
export const normVectors = 3;

/** Rows of a stretch, at least. */
const fewestRows = 256;
const mostStretches = 64;

/** How many stretches the rows of a piece are cut into; depends on shapes alone. */
export const stretchesOf = (rows: number): number =>
  Math.max(1, Math.min(mostStretches, Math.floor(rows / fewestRows)));

/** Workgroups in x of kernels that collect: 16 vec4s of channels each. */
export const groupsAcross = ({ stored }: MapShape): number => Math.ceil(stored / 4 / 16);

const numbersOf = (view: MapShape) => ({ places: view.height * view.width, vectors: view.stored / 4 });

/** The head of a kernel whose workgroup collects a stretch: `channel` and the rows of an invocation. */
const eachStretch = `
@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u) {
  let rows = d.count * s.places; let length = (rows + s.stretches - 1u) / s.stretches;
  let channel = group.x * 16u + id.x; let begin = min(group.y * length, rows); let end = min(begin + length, rows);
  let own = id.y * 16u + id.x;`;

/** Where a stretch's vec4s are: behind those of earlier pieces. */
const partialAt = 'let at = ((s.firstStretch + group.y) * s.vectors + channel) * 3u;';

export const moments = (view: MapShape, stretches: number, firstStretch: number): Kernel => ({
  name: 'moments',
  bindings: ['input: array<vec4f>', 'partial: array<vec4f>, read_write'],
  shape: { ...numbersOf(view), stretches, firstStretch },
  code: `
var<workgroup> means: array<vec4f, 256>;
var<workgroup> squares: array<vec4f, 256>;
var<workgroup> counts: array<f32, 256>;
${eachStretch}
  var mean = vec4f(); var square = vec4f(); var n = 0.0;
  if (channel < s.vectors) {
    for (var row = begin + id.y; row < end; row += 16u) {
      let value = input[row * s.vectors + channel]; n += 1.0;
      let apart = value - mean; mean += apart / n; square += apart * (value - mean);
    }
  }
  means[own] = mean; squares[own] = square; counts[own] = n;
  workgroupBarrier();
  for (var half = 8u; half > 0u; half /= 2u) {
    if (id.y < half) {
      let other = own + half * 16u; let a = counts[own]; let b = counts[other]; let both = max(a + b, 1.0);
      let apart = means[other] - means[own];
      means[own] += apart * (b / both); squares[own] += squares[other] + apart * apart * (a * b / both);
      counts[own] = a + b;
    }
    workgroupBarrier();
  }
  if (id.y == 0u && channel < s.vectors) {
    ${partialAt}
    partial[at] = means[own]; partial[at + 1u] = squares[own]; partial[at + 2u] = vec4f(counts[own]);
  }
}`,
});

/** Joins all stretches of a batch. */
export const joinMoments = (view: MapShape, spec: BatchNormSpec, stretches: number): Kernel => ({
  name: 'join moments',
  bindings: ['partial: array<vec4f>', 'norm: array<vec4f>, read_write'],
  shape: { ...numbersOf(view), stretches, epsilon: { float: spec.epsilon } },
  code: `${eachCell('s.vectors')}
  var mean = vec4f(); var square = vec4f(); var n = 0.0;
  for (var i = 0u; i < s.stretches; i++) {
    let at = (i * s.vectors + cell) * 3u;
    let b = partial[at + 2u].x; let both = max(n + b, 1.0); let apart = partial[at] - mean;
    mean += apart * (b / both); square += partial[at + 1u] + apart * apart * (n * b / both); n += b;
  }
  let variance = square / n;
  norm[cell * 3u] = mean; norm[cell * 3u + 1u] = 1.0 / sqrt(variance + s.epsilon); norm[cell * 3u + 2u] = variance;
}`,
});

/** `norm` from the running moments, [mean][variance]. */
export const runningNorm = (view: MapShape, spec: BatchNormSpec): Kernel => ({
  name: 'running norm',
  bindings: ['running: array<vec4f>', 'norm: array<vec4f>, read_write'],
  shape: { ...numbersOf(view), epsilon: { float: spec.epsilon } },
  code: `${eachCell('s.vectors')}
  let variance = running[s.vectors + cell];
  norm[cell * 3u] = running[cell]; norm[cell * 3u + 1u] = 1.0 / sqrt(variance + s.epsilon); norm[cell * 3u + 2u] = variance;
}`,
});

/** Moves the running moments, unless the step's loss was not finite. */
export const updateRunning = (view: MapShape, spec: BatchNormSpec): Kernel => ({
  name: 'update running moments',
  bindings: ['run: Run', 'norm: array<vec4f>', 'running: array<vec4f>, read_write'],
  shape: { ...numbersOf(view), momentum: { float: spec.momentum }, kept: { float: 1 - spec.momentum } },
  code: `${runStruct}${eachCell('s.vectors')}
  if (run.stopped != 0u) { return; }
  // The step was counted already.
  let first = (run.step - 1u) * run.batch;
  let n = f32(min(run.batch, run.total - first) * s.places);
  running[cell] = s.kept * running[cell] + s.momentum * norm[cell * 3u];
  running[s.vectors + cell] = s.kept * running[s.vectors + cell] + s.momentum * (norm[cell * 3u + 2u] * (n / (n - 1.0)));
}`,
});

/** Weights and biases, [weight][bias], if it has any. */
const weightsBinding = ({ affine }: BatchNormSpec): readonly string[] =>
  affine ? ['weights: array<vec4f>'] : [];

export const normalize = (view: MapShape, spec: BatchNormSpec, relu: boolean): Kernel => ({
  name: 'normalize',
  bindings: [
    'input: array<vec4f>',
    'norm: array<vec4f>',
    'output: array<vec4f>, read_write',
    ...weightsBinding(spec),
  ],
  shape: numbersOf(view),
  code: `${decisions}${eachCell('s.places * s.vectors')}
  let channel = cell % s.vectors;
  var value = (input[cell] - norm[channel * 3u]) * norm[channel * 3u + 1u];
  ${spec.affine ? 'value = value * weights[channel] + weights[s.vectors + channel];' : ''}
  output[cell] = ${relu ? 'relu(value)' : 'value'};
}`,
});

/** For each channel the sums of the gradient times the normalized value, and of the gradient. */
export const gradientSums = (view: MapShape, stretches: number, firstStretch: number): Kernel => ({
  name: 'gradient sums',
  bindings: [
    'gradient: array<vec4f>',
    'input: array<vec4f>',
    'norm: array<vec4f>',
    'partial: array<vec4f>, read_write',
  ],
  shape: { ...numbersOf(view), stretches, firstStretch },
  code: `
var<workgroup> products: array<vec4f, 256>;
var<workgroup> sums: array<vec4f, 256>;
${eachStretch}
  var product = vec4f(); var sum = vec4f();
  if (channel < s.vectors) {
    let mean = norm[channel * 3u]; let inverse = norm[channel * 3u + 1u];
    for (var row = begin + id.y; row < end; row += 16u) {
      let g = gradient[row * s.vectors + channel];
      sum += g; product += g * ((input[row * s.vectors + channel] - mean) * inverse);
    }
  }
  products[own] = product; sums[own] = sum;
  workgroupBarrier();
  for (var half = 8u; half > 0u; half /= 2u) {
    if (id.y < half) { products[own] += products[own + half * 16u]; sums[own] += sums[own + half * 16u]; }
    workgroupBarrier();
  }
  if (id.y == 0u && channel < s.vectors) { ${partialAt} partial[at] = products[own]; partial[at + 1u] = sums[own]; }
}`,
});

/** The sums of all stretches: the gradients of weights and biases, [weight][bias]. */
export const joinSums = (view: MapShape, stretches: number): Kernel => ({
  name: 'join gradient sums',
  bindings: ['partial: array<vec4f>', 'slots: array<vec4f>, read_write'],
  shape: { ...numbersOf(view), stretches },
  code: `${eachCell('s.vectors')}
  var product = vec4f(); var sum = vec4f();
  for (var i = 0u; i < s.stretches; i++) {
    let at = (i * s.vectors + cell) * 3u; product += partial[at]; sum += partial[at + 1u];
  }
  slots[cell] = product; slots[s.vectors + cell] = sum;
}`,
});

/** The input's gradient. Moments of the batch take out what would only change them; running ones do not. */
export const normalizeGradient = (
  view: MapShape,
  spec: BatchNormSpec,
  { ofBatch, masked }: { readonly ofBatch: boolean; readonly masked: boolean },
): Kernel => ({
  name: 'normalize gradient',
  bindings: [
    'gradient: array<vec4f>',
    'norm: array<vec4f>',
    'inputGradient: array<vec4f>, read_write',
    ...(ofBatch ? ['run: Run', 'slots: array<vec4f>', 'input: array<vec4f>'] : inputBinding(masked)),
    ...weightsBinding(spec),
  ],
  shape: numbersOf(view),
  code: `${ofBatch ? runStruct : ''}${masked ? decisions : ''}${writeGradient(masked)}${eachCell('s.places * s.vectors')}
  let channel = cell % s.vectors; let inverse = norm[channel * 3u + 1u];
  ${
    ofBatch
      ? `let first = (run.step - 1u) * run.batch; let n = f32(min(run.batch, run.total - first) * s.places);
  let normal = (input[cell] - norm[channel * 3u]) * inverse;
  let canceled = (slots[s.vectors + channel] + normal * slots[channel]) / n;`
      : 'let canceled = vec4f();'
  }
  inputGradient[cell] = passed(cell, (gradient[cell] - canceled) * inverse${spec.affine ? ' * weights[channel]' : ''});
}`,
});
