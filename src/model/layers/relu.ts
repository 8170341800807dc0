/**
 * Rectified linear unit (Nair & Hinton 2010): max(x, 0), for maps and vectors. The gradient passes if the input is
 * above 0; at exactly 0 it is 0. NaN stays NaN, so that a diverged run is noticed.
 */
import type { LayerKind, LayerPasses, ReluSpec } from '../layer.ts';
import { knownArguments, named } from './arguments.ts';

/** max(x, 0) for each value. */
export function relu(options: { readonly name?: string } = {}): ReluSpec {
  knownArguments('relu', options, ['name']);
  return { kind: 'relu', ...named('relu', options.name) };
}

export const reluKind: LayerKind<ReluSpec> = {
  kind: 'relu',
  role: 'pointwise',
  outputShape: (_spec, input) => input,
  parameters: () => [],
  multiplyAdds: () => 0,
};

export const reluPasses: LayerPasses<ReluSpec> = {
  forward: (_spec, input) => ({
    shape: input.shape,
    data: input.data.map((value) => Math.max(value, 0)),
  }),

  backward: (_spec, input, _parameters, outputGradient) => ({
    input: {
      shape: input.shape,
      data: outputGradient.data.map((gradient, i) => (input.data[i]! <= 0 ? 0 : gradient)),
    },
    parameters: [],
  }),
};
