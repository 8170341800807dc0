/**
 * Builds networks from layers: `sequential` collects specs, `buildNetwork` infers all shapes from the input shape and
 * gives parameters their full names. Both return plain data and allocate no tensors.
 */
import { ShapeError, UsageError } from '../errors.ts';
import { checkArgument, checkOptions, isObject, shown } from '../options.ts';
import { checkInitialization, type Initialization, initialized } from './initializations.ts';
import type { LayerSpec, ModelOptions, Network, NetworkLayer, ParameterSpec, Shape } from './layer.ts';
import { formatShape, mostLayers, wholeNumber } from './layers/arguments.ts';
import { checkedSpec, kindOf } from './layers/index.ts';

/** A chain of layers whose input shape is not yet known. */
export interface Sequential {
  /** Used in messages and summaries. */
  readonly name: string;
  readonly layers: readonly LayerSpec[];
  /** Options of a model from `createModel`; `name` is then the model's name. */
  readonly options?: ModelOptions;
  /** How weights are drawn; `pytorch` by default. */
  readonly initialization?: Initialization;
}

/**
 * Creates a chain of layers: `sequential([conv2d({ out: 16, kernel: 3 }), relu(), flatten(), linear(10)])`.
 * Input sizes are inferred from the data later. `initialization` is `pytorch` (the default), `torchvision` or `glorot`.
 */
export function sequential(
  layers: readonly LayerSpec[],
  options: { readonly name?: string; readonly initialization?: Initialization } = {},
): Sequential {
  checkOptions<NonNullable<typeof options>>('sequential', options, {
    name: 'optional',
    initialization: 'optional',
  });
  checkLayers('sequential', layers);
  const { name = 'sequential', initialization } = options;
  return {
    name,
    layers: layers.map(checkedSpec),
    ...(initialization !== undefined && { initialization: checkInitialization(name, initialization) }),
  };
}

function checkLayers(where: string, layers: unknown): void {
  if (!Array.isArray(layers)) throw new UsageError(`${where}: the layers are ${shown(layers)}, not a list`);
  if (layers.length > mostLayers) {
    throw new UsageError(`${where}: ${layers.length} layers exceed the limit of ${mostLayers}`);
  }
}

/** Runs `body`; if a layer does not fit, says so if the input's order looks like [height, width, channels]. */
function fitting<T>(input: Shape, body: () => T): T {
  try {
    return body();
  } catch (error) {
    const [first = 0, second = 0, last = 0] = input;
    if (!(error instanceof ShapeError) || last === 0 || last > 4 || Math.min(first, second) <= 4) throw error;
    const order = `the input is [channels, height, width]; did you mean [${last}, ${first}, ${second}]?`;
    throw new ShapeError(`${error.message}; ${order}`, { cause: error });
  }
}

/**
 * Builds the network of `model` for images of shape [C, H, W] (or vectors [F]). Layers without a name are named by
 * their position, as in torch.nn.Sequential. Parameters say how they are drawn.
 * @throws ShapeError if a layer does not fit its input, or the output is not a vector of class scores.
 * @throws UsageError if two parameters have the same name.
 */
export function buildNetwork(model: Sequential, given: Shape): Network {
  if (!isObject(model) || !Array.isArray(model.layers)) {
    throw new UsageError(
      `${shown(model)} is not a network; create one with sequential([…]) or createModel('vgg7', { classes: 10 })`,
    );
  }
  checkLayers(model.name, model.layers);
  const input: Shape = Array.isArray(given) ? given : [];
  if (input.length !== 1 && input.length !== 3) {
    throw new ShapeError(
      `${model.name}: input ${input === given ? `[${input.slice(0, 5).join(', ')}]` : shown(given)} is neither [channels, height, width] nor [features]`,
    );
  }
  for (const side of input) wholeNumber(model.name, 'input size', side, 1);
  const initialization = checkInitialization(model.name, model.initialization ?? 'pytorch');
  const layers: NetworkLayer[] = [];
  const owners = new Map<string, number>();
  let shape = input;
  for (const [index, spec] of model.layers.entries()) {
    const given: unknown = spec;
    if (!isObject(given) || !kindOf(spec)) {
      throw new UsageError(
        isObject(given) && 'spec' in given
          ? `${model.name} is a network that buildNetwork returned; pass what sequential or createModel returned`
          : `${model.name}: layer ${index + 1} is ${shown(given)}; create layers with conv2d, relu, …`,
      );
    }
    const kind = kindOf(spec);
    const position = index + 1;
    const output = fitting(input, () =>
      kind.outputShape(spec, shape, {
        position,
        ...(spec.name === undefined ? {} : { name: spec.name }),
        pooledBefore: model.layers.slice(0, index).some((layer) => kindOf(layer).role === 'pool'),
      }),
    );
    const name = spec.name ?? String(index);
    const full = (tensors: readonly ParameterSpec[]): readonly ParameterSpec[] =>
      tensors.map((tensor) => ({ ...tensor, name: `${name}.${tensor.name}` }));
    const parameters = full(initialized(spec, kind.parameters(spec, shape), initialization));
    const buffers = full(kind.buffers?.(spec, shape) ?? []);
    const owner = owners.get(name);
    if (owner !== undefined) {
      throw new UsageError(
        `${model.name}: layers ${owner} and ${position} are both called ${name}; give them different names`,
      );
    }
    owners.set(name, position);
    const multiplyAdds = kind.multiplyAdds(spec, shape);
    layers.push({ spec, name, input: shape, output, parameters, buffers, multiplyAdds });
    shape = output;
  }
  if (shape.length !== 1) {
    throw new ShapeError(
      `${model.name}: its output is a ${formatShape(shape)} feature map, not one score for each class; ` +
        'add flatten() and linear(classes) at the end',
    );
  }
  const parameterCount = layers
    .flatMap((layer) => layer.parameters)
    .reduce((sum, parameter) => sum + sizeOf(parameter.shape), 0);
  if (parameterCount > Number.MAX_SAFE_INTEGER) {
    throw new ShapeError(
      `${model.name}: ${parameterCount.toExponential(1)} parameters exceed the limit of 2^53; ` +
        'use fewer channels or hidden units, or smaller images',
    );
  }
  return {
    ...(model.options && { options: model.options }),
    name: model.name,
    input,
    output: shape,
    layers,
    parameterCount,
  };
}

/** The number of values in a tensor of this shape. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((size, side) => size * side, 1);
}

/** All parameters, in the order of the layers. */
export function parametersOf(network: Network): readonly ParameterSpec[] {
  return network.layers.flatMap((layer) => layer.parameters);
}

/** Whether a layer has parameters or buffers, so that freezing it has an effect. */
export const hasState = ({ parameters, buffers }: NetworkLayer): boolean =>
  parameters.length + buffers.length > 0;

/** All parameters and buffers, layer by layer in PyTorch's order: the tensors of a weight file. */
export function tensorsOf(network: Network): readonly ParameterSpec[] {
  return network.layers.flatMap((layer) => [...layer.parameters, ...layer.buffers]);
}

/** @throws UsageError unless `network` is what `buildNetwork` returns. */
export function checkNetwork(where: string, network: Network): void {
  const what = 'a network; take model.network, or make one with buildNetwork';
  checkArgument(where, 'network', network, ['layers', 'input'], what);
}
