/**
 * The perceptual distance of images: the mean squared difference of a network's features (the feature reconstruction
 * loss of Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016).
 */
import { UsageError } from '../errors.ts';
import { checkOptions } from '../options.ts';
import { checkModel, type ExplainableModel } from './explain.ts';
import { type Features, imageCountOf, type LayerRef } from './features.ts';

export interface PerceptualOptions {
  /** Layers whose distances are added; `['relu2_2']` by default. */
  readonly layers?: readonly LayerRef[];
  /** Whether the gradient is computed, too; false by default. */
  readonly gradient?: boolean;
}

export interface PerceptualDistance {
  /** Of each image to its target: for each layer the mean squared difference of its C·H·W values, added. */
  readonly distances: Float64Array;
  /** With `gradient`: of each image's distance with respect to the image, [N, C, H, W]. */
  readonly gradient?: Features;
}

/**
 * How different images and their targets look to a network. Both are [N, C, H, W] as the network takes them; targets may
 * also be their features (`model.features(targets, layers)`), if they stay the same for many calls.
 * @throws UsageError if the numbers of images differ or a layer does not exist.
 */
export async function perceptualDistance(
  model: ExplainableModel,
  images: Float32Array,
  targets: Float32Array | ReadonlyMap<LayerRef, Features>,
  options: PerceptualOptions = {},
): Promise<PerceptualDistance> {
  const where = 'perceptualDistance';
  checkModel(where, model);
  checkOptions<PerceptualOptions>(where, options, { layers: 'optional', gradient: 'optional' });
  const { layers = ['relu2_2'], gradient = false } = options;
  const count = imageCountOf(where, model.network, images);
  const own = await model.features(images, layers);
  const wanted = targets instanceof Map ? targets : await model.features(targets as Float32Array, layers);
  const distances = new Float64Array(count);
  const given = new Map<LayerRef, Float32Array>();
  for (const [layer, { shape, data }] of own) {
    const target = wanted.get(layer) as Features | undefined;
    if (target?.data.length !== data.length) {
      const found = target ? `[${target.shape.join(', ')}]` : 'none';
      throw new UsageError(
        `${where}: the targets' features after ${layer} are ${found}, but those of the images [${shape.join(', ')}]`,
      );
    }
    const size = data.length / count;
    const slope = new Float32Array(data.length);
    for (let i = 0; i < data.length; i++) {
      const apart = data[i]! - target.data[i]!;
      distances[Math.floor(i / size)]! += apart ** 2 / size;
      slope[i] = (2 * apart) / size;
    }
    given.set(layer, slope);
  }
  if (!gradient) return { distances };
  return { distances, gradient: await model.inputGradient(images, { features: given }) };
}
