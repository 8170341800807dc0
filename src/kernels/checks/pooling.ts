import type { Arguments, KernelCheck, Views } from './check.ts';

interface Pooling {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
  readonly size: readonly [height: number, width: number];
}

const channels = 28;

/** Every kind of overlap: apart, side by side, overlapping, beyond the map on each side; one window; one pixel. */
const poolings: readonly Pooling[] = [
  { kernel: [2, 2], stride: [2, 2], padding: [0, 0], size: [5, 6] },
  { kernel: [4, 4], stride: [4, 4], padding: [0, 0], size: [9, 4] },
  { kernel: [3, 3], stride: [2, 2], padding: [1, 1], size: [6, 5] },
  { kernel: [3, 3], stride: [1, 1], padding: [1, 1], size: [1, 3] },
  { kernel: [2, 3], stride: [3, 1], padding: [1, 0], size: [7, 4] },
  { kernel: [1, 2], stride: [2, 4], padding: [0, 1], size: [4, 9] },
  { kernel: [4, 2], stride: [1, 1], padding: [2, 1], size: [1, 1] },
];

/** The byte's last position, and more positions than a byte has, of which padding takes some. */
const largest: Pooling = { kernel: [16, 16], stride: [1, 1], padding: [0, 0], size: [17, 16] };
const tooLarge: Pooling = { kernel: [17, 16], stride: [2, 1], padding: [8, 0], size: [19, 18] };

/** The self-test at start-up leaves out those behind the first: large windows take long. */
const withSecond = (...large: Pooling[]): readonly Pooling[] => [
  poolings[0]!,
  ...large,
  ...poolings.slice(1),
];

const inWords = ({ kernel, stride, padding, size }: Pooling): string =>
  `${kernel.join('×')}, stride ${stride.join('×')}, padding ${padding.join('×')} on ${size.join('×')}`;

/** Of the winners' view of memory. */
type Winners = 'bytes' | 'floats';

const winnerStrides = {
  bytes: { winnerRow: 81, winnerPixel: 8 },
  floats: { winnerRow: 310, winnerPixel: 30 },
} as const;

function windowArguments({ kernel, stride, padding, size }: Pooling): Record<string, number> {
  const places = [0, 1].map((i) => Math.floor((size[i]! + 2 * padding[i]! - kernel[i]!) / stride[i]!) + 1);
  return {
    ...{ pooled: 1001, pooledRow: 290, pooledPixel: 29 },
    ...{ map: 16_003, mapRow: Math.max(400, size[1] * 31 + 2), mapPixel: 31 },
    ...{ height: size[0], width: size[1], pooledHeight: places[0]!, pooledWidth: places[1]!, channels },
    ...{ kernelHeight: kernel[0], kernelWidth: kernel[1] },
    ...{ strideY: stride[0], strideX: stride[1], paddingY: padding[0], paddingX: padding[1] },
  };
}

const maxArguments = (pooling: Pooling, winners: Winners): Record<string, number> => ({
  ...windowArguments(pooling),
  ...{ winners: 8002, ...winnerStrides[winners] },
});

/** Calls `body` for each window and channel with the places that it has in the map, by position in the window. */
function eachWindow(
  a: Arguments,
  body: (y: number, x: number, c: number, places: ReadonlyMap<number, number>) => void,
): void {
  for (let y = 0; y < a.pooledHeight!; y++) {
    for (let x = 0; x < a.pooledWidth!; x++) {
      for (let c = 0; c < a.channels!; c++) {
        const places = new Map<number, number>();
        for (let ky = 0; ky < a.kernelHeight!; ky++) {
          for (let kx = 0; kx < a.kernelWidth!; kx++) {
            const row = y * a.strideY! - a.paddingY! + ky;
            const column = x * a.strideX! - a.paddingX! + kx;
            if (row < 0 || row >= a.height! || column < 0 || column >= a.width!) continue;
            places.set(ky * a.kernelWidth! + kx, a.map! + row * a.mapRow! + column * a.mapPixel! + c);
          }
        }
        body(y, x, c, places);
      }
    }
  }
}

const pooledAt = (a: Arguments, y: number, x: number, c: number): number =>
  a.pooled! + y * a.pooledRow! + x * a.pooledPixel! + c;
/** The index of a winner in its view. */
const winnerAt = (winners: Winners, a: Arguments, y: number, x: number, c: number): number =>
  (winners === 'bytes' ? 4 : 1) * (a.winners! + y * a.winnerRow! + x * a.winnerPixel!) + c;
const gradientAt = (a: Arguments, y: number, x: number, c: number): number =>
  a.gradient! + y * a.gradientRow! + x * a.gradientPixel! + c;

const poolChecks = (winners: Winners, own: readonly Pooling[]): KernelCheck[] =>
  own.map((pooling) => ({
    title: inWords(pooling),
    arguments: maxArguments(pooling, winners),
    prepare({ floats }, a) {
      // Few different values give ties; all are below 0, so that padding would win; some are NaN and −∞. In one channel
      // values grow, so that the last position wins.
      eachWindow(a, (_y, _x, c, places) => {
        for (const at of places.values()) {
          floats[at] = c === 1 ? Number.NEGATIVE_INFINITY : Math.floor(2 * floats[at]!) / 2 - 2;
          if (c === 2 && at % 3 === 0) floats[at] = Number.NaN;
          if (c === 3) floats[at] = at / 2 ** 16 - 2;
        }
      });
    },
    plain(m, a, _before, _lanes, bytes) {
      eachWindow(a, (y, x, c, places) => {
        let best = -1;
        for (const [position, at] of places) {
          const wins = best < 0 || m[at]! > m[places.get(best)!]! || Number.isNaN(m[at]!);
          if (wins) best = position;
        }
        m[pooledAt(a, y, x, c)] = m[places.get(best)!]!;
        (winners === 'bytes' ? bytes : m)[winnerAt(winners, a, y, x, c)] = best;
      });
    },
  }));

export const maxPool: readonly KernelCheck[] = poolChecks('bytes', withSecond(largest));
export const maxPoolLarge: readonly KernelCheck[] = poolChecks('floats', withSecond(tooLarge));

const gradients = { gradient: 30_001, gradientRow: 330, gradientPixel: 32 } as const;

/** Winners inside the map, and some pooled values clamped by a ReLU. */
const prepareWinners =
  (winners: Winners) =>
  (views: Views, a: Arguments): void => {
    eachWindow(a, (y, x, c, places) => {
      const positions = [...places.keys()];
      const winner = positions.at(-1 - ((y + 2 * x + 37 * c) % positions.length))!;
      views[winners][winnerAt(winners, a, y, x, c)] = winner;
      if ((x + c) % 3 === 0) views.floats[pooledAt(a, y, x, c)] = 0;
    });
  };

function flowing(m: Float64Array, a: Arguments, y: number, x: number, c: number): number {
  return m[pooledAt(a, y, x, c)]! > a.threshold! ? m[gradientAt(a, y, x, c)]! : 0;
}

const poolBackwardChecks = (winners: Winners, own: readonly Pooling[]): KernelCheck[] =>
  [0, Number.NEGATIVE_INFINITY].flatMap((threshold) =>
    own.map((pooling) => ({
      title: `${inWords(pooling)}, threshold ${threshold}`,
      arguments: { ...maxArguments(pooling, winners), ...gradients, threshold },
      prepare: prepareWinners(winners),
      plain(m, a, before) {
        eachWindow(a, (y, x, c, places) => {
          const winner = before[winners][winnerAt(winners, a, y, x, c)]!;
          m[places.get(winner)!]! += flowing(m, a, y, x, c);
        });
      },
    })),
  );

export const maxPoolBackward: readonly KernelCheck[] = poolBackwardChecks('bytes', withSecond(largest));
export const maxPoolLargeBackward: readonly KernelCheck[] = poolBackwardChecks(
  'floats',
  withSecond(tooLarge),
);

const unpoolChecks = (size: number): KernelCheck[] =>
  [0, Number.NEGATIVE_INFINITY].flatMap((threshold) =>
    [
      [size, size],
      [3 * size + 1, 2 * size + size - 1],
    ].map(([height = 0, width = 0]): KernelCheck => {
      const sides = [size, size] as const;
      const pooling: Pooling = { kernel: sides, stride: sides, padding: [0, 0], size: [height, width] };
      return {
        title: `on ${height}×${width}, threshold ${threshold}`,
        arguments: { ...maxArguments(pooling, 'bytes'), ...gradients, threshold },
        prepare: prepareWinners('bytes'),
        plain(m, a, { bytes }) {
          eachWindow(a, (y, x, c, places) => {
            const winner = bytes[winnerAt('bytes', a, y, x, c)]!;
            const gradient = flowing(m, a, y, x, c);
            for (const [position, at] of places) m[at] = position === winner ? gradient : 0;
          });
        },
      };
    }),
  );

export const unpool2: readonly KernelCheck[] = unpoolChecks(2);
export const unpool4: readonly KernelCheck[] = unpoolChecks(4);

const averageChecks = (
  plain: (m: Float64Array, pooled: number, places: readonly number[], factor: number) => void,
) =>
  withSecond(largest, tooLarge).map((pooling): KernelCheck => {
    const factor = Math.fround(1 / (pooling.kernel[0] * pooling.kernel[1]));
    return {
      title: inWords(pooling),
      arguments: { ...windowArguments(pooling), factor },
      plain(m, a) {
        eachWindow(a, (y, x, c, places) => plain(m, pooledAt(a, y, x, c), [...places.values()], factor));
      },
    };
  });

export const averagePool: readonly KernelCheck[] = averageChecks((m, pooled, places, factor) => {
  m[pooled] = factor * places.reduce((sum, at) => sum + m[at]!, 0);
});

export const averagePoolBackward: readonly KernelCheck[] = averageChecks((m, pooled, places, factor) => {
  for (const at of places) m[at]! += factor * m[pooled]!;
});

/** Heights and widths of a map and its pooled map: smaller, larger, equal, overlapping windows, one pixel. */
const adaptiveSizes = [
  { height: 8, width: 5, pooledHeight: 3, pooledWidth: 4 },
  { height: 1, width: 2, pooledHeight: 3, pooledWidth: 7 },
  { height: 6, width: 4, pooledHeight: 6, pooledWidth: 1 },
  { height: 5, width: 9, pooledHeight: 2, pooledWidth: 7 },
  { height: 1, width: 1, pooledHeight: 1, pooledWidth: 1 },
];

const adaptiveChecks = (
  plain: (m: Float64Array, pooled: number, places: readonly number[]) => void,
): KernelCheck[] =>
  adaptiveSizes.map((size) => ({
    title: `${size.height}×${size.width} to ${size.pooledHeight}×${size.pooledWidth}`,
    arguments: {
      ...{ pooled: 1001, pooledRow: 290, pooledPixel: 29, map: 16_003, mapRow: 400, mapPixel: 31 },
      ...{ ...size, channels },
    },
    plain(m, a) {
      const windowOf = (i: number, length: number, windows: number): number[] => {
        const from = Math.floor((i * length) / windows);
        return Array.from({ length: Math.ceil(((i + 1) * length) / windows) - from }, (_, j) => from + j);
      };
      for (let y = 0; y < a.pooledHeight!; y++) {
        for (let x = 0; x < a.pooledWidth!; x++) {
          for (let c = 0; c < channels; c++) {
            const places = windowOf(y, a.height!, a.pooledHeight!).flatMap((row) =>
              windowOf(x, a.width!, a.pooledWidth!).map(
                (column) => a.map! + row * a.mapRow! + column * a.mapPixel! + c,
              ),
            );
            plain(m, pooledAt(a, y, x, c), places);
          }
        }
      }
    },
  }));

export const adaptivePool: readonly KernelCheck[] = adaptiveChecks((m, pooled, places) => {
  m[pooled] = places.reduce((sum, at) => sum + m[at]!, 0) / places.length;
});

export const adaptivePoolBackward: readonly KernelCheck[] = adaptiveChecks((m, pooled, places) => {
  for (const at of places) m[at]! += m[pooled]! / places.length;
});
