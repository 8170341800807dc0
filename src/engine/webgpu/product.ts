/**
 * One tiled matrix product, out[m][n] = Σ a[m][k]·b[k][n], for the three passes of convolutions and linear layers. They
 * differ only in how a 4×4 block of a or b is fetched and in what happens to finished values.
 *
 * A workgroup computes a tile of `bm × bn` values; an invocation holds 4×4 blocks of them in registers. Tiles of a and b
 * lie in workgroup memory as vec4s along m and n. An invocation fetches whole 4×4 blocks and turns those that lie along k
 * in registers: single components of a vec4 must not be stored side by side, since WGSL lets a store write all four.
 *
 * Sums have one order: along k in a tile, and slices of k in order (`join`). So results repeat.
 */
import type { Kernel, ShapeNumber } from './wgsl.ts';

export interface Tile {
  /** Of the workgroup. */
  readonly bm: number;
  readonly bn: number;
  readonly bk: number;
  /** Whether invocations fetch their own blocks. Then `bm` × `bn` is what all of a workgroup's have together. */
  readonly isDirect?: boolean | undefined;
  /** Of an invocation; multiples of 4. */
  readonly tm: number;
  readonly tn: number;
}

export interface ProductCode {
  readonly name: string;
  readonly bindings: readonly string[];
  /** `k` is the length of sums, `m` and `n` may be computed from `d` in `rows` and `columns`. */
  readonly shape: Readonly<Record<string, ShapeNumber>>;
  /** Expressions: rows of a and columns of b. */
  readonly rows: string;
  readonly columns: string;
  /** The length of the sums. */
  readonly inner: string;
  /** Functions that the others use. */
  readonly head: string;
  /** Row i of a block from `row` and `k` on: row k + i, along m; or, if `aAlongK`, row + i, along k. */
  readonly loadA: (i: string) => string;
  readonly aAlongK: boolean;
  /** Row i of a block from `k` and `column` on: row k + i, along n; or, if `bAlongK`, column + i, along k. */
  readonly loadB: (i: string) => string;
  readonly bAlongK: boolean;
  /** Statements on `row`, `column`, `slice` and the rows v0 … v3 of a finished block. */
  readonly store: string;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Fetches a tile of a or b to workgroup memory. */
function fetch(name: 'a' | 'b', side: number, bk: number, threads: number, alongK: boolean): string {
  const across = (alongK ? bk : side) / 4;
  const load = name === 'a' ? 'loadA(firstRow + mn, k0 + kk)' : 'loadB(k0 + kk, firstColumn + mn)';
  const stores = range(4).map((j) => `${name}Tile[(kk + ${j}u) * ${side / 4}u + mn / 4u] = block[${j}];`);
  return `
    for (var i = local; i < ${(side / 4) * (bk / 4)}u; i += ${threads}u) {
      let outer = i / ${across}u * 4u; let inner = i % ${across}u * 4u;
      let kk = ${alongK ? 'inner' : 'outer'}; let mn = ${alongK ? 'outer' : 'inner'};
      let fetched = ${load};
      let block = ${alongK ? 'transpose(fetched)' : 'fetched'};
      ${stores.join(' ')}
    }`;
}

/** The rows of a block, written out. */
const eachRow = (load: (i: string) => string): string =>
  range(4)
    .map((i) => load(`${i}u`))
    .join(', ');

/** The same in a loop, which compiles several times as fast. */
const inLoop = (load: (i: string) => string): string =>
  `var v: mat4x4f; for (var i = 0u; i < 4u; i++) { v[i] = ${load('i')}; } return v;`;

/** What an invocation's block is multiplied from: vec4s along n for each k, and the factors of its rows. */
const multiplyBlock = (i: number, j: number, left: string, right: string): string =>
  range(4)
    .flatMap((r) =>
      range(4).map(
        (k) => `c${4 * i + r}_${j} = fma(vec4f(${left}[${r}][${k}]), ${right}[${k}], c${4 * i + r}_${j});`,
      ),
    )
    .join(' ');

/**
 * The same without workgroup memory: an invocation fetches its own blocks. Processors have caches of their own, and
 * software adapters compile barriers slowly and run them slowly.
 */
function directKernel(product: ProductCode, { tm, tn }: Tile, slices: number): Kernel {
  const [down, across] = [range(tm / 4), range(tn / 4)];
  const sums = range(tm).flatMap((i) => across.map((j) => `var c${i}_${j} = vec4f();`));
  const turned = (alongK: boolean, fetched: string): string => (alongK ? fetched : `transpose(${fetched})`);
  const lefts = down.map((i) => `let a${i} = ${turned(product.aAlongK, `loadA(firstRow + ${4 * i}u, k)`)};`);
  const rights = across.map(
    (j) => `let b${j} = ${turned(!product.bAlongK, `loadB(k, firstColumn + ${4 * j}u)`)};`,
  );
  return {
    name: `${product.name} ${tm}×${tn}`,
    bindings: product.bindings,
    shape: { ...product.shape, slices },
    code: `
${product.head}
fn loadA(row: u32, k: u32) -> mat4x4f { return mat4x4f(${eachRow(product.loadA)}); }
fn loadB(k: u32, column: u32) -> mat4x4f { return mat4x4f(${eachRow(product.loadB)}); }
@compute @workgroup_size(${directThreads})
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let rows = ${product.rows}; let columns = ${product.columns}; let inner = ${product.inner};
  let blocksAcross = (columns + ${tn - 1}u) / ${tn}u;
  let own = (group.y * groups.x + group.x) * ${directThreads}u + local; let slice = group.z;
  let firstRow = own / blocksAcross * ${tm}u; let firstColumn = own % blocksAcross * ${tn}u;
  if (firstRow >= rows) { return; }
  let inSlice = ((inner + s.slices - 1u) / s.slices + 3u) / 4u * 4u;
  let start = slice * inSlice; let end = min(start + inSlice, inner);
  ${sums.join(' ')}
  for (var k = start; k < end; k += 4u) {
    ${lefts.join(' ')} ${rights.join(' ')}
    ${down.flatMap((i) => across.map((j) => multiplyBlock(i, j, `a${i}`, `b${j}`))).join('\n    ')}
  }
  ${down
    .flatMap((i) =>
      across.map((j) => {
        const v = range(4).map((r) => `let v${r} = c${4 * i + r}_${j};`);
        return `{ let row = firstRow + ${4 * i}u; let column = firstColumn + ${4 * j}u; ${v.join(' ')}
    if (row < rows && column < columns) { ${product.store} } }`;
      }),
    )
    .join('\n  ')}
}`,
  };
}

/** Invocations of a workgroup of a direct product. */
const directThreads = 64;

/** The kernel of a product. `slices` cut k; slice s of a dispatch is its `z`. */
export function productKernel(product: ProductCode, tile: Tile, slices: number): Kernel {
  if (tile.isDirect) return directKernel(product, tile, slices);
  const { bm, bn, bk, tm, tn } = tile;
  const [across, down] = [bn / tn, bm / tm];
  const threads = across * down;
  const blocks = range(tm / 4).flatMap((i) => range(tn / 4).map((j) => [i, j] as const));
  const sums = range(tm).flatMap((i) => range(tn / 4).map((j) => `c${i}_${j}`));
  const multiplyAdds = range(tm).flatMap((i) =>
    range(tn / 4).map((j) => `c${i}_${j} = fma(vec4f(a${i >> 2}.${'xyzw'[i & 3]}), b${j}, c${i}_${j});`),
  );
  // An invocation's blocks are `down` or `across` blocks apart, so that neighbors read neighboring vec4s.
  const stores = blocks.map(
    ([i, j]) => `{
    let row = firstRow + (ty + ${i * down}u) * 4u; let column = firstColumn + (tx + ${j * across}u) * 4u;
    let v0 = c${i * 4}_${j}; let v1 = c${i * 4 + 1}_${j}; let v2 = c${i * 4 + 2}_${j}; let v3 = c${i * 4 + 3}_${j};
    if (row < rows && column < columns) { ${product.store} }
  }`,
  );
  return {
    name: `${product.name} ${bm}×${bn}`,
    bindings: product.bindings,
    shape: { ...product.shape, slices },
    code: `
${product.head}
var<workgroup> aTile: array<vec4f, ${(bm / 4) * bk}>;
var<workgroup> bTile: array<vec4f, ${(bn / 4) * bk}>;
fn loadA(row: u32, k: u32) -> mat4x4f { ${inLoop(product.loadA)} }
fn loadB(k: u32, column: u32) -> mat4x4f { ${inLoop(product.loadB)} }
@compute @workgroup_size(${threads})
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let rows = ${product.rows}; let columns = ${product.columns}; let inner = ${product.inner};
  // Tiles of a row are neighbors, since they read the same part of a.
  let tilesAcross = (columns + ${bn - 1}u) / ${bn}u;
  let tile = group.y * groups.x + group.x; let slice = group.z;
  let firstRow = tile / tilesAcross * ${bm}u; let firstColumn = tile % tilesAcross * ${bn}u;
  let tx = local % ${across}u; let ty = local / ${across}u;
  let inSlice = ((inner + s.slices - 1u) / s.slices + ${bk - 1}u) / ${bk}u * ${bk}u;
  let start = slice * inSlice; let end = min(start + inSlice, inner);
  ${sums.map((sum) => `var ${sum} = vec4f();`).join(' ')}
  for (var k0 = start; k0 < end; k0 += ${bk}u) {
    ${fetch('a', bm, bk, threads, product.aAlongK)}
    ${fetch('b', bn, bk, threads, product.bAlongK)}
    workgroupBarrier();
    for (var kk = 0u; kk < ${bk}u; kk++) {
      ${range(tm / 4)
        .map((i) => `let a${i} = aTile[kk * ${bm / 4}u + ty + ${i * down}u];`)
        .join(' ')}
      ${range(tn / 4)
        .map((j) => `let b${j} = bTile[kk * ${bn / 4}u + tx + ${j * across}u];`)
        .join(' ')}
      ${multiplyAdds.join('\n      ')}
    }
    workgroupBarrier();
  }
  ${stores.join('\n  ')}
}`,
  };
}
