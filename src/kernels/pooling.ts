/**
 * Pooling with any window, stride and padding.
 *
 * Max-pooling's forward pass also stores the winner of each window: its position in the window (row · width + column), as
 * a byte, or as a float if a byte has too few values. The first of equal values wins and NaN always wins, as in PyTorch;
 * padding never wins. In the backward pass only winners have a gradient, and only where the pooled value is above
 * `threshold` (0 if a ReLU precedes the pool, −∞ otherwise).
 *
 * Average pooling multiplies sums of windows by one over their size; padding counts as zeros. Adaptive pooling does so with
 * windows that follow from the sizes of both maps.
 */
import { type KernelDefinition, kernel, type Recorder, range, type Value } from './language.ts';

/** The most positions of a window whose winners are bytes; the kernels for larger ones are called `maxPoolLarge…`. */
export const bytePositions = 256;

/** A map and its pooled map. */
const maps = {
  pooled: 'pointer',
  pooledRow: 'offset',
  pooledPixel: 'offset',
  map: 'pointer',
  mapRow: 'offset',
  mapPixel: 'offset',
  /** Of the map. */
  height: 'i32',
  width: 'i32',
  pooledHeight: 'i32',
  pooledWidth: 'i32',
  channels: 'i32',
} as const;

const windows = {
  ...maps,
  kernelHeight: 'i32',
  kernelWidth: 'i32',
  strideY: 'i32',
  strideX: 'i32',
  paddingY: 'i32',
  paddingX: 'i32',
} as const;

type Values<T> = { readonly [K in keyof T]: Value };

interface Window {
  /** Address of this window and channel vector in the pooled map. */
  readonly pooled: Value;
  readonly row: Value;
  readonly column: Value;
  readonly channel: Value;
  /** The same in floats, as a number. */
  readonly at: Value;
  /** Position of the first place inside the map. */
  readonly firstPosition: Value;
  /** Calls `body` for each place of the window that lies inside the map. */
  forEach(body: (place: Value, position: Value) => void): void;
}

function forWindows(k: Recorder, p: Values<typeof windows>, body: (window: Window) => void): void {
  const clip = (start: Value, kernelSize: Value, size: Value): { from: Value; count: Value } => {
    const from = k.integer(0).max(k.integer(0).sub(start));
    const beyond = start.add(kernelSize).sub(size).max(0);
    return { from, count: kernelSize.sub(beyond).sub(from) };
  };
  k.loop(p.pooledHeight, (y) => {
    const top = y.mul(p.strideY).sub(p.paddingY);
    const rows = clip(top, p.kernelHeight, p.height);
    k.loop(p.pooledWidth, (x) => {
      const left = x.mul(p.strideX).sub(p.paddingX);
      const columns = clip(left, p.kernelWidth, p.width);
      k.vectors(p.channels, (at) => {
        const channel = at.toOffset();
        body({
          pooled: p.pooled.plus(p.pooledRow.scale(y)).plus(p.pooledPixel.scale(x)).plus(channel),
          row: y,
          column: x,
          channel,
          at,
          firstPosition: rows.from.mul(p.kernelWidth).add(columns.from),
          forEach(each) {
            k.loop(rows.count, (i) => {
              const ky = rows.from.add(i);
              const row = p.map.plus(p.mapRow.scale(top.add(ky))).plus(channel);
              k.loop(columns.count, (j) => {
                const kx = columns.from.add(j);
                each(row.plus(p.mapPixel.scale(left.add(kx))), ky.mul(p.kernelWidth).add(kx));
              });
            });
          },
        });
      });
    });
  });
}

const maxWindows = {
  ...windows,
  /** [height][width][channels]: bytes or floats, with strides in floats. */
  winners: 'pointer',
  winnerRow: 'offset',
  winnerPixel: 'offset',
} as const;

type Winners = 'bytes' | 'floats';

/** Address of a window's winners. */
function winnersAt(
  p: Values<typeof maxWindows>,
  winners: Winners,
  { row, column, channel, at }: Window,
): Value {
  const winner = p.winners.plus(p.winnerRow.scale(row)).plus(p.winnerPixel.scale(column));
  return winners === 'bytes' ? winner.plusBytes(at) : winner.plus(channel);
}

const pool = (name: string, winners: Winners): KernelDefinition =>
  kernel(
    name,
    `pooled and winners (${winners}) = the maximum of each window of a map, and its position`,
    maxWindows,
    (k, p) => {
      forWindows(k, p, (window) => {
        const largest = k.variable(k.vector(Number.NEGATIVE_INFINITY));
        const winner = k.variable(window.firstPosition.toFloat().splat());
        window.forEach((place, position) => {
          const value = k.load(place);
          const wins = value.greater(largest).or(value.unequal(value));
          largest.set(wins.select(value, largest));
          winner.set(wins.select(position.toFloat().splat(), winner));
        });
        k.store(window.pooled, largest);
        const to = winnersAt(p, winners, window);
        if (winners === 'bytes') k.storeBytes(to, winner);
        else k.store(to, winner);
      });
    },
  );

export const maxPool: KernelDefinition = pool('maxPool', 'bytes');
export const maxPoolLarge: KernelDefinition = pool('maxPoolLarge', 'floats');

const gradients = {
  ...maxWindows,
  /** Gradient of the pooled map. */
  gradient: 'pointer',
  gradientRow: 'offset',
  gradientPixel: 'offset',
  threshold: 'f32',
} as const;

const gatedGradient = (k: Recorder, p: Values<typeof gradients>, window: Window): Value => {
  const place = p.gradient
    .plus(p.gradientRow.scale(window.row))
    .plus(p.gradientPixel.scale(window.column))
    .plus(window.channel);
  return k.load(window.pooled).greater(p.threshold.splat()).select(k.load(place), k.vector(0));
};

const poolBackward = (name: string, winners: Winners): KernelDefinition =>
  kernel(
    name,
    `map (the gradient, zero at first) += the gradient of each window at its winner (${winners})`,
    gradients,
    (k, p) => {
      forWindows(k, p, (window) => {
        const zero = k.vector(0);
        const gradient = gatedGradient(k, p, window);
        const from = winnersAt(p, winners, window);
        const winner = winners === 'bytes' ? k.loadBytes(from) : k.load(from);
        window.forEach((place, position) => {
          const loses = winner.unequal(position.toFloat().splat());
          k.store(place, k.load(place).add(loses.select(zero, gradient)));
        });
      });
    },
  );

export const maxPoolBackward: KernelDefinition = poolBackward('maxPoolBackward', 'bytes');
export const maxPoolLargeBackward: KernelDefinition = poolBackward('maxPoolLargeBackward', 'floats');

/** For windows inside the map that do not overlap: writes every position of each window. */
const unpool = (name: string, size: number): KernelDefinition =>
  kernel(
    name,
    `map = the gradient of each window of ${size}×${size} at its winner, 0 elsewhere`,
    gradients,
    (k, p) => {
      const windowRow = p.mapRow.scale(size);
      const windowColumn = p.mapPixel.scale(size);
      forWindows(k, p, (window) => {
        const zero = k.vector(0);
        const gradient = gatedGradient(k, p, window);
        const winner = k.loadBytes(winnersAt(p, 'bytes', window));
        let row = p.map
          .plus(windowRow.scale(window.row))
          .plus(windowColumn.scale(window.column))
          .plus(window.channel);
        for (const y of range(size)) {
          if (y > 0) row = row.plus(p.mapRow);
          let place = row;
          for (const x of range(size)) {
            if (x > 0) place = place.plus(p.mapPixel);
            k.store(place, winner.unequal(k.vector(y * size + x)).select(zero, gradient));
          }
        }
      });
    },
  );

export const unpool2: KernelDefinition = unpool('unpool2', 2);
export const unpool4: KernelDefinition = unpool('unpool4', 4);

const averages = {
  ...windows,
  /** One over the size of a window. */
  factor: 'f32',
} as const;

export const averagePool: KernelDefinition = kernel(
  'averagePool',
  'pooled = factor · the sum of each window of a map',
  averages,
  (k, p) => {
    forWindows(k, p, ({ pooled, forEach }) => {
      const sum = k.variable(k.vector(0));
      forEach((place) => sum.set(sum.add(k.load(place))));
      k.store(pooled, sum.mul(p.factor.splat()));
    });
  },
);

export const averagePoolBackward: KernelDefinition = kernel(
  'averagePoolBackward',
  'map (the gradient, zero at first) += factor · pooled (its gradient) in each window',
  averages,
  (k, p) => {
    forWindows(k, p, ({ pooled, forEach }) => {
      const share = k.load(pooled).mul(p.factor.splat());
      forEach((place) => k.store(place, k.load(place).add(share)));
    });
  },
);

/** Calls `body` for each window and channel vector: with one over the window's size, and a walk through its places. */
function forAdaptiveWindows(
  k: Recorder,
  p: Values<typeof maps>,
  body: (pooled: Value, factor: Value, forEach: (each: (place: Value) => void) => void) => void,
): void {
  /** Window i reaches from ⌊i · size / windows⌋ to ⌈(i + 1) · size / windows⌉. */
  const windowOf = (i: Value, size: Value, windows: Value): { from: Value; count: Value } => {
    const from = i.mul(size).div(windows);
    const to = i.add(1).mul(size).add(windows.sub(1)).div(windows);
    return { from, count: to.sub(from) };
  };
  k.loop(p.pooledHeight, (y) => {
    const rows = windowOf(y, p.height, p.pooledHeight);
    const top = p.map.plus(p.mapRow.scale(rows.from));
    k.loop(p.pooledWidth, (x) => {
      const columns = windowOf(x, p.width, p.pooledWidth);
      const corner = top.plus(p.mapPixel.scale(columns.from));
      const pooled = p.pooled.plus(p.pooledRow.scale(y)).plus(p.pooledPixel.scale(x));
      const factor = k.constant('f32', 1).div(rows.count.mul(columns.count).toFloat());
      k.vectors(p.channels, (at) => {
        const channel = at.toOffset();
        body(pooled.plus(channel), factor, (each) => {
          k.loop(rows.count, (i) => {
            const row = corner.plus(p.mapRow.scale(i)).plus(channel);
            k.loop(columns.count, (j) => each(row.plus(p.mapPixel.scale(j))));
          });
        });
      });
    });
  });
}

export const adaptivePool: KernelDefinition = kernel(
  'adaptivePool',
  'pooled = the mean of each window of a map; windows divide its sides evenly and may overlap',
  maps,
  (k, p) => {
    forAdaptiveWindows(k, p, (pooled, factor, forEach) => {
      const sum = k.variable(k.vector(0));
      forEach((place) => sum.set(sum.add(k.load(place))));
      k.store(pooled, sum.mul(factor.splat()));
    });
  },
);

export const adaptivePoolBackward: KernelDefinition = kernel(
  'adaptivePoolBackward',
  'map (the gradient, zero at first) += pooled (its gradient) over the size of each window',
  maps,
  (k, p) => {
    forAdaptiveWindows(k, p, (pooled, factor, forEach) => {
      const share = k.variable(k.load(pooled).mul(factor.splat()));
      forEach((place) => k.store(place, k.load(place).add(share)));
    });
  },
);
