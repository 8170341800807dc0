/**
 * The transforms of Winograd's minimal filtering F(4×4, 3×3) (Lavin & Gray, "Fast Algorithms for Convolutional Neural
 * Networks", CVPR 2016). A 3×3 convolution of stride 1 becomes, for each tile of 4×4 outputs,
 * Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A; over many tiles and channels ⊙ is 36 matrix products (`gemm.ts`). The same bilinear
 * form, transposed, gives the gradient of the weights: dg = Gᵀ[(Bᵀ d B) ⊙ (A dY Aᵀ)]G.
 *
 * The interpolation points are 0, ±√½, ±√2 and ∞: in float32 their largest error is a fifth of that of the usual
 * 0, ±1, ±2, ∞ (compare Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution", 2020).
 *
 * In the transform domain a matrix is [36 planes][tiles][channels] or [36][channels][channels].
 */
import { grid, type KernelRecipe, kernel, type Recorder, range, type Value } from './language.ts';

/** Outputs of a tile's side. */
export const tileSize = 4;
/** Inputs of a tile's side. */
const patch = 6;
/** Planes of the transform domain. */
export const planes: number = patch * patch;
/** The points' absolute values. */
const near = Math.SQRT1_2;
const far = Math.SQRT2;

type Transform1d = (k: Recorder, values: readonly Value[]) => Value[];

/** Bᵀ d: 6 → 6. */
const transformInput: Transform1d = (_, [d0, d1, d2, d3, d4, d5]) => {
  const even = d4!.sub(d2!.mul(2));
  const odd = d3!.sub(d1!.mul(2)).mul(near);
  const even2 = d4!.sub(d2!.mul(1 / 2));
  const odd2 = d3!.sub(d1!.mul(1 / 2)).mul(far);
  return [
    d0!.add(d4!).sub(d2!.mul(5 / 2)),
    even.add(odd),
    even.sub(odd),
    even2.add(odd2),
    even2.sub(odd2),
    d1!.add(d5!).sub(d3!.mul(5 / 2)),
  ];
};

/** G g: 3 → 6. */
const transformWeights: Transform1d = (_, [g0, g1, g2]) => {
  const even = g0!.mul(-2 / 3).sub(g2!.mul(1 / 3));
  const odd = g1!.mul((-2 / 3) * near);
  const even2 = g0!.mul(1 / 6).add(g2!.mul(1 / 3));
  const odd2 = g1!.mul((1 / 6) * far);
  return [g0!, even.add(odd), even.sub(odd), even2.add(odd2), even2.sub(odd2), g2!];
};

/** Gᵀ u: 6 → 3. */
const transformWeightGradient: Transform1d = (_, [u0, u1, u2, u3, u4, u5]) => {
  const sum = u1!.add(u2!);
  const sum2 = u3!.add(u4!);
  const difference = u1!.sub(u2!);
  const difference2 = u3!.sub(u4!);
  return [
    u0!.sub(sum.mul(2 / 3)).add(sum2.mul(1 / 6)),
    difference2.mul((1 / 6) * far).sub(difference.mul((2 / 3) * near)),
    sum2
      .sub(sum)
      .mul(1 / 3)
      .add(u5!),
  ];
};

/** A y: 4 → 6. */
const transformGradient: Transform1d = (_, [y0, y1, y2, y3]) => {
  const even = y0!.add(y2!.mul(1 / 2));
  const odd = y1!.add(y3!.mul(1 / 2)).mul(near);
  const even2 = y0!.add(y2!.mul(2));
  const odd2 = y1!.add(y3!.mul(2)).mul(far);
  return [y0!, even.add(odd), even.sub(odd), even2.add(odd2), even2.sub(odd2), y3!];
};

/** Aᵀ m: 6 → 4. */
const transformOutput: Transform1d = (_, [m0, m1, m2, m3, m4, m5]) => {
  const sum = m1!.add(m2!);
  const sum2 = m3!.add(m4!);
  const difference = m1!.sub(m2!).mul(near);
  const difference2 = m3!.sub(m4!).mul(far);
  return [
    m0!.add(sum).add(sum2),
    difference.add(difference2),
    sum.mul(1 / 2).add(sum2.mul(2)),
    difference
      .mul(1 / 2)
      .add(difference2.mul(2))
      .add(m5!),
  ];
};

/**
 * transform · values · transformᵀ of a square table. Values are loaded column by column as they are needed, so that
 * few are alive at a time.
 */
function transform2d(
  k: Recorder,
  transform: Transform1d,
  size: number,
  load: (row: number, column: number) => Value,
): Value[][] {
  const columns = range(size).map((x) =>
    transform(
      k,
      range(size).map((y) => load(y, x)),
    ),
  );
  return range(columns[0]!.length).map((y) =>
    transform(
      k,
      columns.map((column) => column[y]!),
    ),
  );
}

/** Loads of a table of vectors, `step` apart in a row and `stride` between rows; to be called column by column. */
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
const planeLoads = (k: Recorder, first: Value, planeStride: Value, planeRow: Value) =>
  tableLoads(k, patch, first, planeRow, planeStride);

/** Calls `each` for the place of every plane, in order. */
function forPlanes(
  first: Value,
  planeStride: Value,
  each: (place: Value, y: number, x: number) => void,
): void {
  let place = first;
  for (const y of range(patch)) {
    for (const x of range(patch)) {
      if (y + x > 0) place = place.plus(planeStride);
      each(place, y, x);
    }
  }
}

/** Loops over the tiles of a picture and their channel vectors. */
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

const mapToPlanes = (name: string, summary: string, size: number, transform: Transform1d): KernelRecipe =>
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
        const values = transform2d(
          k,
          transform,
          size,
          tableLoads(k, size, first, p.rowStride, p.pixelStride),
        );
        const out = p.out.plus(p.tileStride.scale(tile)).plus(at);
        forPlanes(out, p.planeStride, (place, i, j) => k.store(place, values[i]![j]!));
      });
    },
  );

export const winogradInput: KernelRecipe = mapToPlanes(
  'winogradInput',
  'planes[36][tile][channel] = Bᵀ d B of each 6×6 patch of a map',
  patch,
  transformInput,
);

export const winogradGradient: KernelRecipe = mapToPlanes(
  'winogradGradient',
  'planes[36][tile][channel] = A dY Aᵀ of each 4×4 tile of a gradient',
  tileSize,
  transformGradient,
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
  /** Rows and columns of the map that exist; tiles may reach beyond. */
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
 * For each tile and its channel vectors: Aᵀ m A, then `finish` on its 4×4 values, then `store` for each of the
 * size×size results that lie inside the map.
 */
function outputTiles<R>(
  k: Recorder,
  p: MapParameters,
  size: number,
  steps: (channelOffset: Value) => OutputSteps<R>,
): void {
  const planeRow = p.planeStride.scale(patch);
  forTiles(k, p, (tile, y, x, channel) => {
    const at = channel.toOffset();
    const first = p.planes.plus(p.tileStride.scale(tile)).plus(at);
    const loads = planeLoads(k, first, p.planeStride, planeRow);
    const { finish, store } = steps(at);
    const results = finish(transform2d(k, transformOutput, patch, loads));
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

export const winogradOutput: KernelRecipe = kernel(
  'winogradOutput',
  'map = max(floor, Aᵀ m A + bias); floor is 0 for ReLU, −∞ for none',
  { ...planesToMap, bias: 'pointer', floor: 'f32' },
  (k, p) => {
    outputTiles(k, p, tileSize, (at) => {
      const floor = p.floor.splat();
      const bias = k.load(p.bias.plus(at));
      return {
        finish: (values) => values.map((row) => row.map((value) => value.add(bias).max(floor))),
        store: (value, row, column) =>
          k.store(p.map.plus(p.rowStride.scale(row)).plus(p.pixelStride.scale(column)).plus(at), value),
      };
    });
  },
);

export const winogradOutputMasked: KernelRecipe = kernel(
  'winogradOutputMasked',
  'map = Aᵀ m A where the activation is above floor, else 0: the gradient through a ReLU (floor −∞: all)',
  {
    ...planesToMap,
    activation: 'pointer',
    activationRow: 'offset',
    activationPixel: 'offset',
    floor: 'f32',
  },
  (k, p) => {
    outputTiles(k, p, tileSize, (at) => {
      const zero = k.vector(0);
      const floor = p.floor.splat();
      return {
        finish: (values) => values,
        store(value, row, column) {
          const activation = k.load(
            p.activation.plus(p.activationRow.scale(row)).plus(p.activationPixel.scale(column)).plus(at),
          );
          const place = p.map.plus(p.rowStride.scale(row)).plus(p.pixelStride.scale(column)).plus(at);
          k.store(place, activation.greater(floor).select(value, zero));
        },
      };
    });
  },
);

/**
 * Largest of a window and its position in the window, by a tree of comparisons; of equal values the first wins, and
 * NaN always does (as in PyTorch).
 */
function poolWindow(k: Recorder, values: readonly Value[]): { largest: Value; winner: Value } {
  let contenders = values.map((largest, position) => ({ largest, winner: k.vector(position) }));
  while (contenders.length > 1) {
    contenders = range(contenders.length / 2).map((i) => {
      const [first, second] = [contenders[2 * i]!, contenders[2 * i + 1]!];
      const wins = second.largest.greater(first.largest).or(second.largest.unequal(second.largest));
      return {
        largest: wins.select(second.largest, first.largest),
        winner: wins.select(second.winner, first.winner),
      };
    });
  }
  return contenders[0]!;
}

/** Convolution, bias, floor and a max-pool of 2 or 4 whose stride is its size, in one pass over the tiles. */
const pooled = (name: string, pool: 2 | 4): KernelRecipe =>
  kernel(
    name,
    `pooled map and winners of max(floor, Aᵀ m A + bias), windows of ${pool}×${pool}; height and width are the pooled ones`,
    {
      ...planesToMap,
      winners: 'pointer',
      winnerRow: 'offset',
      winnerPixel: 'offset',
      bias: 'pointer',
      floor: 'f32',
    },
    (k, p) => {
      const windows = tileSize / pool;
      outputTiles(k, p, windows, (at) => {
        const floor = p.floor.splat();
        const bias = k.load(p.bias.plus(at));
        return {
          finish: (values) =>
            grid(windows, windows, (wy, wx) => {
              const window = range(pool * pool).map(
                (i) => values[wy * pool + Math.floor(i / pool)]![wx * pool + (i % pool)]!,
              );
              const { largest, winner } = poolWindow(k, window);
              return { largest: largest.add(bias).max(floor), winner };
            }),
          store({ largest, winner }, row, column) {
            k.store(p.map.plus(p.rowStride.scale(row)).plus(p.pixelStride.scale(column)).plus(at), largest);
            k.store(
              p.winners.plus(p.winnerRow.scale(row)).plus(p.winnerPixel.scale(column)).plus(at),
              winner,
            );
          },
        };
      });
    },
  );

export const winogradOutputPool2: KernelRecipe = pooled('winogradOutputPool2', 2);
export const winogradOutputPool4: KernelRecipe = pooled('winogradOutputPool4', 4);

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

export const winogradWeights: KernelRecipe = kernel(
  'winogradWeights',
  'planes[36][channel][filter] = G g Gᵀ, the right matrix of the forward products',
  weightParameters,
  (k, p) => {
    forFilters(k, p, (filter, channel, taps) => {
      const values = transform2d(k, transformWeights, 3, taps);
      const out = p.out.plus(p.rowStride.scale(channel)).plus(filter.toOffset());
      forPlanes(out, p.planeStride, (place, i, j) => k.scatter(place, values[i]![j]!, p.rowStride));
    });
  },
);

export const winogradWeightsBackward: KernelRecipe = kernel(
  'winogradWeightsBackward',
  'planes[36][filter][channel] = G g′ Gᵀ of the kernel turned by 180°, the right matrix of the input gradient',
  weightParameters,
  (k, p) => {
    forFilters(k, p, (filter, channel, taps) => {
      const table = grid(3, 3, () => channel);
      for (const x of range(3)) for (const y of range(3)) table[2 - y]![2 - x] = taps(y, x);
      const values = transform2d(k, transformWeights, 3, (y, x) => table[y]![x]!);
      const out = p.out.plus(p.rowStride.scale(filter)).plus(channel.toOffset());
      forPlanes(out, p.planeStride, (place, i, j) => k.store(place, values[i]![j]!));
    });
  },
);

export const winogradWeightGradient: KernelRecipe = kernel(
  'winogradWeightGradient',
  'weights[filter][3][3][channel] = Gᵀ u G of planes[36][filter][channel]',
  weightParameters,
  (k, p) => {
    forFilters(k, p, (filter, channel, _, first, tapStride) => {
      const source = p.out.plus(p.rowStride.scale(filter)).plus(channel.toOffset());
      const loads = planeLoads(k, source, p.planeStride, p.planeStride.scale(patch));
      const taps = transform2d(k, transformWeightGradient, patch, loads).flat();
      let place = first;
      taps.forEach((tap, index) => {
        if (index > 0) place = place.plus(tapStride);
        k.store(place, tap);
      });
    });
  },
);
