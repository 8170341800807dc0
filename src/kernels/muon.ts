/**
 * The kernels of Muon, besides matrix products. With A = XXᵀ for a wide X, every iterate of Newton–Schulz is a polynomial
 * of A₀ times X₀. So the iteration runs on the matrices A, of the shorter side, and X₀ is multiplied once at the end:
 *
 *     Q = aI + bA + cA²,   P ← QP,   A ← QAQ.
 *
 * All of them are symmetric and commute.
 */
import { type KernelDefinition, kernel, type Value } from './language.ts';
import { sgdSettings, sgdValues } from './optimizer.ts';

/** Floats at `settings`: those of SGD for the parameters that are not orthogonalized, then the rate of the others. */
export const muonSettings: readonly [...typeof sgdSettings, 'matrixLr'] = [...sgdSettings, 'matrixLr'];
export const matrixLrSetting: number = muonSettings.indexOf('matrixLr');

interface MuonRule {
  readonly lr: number;
  readonly otherLr: number;
  readonly momentum: number;
  readonly weightDecay: number;
}

/** The settings for a step. */
export function muonValues(
  { lr, otherLr, momentum, weightDecay }: MuonRule,
  gradientScale = 1,
): Record<(typeof muonSettings)[number], number> {
  const rule = { lr: lr * otherLr, momentum, nesterov: true, weightDecay: 0 };
  return { ...sgdValues(rule, gradientScale), keep: 1 - lr * weightDecay, matrixLr: lr };
}

export const muonDirection: KernelDefinition = kernel(
  'muonDirection',
  'p = keep·p; m = μm + scale·g; g = gradientShare·scale·g + momentumShare·m',
  { parameters: 'pointer', momentum: 'pointer', gradient: 'pointer', length: 'i32', settings: 'pointer' },
  (k, p) => {
    const setting = (name: (typeof sgdSettings)[number]): Value =>
      k.loadSplat(p.settings, sgdSettings.indexOf(name));
    k.forWidths(p.length, (vectors, from) => {
      const momentum = setting('momentum');
      const gradientShare = setting('gradientShare');
      const momentumShare = setting('momentumShare');
      const gradientScale = setting('gradientScale');
      const keep = setting('keep');
      k.loop(vectors, (vector) => {
        const at = from.add(vector.mul(k.lanes)).toOffset();
        const place = p.parameters.plus(at);
        const gradient = k.load(p.gradient.plus(at)).mul(gradientScale);
        const moved = k.load(p.momentum.plus(at)).mul(momentum).add(gradient);
        k.store(p.momentum.plus(at), moved);
        k.store(p.gradient.plus(at), gradient.mul(gradientShare).add(moved.mul(momentumShare)));
        k.store(place, k.load(place).mul(keep));
      });
    });
  },
);

export const muonBias: KernelDefinition = kernel(
  'muonBias',
  'a column of biases between the rows of weights: p[rows] −= lr · direction; direction = 0',
  { parameters: 'pointer', direction: 'pointer', stride: 'offset', rows: 'i32', settings: 'pointer' },
  (k, p) => {
    const lr = k.loadFloat(p.settings, sgdSettings.indexOf('lr'));
    const zero = k.constant('f32', 0);
    k.loop(p.rows, (row) => {
      const at = p.stride.scale(row);
      const [place, direction] = [p.parameters.plus(at), p.direction.plus(at)];
      k.store(place, k.loadFloat(place).sub(k.loadFloat(direction).mul(lr)));
      k.store(direction, zero);
    });
  },
);

export const normalizeGram: KernelDefinition = kernel(
  'normalizeGram',
  'inverse = 1 / (√trace(matrix) + ε); matrix[side][side] *= inverse²',
  { inverse: 'pointer', matrix: 'pointer', matrixRow: 'offset', side: 'i32', epsilon: 'f32' },
  (k, p) => {
    const trace = k.variable(k.constant('f32', 0));
    k.loop(p.side, (row) => {
      trace.set(trace.add(k.loadFloat(p.matrix.plus(p.matrixRow.scale(row)).plus(row.toOffset()))));
    });
    const inverse = k.constant('f32', 1).div(trace.sqrt().add(p.epsilon));
    k.store(p.inverse, inverse);
    k.loop(p.side, (row) => {
      const start = p.matrix.plus(p.matrixRow.scale(row));
      k.vectors(p.side, (at) => {
        const place = start.plus(at.toOffset());
        // Not by the square, which may be too large for a float.
        k.store(place, k.load(place).mul(inverse.splat()).mul(inverse.splat()));
      });
    });
  },
);

export const newtonSchulz: KernelDefinition = kernel(
  'newtonSchulz',
  'rows of aI + b·matrix + c·square, in place of those of the square; the first has its diagonal in column `diagonal`',
  {
    square: 'pointer',
    squareRow: 'offset',
    matrix: 'pointer',
    matrixRow: 'offset',
    rows: 'i32',
    columns: 'i32',
    diagonal: 'i32',
    a: 'f32',
    b: 'f32',
    c: 'f32',
  },
  (k, p) => {
    k.loop(p.rows, (row) => {
      const out = p.square.plus(p.squareRow.scale(row));
      const matrix = p.matrix.plus(p.matrixRow.scale(row));
      k.vectors(p.columns, (column) => {
        const at = column.toOffset();
        const place = out.plus(at);
        k.store(
          place,
          k
            .load(place)
            .mul(p.c.splat())
            .add(k.load(matrix.plus(at)).mul(p.b.splat())),
        );
      });
      const place = out.plus(p.diagonal.add(row).toOffset());
      k.store(place, k.loadFloat(place).add(p.a));
    });
  },
);

export const scaleRows: KernelDefinition = kernel(
  'scaleRows',
  'out[rows][columns] *= factor · first[0] · second[0]',
  {
    out: 'pointer',
    outRow: 'offset',
    rows: 'i32',
    columns: 'i32',
    factor: 'f32',
    first: 'pointer',
    second: 'pointer',
  },
  (k, p) => {
    const scale = p.factor.mul(k.loadFloat(p.first)).mul(k.loadFloat(p.second));
    k.loop(p.rows, (row) => {
      const out = p.out.plus(p.outRow.scale(row));
      k.vectors(p.columns, (column) => {
        const place = out.plus(column.toOffset());
        k.store(place, k.load(place).mul(scale.splat()));
      });
    });
  },
);
