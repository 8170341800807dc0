/**
 * Values after layers by name, and gradients with respect to images or to values: what `model.features` and
 * `model.inputGradient` compute on a session. Both see the network as a test does: running moments, no dropout.
 */
import type { FeaturesResult, Session } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import type { Network, Shape } from '../model/layer.ts';
import { layerIndex } from '../model/layer-names.ts';
import { crossEntropy } from '../model/loss.ts';
import { sizeOf } from '../model/network.ts';
import { isObject, shown } from '../options.ts';

/**
 * A layer by the literature's name (`relu3_3`), its own (`features.15`), or its position in `network.layers`, from 0.
 */
export type LayerRef = string | number;

/** Values of several images, in PyTorch's order. */
export interface Features {
  /** [N, C, H, W], or [N, F] behind a flatten. */
  readonly shape: Shape;
  readonly data: Float32Array;
}

/** The function of a network whose gradient is wanted. */
export type GradientOf =
  /** One class for each image: the gradient of its logit. */
  | { readonly classes: ArrayLike<number> }
  /** One label for each image: the gradient of the batch's mean cross-entropy, as in training. */
  | { readonly labels: ArrayLike<number> }
  /** Any function of the values after layers: its gradient with respect to each of them, [N, …]. */
  | { readonly features: ReadonlyMap<LayerRef, Float32Array> };

export interface InputGradientOptions {
  /** The gradient with respect to the values after this layer, instead of the images. */
  readonly layer?: LayerRef;
}

/** The position of a layer. @throws UsageError if there is none. */
export function layerOf(where: string, network: Network, ref: LayerRef): number {
  if (typeof ref !== 'number') return layerIndex(where, network, ref);
  if (Number.isInteger(ref) && ref >= 0 && ref < network.layers.length) return ref;
  throw new UsageError(
    `${where}: layer ${ref}: ${network.name} has layers 0 to ${network.layers.length - 1}`,
  );
}

/** The number of images in [N, C, H, W] or [C, H, W]. @throws UsageError unless these are whole images. */
export function imageCountOf(where: string, { input }: Network, images: Float32Array): number {
  const type = Object.prototype.toString.call(images).slice(8, -1);
  if (type !== 'Float32Array') {
    throw new UsageError(
      `${where}: images are of type ${type}; pass a Float32Array [N, channels, height, width] with values from 0 to 1, ` +
        'or as the transform returns them',
    );
  }
  const size = sizeOf(input);
  const count = images.length / size;
  if (Number.isInteger(count) && count >= 1) return count;
  throw new UsageError(
    `${where}: ${images.length} values are not whole images of ${input.join('×')} = ${size} values`,
  );
}

const featuresAfter = (network: Network, layer: number, count: number, data: Float32Array): Features => ({
  shape: [count, ...(layer < 0 ? network.input : network.layers[layer]!.output)],
  data,
});

/** The values after layers. */
export async function featuresOf<Ref extends LayerRef>(
  session: Session,
  network: Network,
  images: Float32Array,
  layers: readonly Ref[],
): Promise<ReadonlyMap<Ref, Features>> {
  const count = imageCountOf('features', network, images);
  const given: unknown = layers;
  if (!Array.isArray(given) || given.length === 0)
    throw new UsageError(`features: layers ${shown(given)} is not a list of names, such as ['relu2_2']`);
  const refs = [...new Set(layers)];
  const indices = refs.map((ref) => layerOf('features', network, ref));
  const { values } = await session.features({ images, count, layers: indices });
  return new Map(refs.map((ref, i) => [ref, featuresAfter(network, indices[i]!, count, values[i]!)]));
}

/** The gradient of a function with respect to the images or to the values after a layer. */
export async function inputGradientOf(
  session: Session,
  network: Network,
  images: Float32Array,
  of: GradientOf,
  { layer }: InputGradientOptions,
): Promise<Features> {
  const where = 'inputGradient';
  const count = imageCountOf(where, network, images);
  const to = layer === undefined ? -1 : layerOf(where, network, layer);
  const given = await givenGradients(session, network, images, count, of);
  for (const [index, { length }] of given) {
    const { name, output } = network.layers[index]!;
    if (index < to) {
      throw new UsageError(
        `${where}: layer ${network.layers[to]!.name} is behind ${name}, whose values do not depend on it`,
      );
    }
    if (length === count * sizeOf(output)) continue;
    throw new UsageError(
      `${where}: the gradient after ${name} has ${length} values, not [${[count, ...output].join(', ')}]`,
    );
  }
  const result: FeaturesResult = await session.features({
    images,
    count,
    layers: [],
    backward: { given, to },
  });
  return featuresAfter(network, to, count, result.gradient!);
}

/** The gradients that are given to layers. */
async function givenGradients(
  session: Session,
  network: Network,
  images: Float32Array,
  count: number,
  of: GradientOf,
): Promise<ReadonlyMap<number, Float32Array>> {
  const where = 'inputGradient';
  const last = network.layers.length - 1;
  const [classes = 0] = network.output;
  const chosen = ['classes', 'labels', 'features'].filter((name) => isObject(of) && name in of);
  if (chosen.length > 1) {
    throw new UsageError(
      `${where}: ${chosen.join(' and ')} exclude each other; the gradient is that of one function, so leave one out`,
    );
  }
  if (isObject(of) && 'classes' in of) {
    const gradient = new Float32Array(count * classes);
    checkLabels(where, 'classes', of.classes, count, classes);
    for (let n = 0; n < count; n++) gradient[n * classes + of.classes[n]!] = 1;
    return new Map([[last, gradient]]);
  }
  if (isObject(of) && 'labels' in of) {
    checkLabels(where, 'labels', of.labels, count, classes);
    const logits = Float64Array.from(await session.predict(images, count));
    const { gradient } = crossEntropy({ shape: [count, classes], data: logits }, of.labels);
    return new Map([[last, Float32Array.from(gradient.data)]]);
  }
  if (isObject(of) && 'features' in of && of.features instanceof Map && of.features.size > 0) {
    const sums = new Map<number, Float32Array>();
    for (const [ref, gradient] of of.features as ReadonlyMap<LayerRef, Float32Array>) {
      const index = layerOf(where, network, ref);
      const before = sums.get(index);
      sums.set(index, before ? gradient.map((value, i) => value + before[i]!) : gradient);
    }
    return sums;
  }
  throw new UsageError(
    `${where}: pass { classes } or { labels } with one for each image, or { features: new Map([['relu3_3', gradient]]) }`,
  );
}

/** @throws UsageError unless there is one class for each image. */
export function checkLabels(
  where: string,
  what: string,
  labels: ArrayLike<number>,
  count: number,
  classes: number,
): void {
  const list = Array.from(labels ?? []);
  if (list.length !== count)
    throw new UsageError(`${where}: ${list.length} ${what} are not one for each of ${count} images`);
  const wrong = list.find((label) => !(Number.isInteger(label) && label >= 0 && label < classes));
  if (wrong === undefined) return;
  throw new UsageError(`${where}: class ${shown(wrong)} is not a whole number from 0 to ${classes - 1}`);
}
