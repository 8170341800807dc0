/**
 * What a trained network sees: the activations behind any layer, and Grad-CAM heat maps (Selvaraju et al., "Grad-CAM:
 * Visual Explanations from Deep Networks via Gradient-Based Localization", ICCV 2017). Runtime-neutral: a report is
 * built with it in Node, and the report's page uses it to explain a dropped image.
 *
 * Activations come from a device: the layers up to the chosen one, followed by `flatten`, form a network. The
 * gradient of a class score with respect to the last feature map comes from the reference code of the layers after it.
 */
import type { OpenSession, Session } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import type { LayerPass, LayerSpec, Network, NetworkLayer, Shape, Tensor, Weights } from '../model/layer.ts';
import { flatten, kindOf } from '../model/layers/index.ts';
import { buildNetwork, checkNetwork, sequential, sizeOf } from '../model/network.ts';
import { checkArgument } from '../options.ts';

/** Feature maps of several images, planar [N, C, H, W]. */
export interface FeatureMaps {
  readonly count: number;
  /** [C, H, W] of one image. */
  readonly shape: Shape;
  readonly data: Float32Array;
}

/** A heat map of one image: where the network found evidence for a class. */
export interface HeatMap {
  readonly height: number;
  readonly width: number;
  /** [H, W], 0–1, the largest 1 unless all is 0. */
  readonly values: Float32Array;
}

/** Whether a layer keeps positions: after a convolution it belongs to its feature map. */
const isPointwise = ({ spec }: NetworkLayer): boolean => kindOf(spec).role === 'pointwise';

/** Whether a layer has an effect in training only. */
const idle = (spec: LayerSpec): boolean => spec.kind === 'dropout';

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

/** The layers up to `last` as a network that returns their feature map as one vector. */
export function networkUpTo(network: Network, last: number): Network {
  const layers = network.layers.slice(0, last + 1);
  // Layers without a name are named by their index, which stays the same.
  const specs = layers.map(({ spec }) => spec);
  const vector = layers.at(-1)?.output.length === 1;
  return buildNetwork(
    sequential(vector ? specs : [...specs, flatten()], { name: network.name }),
    network.input,
  );
}

/** The tensors in `weights` that belong to these layers. */
export function weightsOf(layers: readonly NetworkLayer[], weights: Weights): Weights {
  const names = new Set(layers.map(({ name }) => name));
  return new Map([...weights].filter(([name]) => names.has(name.slice(0, name.lastIndexOf('.')))));
}

/** A session for the layers up to `last`. Close it after use. */
export async function openBackbone(
  network: Network,
  weights: Weights,
  last: number,
  open: OpenSession,
): Promise<Backbone> {
  checkNetwork('openBackbone', network);
  const shape = network.layers[last]?.output;
  if (!shape)
    throw new UsageError(`layer ${last}: ${network.name} has layers 0 to ${network.layers.length - 1}`);
  const backbone = networkUpTo(network, last);
  const session = await open(backbone, { batchSize: 1 });
  try {
    await session.setWeights(weightsOf(backbone.layers, weights));
  } catch (error) {
    await session.close();
    throw error;
  }
  return new Backbone(session, shape, sizeOf(network.input));
}

/** The first layers of a network on a device. */
export class Backbone implements AsyncDisposable {
  readonly shape: Shape;
  readonly #session: Session;
  readonly #imageSize: number;

  constructor(session: Session, shape: Shape, imageSize: number) {
    this.#session = session;
    this.shape = shape;
    this.#imageSize = imageSize;
  }

  /** `images` [N, C, H, W], transformed as for a test. */
  async maps(images: Float32Array): Promise<FeatureMaps> {
    const count = images.length / this.#imageSize;
    return { count, shape: this.shape, data: await this.#session.predict(images, count) };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#session.close();
  }
}

/** The layers after a feature map, ready for gradients of class scores. */
export interface Head {
  readonly layers: readonly NetworkLayer[];
  readonly parameters: readonly (readonly Float64Array[])[];
  readonly passes: readonly LayerPass[];
}

/** The layers of `network` after layer `last`, without those that have an effect in training only. */
export function headBehind(network: Network, weights: Weights, last: number): Head {
  checkNetwork('headBehind', network);
  const layers = network.layers.slice(last + 1).filter(({ spec }) => !idle(spec));
  const parameters = layers.map((layer) =>
    layer.parameters.map(({ name }) => Float64Array.from(weights.get(name)!.data)),
  );
  const passes = layers.map(
    ({ buffers }, layer): LayerPass => ({
      training: false,
      buffers: buffers.map(({ name }) => Float64Array.from(weights.get(name)!.data)),
      draws: { seed: 0, epoch: 0, layer },
      samples: [0],
    }),
  );
  return { layers, parameters, passes };
}

/** Class scores for one image's feature map, and the gradient of one score with respect to it. */
function scoreGradient(
  head: Head,
  map: Tensor,
  label: number,
): { logits: Float64Array; gradient: Float64Array } {
  const inputs: Tensor[] = [];
  let current = map;
  for (const [i, { spec }] of head.layers.entries()) {
    inputs.push(current);
    current = kindOf(spec).forward(spec, current, head.parameters[i]!, head.passes[i]!);
  }
  const logits = current.data;
  let gradient: Tensor = { shape: current.shape, data: new Float64Array(logits.length) };
  gradient.data[label] = 1;
  for (let i = head.layers.length - 1; i >= 0; i--) {
    gradient = inputGradient(head, i, inputs[i]!, gradient);
  }
  return { logits, gradient: gradient.data };
}

/** The gradient with respect to layer `i`'s input, in inference. */
function inputGradient(head: Head, i: number, input: Tensor, gradient: Tensor): Tensor {
  const { spec } = head.layers[i]!;
  const [kind, parameters, pass] = [kindOf(spec), head.parameters[i]!, head.passes[i]!];
  if (spec.kind !== 'batchNorm') return kind.backward(spec, input, parameters, gradient, pass).input;
  // Its `backward` is for training batches. With running statistics the layer is x ↦ a·x + b, so a·g = f(g) − f(0).
  const zero = { shape: gradient.shape, data: new Float64Array(gradient.data.length) };
  const shift = kind.forward(spec, zero, parameters, pass).data;
  const { data } = kind.forward(spec, gradient, parameters, pass);
  return { shape: gradient.shape, data: data.map((value, at) => value - shift[at]!) };
}

/**
 * Grad-CAM for image `index` of `maps` and class `label`: the sum of the maps, each weighted by its mean gradient, with
 * negative values set to 0 (the paper's equations 1 and 2).
 */
export function gradCam(head: Head, maps: FeatureMaps, index: number, label: number): HeatMap {
  checkArgument('gradCam', 'head', head, ['layers', 'passes'], 'the result of headBehind');
  checkArgument('gradCam', 'maps', maps, ['shape', 'data'], 'the result of backbone.maps');
  const [channels = 0, height = 0, width = 0] = maps.shape;
  const area = height * width;
  const data = Float64Array.from(maps.data.subarray(index * channels * area, (index + 1) * channels * area));
  const { gradient } = scoreGradient(head, { shape: [1, ...maps.shape], data }, label);
  const sums = new Float64Array(area);
  for (let c = 0; c < channels; c++) {
    const plane = gradient.subarray(c * area, (c + 1) * area);
    const weight = plane.reduce((sum, value) => sum + value, 0) / area;
    for (let i = 0; i < area; i++) sums[i]! += weight * data[c * area + i]!;
  }
  const largest = sums.reduce((a, b) => Math.max(a, b), 0);
  const values = Float32Array.from(sums, (value) => (largest > 0 ? Math.max(value, 0) / largest : 0));
  return { height, width, values };
}
