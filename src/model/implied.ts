/**
 * What weights of unknown origin imply. The shapes of the tensors tell which network of the paper they belong to, its
 * width, classifier and number of classes. Files with names of their own (`weight-names.ts`) are understood, too.
 */
import { VggError } from '../errors.ts';
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

/** More tensors than any network of the paper has, with those that are ignored. */
const mostTensors = 400;

/** The tensor whose name ends in one of these, in any order of the file. */
function shapeOf(found: ReadonlyMap<string, Shape>, endings: readonly string[]): Shape | undefined {
  const isWanted = (name: string, ending: string): boolean => name === ending || name.endsWith(`.${ending}`);
  for (const ending of endings) {
    for (const [name, shape] of found) if (isWanted(name, ending)) return shape;
  }
  return undefined;
}

/** The number of classes: rows of the head, under the names of the family, otherwise of the last matrix; 0 if none. */
export function classesIn(found: ReadonlyMap<string, Shape>): number {
  const head = shapeOf(found, ['classifier.6.weight', 'head.fc.weight', 'classifier.weight']);
  const matrix =
    head ?? found.values().reduce<Shape>((last, shape) => (shape.length === 2 ? shape : last), []);
  return matrix[0] ?? 0;
}

/** The network of the paper whose tensors have these names and shapes; undefined if there is none. */
export function impliedModel(found: ReadonlyMap<string, Shape>): ImpliedModel | undefined {
  if (found.size > mostTensors) return undefined;
  const [filters = 0, channels = 0] = shapeOf(found, ['features.0.weight', 'features.module.0.weight']) ?? [];
  // torchvision, timm, heads that begin with dropout.
  const hidden = ['classifier.0.weight', 'pre_logits.fc1.weight', 'classifier.1.weight'];
  const [units] = shapeOf(found, hidden) ?? [];
  const classes = classesIn(found);
  if (filters === 0 || channels === 0 || classes === 0) return undefined;
  for (const name of vggNames) {
    for (const head of heads) {
      const options = {
        head,
        width: filters / 64,
        ...(head !== 'linear' && units !== undefined && { hidden: units }),
      };
      const side = head === 'imagenet' ? 224 : 32;
      const input = [channels, side, side];
      const network = fitting(name, { classes, options, input }, found);
      if (network) return { network, input };
    }
  }
  return undefined;
}

/** The network with these settings if the tensors are its own; undefined also if the settings are out of range. */
function fitting(
  name: string,
  settings: ModelSettings & { readonly input: Shape },
  found: ReadonlyMap<string, Shape>,
): Sequential | undefined {
  try {
    const network = createModel(name, settings);
    return fits(buildNetwork(network, settings.input), found) ? network : undefined;
  } catch (error) {
    if (error instanceof VggError) return undefined;
    throw error;
  }
}
