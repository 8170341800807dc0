/**
 * Gram matrices of features: how much channels are active together, wherever in the image, which describes its style
 * (Gatys et al., "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016).
 */
import { UsageError } from '../errors.ts';
import { checkArgument } from '../options.ts';
import type { Features } from './features.ts';

/** N, C and the number of places of maps. @throws UsageError unless they are maps. */
function sidesOf(
  where: string,
  features: Features,
): readonly [count: number, channels: number, area: number] {
  checkArgument(
    where,
    'features',
    features,
    ['shape', 'data'],
    'the values after a layer, from model.features',
  );
  const { shape } = features;
  const [count = 0, channels = 0, height = 0, width = 0] = shape;
  if (shape.length === 4) return [count, channels, height * width];
  throw new UsageError(
    `${where}: features [${shape.join(', ')}] are not maps [N, C, H, W]; choose a layer before flatten`,
  );
}

/** The Gram matrix of each image, [N, C, C]: Σ over all places of F_i · F_j, divided by the number of places. */
export function gramMatrices(features: Features): Features {
  const [count, channels, area] = sidesOf('gramMatrices', features);
  const { data } = features;
  const grams = new Float32Array(count * channels * channels);
  for (let n = 0; n < count; n++) {
    const maps = n * channels * area;
    for (let i = 0; i < channels; i++) {
      for (let j = 0; j <= i; j++) {
        const [a, b] = [maps + i * area, maps + j * area];
        let sum = 0;
        for (let k = 0; k < area; k++) sum += data[a + k]! * data[b + k]!;
        grams[(n * channels + i) * channels + j] = sum / area;
        grams[(n * channels + j) * channels + i] = sum / area;
      }
    }
  }
  return { shape: [count, channels, channels], data: grams };
}

/** The gradient with respect to the features, [N, C, H, W], from the gradient with respect to their Gram matrices. */
export function gramGradient(features: Features, gradient: Float32Array): Float32Array {
  const [count, channels, area] = sidesOf('gramGradient', features);
  if (gradient?.length !== count * channels * channels) {
    throw new UsageError(
      `gramGradient: the gradient has ${gradient?.length} values, not [${count}, ${channels}, ${channels}]`,
    );
  }
  const { data } = features;
  const result = new Float32Array(data.length);
  const row = new Float64Array(area);
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < channels; i++) {
      row.fill(0);
      for (let j = 0; j < channels; j++) {
        // Entries ij and ji both depend on map i.
        const [own, other] = [(n * channels + i) * channels + j, (n * channels + j) * channels + i];
        const slope = (gradient[own]! + gradient[other]!) / area;
        const from = (n * channels + j) * area;
        for (let k = 0; k < area; k++) row[k]! += slope * data[from + k]!;
      }
      result.set(row, (n * channels + i) * area);
    }
  }
  return result;
}
