/**
 * Max-pooling with any window, stride and padding. The forward pass also stores the winner of each window: its position
 * in the window (row · width + column), as a byte, or as a float if a byte has too few values. The first of equal values wins and NaN always wins, as in PyTorch;
 * padding never wins. In the backward pass only winners have a gradient, and only where the pooled value is above
 * `threshold` (0 if a ReLU precedes the pool, −∞ otherwise).
 */
import { type KernelDefinition, kernel, type Recorder, range, type Value } from './language.ts';

/** The most positions of a window whose winners are bytes; the kernels for larger ones are called `maxPoolLarge…`. */
export const bytePositions = 256;

const windows = {
  pooled: 'pointer',
  pooledRow: 'offset',
  pooledPixel: 'offset',
  /** [height][width][channels]: bytes, with strides in floats. */
  winners: 'pointer',
  winnerRow: 'offset',
  winnerPixel: 'offset',
  map: 'pointer',
  mapRow: 'offset',
  mapPixel: 'offset',
  /** Of the map. */
  height: 'i32',
  width: 'i32',
  pooledHeight: 'i32',
  pooledWidth: 'i32',
  channels: 'i32',
  kernelHeight: 'i32',
  kernelWidth: 'i32',
  strideY: 'i32',
  strideX: 'i32',
  paddingY: 'i32',
  paddingX: 'i32',
} as const;

type Parameters = { readonly [K in keyof typeof windows]: Value };

interface Window {
  /** Address of this window and channel vector in the pooled map. */
  readonly pooled: Value;
  loadWinner(): Value;
  storeWinner(position: Value): void;
  readonly row: Value;
  readonly column: Value;
  readonly channel: Value;
  /** Position of the first place inside the map. */
  readonly firstPosition: Value;
  /** Calls `body` for each place of the window that lies inside the map. */
  forEach(body: (place: Value, position: Value) => void): void;
}

type Winners = 'bytes' | 'floats';

function forWindows(k: Recorder, p: Parameters, winners: Winners, body: (window: Window) => void): void {
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
        const winner = p.winners.plus(p.winnerRow.scale(y)).plus(p.winnerPixel.scale(x));
        const place = (): Value => (winners === 'bytes' ? winner.plusBytes(at) : winner.plus(channel));
        body({
          pooled: p.pooled.plus(p.pooledRow.scale(y)).plus(p.pooledPixel.scale(x)).plus(channel),
          loadWinner: () => (winners === 'bytes' ? k.loadBytes(place()) : k.load(place())),
          storeWinner(position) {
            if (winners === 'bytes') k.storeBytes(place(), position);
            else k.store(place(), position);
          },
          row: y,
          column: x,
          channel,
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

const pool = (name: string, winners: Winners): KernelDefinition =>
  kernel(
    name,
    `pooled and winners (${winners}) = the maximum of each window of a map, and its position`,
    windows,
    (k, p) => {
      forWindows(k, p, winners, (window) => {
        const largest = k.variable(k.vector(Number.NEGATIVE_INFINITY));
        const winner = k.variable(window.firstPosition.toFloat().splat());
        window.forEach((place, position) => {
          const value = k.load(place);
          const wins = value.greater(largest).or(value.unequal(value));
          largest.set(wins.select(value, largest));
          winner.set(wins.select(position.toFloat().splat(), winner));
        });
        k.store(window.pooled, largest);
        window.storeWinner(winner);
      });
    },
  );

export const maxPool: KernelDefinition = pool('maxPool', 'bytes');
export const maxPoolLarge: KernelDefinition = pool('maxPoolLarge', 'floats');

const gradients = {
  ...windows,
  /** Gradient of the pooled map. */
  gradient: 'pointer',
  gradientRow: 'offset',
  gradientPixel: 'offset',
  threshold: 'f32',
} as const;

const gatedGradient = (
  k: Recorder,
  p: { readonly [K in keyof typeof gradients]: Value },
  window: Window,
): Value => {
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
      forWindows(k, p, winners, (window) => {
        const zero = k.vector(0);
        const gradient = gatedGradient(k, p, window);
        const winner = window.loadWinner();
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
      forWindows(k, p, 'bytes', (window) => {
        const zero = k.vector(0);
        const gradient = gatedGradient(k, p, window);
        const winner = window.loadWinner();
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
