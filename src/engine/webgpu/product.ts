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

/**
 * How a vec4 of a or b is fetched. Each has a line – the row of a or column of b if it lies along k, otherwise k – and a
 * position along the line. What follows from either alone is computed once for all vec4s that share it: a place on a map
 * takes divisions.
 */
export interface Operand {
  /** Whether vec4s lie along k, rather than along m or n. */
  readonly alongK: boolean;
  /** Expressions: what `load` needs of a line and of a position; by default their numbers. */
  readonly line?: (index: string) => string;
  readonly position?: (index: string) => string;
  /** Expression: the vec4; 0 beyond the matrix. */
  readonly load: (line: string, position: string) => string;
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
  readonly a: Operand;
  readonly b: Operand;
  /** Statements on `row`, `column`, `slice` and the rows v0 … v3 of a finished block. */
  readonly store: string;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Fetches a tile of a or b to workgroup memory. */
function fetch(operand: 'a' | 'b', side: number, bk: number, threads: number, { alongK }: Operand): string {
  const across = (alongK ? bk : side) / 4;
  const first = operand === 'a' ? 'firstRow + mn' : 'firstColumn + mn';
  const load = `${operand}Block(${alongK ? `${first}, k0 + kk` : `k0 + kk, ${first}`})`;
  const stores = range(4).map((j) => `${operand}Tile[(kk + ${j}u) * ${side / 4}u + mn / 4u] = block[${j}];`);
  return `
    for (var i = local; i < ${(side / 4) * (bk / 4)}u; i += ${threads}u) {
      let outer = i / ${across}u * 4u; let inner = i % ${across}u * 4u;
      let kk = ${alongK ? 'inner' : 'outer'}; let mn = ${alongK ? 'outer' : 'inner'};
      let fetched = ${load};
      let block = ${alongK ? 'transpose(fetched)' : 'fetched'};
      ${stores.join(' ')}
    }`;
}

const itself = (index: string): string => index;

/** A block of four lines, in a loop, which compiles several times as fast as four statements. */
const blockFunction = (operand: 'a' | 'b', { line = itself, position = itself, load }: Operand): string => `
fn ${operand}Block(first: u32, at: u32) -> mat4x4f {
  let position = ${position('at')};
  var v: mat4x4f; for (var i = 0u; i < 4u; i++) { let line = ${line('first + i')}; v[i] = ${load('line', 'position')}; }
  return v;
}`;

/**
 * The blocks of a or b that start at the rows or columns `starts`: statements in front of the loop over k, and in it.
 * Blocks of a have k along their columns, as `turned` says, those of b along their rows.
 */
function directBlocks(
  operand: 'a' | 'b',
  { alongK, line = itself, position = itself, load }: Operand,
  starts: readonly string[],
): { readonly before: string; readonly inside: string } {
  const lines = (label: string, first: string): string[] =>
    range(4).map((i) => `let ${label}${i} = ${line(`(${first} + ${i}u)`)};`);
  const blocks = starts.map((start, block) => {
    const [label, other] = alongK
      ? [`${operand}Line${block}_`, `${operand}At`]
      : [`${operand}Line`, `${operand}At${block}`];
    const fetched = `mat4x4f(${range(4)
      .map((i) => load(`${label}${i}`, other))
      .join(', ')})`;
    return {
      before: alongK ? lines(label, start).join(' ') : `let ${other} = ${position(`(${start})`)};`,
      inside: `let ${operand}${block} = ${alongK === (operand === 'a') ? fetched : `transpose(${fetched})`};`,
    };
  });
  const shared = alongK ? `let ${operand}At = ${position('k')};` : lines(`${operand}Line`, 'k').join(' ');
  return {
    before: blocks.map(({ before }) => before).join('\n  '),
    inside: [shared, ...blocks.map(({ inside }) => inside)].join('\n    '),
  };
}

/**
 * Adds a block of four k to an invocation's sums: `left` holds factors of rows, `right` vec4s along n. One statement for
 * each sum, since software adapters keep variables in memory.
 */
const multiplyBlock = (i: number, j: number, left: string, right: string): string =>
  range(4)
    .map((r) => {
      const sum = `c${4 * i + r}_${j}`;
      return `${sum} = ${range(4).reduce((before, k) => `fma(vec4f(${left}[${r}][${k}]), ${right}[${k}], ${before})`, sum)};`;
    })
    .join(' ');

/**
 * The same without workgroup memory: an invocation fetches its own blocks. Processors have caches of their own, and
 * software adapters compile barriers slowly and run them slowly.
 */
function directKernel(product: ProductCode, { tm, tn }: Tile, slices: number): Kernel {
  const [down, across] = [range(tm / 4), range(tn / 4)];
  const sums = range(tm).flatMap((i) => across.map((j) => `var c${i}_${j} = vec4f();`));
  const a = directBlocks(
    'a',
    product.a,
    down.map((i) => `firstRow + ${4 * i}u`),
  );
  const b = directBlocks(
    'b',
    product.b,
    across.map((j) => `firstColumn + ${4 * j}u`),
  );
  return {
    name: `${product.name} ${tm}×${tn}`,
    bindings: product.bindings,
    shape: { ...product.shape, slices },
    code: `
${product.head}
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
  ${a.before}
  ${b.before}
  for (var k = start; k < end; k += 4u) {
    ${a.inside}
    ${b.inside}
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
${blockFunction('a', product.a)}
${blockFunction('b', product.b)}
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
    ${fetch('a', bm, bk, threads, product.a)}
    ${fetch('b', bn, bk, threads, product.b)}
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
