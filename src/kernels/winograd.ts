/**
 * The transforms of Winograd convolution as kernels, one set per scheme (`winograd-schemes.ts`). In the transform domain
 * a matrix is [planes][tiles][channels] or [planes][channels][channels], with (m + 2)² planes for tiles of m×m.
 */
import { placeInPanels } from './gemm.ts';
import { grid, type KernelDefinition, kernel, type Recorder, range, type Value } from './language.ts';
import { type Scheme, schemes, type Tile, type Transform1d } from './winograd-schemes.ts';

const nameOf = ({ tile }: Scheme, purpose: Purpose | 'OutputPool4'): string => `winograd${tile}${purpose}`;

const square = (size: number): string => `${size}×${size}`;

/** Returns the values of a square table; must be called column by column. */
type Load = (row: number, column: number) => Value;

/**
 * Calls `each` with the rows of transform · values · transformᵀ of a square table. Loads values column by column on
 * demand and computes a row after the previous one was used, so that few values are alive at a time.
 */
function eachRow(transform: Transform1d, size: number, load: Load, each: (row: Value[]) => void): void {
  const columns = range(size).map((x) => transform(range(size).map((y) => load(y, x))));
  for (const y of range(columns[0]!.length)) each(transform(columns.map((column) => column[y]!)));
}

/** All rows of the same. */
function transform2d(transform: Transform1d, size: number, load: Load): Value[][] {
  const rows: Value[][] = [];
  eachRow(transform, size, load, (row) => void rows.push(row));
  return rows;
}

/** Loads a table of vectors, `step` apart in a row and `stride` between rows; must be called column by column. */
function tableLoads(
  k: Recorder,
  size: number,
  first: Value,
  stride: Value,
  step: Value,
): (row: number, column: number) => Value {
  const places = [first];
  for (let y = 1; y < size; y++) places.push(places[y - 1]!.plus(stride));
  return (row, column) => {
    if (column > 0) places[row] = places[row]!.plus(step);
    return k.load(places[row]!);
  };
}

/** Loads of a tile's planes. */
const planeLoads = (k: Recorder, patch: number, first: Value, planeStride: Value) =>
  tableLoads(k, patch, first, planeStride.scale(patch), planeStride);

/** Stores a transformed table: one value per plane, starting at a position in the first plane. */
function storeInPlanes(
  first: Value,
  planeStride: Value,
  store: (place: Value, value: Value) => void,
  transform: Transform1d,
  size: number,
  load: Load,
): void {
  let place: Value | undefined;
  eachRow(transform, size, load, (row) => {
    for (const value of row) {
      place = place ? place.plus(planeStride) : first;
      store(place, value);
    }
  });
}

/** Loops over the tiles of an image and their channel vectors. */
function forTiles(
  k: Recorder,
  p: { readonly tileRows: Value; readonly tileColumns: Value; readonly channels: Value },
  body: (tile: Value, y: Value, x: Value, channel: Value) => void,
): void {
  k.loop(p.tileRows, (y) => {
    k.loop(p.tileColumns, (x) => {
      const tile = y.mul(p.tileColumns).add(x);
      k.vectors(p.channels, (channel) => body(tile, y, x, channel));
    });
  });
}

const mapToPlanes = (
  name: string,
  summary: string,
  { tile: tileSize }: Scheme,
  size: number,
  transform: Transform1d,
): KernelDefinition =>
  kernel(
    name,
    summary,
    {
      out: 'pointer',
      planeStride: 'offset',
      tileStride: 'offset',
      map: 'pointer',
      rowStride: 'offset',
      pixelStride: 'offset',
      tileRows: 'i32',
      tileColumns: 'i32',
      channels: 'i32',
    },
    (k, p) => {
      const tileRow = p.rowStride.scale(tileSize);
      const tileColumn = p.pixelStride.scale(tileSize);
      forTiles(k, p, (tile, y, x, channel) => {
        const at = channel.toOffset();
        const first = p.map.plus(tileRow.scale(y)).plus(tileColumn.scale(x)).plus(at);
        const loads = tableLoads(k, size, first, p.rowStride, p.pixelStride);
        const out = p.out.plus(p.tileStride.scale(tile)).plus(at);
        storeInPlanes(out, p.planeStride, (place, value) => k.store(place, value), transform, size, loads);
      });
    },
  );

const input = (scheme: Scheme): KernelDefinition =>
  mapToPlanes(
    nameOf(scheme, 'Input'),
    `planes[${scheme.planes}][tile][channel] = Bᵀ d B of each ${square(scheme.patch)} patch of a map`,
    scheme,
    scheme.patch,
    scheme.input,
  );

const gradient = (scheme: Scheme): KernelDefinition =>
  mapToPlanes(
    nameOf(scheme, 'Gradient'),
    `planes[${scheme.planes}][tile][channel] = A dY Aᵀ of each ${square(scheme.tile)} tile of a gradient`,
    scheme,
    scheme.tile,
    scheme.gradient,
  );

const planesToMap = {
  planes: 'pointer',
  planeStride: 'offset',
  tileStride: 'offset',
  map: 'pointer',
  rowStride: 'offset',
  pixelStride: 'offset',
  tileRows: 'i32',
  tileColumns: 'i32',
  channels: 'i32',
  /** Existing rows and columns of the map; tiles may reach beyond. */
  height: 'i32',
  width: 'i32',
} as const;

interface MapParameters {
  readonly planes: Value;
  readonly planeStride: Value;
  readonly tileStride: Value;
  readonly tileRows: Value;
  readonly tileColumns: Value;
  readonly channels: Value;
  readonly height: Value;
  readonly width: Value;
}

interface OutputSteps<R> {
  readonly finish: (values: Value[][]) => R[][];
  readonly store: (result: R, row: Value, column: Value) => void;
}

/**
 * For each tile and its channel vectors: Aᵀ m A, then `finish` on its values, then `store` for each of the
 * size×size results that lie inside the map.
 */
function outputTiles<R>(
  k: Recorder,
  { patch, output }: Scheme,
  p: MapParameters,
  size: number,
  steps: (channelOffset: Value, channel: Value) => OutputSteps<R>,
): void {
  forTiles(k, p, (tile, y, x, channel) => {
    const at = channel.toOffset();
    const first = p.planes.plus(p.tileStride.scale(tile)).plus(at);
    const loads = planeLoads(k, patch, first, p.planeStride);
    const { finish, store } = steps(at, channel);
    const results = finish(transform2d(output, patch, loads));
    const top = y.mul(size);
    const left = x.mul(size);
    const rowsInside = p.height.sub(top);
    const columnsInside = p.width.sub(left);
    const inside = rowsInside.greater(size - 1).mul(columnsInside.greater(size - 1));
    const storeAll = (guard: (condition: () => Value, body: () => void) => void): void => {
      for (const i of range(size)) {
        guard(
          () => rowsInside.greater(i),
          () => {
            for (const j of range(size)) {
              guard(
                () => columnsInside.greater(j),
                () => store(results[i]![j]!, top.add(i), left.add(j)),
              );
            }
          },
        );
      }
    };
    k.if(
      inside,
      () => storeAll((_, body) => body()),
      () => storeAll((condition, body) => k.if(condition(), body)),
    );
  });
}

const output = (scheme: Scheme): KernelDefinition =>
  kernel(
    nameOf(scheme, 'Output'),
    'map = max(threshold, Aᵀ m A + bias); threshold is 0 for ReLU, −∞ for none',
    { ...planesToMap, bias: 'pointer', threshold: 'f32' },
    (k, p) => {
      outputTiles(k, scheme, p, scheme.tile, (at) => {
        const threshold = p.threshold.splat();
        const bias = k.load(p.bias.plus(at));
        return {
          finish: (values) => values.map((row) => row.map((value) => value.add(bias).max(threshold))),
          store: (value, row, column) =>
            k.store(p.map.plus(p.rowStride.scale(row)).plus(p.pixelStride.scale(column)).plus(at), value),
        };
      });
    },
  );

const outputMasked = (scheme: Scheme): KernelDefinition =>
  kernel(
    nameOf(scheme, 'OutputMasked'),
    'map = Aᵀ m A where the activation is above the threshold, else 0: the gradient through a ReLU (threshold −∞: all)',
    {
      ...planesToMap,
      activation: 'pointer',
      activationRow: 'offset',
      activationPixel: 'offset',
      threshold: 'f32',
    },
    (k, p) => {
      outputTiles(k, scheme, p, scheme.tile, (at) => {
        const zero = k.vector(0);
        const threshold = p.threshold.splat();
        return {
          finish: (values) => values,
          store(value, row, column) {
            const activation = k.load(
              p.activation.plus(p.activationRow.scale(row)).plus(p.activationPixel.scale(column)).plus(at),
            );
            const place = p.map.plus(p.rowStride.scale(row)).plus(p.pixelStride.scale(column)).plus(at);
            k.store(place, activation.greater(threshold).select(value, zero));
          },
        };
      });
    },
  );

/** The sum of several values, by a tree. */
const sumOf = (values: readonly Value[]): Value =>
  values.length === 1
    ? values[0]!
    : sumOf(range(values.length / 2).map((i) => values[2 * i]!.add(values[2 * i + 1]!)));

/**
 * Largest value of a window and its position, by a tree of comparisons; the first of equal values wins. Comparisons miss
 * NaN, so a sum detects it: the largest is NaN if a value is NaN (as in PyTorch), if infinities of both signs meet, or if
 * the sum overflows. The winner is then arbitrary.
 */
function poolWindow(k: Recorder, values: readonly Value[]): { largest: Value; winner: Value } {
  let contenders = values.map((largest, position) => ({ largest, winner: k.vector(position) }));
  while (contenders.length > 1) {
    contenders = range(contenders.length / 2).map((i) => {
      const [first, second] = [contenders[2 * i]!, contenders[2 * i + 1]!];
      return {
        largest: first.largest.max(second.largest),
        winner: second.largest.greater(first.largest).select(second.winner, first.winner),
      };
    });
  }
  const [{ largest, winner }] = contenders as [(typeof contenders)[0]];
  const sum = sumOf(values);
  return { largest: sum.unequal(sum).select(sum, largest), winner };
}

/** Convolution, bias, ReLU and a max-pool of 2 or 4 whose stride is its size, in one pass over the tiles. */
const outputPooled = (scheme: Scheme, pool: 2 | 4): KernelDefinition =>
  kernel(
    nameOf(scheme, `OutputPool${pool}`),
    `pooled map and winners of max(threshold, Aᵀ m A + bias), windows of ${square(pool)}; height and width are the pooled ones`,
    {
      ...planesToMap,
      /** Bytes, with strides in floats. */
      winners: 'pointer',
      winnerRow: 'offset',
      winnerPixel: 'offset',
      bias: 'pointer',
      threshold: 'f32',
    },
    (k, p) => {
      const windows = scheme.tile / pool;
      outputTiles(k, scheme, p, windows, (at, channel) => {
        const threshold = p.threshold.splat();
        const bias = k.load(p.bias.plus(at));
        return {
          finish: (values) =>
            grid(windows, windows, (wy, wx) => {
              const window = range(pool * pool).map(
                (i) => values[wy * pool + Math.floor(i / pool)]![wx * pool + (i % pool)]!,
              );
              const { largest, winner } = poolWindow(k, window);
              return { largest: largest.add(bias).max(threshold), winner };
            }),
          store({ largest, winner }, row, column) {
            k.store(p.map.plus(p.rowStride.scale(row)).plus(p.pixelStride.scale(column)).plus(at), largest);
            const winners = p.winners.plus(p.winnerRow.scale(row)).plus(p.winnerPixel.scale(column));
            k.storeBytes(winners.plusBytes(channel), winner);
          },
        };
      });
    },
  );

const weightParameters = {
  out: 'pointer',
  planeStride: 'offset',
  rowStride: 'offset',
  /** [filters][3][3][channels], `filterStride` apart. */
  weights: 'pointer',
  filterStride: 'offset',
  filters: 'i32',
  channels: 'i32',
} as const;

/** The right matrix of a product in panels (`gemm.ts`); `first` is the first of the filters. */
const panelParameters = {
  ...weightParameters,
  panelStride: 'offset',
  panelColumns: 'i32',
  first: 'i32',
} as const;

function forFilters(
  k: Recorder,
  p: {
    readonly weights: Value;
    readonly filterStride: Value;
    readonly filters: Value;
    readonly channels: Value;
  },
  body: (
    filter: Value,
    channel: Value,
    taps: (row: number, column: number) => Value,
    first: Value,
    tapStride: Value,
  ) => void,
): void {
  const tapStride = p.channels.toOffset();
  const row = tapStride.scale(3);
  k.loop(p.filters, (filter) => {
    k.vectors(p.channels, (channel) => {
      const first = p.weights.plus(p.filterStride.scale(filter)).plus(channel.toOffset());
      body(filter, channel, tableLoads(k, 3, first, row, tapStride), first, tapStride);
    });
  });
}

const weights = (scheme: Scheme): KernelDefinition =>
  kernel(
    nameOf(scheme, 'Weights'),
    `planes[${scheme.planes}][channel][filter] = G g Gᵀ, the right matrix of the forward products`,
    panelParameters,
    (k, p) => {
      forFilters(k, p, (filter, channel, taps) => {
        const row = p.out.plus(p.rowStride.scale(channel));
        const out = placeInPanels(row, p.first.add(filter), p.panelColumns, p.panelStride);
        const store = (place: Value, value: Value): void => k.scatter(place, value, p.rowStride);
        storeInPlanes(out, p.planeStride, store, scheme.weights, 3, taps);
      });
    },
  );

const weightsBackward = (scheme: Scheme): KernelDefinition =>
  kernel(
    nameOf(scheme, 'WeightsBackward'),
    `planes[${scheme.planes}][filter][channel] = G g′ Gᵀ of the kernel rotated by 180°, the right matrix of the input gradient`,
    panelParameters,
    (k, p) => {
      forFilters(k, p, (filter, channel, taps) => {
        const table = grid(3, 3, () => channel);
        for (const x of range(3)) for (const y of range(3)) table[2 - y]![2 - x] = taps(y, x);
        const turned = (y: number, x: number): Value => table[y]![x]!;
        const row = p.out.plus(p.rowStride.scale(p.first.add(filter)));
        const out = placeInPanels(row, channel, p.panelColumns, p.panelStride);
        storeInPlanes(out, p.planeStride, (place, value) => k.store(place, value), scheme.weights, 3, turned);
      });
    },
  );

const weightGradient = (scheme: Scheme): KernelDefinition =>
  kernel(
    nameOf(scheme, 'WeightGradient'),
    `weights[filter][3][3][channel] (+)= Gᵀ u G of planes[${scheme.planes}][filter][channel]`,
    { ...weightParameters, accumulate: 'i32' },
    (k, p) => {
      const turnBack = (finish: (tap: Value, place: Value) => Value): void =>
        forFilters(k, p, (filter, channel, _, first, tapStride) => {
          const source = p.out.plus(p.rowStride.scale(filter)).plus(channel.toOffset());
          const loads = planeLoads(k, scheme.patch, source, p.planeStride);
          const taps = transform2d(scheme.weightGradient, scheme.patch, loads).flat();
          let place = first;
          taps.forEach((tap, index) => {
            if (index > 0) place = place.plus(tapStride);
            k.store(place, finish(tap, place));
          });
        });
      k.if(
        p.accumulate,
        () => turnBack((tap, place) => k.load(place).add(tap)),
        () => turnBack((tap) => tap),
      );
    },
  );

/** The purposes that have one kernel per scheme. */
export type Purpose =
  | 'Input'
  | 'Gradient'
  | 'Output'
  | 'OutputPool2'
  | 'OutputMasked'
  | 'Weights'
  | 'WeightsBackward'
  | 'WeightGradient';

export type WinogradKernelName = `winograd${Tile}${Purpose}` | 'winograd4OutputPool4';

const kernelsOf = (scheme: Scheme): KernelDefinition[] => [
  input(scheme),
  gradient(scheme),
  output(scheme),
  outputPooled(scheme, 2),
  outputMasked(scheme),
  weights(scheme),
  weightsBackward(scheme),
  weightGradient(scheme),
];

export const winogradKernels: Readonly<Record<WinogradKernelName, KernelDefinition>> = Object.fromEntries(
  [...kernelsOf(schemes[4]), outputPooled(schemes[4], 4), ...kernelsOf(schemes[2])].map((definition) => [
    definition.name,
    definition,
  ]),
) as Record<WinogradKernelName, KernelDefinition>;
