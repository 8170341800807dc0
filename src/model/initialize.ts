/**
 * PyTorch's default initialization. Convolutions and linear layers use kaiming_uniform with a = √5 (He et al. 2015):
 * weights and biases are uniform in ±1/√fanIn. Batch normalization starts from constants. Each parameter has its own
 * random stream, so it depends only on the seed and its position.
 */
import { random, streams } from '../data/random.ts';
import type { Network, ParameterSpec, Weights } from './layer.ts';
import { parametersOf, sizeOf, tensorsOf } from './network.ts';

/** Initial parameters and buffers of `network`. The same seed gives the same values. */
export function initialWeights(network: Network, seed: number): Weights {
  const positions = new Map(parametersOf(network).map(({ name }, index) => [name, index]));
  const values = ({ name, shape, initial }: ParameterSpec): Float32Array => {
    if ('constant' in initial) return new Float32Array(sizeOf(shape)).fill(initial.constant);
    const source = random(seed, streams.initialization, positions.get(name)!);
    return Float32Array.from({ length: sizeOf(shape) }, () => (2 * source.uniform() - 1) * initial.uniform);
  };
  return new Map(
    tensorsOf(network).map((tensor) => [tensor.name, { shape: tensor.shape, data: values(tensor) }]),
  );
}
