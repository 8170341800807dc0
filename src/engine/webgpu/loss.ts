/**
 * Softmax cross-entropy of a batch in training: each image by a workgroup, then all by one, which also counts the step
 * and stops the optimizer if the loss is not finite. Evaluation computes its losses on the host, in float64.
 */
import { ownShareAt } from './images.ts';
import { type Kernel, runStruct, stepNumbers } from './wgsl.ts';

export interface LossShape {
  readonly classes: number;
  /** Of the map of logits. */
  readonly places: number;
  readonly stored: number;
  readonly labelSmoothing: number;
  readonly mixes: boolean;
  /** Whether the logits are the output of a ReLU, whose gradient belongs here. */
  readonly masked: boolean;
  /** Rows of the table of steps for each step. */
  readonly rates: number;
}

/** Place of the factor of each image's gradient in a row of the table of steps. */
export const gradientScaleAt: number = stepNumbers - 2;

/** Where the numbers of a step begin in the table. */
const row = `(run.step - run.base) * s.rates * ${stepNumbers}u`;

/** A tree of 64 values. */
const tree = (name: string, join: (a: string, b: string) => string): string => `
  for (var half = 32u; half > 0u; half /= 2u) {
    if (id < half) { ${name}[id] = ${join(`${name}[id]`, `${name}[id + half]`)}; }
    workgroupBarrier();
  }`;

/** A workgroup for each image: its loss, whether it is right, and its gradient. */
export const imageLosses = (shape: LossShape): Kernel => ({
  name: 'loss of images',
  bindings: [
    'logits: array<f32>',
    'labels: array<u32>',
    'run: Run',
    'table: array<f32>',
    'results: array<vec2u>, read_write',
    'gradient: array<f32>, read_write',
  ],
  shape: {
    classes: shape.classes,
    places: shape.places,
    stored: shape.stored,
    rates: shape.rates,
    smoothed: { float: shape.labelSmoothing / shape.classes },
    sharp: { float: 1 - shape.labelSmoothing },
  },
  code: `${runStruct}
var<workgroup> maxima: array<f32, 64>;
var<workgroup> sums: array<f32, 64>;
var<workgroup> losses: array<f32, 64>;
// 1: NaN or ∞ among the logits; 2: −∞ where the target is above 0; 4: a class is likelier than the label.
var<workgroup> flags: array<u32, 64>;
fn isNaN(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }
const lowest = 0xff800000u;
// The class of a value in the map, in the order of flatten.
fn classOf(at: u32) -> u32 { return at % s.stored * s.places + at / s.stored; }
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) id: u32) {
  let image = group.y * groups.x + group.x; let isThere = image < d.count;
  let position = run.step * run.batch + d.first + image;
  let row = ${row};
  let label = labels[min(position, run.total - 1u)];
  ${
    shape.mixes
      ? `let images = min(run.batch, run.total - run.step * run.batch);
  let other = labels[run.step * run.batch + images - 1u - min(d.first + image, images - 1u)]; let share = table[row + ${ownShareAt}u];`
      : 'let other = label; let share = 1.0;'
  }
  let first = select(0u, image * s.places * s.stored, isThere);
  let length = s.places * s.stored;
  let own = logits[first + label % s.places * s.stored + label / s.places];
  // Not a constant: WGSL has none that are infinite.
  var largest = bitcast<f32>(lowest | (d.count & 0u)); var flag = 0u;
  for (var i = id; i < length; i += 64u) {
    let c = classOf(i);
    if (i % s.stored * s.places >= s.classes) { continue; }
    let v = logits[first + i]; let bits = bitcast<u32>(v);
    if (isNaN(v) || bits == 0x7f800000u) { flag |= 1u; }
    if (bits == lowest && (${shape.labelSmoothing > 0 ? 'true' : 'false'} || c == label || (c == other && share < 1.0))) { flag |= 2u; }
    if (v > own || (v == own && c < label) || isNaN(v)) { flag |= 4u; }
    if (bits != lowest && !isNaN(v)) { largest = max(largest, v); }
  }
  maxima[id] = largest; flags[id] = flag;
  workgroupBarrier();${tree('maxima', (a, b) => `max(${a}, ${b})`)}
  let most = maxima[0];
  var sum = 0.0;
  for (var i = id; i < length; i += 64u) {
    let v = logits[first + i];
    if (i % s.stored * s.places < s.classes && bitcast<u32>(v) != lowest) { sum += exp(v - most); }
  }
  sums[id] = sum;
  workgroupBarrier();${tree('sums', (a, b) => `${a} + ${b}`)}${tree('flags', (a, b) => `${a} | ${b}`)}
  let total = sums[0]; let logSum = log(total); let scale = table[row + ${gradientScaleAt}u];
  var loss = 0.0;
  for (var i = id; i < length; i += 64u) {
    let c = classOf(i);
    if (i % s.stored * s.places >= s.classes) { if (isThere) { gradient[first + i] = 0.0; } continue; }
    let v = logits[first + i]; let isLowest = bitcast<u32>(v) == lowest;
    let target_ = s.smoothed + s.sharp * (select(0.0, share, c == label) + select(0.0, 1.0 - share, c == other));
    if (!isLowest) { loss += target_ * (logSum - (v - most)); }
    let probability = select(exp(v - most) / total, 0.0, isLowest);
    var g = (probability - target_) * scale;
    ${shape.masked ? 'let b = bitcast<u32>(v); g = select(0.0, g, (b > 0u && b < 0x80000000u) || b > 0xff800000u);' : ''}
    if (isThere) { gradient[first + i] = g; }
  }
  losses[id] = loss;
  workgroupBarrier();${tree('losses', (a, b) => `${a} + ${b}`)}
  if (id == 0u && isThere) {
    var bits = bitcast<u32>(losses[0]);
    if ((flags[0] & 2u) != 0u) { bits = 0x7f800000u; }
    if ((flags[0] & 1u) != 0u || bitcast<u32>(most) == lowest) { bits = 0x7fc00000u; }
    results[d.first + image] = vec2u(bits, select(1u, 0u, (flags[0] & 4u) != 0u || isNaN(own)));
  }
}`,
});

/** The mean loss and the right answers of a step, into `ring`; counts the step, or stops. */
export const stepLoss: Kernel = {
  name: 'loss of a step',
  bindings: ['results: array<vec2u>', 'run: Run, read_write', 'ring: array<vec2u>, read_write'],
  shape: { groups: 1 },
  code: `${runStruct}
var<workgroup> losses: array<f32, 256>;
// Right answers; NaN and ∞ among the losses.
var<workgroup> counts: array<vec3u, 256>;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) id: u32) {
  let step = run.step; let count = min(run.batch, run.total - step * run.batch);
  var loss = 0.0; var counted = vec3u();
  for (var i = id; i < count; i += 256u) {
    let result = results[i]; let magnitude = result.x & 0x7fffffffu;
    counted += vec3u(result.y, select(0u, 1u, magnitude > 0x7f800000u), select(0u, 1u, magnitude == 0x7f800000u));
    loss += bitcast<f32>(result.x) / f32(count);
  }
  losses[id] = loss; counts[id] = counted;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half /= 2u) {
    if (id < half) { losses[id] += losses[id + half]; counts[id] += counts[id + half]; }
    workgroupBarrier();
  }
  if (id != 0u || run.stopped != 0u) { return; }
  var bits = bitcast<u32>(losses[0]);
  if (counts[0].z != 0u) { bits = 0x7f800000u; }
  if (counts[0].y != 0u) { bits = 0x7fc00000u; }
  ring[step - run.base] = vec2u(bits, counts[0].x);
  if ((bits & 0x7f800000u) == 0x7f800000u) { run.stopped = step + 1u; }
  run.step = step + 1u;
}`,
};
