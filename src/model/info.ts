/**
 * Metadata needed to use weights: the network, the shape and normalization of its images, and the class names. A model
 * takes it from its network and training images. Weight files store it (`info-text.ts`), so that loading them needs no
 * further options and contradictions are detected.
 */
import type { Dataset } from '../data/dataset.ts';
import { imageFilesOf } from '../data/named.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import { flatten as linksOf, type Transform } from '../data/transforms.ts';
import { UsageError } from '../errors.ts';
import { isObject, shown } from '../options.ts';
import type { LayerSpec, Network, Shape } from './layer.ts';
import {
  completeOptions,
  createModel,
  models,
  type NetworkDescription,
  networkOf,
  type OptionValue,
} from './models.ts';
import { buildNetwork, type Sequential } from './network.ts';

/** The data that weights were trained on. Absent fields are unknown. */
export interface DataInfo {
  /** The data set's name. */
  readonly dataset?: string;
  /** For CIFAR-100: which classes. */
  readonly labels?: 'fine' | 'coarse';
  /** Names of the classes by label. */
  readonly classes?: readonly string[];
  /** Mean and deviation that normalize images scaled to 0–1; null if images are not normalized. */
  readonly normalization?: ChannelStatistics | null;
}

export interface ModelInfo extends DataInfo {
  readonly network: Sequential;
  /** [channels, height, width] of one image. */
  readonly input: Shape;
}

/** The most characters of a class name, and of all class names together. */
const longestClass = 200;
const longestClasses = 500_000;

/** The metadata of a model trained on images of `dataset` after `transform`. */
export function dataInfoOf({
  dataset: { name, classes },
  transform,
}: {
  readonly dataset: Pick<Dataset, 'name' | 'classes'>;
  readonly transform: Transform;
}): DataInfo {
  const normalization = normalizationOf(transform);
  return {
    dataset: name,
    ...(name === 'cifar100' && { labels: classes.length === 20 ? 'coarse' : 'fine' }),
    classes,
    ...(normalization !== undefined && { normalization }),
  };
}

/** The normalization in a chain of transforms; null if there is none, undefined if a custom function makes it unknown. */
function normalizationOf(transform: Transform): ChannelStatistics | null | undefined {
  const links = linksOf(transform);
  const own = links.flatMap((link) =>
    typeof link !== 'function' && link.kind === 'normalize' ? [link] : [],
  );
  if (own.length > 1 || links.some((link) => typeof link === 'function')) return undefined;
  const [link] = own;
  return link ? { mean: link.mean, std: link.std } : null;
}

/** A network's metadata as stored in files. */
export function infoOf({ name, options, input, layers }: Network, data: DataInfo): ModelInfo {
  const network = { name, layers: layers.map(({ spec }) => spec), ...(options && { options }) };
  return { network, input, ...data };
}

/** @throws UsageError unless `classes` is a list of `count` names (any number if `count` is unknown). */
export function checkClasses(where: string, classes: unknown, count?: number): void {
  if (!Array.isArray(classes) || !classes.every((name) => typeof name === 'string')) {
    throw new UsageError(`${where}: classes is ${shown(classes)}, not a list of names`);
  }
  if (count !== undefined && classes.length !== count) {
    throw new UsageError(
      `${where}: the network has ${count} classes, not ${classes.length}; give one name for each class`,
    );
  }
  const long = classes.find(({ length }) => length > longestClass);
  if (long !== undefined) {
    throw new UsageError(
      `${where}: class ${shown(long)} has more than ${longestClass} characters; shorten it`,
    );
  }
  if (classes.reduce((sum, { length }) => sum + length, 0) > longestClasses) {
    throw new UsageError(
      `${where}: the class names have more than ${longestClasses} characters together; shorten them`,
    );
  }
}

/** @throws UsageError unless it is null, or has one mean and deviation for each channel or for all channels. */
export function checkNormalization(where: string, normalization: unknown, [channels = 1]: Shape): void {
  if (normalization === null) return;
  const { mean, std } = isObject(normalization) ? normalization : {};
  const isList = (list: unknown): list is readonly number[] =>
    Array.isArray(list) && [1, channels].includes(list.length) && list.every(Number.isFinite);
  if (isList(mean) && isList(std) && mean.length === std.length && std.every((value) => value > 0)) return;
  throw new UsageError(
    `${where}: the normalization is not { mean, std } with a number for each of ${channels} channels and ` +
      'deviations above 0; use null if images are not normalized',
  );
}

/** Describes the first difference in what two networks compute; undefined if they are equal. */
export function networkDifference(a: Sequential, b: Sequential): string | undefined {
  const [left, right] = [a, b].map(({ layers }) => layers.map(geometry).filter((text) => text !== undefined));
  const place = left!.findIndex((text, i) => text !== right![i]);
  if (place < 0 && left!.length === right!.length) return undefined;
  const at = place < 0 ? left!.length : place;
  return `${a.name} has ${left![at] ?? 'no more layers'}, but ${b.name} has ${right![at] ?? 'no more layers'}`;
}

/** Describes what a layer computes in evaluation; undefined if it does nothing then. */
function geometry(spec: LayerSpec): string | undefined {
  if (spec.kind === 'dropout') return undefined;
  const { kind, name: _, momentum: __, ...rest } = spec as LayerSpec & { readonly momentum?: number };
  const settings = Object.entries(rest).sort(([first], [second]) => (first < second ? -1 : 1));
  return `${kind}(${settings.map(([name, value]) => `${name} ${[value].flat().join('×')}`).join(', ')})`;
}

export const sameNormalization = (a: ChannelStatistics | null, b: ChannelStatistics | null): boolean =>
  (a === null) === (b === null) && a?.mean.join() === b?.mean.join() && a?.std.join() === b?.std.join();

/** Formats a normalization for a message. */
export function normalizationText(normalization: ChannelStatistics | null): string {
  if (normalization === null) return 'none';
  const list = (values: readonly number[]): string => values.map((value) => value.toPrecision(4)).join(', ');
  return `mean ${list(normalization.mean)} and deviation ${list(normalization.std)}`;
}

/** Checks loaded weights against a model. @throws UsageError if their metadata contradict each other. */
export function checkLoaded(where: string, stored: ModelInfo, model: ModelInfo, given: DataInfo): void {
  const reject = (what: string): never => {
    throw new UsageError(
      `${where}: ${what}; create the model that the weights were trained with, or load other weights`,
    );
  };
  // With adaptive pools, the same weights fit images of any size.
  const isAdaptive = stored.network.layers.some(({ kind }) => kind === 'adaptiveAvgPool2d');
  if (stored.input.join() !== model.input.join() && !(isAdaptive && stored.input[0] === model.input[0])) {
    reject(
      `its weights are for images of ${stored.input.join('×')}, but the model takes ${model.input.join('×')}`,
    );
  }
  const difference = networkDifference(stored.network, model.network);
  if (difference !== undefined) reject(`its weights are for another network: in the file, ${difference}`);
  if (stored.classes && given.classes && JSON.stringify(stored.classes) !== JSON.stringify(given.classes)) {
    reject(`its classes are ${few(stored.classes)}, but the model's are ${few(given.classes)}`);
  }
  if (stored.normalization === undefined || given.normalization === undefined) return;
  if (!sameNormalization(stored.normalization, given.normalization)) {
    const [own, others] = [normalizationText(stored.normalization), normalizationText(given.normalization)];
    reject(`its weights were trained with normalization ${own}, but the model has ${others}`);
  }
}

const few = (classes: readonly string[]): string =>
  `${classes.slice(0, 3).join(', ')}${classes.length > 3 ? `, … (${classes.length})` : ''}`;

/** Settings chosen by flags or a run's config, next to the weights' metadata. Absent ones were not chosen. */
export interface Chosen {
  readonly model?: string | NetworkDescription;
  readonly modelOptions?: Readonly<Record<string, OptionValue>>;
  readonly dataset?: string;
  readonly labels?: 'fine' | 'coarse';
  readonly normalize?: boolean;
}

export interface Contradiction {
  readonly option: keyof Chosen;
  readonly stored: string;
  readonly chosen: string;
}

/** Finds choices that contradict the weights' metadata. Dropout and initialization do not affect weights. */
export function contradictions(info: ModelInfo, chosen: Chosen): readonly Contradiction[] {
  const found: Contradiction[] = [];
  const compare = (option: keyof Chosen, stored: unknown, own: unknown): void => {
    if (stored === undefined || own === undefined || String(stored) === String(own)) return;
    found.push({ option, stored: String(stored), chosen: String(own) });
  };
  const { name, options } = info.network;
  const model = typeof chosen.model === 'string' ? chosen.model : undefined;
  if (typeof chosen.model === 'object') {
    const [classes = 0] = buildNetwork(info.network, info.input).output;
    const own = networkOf(chosen.model, { classes, input: info.input });
    if (networkDifference(info.network, own) !== undefined)
      compare('model', name, `${own.name} (another network)`);
  } else if (options) {
    compare('model', name, model);
    if (found.length === 0 && chosen.modelOptions) {
      const own = completeOptions(name, chosen.modelOptions, info.input);
      for (const option of Object.keys(chosen.modelOptions)) {
        if (['dropout', 'initialization'].includes(option)) continue;
        compare('modelOptions', `${option}=${options[option]}`, `${option}=${own[option]}`);
      }
    }
  } else if (model !== undefined && Object.hasOwn(models, model)) {
    const own = createModel(model, {
      classes: 1,
      options: chosen.modelOptions ?? {},
      input: info.input,
    });
    const last = (network: Sequential): Sequential => ({ ...network, layers: network.layers.slice(0, -1) });
    if (networkDifference(last(info.network), last(own)) !== undefined) {
      compare('model', `a custom network (${info.network.layers.length} layers)`, model);
    }
  }
  // Folders of images may be other photos of the same classes.
  const areNamed = ![info.dataset, chosen.dataset].some((name) => name && imageFilesOf(name));
  if (areNamed) compare('dataset', info.dataset, chosen.dataset);
  if (found.every(({ option }) => option !== 'dataset')) compare('labels', info.labels, chosen.labels);
  if (info.normalization !== undefined) {
    compare('normalize', info.normalization !== null, chosen.normalize);
  }
  return found;
}

/**
 * Rejects options that contradict the information stored with weights. `named` words an option for its source.
 * @throws UsageError that names both values and the way out.
 */
export function refuseContradictions(
  path: string,
  info: ModelInfo,
  chosen: Chosen,
  named = (option: keyof Chosen, value: string): string => `${option} ${value}`,
): void {
  const [found] = contradictions(info, chosen);
  if (!found) return;
  const { option, stored, chosen: own } = found;
  throw new UsageError(
    `${path}: its weights were trained with ${option} ${stored}, which contradicts ${named(option, own)}; ` +
      'leave that out, use the same value, or choose other weights',
  );
}
