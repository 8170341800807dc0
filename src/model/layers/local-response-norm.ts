/**
 * Local response normalization (Krizhevsky et al. 2012, section 3.3) as PyTorch's nn.LocalResponseNorm: each value is
 * divided by (k + α/n · the sum of squares of n neighboring channels at its place)^β. The window of channel c reaches
 * from c − ⌊n/2⌋ to c + ⌊(n−1)/2⌋; channels outside the map count as zeros, and α is divided by n at the edges, too.
 * Krizhevsky's α = 10⁻⁴ is not divided by n = 5, so here it is 5·10⁻⁴.
 */
import { UsageError } from '../../errors.ts';
import { shown } from '../../options.ts';
import type { LayerKind, LayerPasses, LocalResponseNormSpec, Tensor } from '../layer.ts';
import { featureMap, knownArguments, named, wholeNumber } from './arguments.ts';

export interface LocalResponseNormOptions {
  /** Channels in a window, n. */
  readonly size: number;
  /** Factor of the mean square; 0.0001 by default. */
  readonly alpha?: number;
  /** Exponent; 0.75 by default. */
  readonly beta?: number;
  /** Added to the weighted mean square; 1 by default. */
  readonly k?: number;
  readonly name?: string;
}

/** Twice the channels of VGG's widest layer. */
const largestWindow = 1024;
/** Within these, a float32 holds the powers of any activations of a usual size. */
const ranges = { alpha: [0, 1e6], beta: [0, 4], k: [1e-6, 1e6] } as const;

function numberWithin(argument: keyof typeof ranges, value: unknown): number {
  const [least, most] = ranges[argument];
  if (typeof value === 'number' && value >= least && value <= most) return value;
  throw new UsageError(
    `localResponseNorm: ${argument} ${shown(value)} is not a number from ${least} to ${most}`,
  );
}

/**
 * Divides each value by the mean square of neighboring channels: `localResponseNorm(5)`, or with the constants of
 * Krizhevsky `localResponseNorm({ size: 5, alpha: 5e-4, beta: 0.75, k: 2 })`.
 * @throws UsageError if an argument is out of range.
 */
export function localResponseNorm(sizeOrOptions: number | LocalResponseNormOptions): LocalResponseNormSpec {
  const options =
    typeof sizeOrOptions === 'object' && sizeOrOptions !== null ? sizeOrOptions : { size: sizeOrOptions };
  knownArguments('localResponseNorm', options, ['size', 'alpha', 'beta', 'k', 'name']);
  return {
    kind: 'localResponseNorm',
    ...named('localResponseNorm', options.name),
    size: wholeNumber('localResponseNorm', 'size', options.size, 1, largestWindow),
    alpha: numberWithin('alpha', options.alpha ?? 1e-4),
    beta: numberWithin('beta', options.beta ?? 0.75),
    k: numberWithin('k', options.k ?? 1),
  };
}

/** Channels of a window before and behind its own. */
export const windowSides = ({
  size,
}: LocalResponseNormSpec): { readonly before: number; readonly behind: number } => ({
  before: Math.floor(size / 2),
  behind: Math.floor((size - 1) / 2),
});

/** For each value of `data` the sum over the channels c − before … c + behind at its place. */
function windowSums({ shape, data }: Tensor, before: number, behind: number): Float64Array {
  const [batch = 0, channels = 0, height = 0, width = 0] = shape;
  const plane = height * width;
  const sums = new Float64Array(data.length);
  for (let image = 0; image < batch; image++) {
    for (let channel = 0; channel < channels; channel++) {
      const last = Math.min(channels - 1, channel + behind);
      for (let other = Math.max(0, channel - before); other <= last; other++) {
        const to = (image * channels + channel) * plane;
        const from = (image * channels + other) * plane;
        for (let i = 0; i < plane; i++) sums[to + i]! += data[from + i]!;
      }
    }
  }
  return sums;
}

/** k + α/n · the sum of squares in each value's window. */
function bases(spec: LocalResponseNormSpec, { shape, data }: Tensor): Float64Array {
  const { before, behind } = windowSides(spec);
  const squares = { shape, data: data.map((value) => value * value) };
  return windowSums(squares, before, behind).map((sum) => spec.k + (spec.alpha / spec.size) * sum);
}

export const localResponseNormKind: LayerKind<LocalResponseNormSpec> = {
  kind: 'localResponseNorm',
  // A value's window holds the channels of its own place.
  role: 'pointwise',
  outputShape: ({ kind }, input, place) => featureMap(kind, input, place),
  parameters: () => [],
  multiplyAdds: () => 0,
};

export const localResponseNormPasses: LayerPasses<LocalResponseNormSpec> = {
  forward(spec, input) {
    const base = bases(spec, input);
    return { shape: input.shape, data: input.data.map((value, i) => value / base[i]! ** spec.beta) };
  },

  /** A value divides those whose windows hold it: a window from c − ⌊(n−1)/2⌋ to c + ⌊n/2⌋. */
  backward(spec, { shape, data }, _parameters, { data: gradient }) {
    const { before, behind } = windowSides(spec);
    const base = bases(spec, { shape, data });
    const terms = data.map((value, i) => (gradient[i]! * value) / base[i]! ** (spec.beta + 1));
    const sums = windowSums({ shape, data: terms }, behind, before);
    const scale = (2 * spec.alpha * spec.beta) / spec.size;
    return {
      input: {
        shape,
        data: data.map((value, i) => gradient[i]! / base[i]! ** spec.beta - scale * value * sums[i]!),
      },
      parameters: [],
    };
  },
};
