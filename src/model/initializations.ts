/**
 * Initializations by name: how the weights of convolutions and linear layers are drawn.
 *
 * - `pytorch`: the default of torch.nn, uniform in ±1/√fanIn, biases too (`layers/`).
 * - `torchvision`: that of torchvision's VGG. Convolutions are normal with σ = √(2 / fanOut) (He et al. 2015), linear
 *   layers normal with σ = 0.01, biases 0.
 * - `glorot`: uniform in ±√(6 / (fanIn + fanOut)) (Glorot & Bengio 2010), biases 0. With it, the VGG paper notes in
 *   section 3.1, deep networks need no weights of shallower ones to start from.
 *
 * - `paper`: normal with variance 0.01, biases 0 (section 3.1), for configuration A, whose weights start deeper networks
 *   (`deepen.ts`).
 *
 * Batch normalization always starts from weight 1 and bias 0.
 */
import { UsageError } from '../errors.ts';
import { isObject, shown } from '../options.ts';
import { unknownName } from '../suggest.ts';
import type { Initial, LayerSpec, ParameterSpec } from './layer.ts';
import type { Sequential } from './network.ts';

export const initializationNames = ['pytorch', 'torchvision', 'glorot', 'paper'] as const;

export type Initialization = (typeof initializationNames)[number];

/** Checks a name. @throws UsageError that suggests a close one. */
export function checkInitialization(where: string, name: unknown): Initialization {
  const found = initializationNames.find((known) => known === name);
  if (found !== undefined) return found;
  throw new UsageError(
    typeof name === 'string'
      ? `${where}: ${unknownName('initialization', name, initializationNames)}`
      : `${where}: initialization ${shown(name)} is not one of ${initializationNames.join(', ')}`,
  );
}

/**
 * The same model with another initialization, one of `pytorch` (the default), `torchvision` and `glorot`.
 * @throws UsageError for an unknown name.
 */
export function withInitialization(model: Sequential, name: Initialization): Sequential {
  if (!isObject(model) || !Array.isArray(model.layers)) {
    throw new UsageError(
      `withInitialization: ${shown(model)} is not a network; create one with sequential([…]) or createModel`,
    );
  }
  return { ...model, initialization: checkInitialization('withInitialization', name) };
}

/** A layer's inputs of each output value, and outputs of each input value, in an unpadded map without stride. */
function fans([out = 1, channels = 1, ...kernel]: readonly number[]): { fanIn: number; fanOut: number } {
  const positions = kernel.reduce((product, side) => product * side, 1);
  return { fanIn: channels * positions, fanOut: out * positions };
}

function initialOf(
  initialization: Initialization,
  kind: 'conv2d' | 'linear',
  { name, shape, initial }: ParameterSpec,
): Initial {
  if (initialization === 'pytorch') return initial;
  if (name === 'bias') return { constant: 0 };
  const { fanIn, fanOut } = fans(shape);
  switch (initialization) {
    case 'torchvision':
      return { normal: kind === 'conv2d' ? Math.sqrt(2 / fanOut) : 0.01 };
    case 'glorot':
      return { uniform: Math.sqrt(6 / (fanIn + fanOut)) };
    case 'paper':
      return { normal: 0.1 };
    default:
      return initialization satisfies never;
  }
}

/** A layer's parameters with their initial values by an initialization. */
export function initialized(
  { kind }: LayerSpec,
  parameters: readonly ParameterSpec[],
  initialization: Initialization,
): readonly ParameterSpec[] {
  if (kind !== 'conv2d' && kind !== 'linear') return parameters;
  return parameters.map((spec) => ({ ...spec, initial: initialOf(initialization, kind, spec) }));
}
