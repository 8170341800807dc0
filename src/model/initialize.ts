/**
 * Draws initial weights as the parameters say (`initializations.ts`). Each parameter has its own random stream, so a value
 * depends only on the seed, the parameter's position and its own: any thread can draw any part.
 */
import { fillNormal, fillUniform, loadUniformKernel, type StreamKey, streams } from '../data/random.ts';
import type { Initial, Network, Shape, Weights } from './layer.ts';
import { parametersOf, sizeOf, tensorsOf } from './network.ts';
import type { WeightSource } from './weight-streams.ts';

/** What a tensor's initial values depend on, except the seed. */
export interface InitialTensor {
  readonly shape: Shape;
  readonly initial: Initial;
  /** Among the network's parameters: the index of its random stream. Constant buffers have −1. */
  readonly position: number;
}

/** The tensors of `network` by name, in the order of a weight file. */
export function initialTensors(network: Network): ReadonlyMap<string, InitialTensor> {
  const positions = new Map(parametersOf(network).map(({ name }, index) => [name, index]));
  return new Map(
    tensorsOf(network).map(({ name, shape, initial }) => [
      name,
      { shape, initial, position: positions.get(name) ?? -1 },
    ]),
  );
}

/** Writes the initial values `from … from + into.length` of a tensor. */
export function fillInitial(
  { initial, position }: Pick<InitialTensor, 'initial' | 'position'>,
  seed: number,
  from: number,
  into: Float32Array,
): void {
  const key: StreamKey = { seed, stream: streams.initialization, index: position };
  if ('constant' in initial) into.fill(initial.constant);
  else if ('uniform' in initial) fillUniform(key, initial.uniform, from, into);
  else fillNormal(key, initial.normal, from, into);
}

/** Values of a tensor from which on it is worth loading the kernel that draws them. */
export const worthKernel: number = 2 ** 17;

/** Initial parameters and buffers of `network`, drawn as they are read. */
export function sourceOfInitial(network: Network, seed: number): WeightSource {
  const tensors = initialTensors(network);
  return {
    shapes: new Map([...tensors].map(([name, { shape }]) => [name, shape])),
    async read(name, from, into) {
      if (into.length >= worthKernel) await loadUniformKernel();
      fillInitial(tensors.get(name)!, seed, from, into);
    },
  };
}

/** The same in memory. The same seed gives the same values. */
export function initialWeights(network: Network, seed: number): Weights {
  return new Map(
    [...initialTensors(network)].map(([name, tensor]) => {
      const data = new Float32Array(sizeOf(tensor.shape));
      fillInitial(tensor, seed, 0, data);
      return [name, { shape: tensor.shape, data }];
    }),
  );
}
