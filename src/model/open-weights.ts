/** Reads weight files of any format: safetensors, checkpoints, and those of PyTorch; `weight-files.ts` opens them by path. */
import { DataError, UsageError } from '../errors.ts';
import type { OpenParts, PartReader } from '../files/parts.ts';
import { checkOptions, shown } from '../options.ts';
import { deepenedTensors } from './deepen.ts';
import { impliedModel } from './implied.ts';
import type { ModelInfo } from './info.ts';
import { infoIn } from './info-text.ts';
import { sourceOfInitial } from './initialize.ts';
import type { Network, Shape } from './layer.ts';
import { buildNetwork, checkNetwork } from './network.ts';
import { openPth, pthForm } from './pth/open.ts';
import {
  checkChecksum,
  type OpenFile,
  openTensors,
  type PlacedTensor,
  placesIn,
  type ReadOptions,
  readBeginning,
  tensorsAt,
  trainingNames,
} from './tensor-files.ts';
import { type FittingTensors, fittingTensors, withHeadOf } from './weight-names.ts';
import type { WeightSource } from './weight-streams.ts';

/** The network of a file's weights, or a function that creates it from the file's metadata and its tensors' shapes. */
export type WantedNetwork =
  | Network
  | ((info: ModelInfo | undefined, found: ReadonlyMap<string, Shape>) => Network);

/** The weights in an open file, in the order of their network. */
export interface WeightFile extends WeightSource, OpenFile {
  /** Absent if the file has no metadata of ours. */
  readonly info?: ModelInfo;
}

export interface OpenWeightsOptions extends ReadOptions {
  /** Which state dict of a PyTorch checkpoint, if it has several or an unusual key. */
  readonly key?: string | undefined;
  /** Does not read the last layer, but draws it as `compile` does; for another number of classes. */
  readonly freshHead?: boolean | undefined;
  /**
   * The file is of a shallower network: takes its first four convolutions and its linear layers, and draws the others, as
   * the paper did with configuration A.
   */
  readonly deepen?: boolean | undefined;
  /** Seed of what is drawn; 0 by default, as in `compile`. */
  readonly seed?: number | undefined;
  /** Receives one line about layers that are drawn; `console.warn` by default. */
  readonly onNotice?: ((line: string) => void) | undefined;
}

/** A file's format: ours or safetensors in general, a training's state, or one of the two of torch.save. */
export type FileFormat = 'safetensors' | 'checkpoint' | 'torch.save (zip)' | 'torch.save (legacy)';

/** What a file holds, whatever its format. */
export interface Contents {
  readonly format: FileFormat;
  readonly shapes: ReadonlyMap<string, Shape>;
  /** The tensors whose values can be read. */
  readonly readable: readonly string[];
  readonly info?: ModelInfo | undefined;
  /** Finds the places of the tensors `names`; checks a checksum that covers the whole file. */
  readonly locate: (names: Iterable<string>) => Promise<ReadonlyMap<string, PlacedTensor>>;
}

/**
 * Opens a safetensors file, a checkpoint, or a file of PyTorch's `torch.save`; its content decides which. Values are
 * read only if names and shapes fit the network. Checksums are checked before values are used, but those of zip archives
 * as a tensor is read: a wrong one shows with its last values. Close the file after use, or declare it with `await using`.
 * @throws DataError if the file cannot be read or does not fit; so does reading its values.
 */
export function openWeightsIn(
  opening: () => Promise<OpenParts>,
  wanted: WantedNetwork,
  options: OpenWeightsOptions = {},
): Promise<WeightFile> {
  checkOptions<OpenWeightsOptions>('openWeights', options, {
    signal: 'optional',
    key: 'optional',
    freshHead: 'optional',
    deepen: 'optional',
    seed: 'optional',
    onNotice: 'optional',
  });
  const { freshHead = false, deepen = false, seed = 0, onNotice = console.warn } = options;
  if (deepen && freshHead)
    throw new UsageError('openWeights: deepen and freshHead exclude each other; leave one of them out');
  return openTensors(opening(), async (file) => {
    const { shapes: found, info, locate } = await contentsOf(file, options);
    const network = typeof wanted === 'function' ? wanted(info, found) : wanted;
    checkNetwork('openWeights', network);
    const { shapes, sources, fresh } = deepen
      ? deepened(network, found, info)
      : fitting(network, found, info, freshHead);
    const places = await locate(sources.values());
    const read = tensorsAt(
      file,
      new Map([...sources].map(([name, from]) => [name, places.get(from)!])),
      shapes,
    );
    if (!fresh) return { ...read, ...(info && { info }) };
    onNotice(`${file.path}: ${describeFresh(fresh, network)}`);
    const initial = sourceOfInitial(network, seed);
    return {
      shapes,
      read: (name, ...part) => (sources.has(name) ? read : initial).read(name, ...part),
      ...(info && { info: deepen ? ofNetwork(info, network) : withFreshHead(info, network) }),
    };
  });
}

/**
 * Opens a weight file for all of its values, under the names that they have there, whatever network they are of.
 * @throws DataError as `openWeightsIn`
 */
export const openAllWeightsIn = (
  opening: Promise<OpenParts>,
  options: Pick<OpenWeightsOptions, 'key' | 'signal'> = {},
): Promise<WeightSource & OpenFile> =>
  openTensors(opening, async (file) => {
    const { shapes, readable, locate } = await contentsOf(file, options);
    const own = new Map(readable.map((name) => [name, shapes.get(name)!]));
    return tensorsAt(file, await locate(readable), own);
  });

function describeFresh(fresh: NonNullable<FittingTensors['fresh']>, network: Network): string {
  if ('taken' in fresh) return `${fresh.taken.join(', ')} start ${network.name}; its other layers are drawn`;
  const had = fresh.classes === undefined ? '' : `; the file has ${fresh.classes}`;
  return `the last layer, ${fresh.layer}, starts anew with ${network.output[0]} classes${had}`;
}

/** The tensors of a shallower network that start this one. @throws DataError if they do not fit. */
function deepened(
  network: Network,
  found: ReadonlyMap<string, Shape>,
  info: ModelInfo | undefined,
): FittingTensors {
  const known = info ?? impliedModel(found);
  if (!known) {
    throw new DataError(
      'its tensors are not those of a known network, from which another can start; use weights of vgg11',
    );
  }
  const shallow = buildNetwork(known.network, info ? info.input : network.input);
  const { shapes, sources, taken } = deepenedTensors(network, shallow, found);
  return { shapes, sources, fresh: { taken } };
}

/** The information about weights whose head was replaced: the classes were those of the old head. */
const withFreshHead = (
  { network: { name, layers }, input, normalization }: ModelInfo,
  network: Network,
): ModelInfo => ({
  network: { name, layers: withHeadOf(layers, network) },
  input,
  ...(normalization !== undefined && { normalization }),
});

/** The information about weights of which a deeper network takes some. */
const ofNetwork = ({ normalization }: ModelInfo, { name, layers, input }: Network): ModelInfo => ({
  network: { name, layers: layers.map(({ spec }) => spec) },
  input,
  ...(normalization !== undefined && { normalization }),
});

/** Reads everything before the values. */
async function contentsOf(file: PartReader, { key, signal }: OpenWeightsOptions): Promise<Contents> {
  if (key !== undefined && typeof key !== 'string')
    throw new UsageError(`openWeights: key ${shown(key)} is not a text`);
  const form = await pthForm(file);
  if (form) {
    const { shapes, floating, locate } = await openPth(file, form, key);
    const format = form === 'legacy' ? 'torch.save (legacy)' : 'torch.save (zip)';
    return { format, shapes, readable: floating, locate };
  }
  if (key !== undefined)
    throw new UsageError(
      `openWeights: key ${shown(key)} has an effect only with files of torch.save; leave it out`,
    );
  const header = await readBeginning(file);
  const training = new Set(header.isCheckpoint ? trainingNames(header.metadata) : []);
  const entries = header.entries.filter(({ name }) => !training.has(name));
  return {
    format: header.isCheckpoint ? 'checkpoint' : 'safetensors',
    shapes: new Map(entries.map(({ name, shape }) => [name, shape])),
    readable: entries.map(({ name }) => name),
    info: infoIn(header.metadata),
    locate: async () => {
      if (header.isCheckpoint) await checkChecksum(file, signal);
      return placesIn(header);
    },
  };
}

/** `fittingTensors`; if the file is for images of another size, the error says so. */
function fitting(
  network: Network,
  found: ReadonlyMap<string, Shape>,
  info: ModelInfo | undefined,
  freshHead: boolean,
): FittingTensors {
  try {
    return fittingTensors(network, found, freshHead);
  } catch (error) {
    if (!(error instanceof DataError) || !info?.input || info.input.join() === network.input.join())
      throw error;
    const cause = `the file is for images of ${info.input.join('×')}`;
    throw new DataError(`${error.message}; ${cause}`, { cause: error });
  }
}

/**
 * Reads a file's format, its tensors' shapes and its metadata, not its values.
 * @throws DataError if the file cannot be read.
 */
export async function readShapesIn(
  opening: Promise<OpenParts>,
  options: Pick<OpenWeightsOptions, 'key'> = {},
): Promise<Pick<Contents, 'format' | 'shapes' | 'info'>> {
  await using file = await openTensors(opening, (parts) => contentsOf(parts, options));
  const { format, shapes, info } = file;
  return { format, shapes, info };
}

/** Reads the metadata of a weight file or checkpoint, not its values; files of PyTorch have none. @throws DataError */
export async function readInfoIn(opening: Promise<OpenParts>): Promise<ModelInfo | undefined> {
  await using file = await openTensors(opening, async (parts) => {
    return { info: (await pthForm(parts)) ? undefined : infoIn((await readBeginning(parts)).metadata) };
  });
  return file.info;
}
