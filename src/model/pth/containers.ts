/**
 * The two containers of a PyTorch file: the zip archive that `torch.save` writes since 1.6, and the legacy form before
 * it, in which torchvision's VGG files are. Each gives the pickled object and the place of every storage.
 * Source: `_save`, `_legacy_load` and `_load` in `torch/serialization.py`.
 */
import { DataError } from '../../errors.ts';
import type { PartReader } from '../../files/parts.ts';
import { beginOf, damaged, EntryCheck, readBytes, readEntry, readZip } from '../../files/zip.ts';
import { OutOfBytes, PickleContext, pickleLimits, unpickle } from './pickle.ts';
import {
  described,
  invalid,
  PickleDict,
  type PickleValue,
  type StorageRecord,
  torchTypes,
} from './values.ts';

export interface Container {
  readonly root: PickleValue;
  /** Where a storage begins in the file. @throws DataError if it is not there, or has another size. */
  readonly beginOf: (storage: StorageRecord) => Promise<number>;
  /** The check of a storage; absent if the container has no checksums. @throws DataError if the storage is not there. */
  readonly checkOf?: (storage: StorageRecord) => Promise<EntryCheck>;
}

export const bytesOf = ({ count, type }: StorageRecord): number => count * torchTypes[type];

/** Opens an archive: `ROOT/data.pkl`, and `ROOT/data/KEY` for each storage. */
export async function openArchive(file: PartReader): Promise<Container> {
  const entries = await readZip(file);
  const pickles = [...entries.keys()].filter((name) => /^[^/]*\/data\.pkl$/.test(name));
  const [pickle] = pickles;
  if (pickle === undefined || pickles.length > 1)
    throw new DataError('it is a zip archive, but not one of torch.save: it has no data.pkl, or several');
  const root = pickle.slice(0, -'data.pkl'.length);
  const names = [...entries.keys()];
  if (names.some((name) => name.startsWith(`${root}code/`) || name === `${root}constants.pkl`)) {
    throw new DataError(
      'it is a TorchScript program, not a state dict; in PyTorch: torch.save(torch.jit.load(path).state_dict(), newPath)',
    );
  }
  const compressed = [...entries.values()].find(({ method }) => method !== 0);
  if (compressed) {
    throw new DataError(
      `its entry ${JSON.stringify(compressed.name.slice(0, 200))} is compressed, which torch.save never does; ` +
        'load it in PyTorch and save it again',
    );
  }
  const order = entries.get(`${root}byteorder`);
  if (order && new TextDecoder().decode(await readEntry(file, order, 64)) !== 'little')
    throw new DataError('its values are big-endian; save it on a little-endian machine');
  const bytes = await readEntry(file, entries.get(pickle)!, pickleLimits.bytes);
  const context = new PickleContext();
  const { value, end } = wholePickle(() => unpickle(bytes, 0, context));
  if (end !== bytes.length) throw invalid(`its pickle ends at byte ${end} of ${bytes.length}`);
  const entryOf = (storage: StorageRecord) => {
    const entry = entries.get(`${root}data/${storage.key}`);
    const shown = JSON.stringify(storage.key.slice(0, 100));
    if (!entry) throw invalid(`it has no storage ${shown}`);
    if (entry.size !== bytesOf(storage))
      throw invalid(`storage ${shown} has ${entry.size} bytes, and should have ${bytesOf(storage)}`);
    return entry;
  };
  // Tensors may share a storage.
  const checks = new Map<string, EntryCheck>();
  return {
    root: value,
    beginOf: (storage) => beginOf(file, entryOf(storage)),
    checkOf: async (storage) => {
      const entry = entryOf(storage);
      const check = checks.get(entry.name) ?? new EntryCheck(file, entry, await beginOf(file, entry));
      checks.set(entry.name, check);
      return check;
    },
  };
}

/** Bytes in which the pickles of a legacy file are first looked for; VGG's have about 10 KB. */
const firstBytes = 2 ** 18;
const magic = 119_547_037_146_038_801_333_356n;
const legacyVersion = 1001;
const maxStorages = 10_000;

interface LegacyPickles {
  readonly root: PickleValue;
  readonly keys: readonly string[];
  readonly end: number;
  readonly storages: ReadonlyMap<string, StorageRecord>;
}

/** Opens a legacy file: five pickles, then each storage's count and values. */
export async function openLegacy(file: PartReader): Promise<Container> {
  const { root, keys, end, storages } = await readPickles(file);
  const places = new Map<string, number>();
  let at = end;
  for (const key of keys) {
    const storage = storages.get(key);
    const shown = JSON.stringify(key.slice(0, 100));
    if (!storage) throw invalid(`its storage ${shown} is not described`);
    const count = new DataView((await readBytes(file, at, 8)).buffer).getBigInt64(0, true);
    if (count !== BigInt(storage.count))
      throw invalid(`its storage ${shown} has ${count} values, and should have ${storage.count}`);
    if (places.has(key)) throw invalid(`its storage ${shown} comes twice`);
    places.set(key, at + 8);
    at += 8 + bytesOf(storage);
    if (at > file.size)
      throw damaged(`its storage ${shown} ends at byte ${at}, but the file has ${file.size} bytes`);
  }
  if (at !== file.size) throw invalid(`its storages end at byte ${at}, but it has ${file.size} bytes`);
  return {
    root,
    beginOf: async ({ key }) => {
      const place = places.get(key);
      if (place === undefined) throw invalid(`it has no storage ${JSON.stringify(key.slice(0, 100))}`);
      return place;
    },
  };
}

/** Reads the pickles at the front; how long they are only shows when they are read. */
async function readPickles(file: PartReader): Promise<LegacyPickles> {
  for (let length = firstBytes; ; length *= 16) {
    const most = Math.min(length, pickleLimits.bytes, file.size);
    const bytes = await readBytes(file, 0, most);
    try {
      return parsePickles(bytes);
    } catch (error) {
      if (!(error instanceof OutOfBytes)) throw error;
      if (most === file.size) throw damaged('it ends within its description of the tensors');
      if (most === pickleLimits.bytes)
        throw new DataError(`its description of the tensors exceeds the limit of ${most} bytes`);
    }
  }
}

function parsePickles(bytes: Uint8Array): LegacyPickles {
  const context = new PickleContext();
  let end = 0;
  const next = (): PickleValue => {
    const found = unpickle(bytes, end, context);
    end = found.end;
    return found.value;
  };
  if (next() !== magic) throw new DataError('it is a pickle, but not one of torch.save');
  const version = next();
  if (version !== legacyVersion)
    throw invalid(`its format has version ${described(version)}, not ${legacyVersion}`);
  const system = next();
  if (!(system instanceof PickleDict)) throw invalid('it does not describe its system');
  if (system.get('little_endian') !== true)
    throw new DataError('its values are big-endian; save it on a little-endian machine');
  const root = next();
  const keys = next();
  const isText = (key: PickleValue): key is string => typeof key === 'string';
  if (!Array.isArray(keys) || !keys.every(isText)) throw invalid('its list of storages is no list of texts');
  if (keys.length > maxStorages)
    throw new DataError(`it has ${keys.length} storages, above the limit of ${maxStorages}`);
  return { root, keys, end, storages: context.storages };
}

/** Reads a pickle whose bytes are all there. */
function wholePickle<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof OutOfBytes ? invalid('its pickle ends too early') : error;
  }
}
