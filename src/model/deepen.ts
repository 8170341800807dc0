/**
 * Starts a deep network from a trained shallower one (Simonyan & Zisserman, section 3.1): its first four convolutions and
 * its linear layers are taken, by the literature's names, and the layers between them are drawn.
 */
import { DataError } from '../errors.ts';
import type { Network, NetworkLayer, Shape } from './layer.ts';
import { layerNames } from './layer-names.ts';
import { tensorsOf } from './network.ts';
import { fittingTensors } from './weight-names.ts';

/** Convolutions that are taken. */
const convolutions = 4;

export interface DeepenedTensors {
  /** By the network's names, in its order. */
  readonly shapes: ReadonlyMap<string, Shape>;
  /** From the network's names to the file's, for the tensors that are taken. */
  readonly sources: ReadonlyMap<string, string>;
  /** Literature's names of the layers that are taken. */
  readonly taken: readonly string[];
}

/**
 * The tensors of `network` that a file with those of `shallow` starts.
 * @throws DataError if the file does not fit `shallow`, or a layer has another shape in both networks.
 */
export function deepenedTensors(
  network: Network,
  shallow: Network,
  found: ReadonlyMap<string, Shape>,
): DeepenedTensors {
  const { sources: files } = fittingTensors(shallow, found);
  const [deepNames, shallowNames] = [layerNames(network), layerNames(shallow)];
  const names = [...shallowNames.keys()];
  const first = names.filter((name) => name.startsWith('conv')).slice(0, convolutions);
  const taken = [
    ...first.flatMap((name) => [name, name.replace('conv', 'bn')]).filter((name) => shallowNames.has(name)),
    ...names.filter((name) => name.startsWith('fc')),
  ];
  const sources = new Map<string, string>();
  for (const name of taken) {
    const from = shallow.layers[shallowNames.get(name)!]!;
    const to = network.layers[deepNames.get(name) ?? -1];
    const tensors = to && [...to.parameters, ...to.buffers];
    const own = [...from.parameters, ...from.buffers];
    if (!tensors || tensors.length !== own.length || tensors.some((one, i) => differs(one, own[i]!)))
      throw misfit(name, network, shallow, from, to);
    for (const [i, tensor] of tensors.entries()) sources.set(tensor.name, files.get(own[i]!.name)!);
  }
  return { shapes: new Map(tensorsOf(network).map(({ name, shape }) => [name, shape])), sources, taken };
}

const differs = (a: { readonly shape: Shape }, b: { readonly shape: Shape }): boolean =>
  a.shape.join() !== b.shape.join();

function misfit(
  name: string,
  network: Network,
  shallow: Network,
  from: NetworkLayer,
  to: NetworkLayer | undefined,
): DataError {
  const shapeOf = (layer: NetworkLayer | undefined): string =>
    layer ? `[${layer.parameters[0]?.shape.join(', ')}]` : 'no such layer';
  return new DataError(
    `${shallow.name} cannot start ${network.name}: ${name} has ${shapeOf(from)} in the file and ${shapeOf(to)} in the ` +
      'network; use a shallower network of the same width, classifier and classes, such as vgg11',
  );
}
