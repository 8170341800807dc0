/**
 * The color shift of AlexNet (Krizhevsky et al. 2012), which the VGG paper uses: each image gets one random shift along
 * the principal components of the training set's RGB values.
 */
import { UsageError } from '../../errors.ts';
import { shown } from '../../options.ts';
import type { Random } from '../random.ts';
import { checkNumber } from './pixels.ts';

/** Principal components of RGB pixels scaled to 0–1. */
export interface ColorComponents {
  /** Eigenvalues of the covariance. */
  readonly values: readonly number[];
  /** [component][channel], of length 1. */
  readonly vectors: readonly (readonly number[])[];
}

export interface ColorShiftTransform {
  readonly kind: 'colorShift';
  readonly deviation: number;
  readonly components: ColorComponents;
}

/** Those of ImageNet, as published with fb.resnet.torch and used by timm. */
export const imagenetComponents: ColorComponents = {
  values: [0.2175, 0.0188, 0.0045],
  vectors: [
    [-0.5675, -0.5808, -0.5836],
    [0.7192, -0.0045, -0.6948],
    [0.4009, -0.814, 0.4203],
  ],
};

/**
 * Adds Σ αᵢ · valueᵢ · vectorᵢ to all pixels, with αᵢ ~ N(0, deviation²) drawn once for each image. It comes between
 * `toTensor` and `normalize`, where pixels are 0–1. Draws three normal numbers.
 */
export function colorShift(
  deviation = 0.1,
  components: ColorComponents = imagenetComponents,
): ColorShiftTransform {
  checkNumber('colorShift', 'deviation', deviation, 0);
  const { values, vectors } = components ?? {};
  const isThree = (list: unknown): boolean =>
    Array.isArray(list) && list.length === 3 && list.every((value) => Number.isFinite(value));
  if (!isThree(values) || !Array.isArray(vectors) || vectors.length !== 3 || !vectors.every(isThree)) {
    throw new UsageError(
      `colorShift: components are ${shown(components)}, not { values, vectors } of three channels; ` +
        'take them from colorComponents(dataset)',
    );
  }
  return { kind: 'colorShift', deviation, components };
}

/** What an image's channels get, for pixels scaled to 0–1. */
export function drawShift({ deviation, components }: ColorShiftTransform, random: Random): number[] {
  const amounts = components.values.map((own) => deviation * random.normal() * own);
  return [0, 1, 2].map((channel) =>
    amounts.reduce((sum, amount, i) => sum + amount * components.vectors[i]![channel]!, 0),
  );
}
