/**
 * PyTorch's default initialisation of convolutions and linear layers, kaiming_uniform with a = √5 (He et al. 2015):
 * weights and biases uniform in ±1/√fanIn. Each parameter draws from its own stream, so it depends on the seed and
 * its position alone.
 */
import { random, streams } from '../data/random.ts';
import type { Network, Weights } from './layer.ts';
import { parametersOf, sizeOf } from './network.ts';

/** Fresh parameters of `network`; the same seed gives the same values. */
export function initialWeights(network: Network, seed: number): Weights {
  return new Map(
    parametersOf(network).map(({ name, shape, bound }, index) => {
      const source = random(seed, streams.initialization, index);
      const data = Float32Array.from({ length: sizeOf(shape) }, () => (2 * source.uniform() - 1) * bound);
      return [name, { shape, data }];
    }),
  );
}
