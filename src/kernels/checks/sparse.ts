import { entryWords } from '../sparse.ts';
import { type Arguments, combinations, inWords, type KernelCheck, type Views } from './check.ts';

/** Kernels store offsets in bytes. */
const offsetBytes = 4;

/** Each winner with a gradient: filter by filter, window by window. */
function winnersOf(
  { floats, bytes }: Views,
  a: Arguments,
): { filter: number; offset: number; gradient: number }[] {
  const list = [];
  for (let filter = 0; filter < a.filters!; filter++) {
    for (let y = 0; y < a.pooledHeight!; y++) {
      for (let x = 0; x < a.pooledWidth!; x++) {
        const at = y * a.gradientRow! + x * a.pixel! + filter;
        const open = floats[a.pooled! + y * a.pooledRow! + x * a.pixel! + filter]! > a.threshold!;
        const gradient = open ? floats[a.gradient! + at]! : 0;
        if (gradient === 0) continue;
        const winner = bytes[4 * (a.winners! + y * a.winnerRow! + x * a.winnerPixel!) + filter]!;
        const row = y * a.pool! + Math.floor(winner / a.pool!);
        const column = x * a.pool! + (winner % a.pool!);
        list.push({
          filter,
          offset: row * a.stepRow! + column * a.stepPixel!,
          gradient,
        });
      }
    }
  }
  return list;
}

export const sparseCollect: readonly KernelCheck[] = combinations({
  pool: [2, 3, 4],
  filters: [4, 28],
  pooledWidth: [1, 5],
  biasStep: [1, 9],
  threshold: [0, Number.NEGATIVE_INFINITY],
}).map((size): KernelCheck => {
  const [lists, listStride, counts, table, live] = [
    20_000,
    15 * entryWords + entryWords + 2,
    31_000,
    30_000,
    40_000,
  ];
  return {
    title: inWords(size),
    arguments: {
      ...{
        lists,
        listStride,
        counts,
        table,
        live,
        bias: 32_000,
        accumulate: size.biasStep === 1 ? 1 : 0,
      },
      ...{ pooled: 1001, pooledRow: 150, gradient: 5003, gradientRow: 151, pixel: 29 },
      ...{ winners: 3002, winnerRow: 42, winnerPixel: 8 },
      ...{ pooledHeight: 3, stepRow: 91, stepPixel: 4 },
      ...size,
    },
    prepare({ floats, bytes }, a) {
      for (let y = 0; y < a.pooledHeight!; y++) {
        for (let i = 0; i < a.pooledWidth! * a.pixel!; i++) {
          // No gradient has either sign.
          if (i % 4 === 1) floats[a.gradient! + y * a.gradientRow! + i] = i % 8 === 1 ? 0 : -0;
        }
        for (let i = 0; i < 4 * a.pooledWidth! * a.winnerPixel!; i++) {
          bytes[4 * (a.winners! + y * a.winnerRow!) + i] = (5 * i + y) % size.pool ** 2;
        }
      }
    },
    plain(m, a, before) {
      const list = winnersOf(before, a);
      for (let filter = 0; filter < a.filters!; filter++) {
        const own = list.filter((entry) => entry.filter === filter);
        const bias = a.bias! + filter * a.biasStep!;
        m[bias] = own.reduce((sum, { gradient }) => sum + gradient, a.accumulate ? m[bias]! : 0);
      }
    },
    ignored: [
      [lists, lists + size.filters * listStride],
      [counts, counts + size.filters],
      [table, table + size.pool ** 2],
      [live, live + (3 * size.pooledWidth + 1) * size.filters],
    ],
    inspect({ floats, words }, a, before) {
      const expected = winnersOf(before, a);
      for (let filter = 0; filter < a.filters!; filter++) {
        const count = expected.filter((entry) => entry.filter === filter).length;
        if (words[counts + filter] !== count) return `${words[counts + filter]} entries instead of ${count}`;
      }
      const found = expected.map(({ filter }, i) => {
        const position = expected.slice(0, i).filter((entry) => entry.filter === filter).length;
        const at = lists + filter * listStride + position * entryWords;
        return {
          filter,
          offset: words[at]! / offsetBytes,
          gradient: floats[at + 1]!,
        };
      });
      return JSON.stringify(found) === JSON.stringify(expected) ? undefined : 'the lists differ';
    },
  };
});

/** Lists of 0, 1, 2 … entries; patches overlap. Runs need blocks of each size. */
const walks = combinations({
  filters: [1, 4],
  kernelRows: [1, 3],
  run: [4, 20, 36, 68, 124],
  accumulate: [0, 1],
}).map((size) => ({
  title: inWords(size),
  arguments: {
    ...{ lists: 20_000, listStride: 20, counts: 21_000, out: 1001, filterStride: 3 * 124 + 5 },
    ...{ map: 10_002, mapRow: 301, ...size },
  },
}));

function prepareLists({ words }: Views, a: Arguments): void {
  for (let filter = 0; filter < a.filters!; filter++) {
    const count = (filter + 1) % 4;
    words[a.counts! + filter] = count;
    for (let i = 0; i < count; i++) {
      words[a.lists! + filter * a.listStride! + i * entryWords] = offsetBytes * (4 * i + 13 * filter);
    }
  }
}

/** For each weight and each entry of its filter's list: the weight's offset, the value's in the map, the gradient. */
function eachEntry(
  { floats, words }: Views,
  a: Arguments,
  body: (weight: number, place: number, gradient: number) => void,
): void {
  for (let filter = 0; filter < a.filters!; filter++) {
    for (let row = 0; row < a.kernelRows!; row++) {
      for (let i = 0; i < a.run!; i++) {
        for (let n = 0; n < words[a.counts! + filter]!; n++) {
          const at = a.lists! + filter * a.listStride! + n * entryWords;
          const place = words[at]! / offsetBytes + row * a.mapRow! + i;
          body(filter * a.filterStride! + row * a.run! + i, place, floats[at + 1]!);
        }
      }
    }
  }
}

function plainWeightGradient(m: Float64Array, a: Arguments, before: Views): void {
  for (let filter = 0; !a.accumulate && filter < a.filters!; filter++) {
    const out = a.out! + filter * a.filterStride!;
    m.fill(0, out, out + a.kernelRows! * a.run!);
  }
  eachEntry(before, a, (weight, place, gradient) => {
    m[a.out! + weight]! += gradient * m[a.map! + place]!;
  });
}

export const sparseWeightGradient: readonly KernelCheck[] = walks.map(({ title, arguments: named }) => ({
  title,
  arguments: named,
  prepare: prepareLists,
  plain: plainWeightGradient,
}));

export const sparseGradients: readonly KernelCheck[] = walks.map(({ title, arguments: named }) => ({
  title,
  arguments: { ...named, weights: 5001, mapGradient: 15_003 },
  prepare: prepareLists,
  plain(m, a, before) {
    plainWeightGradient(m, a, before);
    eachEntry(before, a, (weight, place, gradient) => {
      m[a.mapGradient! + place]! += gradient * m[a.weights! + weight]!;
    });
  },
}));
