import { type Arguments, combinations, inWords, type KernelCheck } from './check.ts';

/** Columns around and beyond the sums that are formed side by side, channels that end in narrow vectors. */
const sizes = { rows: [1, 3], columns: [1, 4, 11], channels: [4, 12, 28] } as const;
const thresholds = [0, Number.NEGATIVE_INFINITY];

const map = { map: 2000, mapRow: 391, mapPixel: 30 };
const gradient = { gradient: 4000, gradientRow: 375, gradientPixel: 29 };
const out = { out: 6001, outRow: 403, outPixel: 31 };
const perChannel = { mean: 1100, scale: 1150, shift: 1200, offset: 1250, slope: 1300 };

/** Calls `body` for each channel with a function that walks its places, row by row, in each map. */
function channels(
  a: Arguments,
  body: (channel: number, forEach: (visit: (...at: number[]) => void) => void) => void,
  ...maps: readonly ('map' | 'gradient' | 'out')[]
): void {
  for (let c = 0; c < a.channels!; c++) {
    body(c, (visit) => {
      for (let y = 0; y < a.rows!; y++) {
        for (let x = 0; x < a.columns!; x++) {
          visit(...maps.map((name) => a[name]! + y * a[`${name}Row`]! + x * a[`${name}Pixel`]! + c));
        }
      }
    });
  }
}

export const channelMoments: readonly KernelCheck[] = combinations({ before: [0, 7], ...sizes }).flatMap(
  (size) =>
    // A mean far from 0, for which plain sums of squares cancel.
    [0, 1000].map(
      (mean): KernelCheck => ({
        title: `${inWords(size)}, around ${mean}`,
        arguments: { mean: 1000, squares: 1050, ...map, ...size },
        prepare({ floats }, a) {
          channels(
            a,
            (c, forEach) => {
              floats[a.mean! + c]! += mean;
              floats[a.squares! + c] = 5 * Math.abs(floats[a.squares! + c]!);
              forEach((at) => {
                floats[at!]! += mean;
              });
            },
            'map',
          );
        },
        plain(m, a) {
          channels(
            a,
            (c, forEach) => {
              const count = a.rows! * a.columns!;
              let sum = 0;
              let squares = 0;
              forEach((at) => {
                sum += m[at!]!;
              });
              const own = sum / count;
              forEach((at) => {
                squares += (m[at!]! - own) ** 2;
              });
              const all = a.before! + count;
              const apart = own - m[a.mean! + c]!;
              const joined = m[a.squares! + c]! + squares + (apart ** 2 * a.before! * count) / all;
              m[a.squares! + c] = a.before ? joined : squares;
              m[a.mean! + c] = a.before ? m[a.mean! + c]! + (apart * count) / all : own;
            },
            'map',
          );
        },
      }),
    ),
);

export const normalize: readonly KernelCheck[] = combinations({ threshold: thresholds, ...sizes }).map(
  (size) => {
    const { mean, scale, shift } = perChannel;
    return {
      title: inWords(size),
      arguments: { ...out, ...map, mean, scale, shift, ...size },
      prepare({ floats }, a) {
        floats[a.map! + 1] = Number.NaN;
      },
      plain(m, a) {
        channels(
          a,
          (c, forEach) =>
            forEach((to, from) => {
              const value = (m[from!]! - m[mean + c]!) * m[scale + c]! + m[shift + c]!;
              m[to!] = Math.max(a.threshold!, value);
            }),
          'out',
          'map',
        );
      },
    };
  },
);

export const normalizeSums: readonly KernelCheck[] = combinations({ accumulate: [0, 1], ...sizes }).map(
  (size) => ({
    title: inWords(size),
    arguments: { sums: 1000, products: 1050, ...gradient, ...map, mean: perChannel.mean, ...size },
    plain(m, a) {
      channels(
        a,
        (c, forEach) => {
          let sum = a.accumulate ? m[a.sums! + c]! : 0;
          let product = a.accumulate ? m[a.products! + c]! : 0;
          forEach((of, from) => {
            sum += m[of!]!;
            product += m[of!]! * (m[from!]! - m[a.mean! + c]!);
          });
          m[a.sums! + c] = sum;
          m[a.products! + c] = product;
        },
        'gradient',
        'map',
      );
    },
  }),
);

/** Into a separate map, and in place of the gradient. */
export const normalizeBackward: readonly KernelCheck[] = combinations({
  threshold: thresholds,
  ...sizes,
}).flatMap((size) => {
  const { mean, scale, offset, slope } = perChannel;
  const { gradient: place, gradientRow, gradientPixel } = gradient;
  const inPlace = { out: place, outRow: gradientRow, outPixel: gradientPixel };
  return [out, inPlace].map(
    (target): KernelCheck => ({
      title: `${inWords(size)}${target === out ? '' : ', in place'}`,
      arguments: { ...target, ...gradient, ...map, mean, scale, offset, slope, ...size },
      plain(m, a) {
        channels(
          a,
          (c, forEach) =>
            forEach((to, of, from) => {
              const free = m[of!]! - m[offset + c]! - (m[from!]! - m[mean + c]!) * m[slope + c]!;
              m[to!] = m[from!]! > a.threshold! ? free * m[scale + c]! : 0;
            }),
          'out',
          'gradient',
          'map',
        );
      },
    }),
  );
});
