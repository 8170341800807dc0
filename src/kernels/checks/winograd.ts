/** Winograd's transforms against their definition. */

import { planes } from '../winograd.ts';
import { type Arguments, combinations, inWords, type KernelCheck } from './check.ts';
import { A, Bt, both, G, type Matrix, transposed } from './winograd-matrices.ts';

const table = (rows: number, columns: number, cell: (row: number, column: number) => number): Matrix =>
  Array.from({ length: rows }, (_, y) => Array.from({ length: columns }, (__, x) => cell(y, x)));

/** A tile of 36 planes, of one channel. */
const planesAt = (m: Float64Array, first: number, stride: number): Matrix =>
  table(6, 6, (y, x) => m[first + (6 * y + x) * stride]!);
const storePlanes = (m: Float64Array, first: number, stride: number, values: Matrix): void =>
  values.forEach((row, y) => {
    row.forEach((value, x) => {
      m[first + (6 * y + x) * stride] = value;
    });
  });

function eachTile(a: Arguments, body: (tile: number, y: number, x: number, c: number) => void): void {
  for (let y = 0; y < a.tileRows!; y++)
    for (let x = 0; x < a.tileColumns!; x++)
      for (let c = 0; c < a.channels!; c++) body(y * a.tileColumns! + x, y, x, c);
}

const tileCounts = combinations({ tileRows: [1, 2], tileColumns: [1, 3], channels: [4, 12, 28] });
const tileLayout = { planeStride: 201, tileStride: 30 } as const;
const mapLayout = { map: 1001, rowStride: 420, pixelStride: 29 } as const;

const mapToPlanes = (size: number, transform: Matrix): KernelCheck[] =>
  tileCounts.map((counts) => ({
    title: inWords(counts),
    arguments: { out: 20_000, ...tileLayout, ...mapLayout, ...counts },
    plain(m, a) {
      eachTile(a, (tile, y, x, c) => {
        const first = a.map! + 4 * y * a.rowStride! + 4 * x * a.pixelStride! + c;
        const values = table(size, size, (i, j) => m[first + i * a.rowStride! + j * a.pixelStride!]!);
        storePlanes(m, a.out! + tile * a.tileStride! + c, a.planeStride!, both(transform, values));
      });
    },
  }));

export const winogradInput: readonly KernelCheck[] = mapToPlanes(6, Bt);
export const winogradGradient: readonly KernelCheck[] = mapToPlanes(4, A);

/** Calls `body` for each result of the tiles, `size`×`size` of a tile, that lies inside the map. */
function eachOutput(
  m: Float64Array,
  a: Arguments,
  size: number,
  body: (values: Matrix, i: number, j: number, row: number, column: number, c: number) => void,
): void {
  eachTile(a, (tile, y, x, c) => {
    const values = planesAt(m, a.planes! + tile * a.tileStride! + c, a.planeStride!);
    const outputs = both(transposed(A), values);
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        const [row, column] = [y * size + i, x * size + j];
        if (row < a.height! && column < a.width!) body(outputs, i, j, row, column, c);
      }
    }
  });
}

const mapAt = (a: Arguments, row: number, column: number, c: number): number =>
  a.map! + row * a.rowStride! + column * a.pixelStride! + c;

/** Maps that the tiles fill, that end within a tile, and of one pixel. */
const outputs = (size: number) =>
  combinations({
    tileRows: [1, 2],
    tileColumns: [1, 3],
    channels: [4, 12, 28],
    missing: [0, 1, 3],
    floor: [0, Number.NEGATIVE_INFINITY],
  })
    .filter(({ missing }) => missing < size)
    .map(({ missing, ...counts }) => ({
      ...{ planes: 20_000, ...tileLayout, ...mapLayout, ...counts },
      height: counts.tileRows * size - missing,
      width: counts.tileColumns * size - missing,
    }));

const outputTitle = ({ height, width, channels, floor }: Arguments): string =>
  `${height}×${width}×${channels}, floor ${floor}`;

export const winogradOutput: readonly KernelCheck[] = outputs(4).map((named) => ({
  title: outputTitle(named),
  arguments: { ...named, bias: 40_000 },
  plain(m, a) {
    eachOutput(m, a, 4, (values, i, j, row, column, c) => {
      m[mapAt(a, row, column, c)] = Math.max(a.floor!, values[i]![j]! + m[a.bias! + c]!);
    });
  },
}));

export const winogradOutputMasked: readonly KernelCheck[] = outputs(4).map((named) => ({
  title: outputTitle(named),
  arguments: { ...named, activation: 10_001, activationRow: 380, activationPixel: 30 },
  prepare({ floats }, a) {
    // A clamped activation is 0, and lets nothing through.
    floats[a.activation! + 1] = 0;
  },
  plain(m, a) {
    eachOutput(m, a, 4, (values, i, j, row, column, c) => {
      const activation = m[a.activation! + row * a.activationRow! + column * a.activationPixel! + c]!;
      m[mapAt(a, row, column, c)] = activation > a.floor! ? values[i]![j]! : 0;
    });
  },
}));

function pooledChecks(pool: 2 | 4): KernelCheck[] {
  const size = 4 / pool;
  const check = (named: Arguments, equal: boolean): KernelCheck => ({
    title: `${outputTitle(named)}${equal ? ', all values equal' : ''}`,
    arguments: { ...named, winners: 10_001, winnerRow: 380, winnerPixel: 30, bias: 40_000 },
    prepare({ floats }, a) {
      if (equal) floats.fill(0, a.planes!, a.planes! + planes * a.planeStride!);
    },
    plain(m, a) {
      eachOutput(m, a, size, (values, i, j, row, column, c) => {
        const window = Array.from(
          { length: pool * pool },
          (_, n) => values[i * pool + Math.floor(n / pool)]![j * pool + (n % pool)]!,
        );
        const largest = Math.max(...window);
        m[mapAt(a, row, column, c)] = Math.max(a.floor!, largest + m[a.bias! + c]!);
        m[a.winners! + row * a.winnerRow! + column * a.winnerPixel! + c] = window.indexOf(largest);
      });
    },
  });
  const all = outputs(size);
  return [...all.map((named) => check(named, false)), check(all[0]!, true)];
}

export const winogradOutputPool2: readonly KernelCheck[] = pooledChecks(2);
export const winogradOutputPool4: readonly KernelCheck[] = pooledChecks(4);

const filterCounts = combinations({ filters: [1, 5], channels: [4, 12, 28] });
const filterLayout = {
  out: 20_000,
  planeStride: 851,
  rowStride: 30,
  weights: 1001,
  filterStride: 9 * 28 + 3,
} as const;

/** Calls `body` for each filter and channel, with the place of its first tap. */
function eachFilter(a: Arguments, body: (filter: number, c: number, first: number) => void): void {
  for (let filter = 0; filter < a.filters!; filter++)
    for (let c = 0; c < a.channels!; c++) body(filter, c, a.weights! + filter * a.filterStride! + c);
}

const tapsAt = (m: Float64Array, a: Arguments, first: number, turned = false): Matrix =>
  table(3, 3, (y, x) => m[first + (turned ? 8 - (3 * y + x) : 3 * y + x) * a.channels!]!);

export const winogradWeights: readonly KernelCheck[] = filterCounts.map((counts) => ({
  title: inWords(counts),
  arguments: { ...filterLayout, ...counts },
  plain(m, a) {
    eachFilter(a, (filter, c, first) => {
      storePlanes(m, a.out! + c * a.rowStride! + filter, a.planeStride!, both(G, tapsAt(m, a, first)));
    });
  },
}));

export const winogradWeightsBackward: readonly KernelCheck[] = filterCounts.map((counts) => ({
  title: inWords(counts),
  arguments: { ...filterLayout, ...counts },
  plain(m, a) {
    eachFilter(a, (filter, c, first) => {
      storePlanes(m, a.out! + filter * a.rowStride! + c, a.planeStride!, both(G, tapsAt(m, a, first, true)));
    });
  },
}));

export const winogradWeightGradient: readonly KernelCheck[] = filterCounts.map((counts) => ({
  title: inWords(counts),
  arguments: { ...filterLayout, ...counts },
  plain(m, a) {
    eachFilter(a, (filter, c, first) => {
      const values = planesAt(m, a.out! + filter * a.rowStride! + c, a.planeStride!);
      both(transposed(G), values).forEach((row, y) => {
        row.forEach((tap, x) => {
          m[first + (3 * y + x) * a.channels!] = tap;
        });
      });
    });
  },
}));
