/**
 * Explanations of a network's answers, on any device: Grad-CAM (Selvaraju et al., "Grad-CAM: Visual Explanations from
 * Deep Networks via Gradient-Based Localization", ICCV 2017) and saliency maps (Simonyan et al., "Deep Inside
 * Convolutional Networks", 2014). Runtime-neutral: a report is built with it in Node, and the report's page uses it to
 * explain a dropped image.
 */
import { UsageError, VggError } from '../errors.ts';
import type { Network, NetworkLayer } from '../model/layer.ts';
import { kindOf } from '../model/layers/index.ts';
import { checkNetwork } from '../model/network.ts';
import { checkArgument, checkOptions } from '../options.ts';
import type { Model } from '../train/model.ts';
import { checkLabels, imageCountOf, type LayerRef, layerOf } from './features.ts';

/** What explanations need of a compiled model. */
export type ExplainableModel = Pick<Model, 'network' | 'features' | 'inputGradient' | 'predict'>;

/** A heat map of one image: where the network found evidence for a class. */
export interface HeatMap {
  readonly height: number;
  readonly width: number;
  /** [H, W], 0–1, the largest 1 unless all is 0. */
  readonly values: Float32Array;
}

/** A heat map, and the class that it explains. */
export interface Explanation extends HeatMap {
  readonly label: number;
}

export interface SaliencyOptions {
  /** The class of each image; by default the most likely one. */
  readonly classes?: ArrayLike<number>;
}

export interface GradCamOptions extends SaliencyOptions {
  /** The layer whose maps are weighted; by default the ReLU of the last convolution. */
  readonly layer?: LayerRef;
}

/** Whether a layer keeps positions: after a convolution it belongs to its feature map. */
const isPointwise = ({ spec }: NetworkLayer): boolean => kindOf(spec).role === 'pointwise';

/**
 * Index of the layer whose output Grad-CAM uses: the last convolution, with the ReLU after it and before the next pool.
 * Undefined if the network has no convolution.
 */
export function lastFeatureLayer(network: Network): number | undefined {
  checkNetwork('lastFeatureLayer', network);
  const { layers } = network;
  let index = layers.findLastIndex(({ spec }) => spec.kind === 'conv2d');
  if (index < 0) return undefined;
  while (index + 1 < layers.length && isPointwise(layers[index + 1]!)) index++;
  return index;
}

/** Indices of the layers whose outputs are shown: each convolution with its ReLU, and each pool. */
export function featureLayers(network: Network): readonly number[] {
  checkNetwork('featureLayers', network);
  const { layers } = network;
  const indices: number[] = [];
  for (const [index, { output }] of layers.entries()) {
    const next = layers[index + 1];
    if (output.length !== 3 || (next && isPointwise(next))) continue;
    indices.push(index);
  }
  return indices;
}

/** @throws UsageError unless `model` is a compiled model. */
export function checkModel(where: string, model: ExplainableModel): void {
  checkArgument(where, 'model', model, ['network', 'features', 'inputGradient'], 'what compile returns');
}

/** The given class of each image, or the most likely one. */
async function classesOf(
  where: string,
  model: ExplainableModel,
  images: Float32Array,
  given: ArrayLike<number> | undefined,
): Promise<ArrayLike<number>> {
  const count = imageCountOf(where, model.network, images);
  if (given === undefined) return (await model.predict(images)).labels;
  checkLabels(where, 'classes', given, count, model.network.output[0]!);
  return given;
}

/**
 * Where each of the images [N, C, H, W] supports a class: the sum of a layer's maps, each weighted by the mean gradient of
 * the class's score, with negative values set to 0 (the paper's equations 1 and 2).
 */
export async function gradCam(
  model: ExplainableModel,
  images: Float32Array,
  options: GradCamOptions = {},
): Promise<readonly Explanation[]> {
  checkModel('gradCam', model);
  checkOptions<GradCamOptions>('gradCam', options, { classes: 'optional', layer: 'optional' });
  const { network } = model;
  const layer =
    options.layer === undefined ? lastFeatureLayer(network) : layerOf('gradCam', network, options.layer);
  if (layer === undefined) throw new UsageError(`gradCam: ${network.name} has no convolution`);
  const { output, name } = network.layers[layer]!;
  if (output.length !== 3) {
    throw new UsageError(
      `gradCam: layer ${name} has ${output.join('×')} values without positions; choose one before flatten`,
    );
  }
  const classes = await classesOf('gradCam', model, images, options.classes);
  const { data: maps } = (await model.features(images, [layer])).get(layer)!;
  const { data: gradient } = await model.inputGradient(images, { classes }, { layer });
  const [channels = 0, height = 0, width = 0] = output;
  const area = height * width;
  return Array.from(classes, (label, n) => {
    const sums = new Float64Array(area);
    for (let c = 0; c < channels; c++) {
      const from = (n * channels + c) * area;
      let weight = 0;
      for (let i = 0; i < area; i++) weight += gradient[from + i]! / area;
      for (let i = 0; i < area; i++) sums[i]! += weight * maps[from + i]!;
    }
    return { label, ...heatOf(sums, height, width) };
  });
}

/**
 * How much each pixel of the images [N, C, H, W] changes a class's score: the largest absolute gradient of its channels.
 */
export async function saliency(
  model: ExplainableModel,
  images: Float32Array,
  options: SaliencyOptions = {},
): Promise<readonly Explanation[]> {
  checkModel('saliency', model);
  checkOptions<SaliencyOptions>('saliency', options, { classes: 'optional' });
  const { input, name } = model.network;
  if (input.length !== 3) throw new UsageError(`saliency: the input of ${name} is a vector, not an image`);
  const classes = await classesOf('saliency', model, images, options.classes);
  const { data } = await model.inputGradient(images, { classes });
  const [channels = 0, height = 0, width = 0] = input;
  const area = height * width;
  return Array.from(classes, (label, n) => {
    const largest = new Float64Array(area);
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < area; i++) {
        largest[i] = Math.max(largest[i]!, Math.abs(data[(n * channels + c) * area + i]!));
      }
    }
    return { label, ...heatOf(largest, height, width) };
  });
}

/** Values as a heat map: negative ones are 0, and the largest is 1. @throws VggError if one is not finite. */
function heatOf(sums: Float64Array, height: number, width: number): HeatMap {
  if (!sums.every(Number.isFinite)) {
    throw new VggError('the gradients are not finite numbers, because weights or images are not; use others');
  }
  const largest = sums.reduce((a, b) => Math.max(a, b), 0);
  const values = Float32Array.from(sums, (value) => (largest > 0 ? Math.max(value, 0) / largest : 0));
  return { height, width, values };
}
