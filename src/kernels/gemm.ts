/**
 * Matrix products, which take nearly all of the time. Names follow BLAS: N takes an operand as stored, T transposed.
 * All matrices are row-major with a stride between rows; columns (and for `gemmNT` the depth) are a
 * multiple of the granule. `planes` repeats the product at plane distances: the 36 products of a Winograd convolution,
 * or the rows of an image.
 *
 * The classical loop: a register tile of `rows` × `vectors` sums, with the whole depth as the inner loop. The right
 * matrix's panel for a column of tiles stays in the first-level cache for all rows. Tiles at the edges are narrower.
 */
import {
  granule,
  grid,
  type KernelDefinition,
  kernel,
  lineFloats,
  type Recorder,
  range,
  type TileSize,
  type Value,
  type Width,
} from './language.ts';

/**
 * Cuts `count` into parts of `largest`, then of powers of two, down to 1. Few rows take as long as more: their sums wait
 * for themselves.
 */
function parts(k: Recorder, count: Value, largest: number, body: (at: Value, size: number) => void): void {
  let done: Value | undefined;
  for (let size = largest; size >= 1; size = Math.floor(2 ** (Math.ceil(Math.log2(size)) - 1))) {
    const whole = (done ? count.sub(done) : count).div(size);
    const before = done;
    k.loop(whole, (i) => body(before ? before.add(i.mul(size)) : i.mul(size), size));
    done = before ? before.add(whole.mul(size)) : whole.mul(size);
  }
}

type TileBody<T> = (tile: TileSize, row: Value, column: Value, ofColumn: T) => void;

/**
 * Covers rows × columns with register tiles of each width's sizes, rows × vectors; calls `body` for each, with what
 * `atColumn` computes once for the tiles of a column.
 */
function cover<T>(
  k: Recorder,
  rows: Value,
  columns: Value,
  sizesOf: (width: Width) => readonly TileSize[],
  atColumn: (column: Value) => T,
  body: TileBody<T>,
): void {
  k.forWidths(columns, (vectors, from, width) => {
    const { lanes } = width;
    // At most one narrower vector is left.
    const sizes = lanes === k.widths[0]!.lanes ? sizesOf(width) : sizesOf(width).slice(-1);
    parts(k, vectors, sizes[0]![1], (vector, vectorCount) => {
      const [tileRows] = sizes.find(([, count]) => count === vectorCount)!;
      const column = from.add(vector.mul(lanes));
      const ofColumn = atColumn(column);
      parts(k, rows, tileRows, (row, rowCount) => body([rowCount, vectorCount], row, column, ofColumn));
    });
  });
}

/** Tiles of a product whose left matrix is not transposed. */
export const vectorTiles = (k: Recorder, rows: Value, columns: Value, body: TileBody<undefined>): void =>
  cover(
    k,
    rows,
    columns,
    ({ tiles }) => tiles,
    () => undefined,
    body,
  );

/** Tiles of a product whose left matrix is transposed. */
export const transposedVectorTiles = (
  k: Recorder,
  rows: Value,
  columns: Value,
  body: TileBody<undefined>,
): void =>
  cover(
    k,
    rows,
    columns,
    ({ tiles, transposedTiles = tiles }) => transposedTiles,
    () => undefined,
    body,
  );

/** Covers rows × columns with tiles of dot products; a tile's long rows stay in the first-level cache for all columns. */
function dotTiles(
  k: Recorder,
  rows: Value,
  columns: Value,
  body: (tile: TileSize, row: Value, dot: Value) => void,
): void {
  const [tileRows, tileDots] = k.dotWidths[0]!.tiles[0]!;
  parts(k, rows, tileRows, (row, rowCount) =>
    parts(k, columns, tileDots, (dot, dots) => body([rowCount, dots], row, dot)),
  );
}

interface Tile {
  readonly sums: Value[][];
  /** Stores the sums, after `finish`. */
  store(finish?: (sum: Value) => Value): void;
}

/** A register tile of sums that start from zero, or from `out` if `accumulate` is not 0. */
export function sumTile(
  k: Recorder,
  [rows, vectors]: TileSize,
  out: Value,
  outStride: Value,
  accumulate: Value,
): Tile {
  const places = range(rows).map((i) => out.plus(outStride.scale(i)));
  const zero = k.vector(0);
  const sums = grid(rows, vectors, () => k.variable(zero));
  k.if(accumulate, () => {
    sums.forEach((row, i) => {
      row.forEach((sum, j) => void sum.set(k.load(places[i]!, j * k.lanes)));
    });
  });
  return {
    sums,
    store(finish = (sum) => sum) {
      sums.forEach((row, i) => {
        row.forEach((sum, j) => void k.store(places[i]!, finish(sum), j * k.lanes));
      });
    },
  };
}

const operands = {
  out: 'pointer',
  outStride: 'offset',
  outPlane: 'offset',
  left: 'pointer',
  leftStride: 'offset',
  leftPlane: 'offset',
  right: 'pointer',
  rightStride: 'offset',
  rightPlane: 'offset',
  planes: 'i32',
  rows: 'i32',
  columns: 'i32',
  depth: 'i32',
  accumulate: 'i32',
} as const;

/** Calls `body` with the addresses of each plane's matrices. */
function forPlanes(
  k: Recorder,
  p: { readonly [K in keyof typeof operands]: Value },
  body: (left: Value, right: Value, out: Value) => void,
): void {
  k.loop(p.planes, (plane) => {
    const left = p.left.plus(p.leftPlane.scale(plane));
    const right = p.right.plus(p.rightPlane.scale(plane));
    body(left, right, p.out.plus(p.outPlane.scale(plane)));
  });
}

/**
 * Prefetches the next plane's right matrix while this one is in use: a few lines in each iteration, so that a distant
 * cache can deliver them in time. A tile fetches a quarter of the rows, because it unrolls four, and half of several
 * lines. After the last plane the prefetch is useless but harmless.
 */
function nextRight(
  k: Recorder,
  [, vectors]: TileSize,
  right: Value,
  tileIndex: Value,
  iterations: Value,
  p: { readonly rightPlane: Value; readonly rightStride: Value },
): { fetch(): void } {
  const lines = Math.ceil((vectors * k.lanes) / lineFloats);
  const parts = lines > 1 ? 2 : 1;
  const taken = lines / parts;
  const fourth = tileIndex.div(4);
  const quarter = tileIndex.sub(fourth.mul(4));
  const part = fourth.sub(fourth.div(parts).mul(parts));
  const place = k.variable(
    right
      .plus(p.rightPlane)
      .plus(p.rightStride.scale(quarter.mul(iterations)))
      .plus(part.mul(taken * lineFloats).toOffset()),
  );
  return {
    fetch() {
      for (const i of range(taken)) k.prefetch(place, i * lineFloats);
      place.advance(p.rightStride);
    },
  };
}

/**
 * A right matrix may be stored in panels of columns, so that a product reads it in the order of memory: rows of a panel
 * are `rightStride` apart, panels `rightPanel`. No register tile may cross a panel. Returns the place of a column, whose
 * row in the first panel is at `row`.
 */
export function placeInPanels(row: Value, column: Value, panelColumns: Value, panelStride: Value): Value {
  const panel = column.div(panelColumns);
  return row.plus(panelStride.scale(panel)).plus(column.sub(panel.mul(panelColumns)).toOffset());
}

/** Fewest columns of a panel: a line of the cache. */
const fewestPanelColumns = lineFloats;

/** Columns of a panel for kernels whose widest register tile has `vectors` vectors of `lanes` floats. */
export const panelColumnsFor = (lanes: number, [, vectors]: TileSize): number =>
  Math.max(fewestPanelColumns, lanes * vectors);

/** Arguments of a right matrix that is not in panels. */
export const wholeRows = (
  columns: number,
): { readonly rightPanel: number; readonly panelColumns: number } => ({
  rightPanel: 0,
  panelColumns: columns,
});

const normal = (name: string, summary: string, relu: boolean): KernelDefinition =>
  kernel(name, summary, { ...operands, rightPanel: 'offset', panelColumns: 'i32' }, (k, p) => {
    forPlanes(k, p, (planeLeft, planeRight, planeOut) => {
      const atColumn = (column: Value): Value =>
        placeInPanels(planeRight, column, p.panelColumns, p.rightPanel);
      cover(
        k,
        p.rows,
        p.columns,
        ({ tiles }) => tiles,
        atColumn,
        (tile, row, column, place) => {
          const first = planeLeft.plus(p.leftStride.scale(row));
          const left = range(tile[0]).map((i) => k.variable(first.plus(p.leftStride.scale(i))));
          const right = k.variable(place);
          const out = planeOut.plus(p.outStride.scale(row)).plus(column.toOffset());
          const { sums, store } = sumTile(k, tile, out, p.outStride, p.accumulate);
          const unroll = 4;
          const iterations = p.depth.div(unroll);
          const ahead = k.prefetches ? nextRight(k, tile, right, row.div(tile[0]), iterations, p) : undefined;
          k.loop(iterations, () => {
            ahead?.fetch();
            for (const depth of range(unroll)) {
              const rightRow = range(tile[1]).map((j) => k.loadKept(right, j * k.lanes));
              for (const i of range(tile[0])) {
                const scalar = k.loadSplat(left[i]!, depth);
                for (const j of range(tile[1])) sums[i]![j]!.multiplyAdd(scalar, rightRow[j]!);
              }
              right.advance(p.rightStride);
            }
            for (const pointer of left) pointer.advance(unroll);
          });
          store(relu ? (sum) => sum.max(k.vector(0)) : undefined);
        },
      );
    });
  });

/** The depth must be a multiple of 4. */
export const gemmNN: KernelDefinition = normal(
  'gemmNN',
  'out[rows][columns] (+)= left[rows][depth] · right[depth][columns]',
  false,
);

export const gemmNNRelu: KernelDefinition = normal(
  'gemmNNRelu',
  'out[rows][columns] = max(0, left[rows][depth] · right[depth][columns])',
  true,
);

export const gemmTN: KernelDefinition = kernel(
  'gemmTN',
  'out[rows][columns] (+)= left[depth][rows]ᵀ · right[depth][columns]',
  operands,
  (k, p) => {
    forPlanes(k, p, (planeLeft, planeRight, planeOut) => {
      transposedVectorTiles(k, p.rows, p.columns, (tile, row, column) => {
        const left = k.variable(planeLeft.plus(row.toOffset()));
        const right = k.variable(planeRight.plus(column.toOffset()));
        const out = planeOut.plus(p.outStride.scale(row)).plus(column.toOffset());
        const { sums, store } = sumTile(k, tile, out, p.outStride, p.accumulate);
        k.loop(p.depth, () => {
          const rightRow = range(tile[1]).map((j) => k.loadKept(right, j * k.lanes));
          for (const i of range(tile[0])) {
            const scalar = k.loadSplat(left, i);
            for (const j of range(tile[1])) sums[i]![j]!.multiplyAdd(scalar, rightRow[j]!);
          }
          left.advance(p.leftStride);
          right.advance(p.rightStride);
        });
        store();
      });
    });
  },
);

/** Here `columns` is the number of rows of `right`, any number, and the depth a multiple of the granule. */
export const gemmNT: KernelDefinition = kernel(
  'gemmNT',
  'out[rows][columns] (+)= left[rows][depth] · right[columns][depth]ᵀ',
  operands,
  (k, p) => {
    forPlanes(k, p, (planeLeft, planeRight, planeOut) => {
      dotTiles(k, p.rows, p.columns, (tile, row, dot) => {
        const firstLeft = planeLeft.plus(p.leftStride.scale(row));
        const firstRight = planeRight.plus(p.rightStride.scale(dot));
        const left = range(tile[0]).map((i) => k.variable(firstLeft.plus(p.leftStride.scale(i))));
        const right = range(tile[1]).map((j) => k.variable(firstRight.plus(p.rightStride.scale(j))));
        // Wide sums are halved before the narrower vectors of the tail are added.
        let folded: Value[][] | undefined;
        let sums: Value[][] = [];
        k.forWidths(
          p.depth,
          (vectors) => {
            const start = folded;
            sums = grid(tile[0], tile[1], (i, j) => k.variable(start ? start[i]![j]! : k.vector(0)));
            k.loop(vectors, () => {
              const rightVectors = right.map((pointer) => k.loadKept(pointer));
              for (const i of range(tile[0])) {
                const vector = k.loadKept(left[i]!);
                for (const j of range(tile[1])) sums[i]![j]!.multiplyAdd(vector, rightVectors[j]!);
              }
              for (const pointer of [...left, ...right]) pointer.advance(k.lanes);
            });
            if (k.lanes > granule) folded = sums.map((line) => line.map((sum) => sum.halve()));
          },
          k.dotWidths,
        );
        const out = planeOut.plus(p.outStride.scale(row)).plus(dot.toOffset());
        for (const i of range(tile[0])) {
          const place = out.plus(p.outStride.scale(i));
          for (const j of range(tile[1])) {
            const total = k.variable(sums[i]![j]!.sum());
            k.if(p.accumulate, () => total.set(total.add(k.loadFloat(place, j))));
            k.store(place, total, j);
          }
        }
      });
    });
  },
);
