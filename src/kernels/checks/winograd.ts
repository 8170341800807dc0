/** Winograd's transforms against their definition. */

import type { Purpose, WinogradKernelName } from '../winograd.ts';
import { type Scheme, schemes, type Tile } from '../winograd-schemes.ts';
import { type Arguments, combinations, inWords, type KernelCheck } from './check.ts';
import { both, type Matrix, matrices, transposed } from './winograd-matrices.ts';

const table = (rows: number, columns: number, cell: (row: number, column: number) => number): Matrix =>
  Array.from({ length: rows }, (_, y) => Array.from({ length: columns }, (__, x) => cell(y, x)));

/** The planes of a tile, of one channel. */
const planesAt = ({ patch }: Scheme, m: Float64Array, first: number, stride: number): Matrix =>
  table(patch, patch, (y, x) => m[first + (patch * y + x) * stride]!);
const storePlanes = (m: Float64Array, first: number, stride: number, values: Matrix): void =>
  values.flat().forEach((value, plane) => {
    m[first + plane * stride] = value;
  });

function eachTile(a: Arguments, body: (tile: number, y: number, x: number, c: number) => void): void {
  for (let y = 0; y < a.tileRows!; y++)
    for (let x = 0; x < a.tileColumns!; x++)
      for (let c = 0; c < a.channels!; c++) body(y * a.tileColumns! + x, y, x, c);
}

const tileCounts = combinations({ tileRows: [1, 2], tileColumns: [1, 3], channels: [4, 12, 28] });
const tileLayout = { planeStride: 201, tileStride: 30 } as const;
const mapLayout = { map: 1001, rowStride: 420, pixelStride: 29 } as const;

const mapToPlanes = ({ tile: step }: Scheme, size: number, transform: Matrix): KernelCheck[] =>
  tileCounts.map((counts) => ({
    title: inWords(counts),
    arguments: { out: 20_000, ...tileLayout, ...mapLayout, ...counts },
    plain(m, a) {
      eachTile(a, (tile, y, x, c) => {
        const first = a.map! + step * (y * a.rowStride! + x * a.pixelStride!) + c;
        const values = table(size, size, (i, j) => m[first + i * a.rowStride! + j * a.pixelStride!]!);
        storePlanes(m, a.out! + tile * a.tileStride! + c, a.planeStride!, both(transform, values));
      });
    },
  }));

/** Calls `body` for each result of the tiles, `size`×`size` of a tile, that lies inside the map. */
function eachOutput(
  scheme: Scheme,
  m: Float64Array,
  a: Arguments,
  size: number,
  body: (values: Matrix, i: number, j: number, row: number, column: number, c: number) => void,
): void {
  const At = transposed(matrices[scheme.tile].A);
  eachTile(a, (tile, y, x, c) => {
    const values = planesAt(scheme, m, a.planes! + tile * a.tileStride! + c, a.planeStride!);
    const outputs = both(At, values);
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
    threshold: [0, Number.NEGATIVE_INFINITY],
  })
    .filter(({ missing }) => missing < size)
    .map(({ missing, ...counts }) => ({
      ...{ planes: 20_000, ...tileLayout, ...mapLayout, ...counts },
      height: counts.tileRows * size - missing,
      width: counts.tileColumns * size - missing,
    }));

const outputTitle = ({ height, width, channels, threshold }: Arguments): string =>
  `${height}×${width}×${channels}, threshold ${threshold}`;

const outputChecks = (scheme: Scheme): KernelCheck[] =>
  outputs(scheme.tile).map((named) => ({
    title: outputTitle(named),
    arguments: { ...named, bias: 40_000 },
    plain(m, a) {
      eachOutput(scheme, m, a, scheme.tile, (values, i, j, row, column, c) => {
        m[mapAt(a, row, column, c)] = Math.max(a.threshold!, values[i]![j]! + m[a.bias! + c]!);
      });
    },
  }));

const maskedChecks = (scheme: Scheme): KernelCheck[] =>
  outputs(scheme.tile).map((named) => ({
    title: outputTitle(named),
    arguments: { ...named, activation: 10_001, activationRow: 380, activationPixel: 30 },
    prepare({ floats }, a) {
      // A clamped activation is 0, and lets nothing through.
      floats[a.activation! + 1] = 0;
    },
    plain(m, a) {
      eachOutput(scheme, m, a, scheme.tile, (values, i, j, row, column, c) => {
        const activation = m[a.activation! + row * a.activationRow! + column * a.activationPixel! + c]!;
        m[mapAt(a, row, column, c)] = activation > a.threshold! ? values[i]![j]! : 0;
      });
    },
  }));

/** Special cases of pooled values. */
type Particular = 'none' | 'all values equal' | 'one is NaN' | 'one is infinite';

/** The position that comparisons of neighbors lead to, with NaN compared like the kernel does. */
function winnerOf(window: readonly number[]): number {
  let positions = window.map((_, position) => position);
  while (positions.length > 1) {
    positions = positions.flatMap((first, i) => {
      const second = positions[i + 1]!;
      return i % 2 === 1 ? [] : [window[second]! > window[first]! ? second : first];
    });
  }
  return positions[0]!;
}

function pooledChecks(scheme: Scheme, pool: 2 | 4): KernelCheck[] {
  const size = scheme.tile / pool;
  const check = (named: Arguments, particular: Particular): KernelCheck => ({
    title: `${outputTitle(named)}${particular === 'none' ? '' : `, ${particular}`}`,
    arguments: { ...named, winners: 10_001, winnerRow: 95, winnerPixel: 8, bias: 40_000 },
    prepare({ floats }, a) {
      if (particular === 'all values equal') {
        floats.fill(0, a.planes!, a.planes! + scheme.planes * a.planeStride!);
      }
      // In the first tile's second channel, in the last row and column of the patch: affects only its last output.
      const one = { 'one is NaN': Number.NaN, 'one is infinite': Number.POSITIVE_INFINITY };
      if (particular in one) {
        floats[a.planes! + (scheme.planes - 1) * a.planeStride! + 1] = one[particular as keyof typeof one];
      }
    },
    plain(m, a, _before, _lanes, bytes) {
      eachOutput(scheme, m, a, size, (values, i, j, row, column, c) => {
        const window = Array.from(
          { length: pool * pool },
          (_, n) => values[i * pool + Math.floor(n / pool)]![j * pool + (n % pool)]!,
        );
        const largest = Math.max(...window);
        m[mapAt(a, row, column, c)] = Math.max(a.threshold!, largest + m[a.bias! + c]!);
        const winner = Number.isNaN(largest) ? winnerOf(window) : window.indexOf(largest);
        bytes[4 * (a.winners! + row * a.winnerRow! + column * a.winnerPixel!) + c] = winner;
      });
    },
  });
  const all = outputs(size);
  return [
    ...all.map((named) => check(named, 'none')),
    check(all[0]!, 'all values equal'),
    ...all.slice(0, 4).flatMap((named) => [check(named, 'one is NaN'), check(named, 'one is infinite')]),
  ];
}

/** Calls `body` for each filter and channel, with the address of its first tap. */
function eachFilter(a: Arguments, body: (filter: number, c: number, first: number) => void): void {
  for (let filter = 0; filter < a.filters!; filter++)
    for (let c = 0; c < a.channels!; c++) body(filter, c, a.weights! + filter * a.filterStride! + c);
}

const filterChecks = (
  plain: (m: Float64Array, a: Arguments, filter: number, c: number, first: number) => void,
  choices: Readonly<Record<string, readonly number[]>> = {},
): KernelCheck[] =>
  combinations({ filters: [1, 5], channels: [4, 12, 28], ...choices }).map((named) => ({
    title: inWords(named),
    arguments: {
      ...{ out: 20_000, planeStride: 901, rowStride: 30 },
      ...{ weights: 1001, filterStride: 9 * Math.max(28, named.channels) + 3 },
      ...named,
    },
    plain: (m, a) => eachFilter(a, (filter, c, first) => plain(m, a, filter, c, first)),
  }));

/** The offset of a column in a matrix of panels. */
const panelOffset = ({ panelColumns = 1, panelStride = 0 }: Arguments, column: number): number =>
  Math.floor(column / panelColumns) * panelStride + (column % panelColumns);

const tapsAt = (m: Float64Array, a: Arguments, first: number, turned = false): Matrix =>
  table(3, 3, (y, x) => m[first + (turned ? 8 - (3 * y + x) : 3 * y + x) * a.channels!]!);

type ChecksOf<T extends Tile> = Readonly<Record<`winograd${T}${Purpose}`, readonly KernelCheck[]>>;

function checksOf<T extends Tile>(scheme: Scheme<T>): ChecksOf<T> {
  const { A, G, Bt } = matrices[scheme.tile];
  const checks: Readonly<Record<Purpose, readonly KernelCheck[]>> = {
    Input: mapToPlanes(scheme, scheme.patch, Bt),
    Gradient: mapToPlanes(scheme, scheme.tile, A),
    Output: outputChecks(scheme),
    OutputPool2: pooledChecks(scheme, 2),
    OutputMasked: maskedChecks(scheme),
    // The strides keep all values apart, and the filters 62 … 66 cross a panel.
    Weights: filterChecks(
      (m, a, filter, c, first) => {
        const place = a.out! + c * a.rowStride! + panelOffset(a, a.first! + filter);
        storePlanes(m, place, a.planeStride!, both(G, tapsAt(m, a, first)));
      },
      { panelColumns: [64], panelStride: [70], first: [0, 62] },
    ),
    WeightsBackward: filterChecks(
      (m, a, filter, c, first) => {
        const place = a.out! + (a.first! + filter) * a.rowStride! + panelOffset(a, c);
        storePlanes(m, place, a.planeStride!, both(G, tapsAt(m, a, first, true)));
      },
      {
        ...{ panelColumns: [16, 64], panelStride: [64] },
        ...{ first: [0, 3], rowStride: [70], channels: [4, 12, 28, 68] },
      },
    ),
    WeightGradient: filterChecks(
      (m, a, filter, c, first) => {
        const values = planesAt(scheme, m, a.out! + filter * a.rowStride! + c, a.planeStride!);
        const taps = both(transposed(G), values).flat();
        taps.forEach((tap, i) => {
          const place = first + i * a.channels!;
          m[place] = tap + (a.accumulate ? m[place]! : 0);
        });
      },
      { accumulate: [0, 1] },
    ),
  };
  return Object.fromEntries(
    Object.entries(checks).map(([purpose, own]) => [`winograd${scheme.tile}${purpose}`, own]),
  ) as ChecksOf<T>;
}

export const winogradChecks: Readonly<Record<WinogradKernelName, readonly KernelCheck[]>> = {
  ...checksOf(schemes[4]),
  winograd4OutputPool4: pooledChecks(schemes[4], 4),
  ...checksOf(schemes[2]),
};
