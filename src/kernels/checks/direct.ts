import { type Arguments, combinations, inWords, type KernelCheck } from './check.ts';

/** Calls `body` for each output pixel and tap: places in the map, and the tap's number. */
function eachTap(a: Arguments, body: (y: number, x: number, tap: number, place: number) => void): void {
  for (let y = 0; y < a.rows!; y++) {
    for (let x = 0; x < a.columns!; x++) {
      for (let row = 0; row < a.kernelRows!; row++) {
        for (let i = 0; i < a.run!; i++) {
          const place = a.map! + y * a.stepRow! + row * a.mapRow! + x * a.stepPixel! + i;
          body(y, x, row * a.run! + i, place);
        }
      }
    }
  }
}

/** Pixels, taps and filters below, at and beyond the register tile; patches that overlap and that do not. */
const sizes = combinations({
  rows: [2],
  columns: [11, 1, 20],
  kernelRows: [1, 3],
  run: [3, 9],
  filters: [28, 4, 64],
  stepPixel: [3, 10],
});

export const directForward: readonly KernelCheck[] = [0, Number.NEGATIVE_INFINITY].flatMap((threshold) =>
  sizes.map(
    (size): KernelCheck => ({
      title: `${inWords(size)}, threshold ${threshold}`,
      arguments: {
        ...{ out: 1001, outRow: 1401, outPixel: 67, map: 12_002, mapRow: 301, stepRow: 290 },
        ...{ weights: 20_003, weightRow: 65, bias: 30_001, threshold },
        ...size,
      },
      plain(m, a) {
        for (let filter = 0; filter < a.filters!; filter++) {
          const sums = Array.from({ length: a.rows! }, () =>
            new Float64Array(a.columns!).fill(m[a.bias! + filter]!),
          );
          eachTap(a, (y, x, tap, place) => {
            sums[y]![x]! += m[place]! * m[a.weights! + tap * a.weightRow! + filter]!;
          });
          sums.forEach((row, y) => {
            row.forEach((sum, x) => {
              m[a.out! + y * a.outRow! + x * a.outPixel! + filter] = Math.max(a.threshold!, sum);
            });
          });
        }
      },
    }),
  ),
);

export const directWeightGradient: readonly KernelCheck[] = [0, 1].flatMap((accumulate) =>
  sizes.map(
    (size): KernelCheck => ({
      title: `${inWords(size)}, accumulate ${accumulate}`,
      arguments: {
        ...{ out: 1001, outRow: 67, map: 12_002, mapRow: 301, stepRow: 290 },
        ...{ gradient: 20_003, gradientRow: 1401, gradientPixel: 65, accumulate },
        ...size,
      },
      plain(m, a) {
        for (let filter = 0; filter < a.filters!; filter++) {
          const sums = new Float64Array(a.kernelRows! * a.run!);
          eachTap(a, (y, x, tap, place) => {
            sums[tap]! += m[place]! * m[a.gradient! + y * a.gradientRow! + x * a.gradientPixel! + filter]!;
          });
          sums.forEach((sum, tap) => {
            const out = a.out! + tap * a.outRow! + filter;
            m[out] = accumulate ? m[out]! + sum : sum;
          });
        }
      },
    }),
  ),
);
