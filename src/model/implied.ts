/**
 * What weights of unknown origin imply. The shapes of the tensors tell which network of the paper they belong to, its
 * width, classifier and number of classes. Files with names of their own (`weight-names.ts`) are understood, too.
 */
import { heads, vggNames } from './family.ts';
import type { Shape } from './layer.ts';
import { createModel, type ModelSettings } from './models.ts';
import { buildNetwork, type Sequential } from './network.ts';
import { fits } from './weight-names.ts';

export interface ImpliedModel {
  readonly network: Sequential;
  /** [channels, height, width]: 224×224 pixels with the paper's classifier, otherwise 32×32. */
  readonly input: Shape;
}

/** The network of the paper whose tensors have these names and shapes; undefined if there is none. */
export function impliedModel(found: ReadonlyMap<string, Shape>): ImpliedModel | undefined {
  const shapes = [...found.values()];
  const convolutions = shapes.filter((shape) => shape.length === 4);
  const matrices = shapes.filter((shape) => shape.length === 2);
  const [filters = 0, channels = 0] = convolutions[0] ?? [];
  // timm stores the hidden layers as convolutions.
  const hidden = [...matrices.slice(0, -1), ...convolutions.filter(isWholeMap)].map(([out = 0]) => out);
  const [classes = 0] = matrices.at(-1) ?? [];
  if (filters === 0 || channels === 0 || classes === 0) return undefined;
  for (const name of vggNames) {
    for (const head of heads) {
      const options = {
        head,
        width: filters / 64,
        ...(head !== 'linear' && hidden[0] !== undefined && { hidden: hidden[0] }),
      };
      const side = head === 'imagenet' ? 224 : 32;
      const input = [channels, side, side];
      const network = created(name, { classes, options, input });
      if (network && fits(buildNetwork(network, input), found)) return { network, input };
    }
  }
  return undefined;
}

const isWholeMap = ([, , height = 0]: Shape): boolean => height > 3;

/** Undefined if the options are out of range. */
function created(name: string, settings: ModelSettings): Sequential | undefined {
  try {
    return createModel(name, settings);
  } catch {
    return undefined;
  }
}
