/**
 * The operations of a network's variant for images of another size, on the parameters of the session: matrices that are
 * derived from weights keep the algorithm that they were derived for.
 */
import { graphOf } from '../../graph.ts';
import { mapOf } from '../../map-shape.ts';
import { type Variant, variantOf } from '../../variant.ts';
import {
  type DenseLinear,
  matrixOf,
  type Operation,
  type Operations,
  operationOf,
  withParameters,
} from './operations.ts';

export function variantOperations(whole: Operations, variant: Variant): Pick<Operations, 'list' | 'input'> {
  const network = variantOf(whole.network, variant);
  // Whether channels are padded, derived matrices already say.
  const input = { ...mapOf(network.input), stored: whole.input.stored };
  const originals = new Map(whole.list.map((operation) => [matrixOf(operation)?.weightName, operation]));
  const list: Operation[] = [];
  for (const node of graphOf(network, { wanted: new Set() })) {
    const before = list.at(-1)?.output ?? input;
    const weight = node.layers[0]!.parameters[0]?.name;
    const original = weight === undefined ? undefined : originals.get(weight);
    if (node.kind === 'convolution' && original?.kind === 'linear') {
      const { spec, relu, last } = node;
      const { matrix, split } = original;
      const layers = node.layers.map(({ name }) => name);
      const output = mapOf(node.output);
      list.push({
        kind: 'denseLinear',
        ...{ spec, relu, last, layers, input: before, output, matrix, split },
      } satisfies DenseLinear);
      continue;
    }
    list.push(withParameters(operationOf(node, before, whole.cacheFloats), original, list.length === 0));
  }
  return { list, input };
}
