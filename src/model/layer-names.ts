/**
 * Names of layers as the literature uses them, for any chain with VGG's block structure: `conv3_2` is the second
 * convolution of the third block, `relu3_2` its ReLU, `bn3_2` its batch normalization, and a max-pool ends a block
 * (`pool3`). Linear layers count on from the blocks: behind five blocks they are `fc6`, `fc7` and `fc8`, with `relu6`
 * and `drop6` (names of the authors' Caffe models). A network's own names, such as `features.15`, work likewise.
 */
import { UsageError } from '../errors.ts';
import { shown } from '../options.ts';
import { hintFor } from '../suggest.ts';
import type { Network } from './layer.ts';
import { checkNetwork } from './network.ts';

/** The literature's names of a network's layers, each with the layer's index, in order. Layers without one are left out. */
export function layerNames(network: Network): ReadonlyMap<string, number> {
  checkNetwork('layerNames', network);
  const names = new Map<string, number>();
  let [block, place, linear] = [1, 0, 0];
  /** Whether a pool ended the last block, and no convolution has opened the next. */
  let closed = true;
  for (const [index, { spec }] of network.layers.entries()) {
    // What follows a convolution has its numbers, and what follows a linear layer has its number.
    const suffix = linear > 0 ? String(linear) : place > 0 ? `${block}_${place}` : undefined;
    const give = (name: string): void => {
      if (!names.has(name)) names.set(name, index);
    };
    switch (spec.kind) {
      case 'conv2d':
        place++;
        closed = false;
        give(`conv${block}_${place}`);
        break;
      case 'maxPool2d':
        if (place === 0) break;
        give(`pool${block}`);
        block++;
        place = 0;
        closed = true;
        break;
      case 'linear':
        if (linear === 0) linear = closed ? block : block + 1;
        else linear++;
        give(`fc${linear}`);
        break;
      case 'relu':
        if (suffix !== undefined) give(`relu${suffix}`);
        break;
      case 'batchNorm':
        if (suffix !== undefined) give(`bn${suffix}`);
        break;
      case 'dropout':
        if (suffix !== undefined) give(`drop${suffix}`);
        break;
      default:
        break;
    }
  }
  return names;
}

/**
 * The index of a layer by its own name (`features.15`) or the literature's (`relu3_3`); `where` is for messages.
 * @throws UsageError for an unknown name, with a suggestion and the names that there are.
 */
export function layerIndex(where: string, network: Network, name: string): number {
  if (typeof name !== 'string') {
    throw new UsageError(`${where}: layer ${shown(name)} is not a name, such as 'relu2_2'`);
  }
  const own = network.layers.findIndex((layer) => layer.name === name);
  if (own >= 0) return own;
  const literature = layerNames(network);
  const found = literature.get(name);
  if (found !== undefined) return found;
  const known = [...literature.keys()];
  const ownNames = network.layers.map((layer) => layer.name);
  const hint = hintFor('layer', name, [...known, ...ownNames]);
  const all = known.length > 0 ? `${known.join(', ')}, or ${ownNames.join(', ')}` : ownNames.join(', ');
  throw new UsageError(
    `${where}: ${network.name} has no layer "${name}"${hint}${hint.endsWith('?') ? '' : '.'} Layers: ${all}`,
  );
}
