/**
 * Variants of a session's network for images of other sizes, with the same parameters: as it is, which an adaptive pool
 * makes possible, or dense, as the paper evaluates (section 3.2). Dense, the first linear layer becomes a convolution
 * whose kernel is the last feature map at the training size, the others become 1×1 convolutions, and the scores are
 * averaged over all positions. At the training size this is the network itself.
 */
import { ShapeError, UsageError } from '../errors.ts';
import type { AdaptiveAvgPool2dSpec, LayerSpec, Network, NetworkLayer, Shape } from '../model/layer.ts';
import { kindOf } from '../model/layers/index.ts';

/** Plain data, because it is sent to workers. */
export interface Variant {
  /** [channels, height, width] of the images. */
  readonly input: Shape;
  readonly dense: boolean;
}

/** The images and the form of a prediction. */
export interface PredictOptions {
  /** [channels, height, width] of the images; those that the network was built for by default. */
  readonly shape?: Shape | undefined;
  /** Applies the classifier at every position of the last feature map and averages the scores. */
  readonly dense?: boolean | undefined;
}

/** The variant that a prediction needs; undefined for the network as it is. */
export function variantFor(
  { input }: Network,
  { shape = input, dense = false }: PredictOptions,
): Variant | undefined {
  return !dense && shape.join() === input.join() ? undefined : { input: shape, dense };
}

/**
 * The network of a variant. Layers keep their names, and parameters their names and the order of their values.
 * @throws UsageError if the network does not take such images, or cannot be dense.
 */
export function variantOf(network: Network, { input, dense }: Variant): Network {
  checkImages(network, input);
  const specs = dense ? denseLayers(network) : network.layers;
  const layers: NetworkLayer[] = [];
  let shape = input;
  for (const [index, layer] of specs.entries()) {
    const { spec } = layer;
    const kind = kindOf(spec);
    checkWindow(network, layer, input, shape);
    let output: Shape;
    try {
      output = kind.outputShape(spec, shape, { position: index + 1, name: layer.name, pooledBefore: true });
    } catch (error) {
      if (!(error instanceof ShapeError)) throw error;
      throw new UsageError(`${network.name} does not take images of ${input.join('×')}: ${error.message}`, {
        cause: error,
      });
    }
    if (!dense) checkParameters(network, layer, input, shape);
    layers.push({ ...layer, input: shape, output, multiplyAdds: kind.multiplyAdds(spec, shape) });
    shape = output;
  }
  if (shape.join() !== network.output.join()) {
    throw cannotBeDense(
      network,
      `it ends in ${shape.join('×')} values instead of ${network.output[0]} scores`,
    );
  }
  return { ...network, input, output: shape, layers };
}

function checkImages({ name, input }: Network, shape: Shape): void {
  const isShape = Array.isArray(shape) && shape.every((side) => Number.isSafeInteger(side) && side >= 1);
  if (isShape && input.length === 3 && shape.length === 3 && shape[0] === input[0]) return;
  throw new UsageError(
    input.length === 3
      ? `${name} takes images of ${input[0]} channels, not of shape [${String(shape)}]; ` +
          `give [${input[0]}, height, width]`
      : `${name} takes ${input.join('×')} values, and only networks for images take other sizes`,
  );
}

/** @throws UsageError if a dense classifier's window is larger than the map. */
function checkWindow({ name, layers }: Network, layer: NetworkLayer, input: Shape, shape: Shape): void {
  const { spec } = layer;
  if (spec.kind !== 'conv2d' && spec.kind !== 'avgPool2d') return;
  const isOwn = layers.some((own) => own === layer);
  const [, height = 0, width = 0] = shape;
  const [rows, columns] = spec.kernel;
  if (isOwn || (rows <= height && columns <= width)) return;
  throw new UsageError(
    `${name}: dense evaluation of images of ${input.join('×')} fails: their last feature map of ${height}×${width} is ` +
      `smaller than the classifier's window of ${rows}×${columns}; use images of at least the training size`,
  );
}

/** @throws UsageError if a layer would need other parameters. */
function checkParameters({ name }: Network, layer: NetworkLayer, input: Shape, shape: Shape): void {
  const kind = kindOf(layer.spec);
  const needed = [...kind.parameters(layer.spec, shape), ...(kind.buffers?.(layer.spec, shape) ?? [])];
  const own = [...layer.parameters, ...layer.buffers];
  if (needed.every((tensor, i) => tensor.shape.join() === own[i]!.shape.join())) return;
  throw new UsageError(
    `${name}: images of ${input.join('×')} do not fit: layer ${layer.name} would get ${shape.join('×')} values instead ` +
      `of ${layer.input.join('×')}; use the training size, dense evaluation, or a network with an adaptive pool`,
  );
}

const cannotBeDense = ({ name }: Network, reason: string): UsageError =>
  new UsageError(`${name} cannot be evaluated densely: ${reason}; evaluate crops instead`);

/** The layers of a dense network; those that differ have new specs, for maps instead of vectors. */
function denseLayers(network: Network): NetworkLayer[] {
  const at = network.layers.findIndex(({ spec }) => spec.kind === 'flatten');
  const flattened = network.layers[at];
  if (!flattened || network.input.length !== 3)
    throw cannotBeDense(network, 'no layer flattens a feature map');
  const features = network.layers.slice(0, at).flatMap((layer) => {
    if (layer.spec.kind !== 'adaptiveAvgPool2d') return [layer];
    const pool = slidingPool(network, layer.spec, layer.input);
    return pool ? [{ ...layer, spec: pool }] : [];
  });
  let [, height = 1, width = 1] = flattened.input;
  const classifier = network.layers.slice(at + 1).map((layer): NetworkLayer => {
    const { spec } = layer;
    switch (spec.kind) {
      case 'linear': {
        const { out, bias } = spec;
        const kernel = [height, width] as const;
        [height, width] = [1, 1];
        return { ...layer, spec: { kind: 'conv2d', out, kernel, stride: [1, 1], padding: [0, 0], bias } };
      }
      case 'batchNorm':
        if (height * width > 1)
          throw cannotBeDense(network, `layer ${layer.name} normalizes each position of a map on its own`);
        return { ...layer, spec: { ...spec, dimensions: 2 } };
      case 'relu':
      case 'dropout':
        return layer;
      default:
        throw cannotBeDense(network, `layer ${layer.name} (${spec.kind}) follows the flattened map`);
    }
  });
  const added = (spec: LayerSpec): NetworkLayer => ({
    ...flattened,
    spec,
    name: `dense.${spec.kind}`,
  });
  const average: AdaptiveAvgPool2dSpec = { kind: 'adaptiveAvgPool2d', size: [1, 1] };
  return [...features, ...classifier, added(average), added({ kind: 'flatten' })];
}

/**
 * What an adaptive pool is at each position of a larger map: nothing if it keeps the map at the training size, or windows
 * that move by one place. Others cannot be moved over a map.
 */
function slidingPool(network: Network, { size }: AdaptiveAvgPool2dSpec, input: Shape): LayerSpec | undefined {
  const sides = [input[1] ?? 1, input[2] ?? 1] as const;
  const kernel = [sides[0] - size[0] + 1, sides[1] - size[1] + 1] as const;
  const slides = (i: 0 | 1): boolean => {
    const [side, windows] = [sides[i], size[i]];
    const isMoved = (w: number): boolean =>
      Math.floor((w * side) / windows) === w && Math.ceil(((w + 1) * side) / windows) === w + kernel[i];
    return Array.from({ length: windows }, (_, w) => w).every(isMoved);
  };
  if (!slides(0) || !slides(1)) {
    throw cannotBeDense(
      network,
      `its adaptive pool turns the map of ${sides.join('×')} at the training size into ${size.join('×')} with windows ` +
        'that do not slide',
    );
  }
  if (kernel[0] === 1 && kernel[1] === 1) return undefined;
  return { kind: 'avgPool2d', kernel, stride: [1, 1], padding: [0, 0] };
}
