/**
 * Opens the files of `torch.save`: untrusted input, read as data and never executed. Shapes come from the
 * pickle at once; values are read by parts.
 */
import { DataError } from '../../errors.ts';
import type { PartReader } from '../../files/parts.ts';
import { type EntryCheck, startsLikeZip } from '../../files/zip.ts';
import type { Shape } from '../layer.ts';
import { sizeOf } from '../network.ts';
import type { Dtype } from '../safetensors.ts';
import { bytesOf, type Container, openArchive, openLegacy } from './containers.ts';
import { stateDictIn } from './state-dict.ts';
import { extentOf, isContiguous, overlap, type Strided } from './strided.ts';
import { invalid, type TensorRecord, type TorchType, torchTypes } from './values.ts';

export type PthForm = 'archive' | 'legacy';

/** The form of a file, by its first bytes. Undefined for other files. @throws DataError for forms that are not read. */
export async function pthForm(file: PartReader): Promise<PthForm | undefined> {
  const start = new Uint8Array(512);
  const bytes = start.subarray(0, await file.read(start, 0));
  if (startsLikeZip(bytes)) return 'archive';
  const text = String.fromCharCode(...bytes);
  if (text.startsWith('\x89HDF\r\n')) {
    throw new DataError(
      'it is an HDF5 file, as of Keras; docs/file-formats.md shows how to convert it in Python',
    );
  }
  if (text.startsWith('ustar', 257)) {
    throw new DataError(
      'it is a tar file, as of PyTorch before 0.1.10; load it in PyTorch and save it again',
    );
  }
  // PROTO 2 to 5. In a safetensors file, the JSON begins at byte 8.
  return bytes[0] === 0x80 && bytes[1]! >= 2 && bytes[1]! <= 5 && text[8] !== '{' ? 'legacy' : undefined;
}

/** Where a tensor's values are; `strides` only if they are not in order. */
export interface PthTensor {
  readonly dtype: Dtype;
  /** In bytes, from the beginning of the file. */
  readonly begin: number;
  readonly strided?: Strided;
  /** Absent if the file has no checksums. */
  readonly check?: EntryCheck;
}

export interface PthFile {
  /** All tensors of the state dict, in its order. */
  readonly shapes: ReadonlyMap<string, Shape>;
  /** The tensors whose values can be weights: not the counters of batch normalizations. */
  readonly floating: readonly string[];
  /** Finds the tensors `names`. @throws DataError */
  readonly locate: (names: Iterable<string>) => Promise<ReadonlyMap<string, PthTensor>>;
}

/** Opens a file of `torch.save`; `key` chooses a state dict inside a checkpoint. @throws DataError */
export async function openPth(file: PartReader, form: PthForm, key?: string): Promise<PthFile> {
  const container = await (form === 'archive' ? openArchive(file) : openLegacy(file));
  const tensors = stateDictIn(container.root, key, file.path);
  for (const [name, tensor] of tensors) checkPlace(name, tensor, container);
  return {
    shapes: new Map([...tensors].map(([name, { shape }]) => [name, shape])),
    floating: [...tensors].flatMap(([name, { type }]) => (dtypes[type] === undefined ? [] : [name])),
    locate: async (names) => {
      const located = new Map<string, PthTensor>();
      for (const name of names) located.set(name, await placeOf(name, tensors.get(name)!, container));
      return located;
    },
  };
}

/** Checks that a tensor is inside its storage, and that its values are its own. */
function checkPlace(
  name: string,
  { storage, type, offset, shape, strides }: TensorRecord,
  { checkOf }: Container,
): void {
  const shown = JSON.stringify(name.slice(0, 200));
  const count = Math.floor((storage.viewCount * torchTypes[storage.type]) / torchTypes[type]);
  const extent = extentOf({ shape, strides });
  if (extent > 0 && offset + extent > count) {
    throw invalid(`tensor ${shown} takes values ${offset} to ${offset + extent} of a storage of ${count}`);
  }
  const found = overlap({ shape, strides });
  // Without a checksum, a damaged stride shows only by values that coincide.
  if (found === 'overlapping' || (found === 'repeated' && !checkOf)) {
    throw new DataError(
      `the values of tensor ${shown} overlap: its shape is [${shape.join(', ')}], its strides [${strides.join(', ')}]; ` +
        'the file is damaged, or save tensor.contiguous()',
    );
  }
}

const dtypes: Readonly<Partial<Record<TorchType, Dtype>>> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
};

async function placeOf(
  name: string,
  { storage, type, offset, shape, strides }: TensorRecord,
  container: Container,
): Promise<PthTensor> {
  const dtype = dtypes[type];
  if (dtype === undefined) {
    throw new DataError(
      `tensor ${JSON.stringify(name.slice(0, 200))} is ${type}; weights must be ${Object.keys(dtypes).join(', ')}`,
    );
  }
  const begin =
    (await container.beginOf(storage)) +
    storage.viewOffset * torchTypes[storage.type] +
    offset * torchTypes[type];
  const check = await container.checkOf?.(storage);
  // Values that are all of their storage, in order, are checked as they are read.
  const isWhole = isContiguous({ shape, strides }) && sizeOf(shape) * torchTypes[type] === bytesOf(storage);
  if (!isWhole) await check?.whole();
  return {
    dtype,
    begin,
    ...(!isContiguous({ shape, strides }) && { strided: { shape, strides } }),
    ...(check && { check }),
  };
}
