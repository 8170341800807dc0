import { muonSettings, muonValues } from '../muon.ts';
import { sgdSettings } from '../optimizer.ts';
import { combinations, inWords, type KernelCheck } from './check.ts';

const [momentum, scale] = [0.9, 0.5];
const values = muonValues({ lr: 0.1, otherLr: 0.3, momentum, weightDecay: 0.2 }, scale);

export const muonDirection: readonly KernelCheck[] = [4, 60].map((length) => ({
  title: `${length} parameters`,
  arguments: { parameters: 1000, momentum: 1100, gradient: 1200, length, settings: 1300 },
  prepare({ floats }, a) {
    muonSettings.forEach((name, i) => {
      floats[a.settings! + i] = values[name];
    });
  },
  plain(m, a) {
    for (let i = 0; i < length; i++) {
      const gradient = scale * m[a.gradient! + i]!;
      const moved = momentum * m[a.momentum! + i]! + gradient;
      m[a.momentum! + i] = moved;
      m[a.gradient! + i] = gradient + momentum * moved;
      m[a.parameters! + i]! *= 1 - 0.1 * 0.2;
    }
  },
}));

export const muonBias: readonly KernelCheck[] = [1, 7].map((rows) => ({
  title: `${rows} rows`,
  arguments: { parameters: 1003, direction: 3001, stride: 37, rows, settings: 5000 },
  prepare({ floats }, a) {
    floats[a.settings! + sgdSettings.indexOf('lr')] = values.lr;
  },
  plain(m, a) {
    for (let row = 0; row < rows; row++) {
      m[a.parameters! + row * a.stride!]! -= 0.1 * 0.3 * m[a.direction! + row * a.stride!]!;
      m[a.direction! + row * a.stride!] = 0;
    }
  },
}));

export const normalizeGram: readonly KernelCheck[] = [4, 20, 60].map((side) => ({
  title: `side ${side}`,
  arguments: { inverse: 1000, matrix: 2000, matrixRow: side + 3, side, epsilon: 0.25 },
  prepare({ floats }, a) {
    for (let i = 0; i < side; i++) floats[a.matrix! + i * (a.matrixRow! + 1)]! **= 2;
  },
  plain(m, a) {
    let trace = 0;
    for (let i = 0; i < side; i++) trace += m[a.matrix! + i * (a.matrixRow! + 1)]!;
    const inverse = 1 / (Math.sqrt(trace) + a.epsilon!);
    m[a.inverse!] = inverse;
    for (let i = 0; i < side; i++) {
      for (let j = 0; j < side; j++) m[a.matrix! + i * a.matrixRow! + j]! *= inverse ** 2;
    }
  },
}));

const sizes = combinations({ rows: [1, 5], columns: [8, 20, 60] });

export const newtonSchulz: readonly KernelCheck[] = sizes.map(({ rows, columns }) => ({
  title: inWords({ rows, columns }),
  arguments: {
    ...{ square: 1000, squareRow: columns + 3, matrix: 3000, matrixRow: columns + 1 },
    ...{ rows, columns, diagonal: columns - rows, a: 3.5, b: -4.75, c: 2 },
  },
  plain(m, a) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const at = a.square! + i * a.squareRow! + j;
        m[at] = a.c! * m[at]! + a.b! * m[a.matrix! + i * a.matrixRow! + j]!;
      }
      m[a.square! + i * a.squareRow! + a.diagonal! + i]! += a.a!;
    }
  },
}));

export const scaleRows: readonly KernelCheck[] = sizes.map(({ rows, columns }) => ({
  title: inWords({ rows, columns }),
  arguments: { out: 1000, outRow: columns + 3, rows, columns, factor: -1.5, first: 3000, second: 3001 },
  plain(m, a) {
    const factor = a.factor! * m[a.first!]! * m[a.second!]!;
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) m[a.out! + i * a.outRow! + j]! *= factor;
    }
  },
}));
