/**
 * Local response normalization: values divided by (k + factor · the sum of squares of `size` neighboring channels)^β.
 * The squares of a row of pixels are copied to working memory with zeros around each pixel's channels, so that a window
 * is `size` loads of vectors.
 *
 * A power needs no logarithm: with β = whole + 0.b₁b₂b₃… in binary, base^β is base^whole times the roots base^½, base^¼,
 * base^⅛ … whose digit is 1. For β = ¾ these are two square roots. Each root halves the error of the one before, so the
 * roots are as exact as one rounding each.
 */
import { type KernelDefinition, kernel, type Recorder, type Value } from './language.ts';

/** The bits of an exponent's fraction; the rest changes a power of a base up to 7 by less than a float's rounding. */
export const exponentBits = 24;

/** The arguments that stand for an exponent ≥ 0. */
export function exponentArguments(exponent: number): { whole: number; fraction: number; digits: number } {
  const steps = Math.round(exponent * 2 ** exponentBits);
  const whole = Math.floor(steps / 2 ** exponentBits);
  const fraction = steps - whole * 2 ** exponentBits;
  let digits = 0;
  while (fraction % 2 ** (exponentBits - digits) !== 0) digits++;
  return { whole, fraction, digits };
}

const exponent = {
  whole: 'i32',
  /** In steps of 2^−24. */
  fraction: 'i32',
  /** Of the fraction, up to its last 1. */
  digits: 'i32',
} as const;

const common = {
  map: 'pointer',
  mapRow: 'offset',
  /** Of the first pixel's first channel in a row's squares. */
  squares: 'pointer',
  /** From a pixel to the next in `squares` and `terms`, with the zeros between their channels. */
  workingPixel: 'offset',
  /** Channels of a window before its own, and all. */
  before: 'offset',
  size: 'i32',
  rows: 'i32',
  columns: 'i32',
  channels: 'i32',
  factor: 'f32',
  constant: 'f32',
  ...exponent,
} as const;

type Values<T> = { readonly [K in keyof T]: Value };

/** base^exponent. */
function power(k: Recorder, base: Value, p: Values<typeof exponent>): Value {
  const result = k.variable(k.vector(1));
  k.loop(p.whole, () => result.set(result.mul(base)));
  const root = k.variable(base);
  const rest = k.variable(p.fraction);
  k.loop(p.digits, () => {
    root.set(root.sqrt());
    rest.set(rest.mul(2));
    k.if(rest.greater(2 ** exponentBits - 1), () => {
      rest.set(rest.sub(2 ** exponentBits));
      result.set(result.mul(root));
    });
  });
  return result;
}

/** The sum of `size` neighboring channels, a vector of them, from `first` on. */
function windowSum(k: Recorder, first: Value, size: Value): Value {
  const sum = k.variable(k.vector(0));
  const place = k.variable(first);
  k.loop(size, () => {
    sum.set(sum.add(k.load(place)));
    place.advance(1);
  });
  return sum;
}

/** Where a vector of channels of a pixel is. */
interface Place {
  /** From the start of a map's row. */
  readonly at: Value;
  /** From the first pixel in working memory. */
  readonly working: Value;
}

/** Calls `body` for each vector of a row's pixels. */
function forChannels(
  k: Recorder,
  p: Values<Pick<typeof common, 'columns' | 'channels' | 'workingPixel'>>,
  body: (place: Place) => void,
): void {
  k.loop(p.columns, (column) => {
    const pixel = p.channels.mul(column).toOffset();
    const workingPixel = p.workingPixel.scale(column);
    k.vectors(p.channels, (channel) => {
      const own = channel.toOffset();
      body({ at: pixel.add(own), working: workingPixel.add(own) });
    });
  });
}

/** Copies the squares of a row, and returns the bases of powers at a place. */
function basesOf(k: Recorder, p: Values<typeof common>, map: Value): (place: Place) => Value {
  forChannels(k, p, ({ at, working }) => {
    const value = k.loadKept(map.plus(at));
    k.store(p.squares.plus(working), value.mul(value));
  });
  const windows = p.squares.plus(p.before.scale(-1));
  return ({ working }) => {
    const sum = windowSum(k, windows.plus(working), p.size);
    return k.variable(sum.mul(p.factor.splat()).add(p.constant.splat()));
  };
}

export const localResponse: KernelDefinition = kernel(
  'localResponse',
  'out = map / (constant + factor · sum of squares of neighboring channels)^exponent',
  { out: 'pointer', outRow: 'offset', ...common },
  (k, p) => {
    k.loop(p.rows, (row) => {
      const map = k.variable(p.map.plus(p.mapRow.scale(row)));
      const out = k.variable(p.out.plus(p.outRow.scale(row)));
      const baseAt = basesOf(k, p, map);
      forChannels(k, p, (place) => {
        const divisor = power(k, baseAt(place), p);
        k.store(out.plus(place.at), k.load(map.plus(place.at)).div(divisor));
      });
    });
  },
);

export const localResponseBackward: KernelDefinition = kernel(
  'localResponseBackward',
  'out (gradient of map) = gradient / base^exponent − scale · map · sum of gradient · map / base^(exponent + 1)',
  {
    out: 'pointer',
    outRow: 'offset',
    gradient: 'pointer',
    gradientRow: 'offset',
    ...common,
    /** Like `squares`. */
    terms: 'pointer',
    /** Channels behind a window's own: those before in the windows that hold a value. */
    behind: 'offset',
    /** 2 · factor · exponent. */
    scale: 'f32',
  },
  (k, p) => {
    k.loop(p.rows, (row) => {
      const map = k.variable(p.map.plus(p.mapRow.scale(row)));
      const out = k.variable(p.out.plus(p.outRow.scale(row)));
      const gradients = k.variable(p.gradient.plus(p.gradientRow.scale(row)));
      const baseAt = basesOf(k, p, map);
      forChannels(k, p, (place) => {
        const base = baseAt(place);
        const direct = k.variable(k.load(gradients.plus(place.at)).div(power(k, base, p)));
        k.store(out.plus(place.at), direct);
        k.store(p.terms.plus(place.working), direct.mul(k.load(map.plus(place.at))).div(base));
      });
      const windows = p.terms.plus(p.behind.scale(-1));
      forChannels(k, p, (place) => {
        const sum = windowSum(k, windows.plus(place.working), p.size);
        const others = k.load(map.plus(place.at)).mul(p.scale.splat()).mul(sum);
        const to = out.plus(place.at);
        k.store(to, k.load(to).sub(others));
      });
    });
  },
);
