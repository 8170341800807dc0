import { lineFloats } from '../language.ts';
import { byteLevels } from '../maps.ts';
import { type Arguments, combinations, inWords, type KernelCheck } from './check.ts';

const thresholds = [0, Number.NEGATIVE_INFINITY];

/** Calls `body` for the rows and columns of a table. */
function each(rows: number, columns: number, body: (row: number, column: number) => void): void {
  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) body(row, column);
}

export const fill: readonly KernelCheck[] = combinations({ rows: [1, 3], length: [4, 12, 44] }).map(
  (size) => ({
    title: inWords(size),
    arguments: { out: 1001, outRow: 47, value: 2.5, ...size },
    plain(m, a) {
      each(a.rows!, a.length!, (y, x) => {
        m[a.out! + y * a.outRow! + x] = a.value!;
      });
    },
  }),
);

export const relu: readonly KernelCheck[] = combinations({
  threshold: thresholds,
  rows: [1, 3],
  length: [4, 12, 44],
}).map((size) => ({
  title: inWords(size),
  arguments: { out: 1001, outRow: 47, map: 2003, mapRow: 45, ...size },
  prepare({ floats }, a) {
    floats[a.map! + 1] = Number.NaN;
  },
  plain(m, a) {
    each(a.rows!, a.length!, (y, x) => {
      m[a.out! + y * a.outRow! + x] = Math.max(a.threshold!, m[a.map! + y * a.mapRow! + x]!);
    });
  },
}));

export const multiply: readonly KernelCheck[] = combinations({ rows: [1, 3], length: [4, 12, 44] }).map(
  (size) => ({
    title: inWords(size),
    arguments: { out: 1001, outRow: 47, map: 2003, mapRow: 45, factors: 3000, factorRow: 44, ...size },
    plain(m, a) {
      each(a.rows!, a.length!, (y, x) => {
        const factor = m[a.factors! + y * a.factorRow! + x]!;
        m[a.out! + y * a.outRow! + x] = m[a.map! + y * a.mapRow! + x]! * factor;
      });
    },
  }),
);

export const reluBackward: readonly KernelCheck[] = combinations({
  threshold: thresholds,
  rows: [1, 3],
  length: [4, 12, 44],
}).map((size) => ({
  title: inWords(size),
  arguments: {
    ...{ out: 1001, outRow: 47, gradient: 2003, gradientRow: 45, activation: 3000, activationRow: 44 },
    ...size,
  },
  prepare({ floats }, a) {
    // The gradient of a ReLU at 0 is 0.
    floats[a.activation! + 2] = 0;
  },
  plain(m, a) {
    each(a.rows!, a.length!, (y, x) => {
      const open = m[a.activation! + y * a.activationRow! + x]! > a.threshold!;
      m[a.out! + y * a.outRow! + x] = open ? m[a.gradient! + y * a.gradientRow! + x]! : 0;
    });
  },
}));

export const addBias: readonly KernelCheck[] = combinations({
  threshold: thresholds,
  rows: [1, 3],
  columns: [4, 12, 44],
}).map((size) => ({
  title: inWords(size),
  arguments: { out: 1001, outRow: 47, bias: 2002, ...size },
  plain(m, a) {
    each(a.rows!, a.columns!, (y, x) => {
      const at = a.out! + y * a.outRow! + x;
      m[at] = Math.max(a.threshold!, m[at]! + m[a.bias! + x]!);
    });
  },
}));

export const sumPixels: readonly KernelCheck[] = combinations({
  accumulate: [0, 1],
  rows: [1, 3],
  columns: [1, 5, 11],
  channels: [4, 12, 28],
}).map((size) => ({
  title: inWords(size),
  arguments: { out: 1001, map: 2000, mapRow: 351, mapPixel: 30, ...size },
  plain(m, a) {
    for (let c = 0; c < a.channels!; c++) {
      let sum = a.accumulate ? m[a.out! + c]! : 0;
      each(a.rows!, a.columns!, (y, x) => {
        sum += m[a.map! + y * a.mapRow! + x * a.mapPixel! + c]!;
      });
      m[a.out! + c] = sum;
    }
  },
}));

export const transpose: readonly KernelCheck[] = combinations({ rows: [1, 5], columns: [4, 12, 28] }).map(
  (size) => ({
    title: inWords(size),
    arguments: { out: 1001, outRow: 9, matrix: 2000, matrixRow: 31, ...size },
    plain(m, a) {
      each(a.rows!, a.columns!, (y, x) => {
        m[a.out! + x * a.outRow! + y] = m[a.matrix! + y * a.matrixRow! + x]!;
      });
    },
  }),
);

/** Patches with steps of one and of several pixels, and runs that are not a multiple of the granule. */
const patchSizes = combinations({
  outRows: [1, 3],
  outColumns: [1, 4],
  kernelRows: [1, 3],
  run: [3, 8, 27, 60],
  step: [1, 2],
});

function patchArguments({ step, ...size }: (typeof patchSizes)[number]): Record<string, number> {
  // A multiple of the granule, or of four of them.
  const multiple = step === 1 ? 4 : 16;
  const columnStride = Math.ceil((size.kernelRows * size.run + 1) / multiple) * multiple;
  const [mapRow, pixel] = [97, 3];
  return {
    columns: 4000,
    columnStride,
    map: 1003,
    mapRow,
    stepRow: step * mapRow,
    stepPixel: step * pixel,
    ...size,
  };
}

/** Places of each value of each patch: in the columns and in the map. */
function eachPatch(
  a: Arguments,
  body: (column: number, place: number) => void,
  end?: (column: number) => void,
): void {
  each(a.outRows!, a.outColumns!, (y, x) => {
    const column = a.columns! + (y * a.outColumns! + x) * a.columnStride!;
    const place = a.map! + y * a.stepRow! + x * a.stepPixel!;
    each(a.kernelRows!, a.run!, (row, i) => body(column + row * a.run! + i, place + row * a.mapRow! + i));
    end?.(column + a.kernelRows! * a.run!);
  });
}

export const im2col: readonly KernelCheck[] = patchSizes.map((size): KernelCheck => {
  const named: Record<string, number> = { ...patchArguments(size), one: size.step === 1 ? 1 : 0, tail: 0 };
  named.tail = named.columnStride! - size.kernelRows * size.run;
  const end = named.columns! + size.outRows * size.outColumns * named.columnStride!;
  return {
    title: inWords(size),
    arguments: named,
    // Whole vectors are copied.
    ignored: [[end, end + 16]],
    plain(m, a) {
      eachPatch(
        a,
        (column, place) => {
          m[column] = m[place]!;
        },
        // Whole granules; the next patch overwrites the rest.
        (column) => {
          m.fill(0, column, column + 4 * Math.ceil(a.tail! / 4));
          m[column] = a.one!;
        },
      );
    },
  };
});

export const col2im: readonly KernelCheck[] = patchSizes.map((size) => ({
  title: inWords(size),
  arguments: patchArguments(size),
  plain(m, a) {
    eachPatch(a, (column, place) => {
      m[place]! += m[column]!;
    });
  },
}));

/** An image of 5×6 pixels in a map of 4×7: rows and columns of it that are inside, forwards and backwards. */
const placements: readonly (Readonly<Record<string, number>> & { readonly flip: 0 | 1 })[] = [
  { flip: 0, rowFrom: 0, rowTo: 4, columnFrom: 0, columnTo: 6, firstByte: 0 },
  { flip: 0, rowFrom: 2, rowTo: 4, columnFrom: 3, columnTo: 7, firstByte: -2 * 6 - 3 },
  { flip: 1, rowFrom: 0, rowTo: 3, columnFrom: 1, columnTo: 7, firstByte: 2 * 6 + 6 },
  { flip: 1, rowFrom: 1, rowTo: 4, columnFrom: 0, columnTo: 4, firstByte: -6 + 3 },
  { flip: 0, rowFrom: 4, rowTo: 4, columnFrom: 7, columnTo: 7, firstByte: 100 },
];

export const loadImage: readonly KernelCheck[] = placements.flatMap(({ flip, ...place }) =>
  [1, 3].map((channels) => ({
    title: inWords({ channels, flip, ...place }),
    arguments: {
      ...{ map: 1001, mapRow: 7 * channels + 5, mapPixel: channels, bytes: 2000 },
      ...{ planeBytes: 30, rowBytes: 6, stepBytes: flip ? -1 : 1, channels, rows: 4, columns: 7 },
      values: 3000,
      ...place,
    },
    plain(m, a, { bytes }) {
      for (let c = 0; c < channels; c++) {
        each(a.rows!, a.columns!, (y, x) => {
          const inside = y >= a.rowFrom! && y < a.rowTo! && x >= a.columnFrom! && x < a.columnTo!;
          const at = 4 * a.bytes! + a.firstByte! + c * a.planeBytes! + y * a.rowBytes! + x * a.stepBytes!;
          const byte = inside ? bytes[at]! : 0;
          m[a.map! + y * a.mapRow! + x * a.mapPixel! + c] = m[a.values! + c * byteLevels + byte]!;
        });
      }
    },
  })),
);

export const prefetchRows: readonly KernelCheck[] = combinations({ rows: [1, 3], length: [4, 32, 44] }).map(
  (size) => ({
    title: inWords(size),
    arguments: { out: 1001, map: 2003, mapRow: 52, ...size },
    plain(m, a) {
      const lines = m.subarray(a.map!, a.map! + (a.rows! - 1) * a.mapRow! + a.length!);
      m[a.out!] = lines.reduce((largest, value, i) => {
        const isFirst = (i % a.mapRow!) % lineFloats === 0 && i % a.mapRow! < a.length!;
        return isFirst ? Math.max(largest, value) : largest;
      }, Number.NEGATIVE_INFINITY);
    },
  }),
);

export const peak: readonly KernelCheck[] = [1, 10].map((rounds) => ({
  title: `${rounds} rounds`,
  arguments: { out: 1000, rounds },
  plain(m, a, _, lanes) {
    for (let lane = 0; lane < lanes; lane++) {
      const factor = m[a.out! + lane]!;
      let sum = 16 * rounds * factor ** 2;
      for (let i = 0; i < 8; i++) sum += m[a.out! + i * lanes + lane]!;
      m[a.out! + lane] = sum;
    }
  },
}));
