/**
 * Muon on the GPU: Newton–Schulz on matrices of the shorter side of a layer's weights, with the formulas of
 * `kernels/muon.ts`. Layers go one after another, so they share the matrices. The products of symmetric matrices are
 * whole ones: half of their values would be enough, but tiles would have to be mirrored.
 */

import { VggError } from '../../errors.ts';
import { matrixLrSetting, muonSettings } from '../../kernels/muon.ts';
import { directionScale, newtonSchulzEpsilon, newtonSchulzFactors, newtonSchulzSteps } from '../muon.ts';
import { all, type Bindable, cells, type Dispatch, folded } from './dispatch.ts';
import type { Shared } from './operations.ts';
import { averageShareAt } from './optimizer.ts';
import type { Matrix } from './parameters.ts';
import { type Operand, type ProductCode, productKernel } from './product.ts';
import { chooseTile } from './tiles.ts';
import type { StepKind, TrainingBuffers } from './training-step.ts';
import { cellsInGroup, eachCell, type Kernel, runStruct, stepNumbers } from './wgsl.ts';

/** The row of the table for a step's rate. */
const tableRow = `((run.step - 1u - run.base) * s.rates + s.rate) * ${stepNumbers}u`;

interface Rated {
  readonly rates: number;
  readonly rate: number;
}

/** Gradients become directions; weights decay, and biases learn by SGD. */
const directionKernel = (vectors: number, rowVectors: number, rated: Rated, clips: boolean): Kernel => ({
  name: 'muon direction',
  bindings: [
    'run: Run',
    'table: array<f32>',
    'direction: array<vec4f>, read_write',
    'parameters: array<vec4f>, read_write',
    'first: array<vec4f>, read_write',
    ...(clips ? ['clipping: array<f32>'] : []),
  ],
  shape: { vectors, rowVectors, ...rated },
  code: `${runStruct}${eachCell('s.vectors')}
  if (run.stopped != 0u) { return; }
  let row = ${tableRow};
  ${muonSettings.map((name, i) => `let ${name} = table[row + ${i}u];`).join(' ')}
  let g = direction[cell] * ${clips ? 'clipping[0]' : '1.0'};
  let m = first[cell] * momentum + g; first[cell] = m;
  let change = g * gradientShare + m * momentumShare;
  let isBias = cell % s.rowVectors == s.rowVectors - 1u;
  parameters[cell] = parameters[cell] * keep - select(vec4f(), change * lr, isBias);
  direction[cell] = change;
}`,
});

const averageKernel = (vectors: number, rated: Rated): Kernel => ({
  name: 'muon average',
  bindings: [
    'run: Run',
    'table: array<f32>',
    'parameters: array<vec4f>',
    'average: array<vec4f>, read_write',
  ],
  shape: { vectors, ...rated },
  code: `${runStruct}${eachCell('s.vectors')}
  if (run.stopped != 0u) { return; }
  average[cell] += (parameters[cell] - average[cell]) * table[${tableRow} + ${averageShareAt}u];
}`,
});

/** 1 / (‖X‖ + ε), from the trace of A. */
const normKernel = (side: number): Kernel => ({
  name: 'muon norm',
  bindings: ['gram: array<f32>', 'inverse: array<f32>, read_write'],
  shape: { side, epsilon: { float: newtonSchulzEpsilon } },
  code: `
var<workgroup> parts: array<f32, ${cellsInGroup}>;
@compute @workgroup_size(${cellsInGroup})
fn main(@builtin(local_invocation_index) id: u32) {
  var sum = 0.0;
  for (var i = id; i < s.side; i += ${cellsInGroup}u) { sum += gram[i * (s.side + 1u)]; }
  parts[id] = sum;
  workgroupBarrier();
  for (var half = ${cellsInGroup / 2}u; half > 0u; half /= 2u) {
    if (id < half) { parts[id] += parts[id + half]; }
    workgroupBarrier();
  }
  if (id == 0u) { inverse[0] = 1.0 / (sqrt(parts[0]) + s.epsilon); }
}`,
});

const normalizeKernel = (vectors: number): Kernel => ({
  name: 'muon normalize',
  bindings: ['inverse: array<f32>', 'gram: array<vec4f>, read_write'],
  shape: { vectors },
  code: `${eachCell('s.vectors')}
  gram[cell] = gram[cell] * inverse[0] * inverse[0];
}`,
});

/** A matrix whose sums run down its columns, or along its rows. */
const across = (name: string, stride: string): Operand => ({
  alongK: false,
  load: (k, at) => `select(vec4f(), ${name}[(${k} * ${stride} + ${at}) / 4u], ${k} < s.k)`,
});
const along = (name: string, stride: string): Operand => ({
  alongK: true,
  load: (at, k) => `select(vec4f(), ${name}[(${at} * ${stride} + ${k}) / 4u], ${k} < s.k)`,
});

const storeRows = (statement: (at: string, value: string, row: string) => string, stride: string): string =>
  [0, 1, 2, 3]
    .map((i) => statement(`((row + ${i}u) * ${stride} + column) / 4u`, `v${i}`, `row + ${i}u`))
    .join(' ');

/** XXᵀ of wide weights, XᵀX of tall ones. */
const gramProduct = (isWide: boolean, side: number, k: number, rowStride: number): ProductCode => ({
  name: isWide ? 'muon wide' : 'muon tall',
  bindings: ['direction: array<vec4f>', 'out: array<vec4f>, read_write'],
  shape: { side, k, rowStride },
  ...{ rows: 's.side', columns: 's.side', inner: 's.k', head: '' },
  a: (isWide ? along : across)('direction', 's.rowStride'),
  b: (isWide ? along : across)('direction', 's.rowStride'),
  store: storeRows((at, value) => `out[${at}] = ${value};`, 's.side'),
});

const [a, b, c] = newtonSchulzFactors;

/** A product of symmetric matrices; as a factor, aI + b · matrix + c · product. */
const sideProduct = (isFactor: boolean, side: number): ProductCode => ({
  name: isFactor ? 'muon factor' : 'muon product',
  bindings: ['left: array<vec4f>', 'right: array<vec4f>', 'out: array<vec4f>, read_write'],
  shape: {
    ...{ side, k: side },
    ...(isFactor && { a: { float: a }, b: { float: b }, c: { float: c } }),
  },
  ...{ rows: 's.side', columns: 's.side', inner: 's.side', head: '' },
  a: across('left', 's.side'),
  b: across('right', 's.side'),
  store: storeRows(
    (at, value, row) =>
      isFactor
        ? `out[${at}] = s.c * ${value} + s.b * left[${at}]
      + select(vec4f(), vec4f(s.a), vec4u(column) + vec4u(0u, 1u, 2u, 3u) == vec4u(${row}));`
        : `out[${at}] = ${value};`,
    's.side',
  ),
});

/** The weights += −rate · PX, or XP. */
const applyProduct = (
  isWide: boolean,
  [side, rows, values, rowStride]: readonly [number, number, number, number],
  scale: number,
  rated: Rated,
): ProductCode => ({
  name: isWide ? 'muon apply wide' : 'muon apply tall',
  bindings: [
    'run: Run',
    'table: array<f32>',
    'inverse: array<f32>',
    'factor: array<vec4f>',
    'direction: array<vec4f>',
    'weights: array<vec4f>, read_write',
  ],
  shape: { side, k: side, rows, values, rowStride, scale: { float: scale }, ...rated },
  ...{ rows: 's.rows', columns: 's.values', inner: 's.side' },
  head: `${runStruct}
fn change() -> f32 { return -s.scale * table[${tableRow} + ${matrixLrSetting}u] * inverse[0]; }`,
  a: isWide ? across('factor', 's.side') : along('direction', 's.rowStride'),
  b: isWide ? across('direction', 's.rowStride') : across('factor', 's.side'),
  store: `if (run.stopped == 0u) { ${storeRows((at, value) => `weights[${at}] += ${value} * change();`, 's.rowStride')} }`,
});

/** The dispatches that change a layer's weights and biases, whose gradients are whole. */
export function muonStep(
  { memory, run }: Shared,
  { table, clipping, orthogonalization }: TrainingBuffers,
  { averages, clipNorm, rateOf, rates }: StepKind,
  { layer, layout, parts }: Matrix,
): Dispatch[] {
  const [part, ...others] = parts;
  const { weightName, rowStride, storedOut, taps, stored, channels, out } = layout;
  if (!part || others.length > 0) {
    throw new VggError(
      `${weightName}: this GPU has buffers of at most ${memory.mostBytes} bytes, so that these weights are cut, and muon ` +
        'needs them whole; use another optimizer or device',
    );
  }
  const values = taps * stored;
  const isWide = storedOut <= values;
  const [side, depth] = isWide ? [storedOut, values] : [values, storedOut];
  const [gram, factor, between, first, second, inverse] = orthogonalization;
  for (const matrix of [gram, factor, between, first, second]) matrix.require(4 * side * side);
  const rated = { rates, rate: rateOf[layer] ?? 0 };
  const [weights, direction, momentum] = (['weights', 'gradients', 'momentum'] as const).map(
    (name) => part.arrays.get(name)!,
  ) as [GPUBuffer, GPUBuffer, GPUBuffer];
  const vectors = part.floats / 4;
  const each = (kernel: Kernel, buffers: readonly Bindable[], count: number): Dispatch =>
    cells(kernel, buffers, all, count);
  const product = (
    code: ProductCode,
    buffers: readonly Bindable[],
    [m, n, k]: readonly [number, number, number] = [side, side, side],
  ): Dispatch => {
    const { tile } = chooseTile(memory.tiles, m, n, k, 0);
    const groups = folded(Math.ceil(m / tile.bm) * Math.ceil(n / tile.bn));
    const kernel = productKernel(code, tile, 1);
    return { kernel, buffers, piece: all, groups, operations: 2 * m * n * k };
  };
  const plain = sideProduct(false, side);
  const steps = Array.from({ length: newtonSchulzSteps }, (_, step) => {
    // P alternates; the first is Q itself. Its latest factor is far from X, as on the CPU.
    const own = step === 0 ? first : factor;
    const [before, after] = step % 2 === 0 ? [second, first] : [first, second];
    return [
      product(sideProduct(true, side), [gram, gram, own]),
      ...(step > 0 ? [product(plain, isWide ? [own, before, after] : [before, own, after])] : []),
      ...(step < newtonSchulzSteps - 1
        ? [product(plain, [own, gram, between]), product(plain, [between, own, gram])]
        : []),
    ];
  });
  const last = newtonSchulzSteps % 2 === 0 ? second : first;
  const clips = clipNorm > 0;
  return [
    each(
      directionKernel(vectors, rowStride / 4, rated, clips),
      [run, table, direction, weights, momentum, ...(clips ? [clipping] : [])],
      vectors,
    ),
    product(gramProduct(isWide, side, depth, rowStride), [direction, gram], [side, side, depth]),
    { kernel: normKernel(side), buffers: [gram, inverse], piece: all, groups: [1, 1, 1], operations: side },
    each(normalizeKernel((side * side) / 4), [inverse, gram], (side * side) / 4),
    ...steps.flat(),
    product(
      applyProduct(isWide, [side, storedOut, values, rowStride], directionScale(out, taps * channels), rated),
      [run, table, inverse, last, direction, weights],
      [storedOut, values, side],
    ),
    ...(averages
      ? [each(averageKernel(vectors, rated), [run, table, weights, part.arrays.get('average')!], vectors)]
      : []),
  ];
}
