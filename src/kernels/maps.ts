/**
 * Kernels over feature maps [rows][columns][channels], stored with strides between rows and between pixels. A map may
 * have a halo of zeros, the padding of the convolution that reads it. Channels are a multiple of the granule, except in
 * the network's input image. `threshold` is 0 if a ReLU is fused, −∞ otherwise.
 */
import {
  granule,
  type KernelDefinition,
  kernel,
  lineFloats,
  type Recorder,
  range,
  type Value,
} from './language.ts';

/**
 * Loops over `length` floats (a multiple of the granule) of each of `rows` rows. `body` gets the row's position in each
 * of the maps, given as pointer and row stride, and records the operations for each vector.
 */
function forRowVectors(
  k: Recorder,
  rows: Value,
  length: Value,
  maps: readonly (readonly [pointer: Value, row: Value])[],
  body: (at: Value, ...places: Value[]) => void,
): void {
  k.loop(rows, (row) => {
    const starts = maps.map(([pointer, stride]) => pointer.plus(stride.scale(row)));
    k.vectors(length, (at) => {
      const offset = at.toOffset();
      body(offset, ...starts.map((start) => start.plus(offset)));
    });
  });
}

export const fill: KernelDefinition = kernel(
  'fill',
  'out[rows][length] = value; the length is a multiple of the granule',
  { out: 'pointer', outRow: 'offset', rows: 'i32', length: 'i32', value: 'f32' },
  (k, p) => {
    forRowVectors(k, p.rows, p.length, [[p.out, p.outRow]], (_, out) => k.store(out!, p.value.splat()));
  },
);

export const relu: KernelDefinition = kernel(
  'relu',
  'out[rows][length] = max(threshold, map)',
  {
    out: 'pointer',
    outRow: 'offset',
    map: 'pointer',
    mapRow: 'offset',
    rows: 'i32',
    length: 'i32',
    threshold: 'f32',
  },
  (k, p) => {
    const maps = [
      [p.map, p.mapRow],
      [p.out, p.outRow],
    ] as const;
    forRowVectors(k, p.rows, p.length, maps, (_, map, out) =>
      k.store(out!, k.load(map!).max(p.threshold.splat())),
    );
  },
);

export const multiply: KernelDefinition = kernel(
  'multiply',
  'out[rows][length] = map · factors',
  {
    out: 'pointer',
    outRow: 'offset',
    map: 'pointer',
    mapRow: 'offset',
    factors: 'pointer',
    factorRow: 'offset',
    rows: 'i32',
    length: 'i32',
  },
  (k, p) => {
    const maps = [
      [p.map, p.mapRow],
      [p.factors, p.factorRow],
      [p.out, p.outRow],
    ] as const;
    forRowVectors(k, p.rows, p.length, maps, (_, map, factors, out) =>
      k.store(out!, k.load(map!).mul(k.load(factors!))),
    );
  },
);

export const reluBackward: KernelDefinition = kernel(
  'reluBackward',
  'out[rows][length] = gradient where activation > threshold, else 0',
  {
    out: 'pointer',
    outRow: 'offset',
    gradient: 'pointer',
    gradientRow: 'offset',
    activation: 'pointer',
    activationRow: 'offset',
    rows: 'i32',
    length: 'i32',
    threshold: 'f32',
  },
  (k, p) => {
    const maps = [
      [p.activation, p.activationRow],
      [p.gradient, p.gradientRow],
      [p.out, p.outRow],
    ] as const;
    forRowVectors(k, p.rows, p.length, maps, (_, activation, gradient, out) => {
      const passes = k.load(activation!).greater(p.threshold.splat());
      k.store(out!, passes.select(k.load(gradient!), k.vector(0)));
    });
  },
);

export const addBias: KernelDefinition = kernel(
  'addBias',
  'out[rows][columns] = max(threshold, out + bias[columns])',
  { out: 'pointer', outRow: 'offset', rows: 'i32', columns: 'i32', bias: 'pointer', threshold: 'f32' },
  (k, p) => {
    forRowVectors(k, p.rows, p.columns, [[p.out, p.outRow]], (at, out) => {
      const sum = k.load(out!).add(k.load(p.bias.plus(at)));
      k.store(out!, sum.max(p.threshold.splat()));
    });
  },
);

export const sumPixels: KernelDefinition = kernel(
  'sumPixels',
  'out[channels] (+)= Σ over rows and columns of a map',
  {
    out: 'pointer',
    map: 'pointer',
    mapRow: 'offset',
    mapPixel: 'offset',
    rows: 'i32',
    columns: 'i32',
    channels: 'i32',
    accumulate: 'i32',
  },
  (k, p) => {
    k.vectors(p.channels, (channel) => {
      const at = channel.toOffset();
      const out = p.out.plus(at);
      // Four independent sums, because one would wait for itself.
      const sums = range(4).map(() => k.variable(k.vector(0)));
      const [first, second, third, fourth] = sums as [Value, Value, Value, Value];
      k.if(p.accumulate, () => first.set(k.load(out)));
      k.loop(p.rows, (row) => {
        const place = k.variable(p.map.plus(at).plus(p.mapRow.scale(row)));
        const add = (sum: Value): void => {
          sum.set(sum.add(k.load(place)));
          place.advance(p.mapPixel);
        };
        const fours = p.columns.div(4);
        k.loop(fours, () => sums.forEach(add));
        k.loop(p.columns.sub(fours.mul(4)), () => add(first));
      });
      k.store(out, first.add(second).add(third.add(fourth)));
    });
  },
);

export const transpose: KernelDefinition = kernel(
  'transpose',
  'out[columns][rows] = matrix[rows][columns]',
  { out: 'pointer', outRow: 'offset', matrix: 'pointer', matrixRow: 'offset', rows: 'i32', columns: 'i32' },
  (k, p) => {
    k.loop(p.rows, (row) => {
      const place = p.matrix.plus(p.matrixRow.scale(row));
      const out = p.out.plus(row.toOffset());
      k.vectors(p.columns, (column) =>
        k.scatter(out.plus(p.outRow.scale(column)), k.load(place.plus(column.toOffset())), p.outRow),
      );
    });
  },
);

const patches = {
  columns: 'pointer',
  columnStride: 'offset',
  /** Corner of the first patch: the map's corner minus the padding. */
  map: 'pointer',
  mapRow: 'offset',
  /** Distance between patches: the convolution's stride. */
  stepRow: 'offset',
  stepPixel: 'offset',
  outRows: 'i32',
  outColumns: 'i32',
  kernelRows: 'i32',
  /** Floats of a patch's row: kernel width · channels; any number. */
  run: 'i32',
} as const;

function forPatches(
  k: Recorder,
  p: { readonly [K in keyof typeof patches]: Value },
  body: (column: Value, place: Value) => void,
): void {
  k.loop(p.outRows, (y) => {
    k.loop(p.outColumns, (x) => {
      const column = k.variable(p.columns.plus(p.columnStride.scale(y.mul(p.outColumns).add(x))));
      const place = k.variable(p.map.plus(p.stepRow.scale(y)).plus(p.stepPixel.scale(x)));
      body(column, place);
    });
  });
}

/**
 * Copies whole vectors and thereby writes up to lanes − 1 floats after a run; the next run or patch overwrites them.
 * There must be room for a vector after the last patch.
 */
export const im2col: KernelDefinition = kernel(
  'im2col',
  'columns[outRows · outColumns][kernelRows · run] = the patches of a map, each followed by 1, then zeros',
  {
    ...patches,
    one: 'f32',
    /** Floats from a patch's end to the next. */
    tail: 'i32',
  },
  (k, p) => {
    const vectors = p.run.add(k.lanes - 1).div(k.lanes);
    const run = p.run.toOffset();
    forPatches(k, p, (column, place) => {
      k.loop(p.kernelRows, () => {
        const [from, to] = [k.variable(place), k.variable(column)];
        const copy = (count: number): void => {
          for (const i of range(count)) k.store(to, k.load(from, i * k.lanes), i * k.lanes);
          from.advance(count * k.lanes);
          to.advance(count * k.lanes);
        };
        const triples = vectors.div(3);
        k.loop(triples, () => copy(3));
        k.loop(vectors.sub(triples.mul(3)), () => copy(1));
        column.advance(run);
        place.advance(p.mapRow);
      });
      const end = k.variable(column);
      k.loop(p.tail.add(granule - 1).div(granule), () => {
        k.store(end, k.vector(0, granule));
        end.advance(granule);
      });
      k.store(column, p.one);
    });
  },
);

export const col2im: KernelDefinition = kernel(
  'col2im',
  'map += the patches in columns, each at its position',
  patches,
  (k, p) => {
    const whole = p.run.div(granule).mul(granule);
    const run = p.run.toOffset();
    forPatches(k, p, (column, place) => {
      k.loop(p.kernelRows, () => {
        const add = (at: Value, load: (pointer: Value) => Value): void =>
          k.store(place.plus(at), load(place.plus(at)).add(load(column.plus(at))));
        k.vectors(whole, (at) => add(at.toOffset(), (pointer) => k.load(pointer)));
        k.loop(p.run.sub(whole), (i) => add(whole.add(i).toOffset(), (pointer) => k.loadFloat(pointer)));
        column.advance(run);
        place.advance(p.mapRow);
      });
    });
  },
);

/** Values that a byte can have. */
export const byteLevels = 256;

/** Pixels of a row that `loadImage` reads together. */
const pixelsAtOnce = 4;

/** An image's bytes, planar, become floats by a table, placed by crop and flip. */
export const loadImage: KernelDefinition = kernel(
  'loadImage',
  'map[rows][columns][channels] = values[channel][byte] of bytes[channels][…], flipped and cropped; of byte 0 outside',
  {
    map: 'pointer',
    mapRow: 'offset',
    mapPixel: 'offset',
    bytes: 'pointer',
    /** Bytes of a channel and of a row; bytes from one pixel to the next: 1, or −1 when flipped. */
    planeBytes: 'i32',
    rowBytes: 'i32',
    stepBytes: 'i32',
    /** Byte of output row 0, column 0 in channel 0; may lie outside. */
    firstByte: 'i32',
    channels: 'i32',
    rows: 'i32',
    columns: 'i32',
    /** The output rows and columns that lie inside the image. */
    rowFrom: 'i32',
    rowTo: 'i32',
    columnFrom: 'i32',
    columnTo: 'i32',
    /** The float for each byte value, [channels][256]. */
    values: 'pointer',
  },
  (k, p) => {
    const pixels = range(pixelsAtOnce).map((i) => p.mapPixel.scale(i));
    const group = p.mapPixel.scale(pixelsAtOnce);
    const inside = p.columnTo.sub(p.columnFrom);
    const groups = inside.div(pixelsAtOnce);
    const rest = inside.sub(groups.mul(pixelsAtOnce));
    k.loop(p.channels, (channel) => {
      const values = p.values.plus(channel.mul(byteLevels).toOffset());
      const padding = k.loadFloat(values);
      const first = p.map.plus(channel.toOffset());
      k.loop(p.rows, (y) => {
        const row = first.plus(p.mapRow.scale(y));
        const outside = (from: Value, count: Value): void => {
          const place = k.variable(row.plus(p.mapPixel.scale(from)));
          k.loop(count, () => {
            k.store(place, padding);
            place.advance(p.mapPixel);
          });
        };
        k.if(
          y.greater(p.rowFrom.sub(1)).mul(p.rowTo.greater(y)),
          () => {
            outside(k.integer(0), p.columnFrom);
            outside(p.columnTo, p.columns.sub(p.columnTo));
            const byte = k.variable(
              p.bytes.plusBytes(
                p.firstByte
                  .add(channel.mul(p.planeBytes))
                  .add(y.mul(p.rowBytes))
                  .add(p.columnFrom.mul(p.stepBytes)),
              ),
            );
            const place = k.variable(row.plus(p.mapPixel.scale(p.columnFrom)));
            const read = (from: Value, at: number): Value =>
              k.loadFloat(values.plus(k.loadByte(from, at).toOffset()));
            /** The next group: pixel i is byte `at(i)` after `start`. */
            const readGroup = (start: Value, at: (i: number) => number): void => {
              pixels.forEach((pixel, i) => void k.store(place.plus(pixel), read(start, at(i))));
              place.advance(group);
            };
            k.if(
              p.stepBytes.greater(0),
              () =>
                k.loop(groups, () => {
                  readGroup(byte, (i) => i);
                  byte.set(byte.plusBytes(pixelsAtOnce));
                }),
              () =>
                k.loop(groups, () => {
                  readGroup(byte.plusBytes(1 - pixelsAtOnce), (i) => pixelsAtOnce - 1 - i);
                  byte.set(byte.plusBytes(-pixelsAtOnce));
                }),
            );
            k.loop(rest, () => {
              k.store(place, read(byte, 0));
              byte.set(byte.plusBytes(p.stepBytes));
              place.advance(p.mapPixel);
            });
          },
          () => outside(k.integer(0), p.columns),
        );
      });
    });
  },
);

/**
 * Brings a map into the cache. Sequential loads make the processor prefetch, while the scattered loads of a transform
 * wait for memory. The result is unused: it keeps compilers from dropping the loads, and is a maximum because sums of
 * subnormal numbers are slow.
 */
export const prefetchRows: KernelDefinition = kernel(
  'prefetchRows',
  'out = the maximum of every sixteenth float, one per cache line, of map[rows][length]',
  { out: 'pointer', map: 'pointer', mapRow: 'offset', rows: 'i32', length: 'i32' },
  (k, p) => {
    const largest = k.variable(k.loadFloat(p.map));
    const lines = p.length.add(lineFloats - 1).div(lineFloats);
    k.loop(p.rows, (row) => {
      const place = k.variable(p.map.plus(p.mapRow.scale(row)));
      k.loop(lines, () => {
        largest.set(largest.max(k.loadFloat(place)));
        place.advance(lineFloats);
      });
    });
    k.store(p.out, largest);
  },
);

/** Keeps eight sums busy for `rounds`: the peak of one core, for benchmarks. */
export const peak: KernelDefinition = kernel(
  'peak',
  'rounds · 16 · lanes multiply-adds on registers only',
  { out: 'pointer', rounds: 'i32' },
  (k, p) => {
    const factor = k.load(p.out);
    // All different, so that a compiler cannot merge them.
    const sums = range(8).map((i) => k.variable(k.load(p.out, i * k.lanes)));
    k.loop(p.rounds, () => {
      for (const _ of range(2)) for (const sum of sums) sum.multiplyAdd(factor, factor);
    });
    k.store(
      p.out,
      sums.reduce((total, sum) => total.add(sum)),
    );
  },
);
