/**
 * Fits the names of other programs' weight files to a network: those of wrappers (DataParallel, torch.compile, modules
 * that hold the network), of timm, and of heads that begin with dropout. The first way of renaming with which every
 * name and shape fits is taken; position alone never decides.
 */
import { DataError } from '../errors.ts';
import type { LayerSpec, Network, NetworkLayer, Shape } from './layer.ts';
import { tensorsOf } from './network.ts';
import { ignoredTensors, misfit, shapeProblems } from './safetensors.ts';

/** Which tensors of a file are the network's. */
export interface FittingTensors {
  /** By the network's names, in its order. */
  readonly shapes: ReadonlyMap<string, Shape>;
  /** From the network's names to the file's. Those of a fresh head are missing. */
  readonly sources: ReadonlyMap<string, string>;
  /**
   * The last layer, if it is not taken from the file, and how many classes the file has, if that is known; or the layers
   * that are taken, if a shallower network starts this one.
   */
  readonly fresh?:
    | { readonly layer: string; readonly classes: number | undefined }
    | { readonly taken: readonly string[] };
}

/** More tensors than networks have, and more wrappers than anyone nests: names beyond are only compared as they are. */
const mostTensors = 10_000;
const mostWrappers = 8;

/** Prefixes of modules that hold the network: DataParallel, torch.compile, and usual names of attributes. */
const prefixes = ['module.', '_orig_mod.', 'model.', 'net.'];

/** timm's classifier is made of convolutions of the whole map, whose weights have the same order. */
const timmLayers: Readonly<Record<string, string>> = {
  'pre_logits.fc1': 'classifier.0',
  'pre_logits.fc2': 'classifier.3',
  'head.fc': 'classifier.6',
};

interface Renamed {
  /** In the file. */
  readonly source: string;
  readonly shape: Shape;
}
/** Tensors by a new name; undefined if two would have the same. */
type Tensors = ReadonlyMap<string, Renamed>;

function renamed(
  tensors: Tensors,
  rename: (name: string, shape: Shape) => [string, Shape],
): Tensors | undefined {
  const result = new Map(
    [...tensors].map(([name, { source, shape }]): [string, Renamed] => {
      const [newName, newShape] = rename(name, shape);
      return [newName, { source, shape: newShape }];
    }),
  );
  return result.size === tensors.size ? result : undefined;
}

const renamings: readonly ((name: string, shape: Shape) => [string, Shape])[] = [
  (name, shape) => [name, shape],
  (name, shape) => {
    const [, layer = '', rest = ''] = /^(.*)\.([^.]*)$/.exec(name) ?? [];
    if (!Object.hasOwn(timmLayers, layer)) return [name, shape];
    const [out = 0, ...sides] = shape;
    const isMap = layer.startsWith('pre_logits.') && shape.length === 4;
    return [
      `${timmLayers[layer]}.${rest}`,
      isMap ? [out, sides.reduce((size, side) => size * side, 1)] : shape,
    ];
  },
  // A head with a dropout in front: classifier.1, 4 and 6.
  (name, shape) => [
    name.replace(/^classifier\.([14])\./, (_, index: string) => `classifier.${Number(index) - 1}.`),
    shape,
  ],
];

/** Every way of renaming, the file's own names first. */
function* variants(found: ReadonlyMap<string, Shape>): Generator<Tensors> {
  let outer: Tensors = new Map([...found].map(([name, shape]) => [name, { source: name, shape }]));
  if (found.size > mostTensors) return yield outer;
  for (let wrappers = 0; wrappers <= mostWrappers; wrappers++) {
    const inner = renamed(outer, (name, shape) => [name.replace(/^features\.module\./, 'features.'), shape]);
    for (const base of [outer, inner]) {
      for (const rename of renamings) {
        const tensors = base && renamed(base, rename);
        if (tensors) yield tensors;
      }
    }
    const prefix = prefixes.find(
      (one) => outer.size > 0 && [...outer.keys()].every((name) => name.startsWith(one)),
    );
    if (prefix === undefined) return;
    outer = renamed(outer, (name, shape) => [name.slice(prefix.length), shape])!;
  }
}

/** The layer that gives the scores of the classes. */
const headOf = ({ layers }: Network): NetworkLayer | undefined => layers.findLast(({ spec }) => isHead(spec));

const isHead = ({ kind }: LayerSpec): boolean => kind === 'linear' || kind === 'conv2d';

/** The same layers with another head. */
export function withHeadOf(layers: readonly LayerSpec[], network: Network): readonly LayerSpec[] {
  const place = layers.findLastIndex(isHead);
  const head = headOf(network);
  return head && place >= 0 ? layers.with(place, head.spec) : layers;
}

/**
 * Finds the tensors of `network` among those of a file. With `freshHead` the last layer may have any shape, or be missing.
 * @throws DataError that lists what is missing, unexpected or of a wrong shape.
 */
export function fittingTensors(
  network: Network,
  found: ReadonlyMap<string, Shape>,
  freshHead = false,
): FittingTensors {
  const all = tensorsOf(network);
  const ignored = ignoredTensors(network);
  const head = headOf(network);
  const ofHead = new Set(head?.parameters.map(({ name }) => name));
  const isOfHead = (name: string): boolean => ofHead.has(name);
  const body = all.filter(({ name }) => !isOfHead(name));
  let best: { readonly tensors: Tensors; readonly problems: readonly string[] } | undefined;
  for (const tensors of variants(found)) {
    const shapes = new Map([...tensors].map(([name, { shape }]) => [name, shape]));
    const bodyShapes = new Map([...shapes].filter(([name]) => !isOfHead(name)));
    const problems = freshHead
      ? shapeProblems(body, bodyShapes, ignored)
      : shapeProblems(all, shapes, ignored);
    if (problems.length === 0) {
      const sources = (freshHead ? body : all).map(({ name }) => [name, tensors.get(name)!.source] as const);
      return {
        shapes: new Map(all.map(({ name, shape }) => [name, shape])),
        sources: new Map(sources),
        ...(freshHead && head && { fresh: { layer: head.name, classes: classesIn(shapes, head) } }),
      };
    }
    if (head && body.length > 0 && !freshHead && shapeProblems(body, bodyShapes, ignored).length === 0)
      throw otherHead(network, head, shapes, problems);
    if (!best || problems.length < best.problems.length) best = { tensors, problems };
  }
  throw misfit(network, best!.problems);
}

/** Whether the tensors of a file are all those of `network`, under its names or others. */
export function fits(network: Network, found: ReadonlyMap<string, Shape>): boolean {
  const [all, ignored] = [tensorsOf(network), ignoredTensors(network)];
  for (const tensors of variants(found)) {
    const shapes = new Map([...tensors].map(([name, { shape }]) => [name, shape]));
    if (shapeProblems(all, shapes, ignored).length === 0) return true;
  }
  return false;
}

/** The classes of the head in a file. */
const classesIn = (shapes: ReadonlyMap<string, Shape>, head: NetworkLayer): number | undefined =>
  shapes.get(`${head.name}.weight`)?.[0];

/** The error for a file of which only the last layer does not fit. */
function otherHead(
  network: Network,
  head: NetworkLayer,
  shapes: ReadonlyMap<string, Shape>,
  problems: readonly string[],
): DataError {
  const [classes, ...inputs] = shapes.get(`${head.name}.weight`) ?? [];
  const [own, ...ownInputs] = head.parameters[0]!.shape;
  const problem =
    classes !== undefined && classes !== own && inputs.join() === ownInputs.join()
      ? `it has ${classes} classes, but ${network.name} has ${own}`
      : misfit(network, problems).message;
  return new DataError(
    `${problem}; to start the last layer, ${head.name}, anew and keep all others, use vgg train --init FILE --fresh-head ` +
      '(in the library, { freshHead: true })',
  );
}
