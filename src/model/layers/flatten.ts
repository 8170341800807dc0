/**
 * Flattens a feature map [C, H, W] to a vector [C·H·W], channel by channel and row by row like torch.flatten. So the
 * weights of the next linear layer have PyTorch's order on every backend, whatever the layout of its maps.
 */
import type { FlattenSpec, LayerKind, LayerPasses } from '../layer.ts';
import { knownArguments, named } from './arguments.ts';

/** [C, H, W] → [C·H·W]. */
export function flatten(options: { readonly name?: string } = {}): FlattenSpec {
  knownArguments('flatten', options, ['name']);
  return { kind: 'flatten', ...named('flatten', options.name) };
}

export const flattenKind: LayerKind<FlattenSpec> = {
  kind: 'flatten',
  role: 'view',
  outputShape: (_spec, input) => [input.reduce((size, side) => size * side, 1)],
  parameters: () => [],
  multiplyAdds: () => 0,
};

export const flattenPasses: LayerPasses<FlattenSpec> = {
  forward(_spec, { shape, data }) {
    const [batch = 0, ...sides] = shape;
    return { shape: [batch, sides.reduce((size, side) => size * side, 1)], data };
  },
  backward: (_spec, input, _parameters, outputGradient) => ({
    input: { shape: input.shape, data: outputGradient.data },
    parameters: [],
  }),
};
