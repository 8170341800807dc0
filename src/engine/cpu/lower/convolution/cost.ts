/**
 * The cost of a convolution with Winograd tiles of 4×4 or 2×2, and as patches × weights (im2col).
 *
 * Each algorithm is a number of matrix products (`planes`) of `rows` rows per image with a matrix [input channels][output
 * channels]: 36 with a row per 4×4 outputs, 16 with a row per 2×2, or 9 with a row per output. The matrices must also be
 * read, and are never cached, because a step uses much other memory in between. Winograd reads a plane's matrix once per
 * block, which may span several images; im2col reads it for each image from the second-level cache, or from memory if
 * the matrices do not fit. Reading counts as `overhead` rows per image, including the transforms of weights and of their
 * gradients: rows for chunks of eight images. In larger chunks of large batches, Winograd's matrices that do not fit cost
 * far less, as if with the square of the images: not only are they read for more rows, but transforms of weights are also
 * shared by more chunks.
 *
 * Overheads are fitted to training steps of 32 to 512 channels on maps of 1×1 to 16×16, with AVX-512 and with
 * WebAssembly in pairs (docs/performance.md). The former's is about a third more, the latter's a third less than here,
 * which decides hardly any of these shapes, so that vectors do not enter.
 */
import { granule } from '../../../../kernels/language.ts';
import { type Scheme, schemes, tilesOf } from '../../../../kernels/winograd-schemes.ts';
import type { Conv2dSpec } from '../../../../model/layer.ts';
import type { MapShape } from '../../../map-shape.ts';

/** Images of a chunk to which the overheads are fitted. */
const usualImages = 8;

/** Rows per image that reading a matrix costs, if all matrices fit the second-level cache and if not. */
const overhead = {
  winograd: { inside: 7, beyond: 12 },
  im2col: { inside: 7, beyond: 40 },
} as const;

/**
 * The Winograd scheme if one is cheapest for a convolution from `input` to `full` in chunks of so many images, otherwise
 * undefined.
 */
export function cheapestScheme(
  spec: Conv2dSpec,
  input: MapShape,
  full: MapShape,
  cacheFloats: number,
  images: number = usualImages,
): Scheme | undefined {
  const possible =
    input.stored % granule === 0 &&
    spec.kernel.every((size) => size === 3) &&
    spec.stride.every((step) => step === 1) &&
    spec.padding.every((padding) => padding <= 2);
  if (!possible) return undefined;
  const cost = (algorithm: 'winograd' | 'im2col', planes: number, rows: number): number => {
    const { inside, beyond } = overhead[algorithm];
    const read = algorithm === 'winograd' ? beyond * (usualImages / images) ** 2 : beyond;
    return planes * (rows + (planes * input.stored * full.stored <= cacheFloats ? inside : read));
  };
  const choices = [
    { scheme: undefined, cost: cost('im2col', 9, full.height * full.width) },
    ...[schemes[4], schemes[2]].map((scheme) => {
      const { rows, columns } = tilesOf(scheme, full);
      return { scheme, cost: cost('winograd', scheme.planes, rows * columns) };
    }),
  ];
  return choices.reduce((best, choice) => (choice.cost < best.cost ? choice : best)).scheme;
}
