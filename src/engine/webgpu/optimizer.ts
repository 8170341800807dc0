/**
 * Kernels that change parameters. The optimizers' rules are those of `kernels/optimizer.ts`, whose numbers the host
 * computes in float64 for each step. A parameter's gradient is the sum of its slices, in order. After a loss that is not
 * finite nothing changes.
 */
import { adamSettings, sgdSettings } from '../../kernels/optimizer.ts';
import type { OptimizerOptions } from '../backend.ts';
import { cellsInGroup, eachCell, type Kernel, runStruct, stepNumbers } from './wgsl.ts';

/** Place of the moving average's share in a row of the table of steps. */
export const averageShareAt: number = stepNumbers - 3;

/** A part of a matrix of parameters: `vectors` vec4s. */
interface Range {
  readonly vectors: number;
  /** Of the gradient. */
  readonly slices: number;
}

const sumOfSlices = `
  var sum = slots[cell];
  for (var i = 1u; i < s.slices; i++) { sum += slots[i * s.vectors + cell]; }`;

export interface UpdateShape extends Range {
  readonly kind: OptimizerOptions['kind'];
  readonly averages: boolean;
  readonly clips: boolean;
  /** Rows of the table for each step, and the one of this part's rate. */
  readonly rates: number;
  readonly rate: number;
}

/** A step of the optimizer, and of the moving average behind it; with Muon, that of SGD for its other parameters. */
export function update({ kind, averages, clips, vectors, slices, rates, rate }: UpdateShape): Kernel {
  const isAdam = kind === 'adam' || kind === 'adamw';
  const settings: readonly string[] = isAdam ? adamSettings : sgdSettings;
  const lines = settings.map((name, i) => `let ${name} = table[row + ${i}u];`).join(' ');
  const scale = clips ? 'clipping[0]' : '1.0';
  const rule = isAdam
    ? `let g = sum * ${scale} + p * penalty;
  let m = first[cell] * beta1 + g * oneMinusBeta1; first[cell] = m;
  let v = second[cell] * beta2 + g * g * oneMinusBeta2; second[cell] = v;
  let after = p * keep - m / (sqrt(v) / rootCorrection2 + epsilon) * stepSize;`
    : `let g = sum * ${scale} + p * penalty; let m = first[cell] * momentum + g; first[cell] = m;
  let after = p * keep - (g * gradientShare + m * momentumShare) * lr;`;
  return {
    name: isAdam ? kind : 'sgd',
    bindings: [
      'run: Run',
      'table: array<f32>',
      'slots: array<vec4f>',
      'parameters: array<vec4f>, read_write',
      'first: array<vec4f>, read_write',
      ...(isAdam ? ['second: array<vec4f>, read_write'] : []),
      ...(averages ? ['average: array<vec4f>, read_write'] : []),
      ...(clips ? ['clipping: array<f32>'] : []),
    ],
    shape: { vectors, slices, rates, rate },
    code: `${runStruct}${eachCell('s.vectors')}
  if (run.stopped != 0u) { return; }
  let row = ((run.step - 1u - run.base) * s.rates + s.rate) * ${stepNumbers}u;
  ${lines}${sumOfSlices}
  let p = parameters[cell];
  ${rule}
  parameters[cell] = after;
  ${averages ? `average[cell] += (after - average[cell]) * table[row + ${averageShareAt}u];` : ''}
}`,
  };
}

/** Adds the slices to the sum of a group of batches, or starts it. */
export const sumGradient = ({ vectors, slices }: Range, adds: boolean): Kernel => ({
  name: adds ? 'add gradient' : 'sum gradient',
  bindings: ['slots: array<vec4f>', 'gradients: array<vec4f>, read_write'],
  shape: { vectors, slices },
  code: `${eachCell('s.vectors')}${sumOfSlices}
  gradients[cell] = ${adds ? 'gradients[cell] + sum' : 'sum'};
}`,
});

/** Vec4s whose squares a workgroup of `squares` adds. */
export const squaresOf: number = 64 * cellsInGroup;

/** Sums of squares of a gradient, one for each workgroup; `at` is the first of them. */
export const squares = (vectors: number, at: number): Kernel => ({
  name: 'squares',
  bindings: ['gradients: array<vec4f>', 'sums: array<f32>, read_write'],
  shape: { vectors, at },
  code: `
var<workgroup> parts: array<f32, ${cellsInGroup}>;
@compute @workgroup_size(${cellsInGroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) id: u32) {
  let own = group.y * groups.x + group.x; let begin = own * ${squaresOf}u;
  var sum = 0.0;
  for (var i = id; i < ${squaresOf}u && begin + i < s.vectors; i += ${cellsInGroup}u) {
    let value = gradients[begin + i]; sum += dot(value, value);
  }
  parts[id] = sum;
  workgroupBarrier();
  for (var half = ${cellsInGroup / 2}u; half > 0u; half /= 2u) {
    if (id < half) { parts[id] += parts[id + half]; }
    workgroupBarrier();
  }
  if (id == 0u && begin < s.vectors) { sums[s.at + own] = parts[0]; }
}`,
});

/** The factor that scales the gradient of this norm down, as `clippingScale`. */
export const clippingFactor = (count: number, largest: number): Kernel => ({
  name: 'clipping factor',
  bindings: ['sums: array<f32>', 'clipping: array<f32>, read_write'],
  shape: { count, largest: { float: largest } },
  code: `
var<workgroup> parts: array<f32, 256>;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) id: u32) {
  var sum = 0.0;
  for (var i = id; i < s.count; i += 256u) { sum += sums[i]; }
  parts[id] = sum;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half /= 2u) {
    if (id < half) { parts[id] += parts[id + half]; }
    workgroupBarrier();
  }
  if (id == 0u) { clipping[0] = min(1.0, s.largest / (sqrt(parts[0]) + 1e-6)); }
}`,
});
