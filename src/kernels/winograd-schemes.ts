/**
 * Winograd's minimal filtering F(m×m, 3×3) (Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
 * 2016). A 3×3 convolution of stride 1 becomes, for each tile of m×m outputs, Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A; over many
 * tiles and channels ⊙ is (m + 2)² matrix products (`gemm.ts`). The same bilinear form, transposed, gives the gradient
 * of the weights: dg = Gᵀ[(Bᵀ d B) ⊙ (A dY Aᵀ)]G. A scheme holds these matrices as arithmetic in one dimension;
 * `winograd.ts` turns each into a set of kernels.
 */
import type { Value } from './language.ts';

/** Outputs per side of a tile. */
export type Tile = 2 | 4;

export type Transform1d = (values: readonly Value[]) => Value[];

export interface Scheme<T extends Tile = Tile> {
  readonly tile: T;
  /** Inputs per side of a tile. */
  readonly patch: number;
  /** Planes of the transform domain: matrix products. */
  readonly planes: number;
  /** Bᵀ d: patch → patch. */
  readonly input: Transform1d;
  /** G g: 3 → patch. */
  readonly weights: Transform1d;
  /** Gᵀ u: patch → 3. */
  readonly weightGradient: Transform1d;
  /** A y: tile → patch. */
  readonly gradient: Transform1d;
  /** Aᵀ m: patch → tile. */
  readonly output: Transform1d;
}

/** F(2×2, 3×3) on the points 0, 1, −1 and ∞: only sums, and halves in G. */
const two: Scheme<2> = {
  tile: 2,
  patch: 4,
  planes: 16,
  input: ([d0, d1, d2, d3]) => [d2!.sub(d0!), d1!.add(d2!), d2!.sub(d1!), d3!.sub(d1!)],
  weights([g0, g1, g2]) {
    const even = g0!.add(g2!).mul(1 / 2);
    const odd = g1!.mul(1 / 2);
    return [g0!.mul(-1), even.add(odd), even.sub(odd), g2!];
  },
  weightGradient([u0, u1, u2, u3]) {
    const even = u1!.add(u2!).mul(1 / 2);
    const odd = u1!.sub(u2!).mul(1 / 2);
    return [even.sub(u0!), odd, even.add(u3!)];
  },
  gradient: ([y0, y1]) => [y0!, y0!.add(y1!), y0!.sub(y1!), y1!],
  output: ([m0, m1, m2, m3]) => [m0!.add(m1!).add(m2!), m1!.sub(m2!).add(m3!)],
};

/** Absolute values of the points of `four`. */
const near = Math.SQRT1_2;
const far = Math.SQRT2;

/**
 * F(4×4, 3×3) on the points 0, ±√½, ±√2 and ∞: in float32 their largest error is a fifth of that of the usual
 * 0, ±1, ±2, ∞ (compare Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution", 2020).
 */
const four: Scheme<4> = {
  tile: 4,
  patch: 6,
  planes: 36,
  input([d0, d1, d2, d3, d4, d5]) {
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
  },
  weights([g0, g1, g2]) {
    const even = g0!.mul(-2 / 3).sub(g2!.mul(1 / 3));
    const odd = g1!.mul((-2 / 3) * near);
    const even2 = g0!.mul(1 / 6).add(g2!.mul(1 / 3));
    const odd2 = g1!.mul((1 / 6) * far);
    return [g0!, even.add(odd), even.sub(odd), even2.add(odd2), even2.sub(odd2), g2!];
  },
  weightGradient([u0, u1, u2, u3, u4, u5]) {
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
  },
  gradient([y0, y1, y2, y3]) {
    const even = y0!.add(y2!.mul(1 / 2));
    const odd = y1!.add(y3!.mul(1 / 2)).mul(near);
    const even2 = y0!.add(y2!.mul(2));
    const odd2 = y1!.add(y3!.mul(2)).mul(far);
    return [y0!, even.add(odd), even.sub(odd), even2.add(odd2), even2.sub(odd2), y3!];
  },
  output([m0, m1, m2, m3, m4, m5]) {
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
  },
};

export const schemes: { readonly [T in Tile]: Scheme<T> } = { 2: two, 4: four };

/** Tiles that cover a map. */
export interface Tiles {
  readonly rows: number;
  readonly columns: number;
}

/** How many tiles of a scheme cover a map. */
export const tilesOf = (
  { tile }: Scheme,
  { height, width }: { readonly height: number; readonly width: number },
): Tiles => ({ rows: Math.ceil(height / tile), columns: Math.ceil(width / tile) });
