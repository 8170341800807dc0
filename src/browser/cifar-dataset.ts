/** CIFAR from files that a user chose: an archive in the official layouts, or all files of one. */
import { exactly, parse } from '../data/byte-parser.ts';
import {
  allocateCifar,
  type CifarFormat,
  type CifarLayout,
  type CifarTarget,
  checkCifarSize,
  cifarFormats,
  cifarParser,
  cifarSplits,
} from '../data/cifar.ts';
import { archiveVisitor, frontBytes, isGzip, layouts, memberFile, readToEnd } from '../data/cifar-archive.ts';
import { Md5 } from '../data/md5.ts';
import { DataError, VggError } from '../errors.ts';
import { cannotRead } from '../files/problems.ts';
import type { PathFile } from './chosen-files.ts';
import type { OpenDatasetOptions, UserDataset } from './datasets.ts';

const formats = Object.values(cifarFormats);

const nameIn = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** Whether a file begins like an archive of tar, packed or not. */
export async function isTar({ path, file }: PathFile): Promise<boolean> {
  const head = new Uint8Array(await file.slice(0, 512).arrayBuffer());
  const isPacked = head[0] === 0x1f && head[1] === 0x8b;
  const ustar = String.fromCharCode(...head.subarray(257, 262));
  return isPacked || ustar === 'ustar' || /\.(tar|tgz|tar\.\w+)$/i.test(path);
}

/** The files of a data set among others: `undefined` if there is none. @throws DataError if some are missing. */
export function cifarFiles(
  files: readonly PathFile[],
): { readonly format: CifarFormat; readonly layout: CifarLayout } | undefined {
  const names = new Set(files.map(({ path }) => nameIn(path)));
  for (const format of formats) {
    for (const layout of layouts) {
      const present = format.files.filter((file) => names.has(file[layout]));
      if (present.length === format.files.length) return { format, layout };
      // `train` and `test` alone may be folders or anything else.
      if (present.length === 0 || (format.name === 'cifar100' && layout === 'python')) continue;
      const missing = format.files.filter((file) => !present.includes(file)).map((file) => file[layout]);
      throw new DataError(
        `${present[0]![layout]} is a file of ${format.name}, but ${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} missing; choose all ` +
          `${format.files.length} files, or the archive ${format.archives[layout]}`,
      );
    }
  }
  return undefined;
}

/** Reads all files of a data set. @throws DataError */
export async function openCifarFiles(
  files: readonly PathFile[],
  { format, layout }: { readonly format: CifarFormat; readonly layout: CifarLayout },
  { onProgress, signal }: OpenDatasetOptions,
): Promise<UserDataset> {
  const target = allocateCifar(format);
  const used = format.files.map((file) => ({
    file,
    own: files.find(({ path }) => nameIn(path) === file[layout])!,
  }));
  const progress = counter(
    used.map(({ own }) => own),
    onProgress,
  );
  for (const { file, own } of used) {
    checkCifarSize(format, layout, file, own.file.size, own.path);
    const parser = exactly(cifarParser(format, layout, file, target, own.path), own.file.size, own.path);
    await reading(own.path, () => parse(parser, chunksOf(own.file.stream(), { progress, signal }), own.path));
  }
  return datasetOf(
    format,
    target,
    used.map(({ own }) => ({ path: nameIn(own.path), file: own.file })),
  );
}

/** Reads an archive. @throws DataError if it is damaged, incomplete or another one. */
export async function openCifarArchive(
  chosen: PathFile,
  { onProgress, signal, md5 }: OpenDatasetOptions,
  isChecked = false,
): Promise<UserDataset> {
  const { file } = chosen;
  const path = nameIn(chosen.path);
  const front = new Uint8Array(await file.slice(0, frontBytes).arrayBuffer());
  const isPacked = isGzip(path, front, file.size);
  const expected = isChecked ? undefined : (md5?.[path] ?? officialMd5(path));
  if (expected !== undefined) await checkMd5(path, file, expected, signal);
  const progress = counter([chosen], onProgress);
  let found: { readonly format: CifarFormat; readonly target: CifarTarget } | undefined;
  let visitor: ReturnType<typeof archiveVisitor> | undefined;
  const packed = chunksOf(file.stream(), { progress, signal });
  await reading(path, () =>
    readToEnd(path, isPacked ? gunzipped(path, packed) : packed, (member) => {
      const format = found?.format ?? formats.find((one) => memberFile(one, member.path));
      if (!format) return undefined;
      found ??= { format, target: allocateCifar(format) };
      visitor ??= archiveVisitor(format, path, found.target);
      return visitor.visit(member);
    }),
  );
  if (!found || !visitor) {
    throw new DataError(
      `${path} has no files of CIFAR; use ${formats.map(({ archives }) => archives.binary).join(' or ')} as downloaded, or a zip of images with ` +
        'one folder per class',
    );
  }
  visitor.end();
  return datasetOf(found.format, found.target, [{ path, file }]);
}

const officialMd5 = (name: string): string | undefined =>
  formats
    .flatMap(({ archives, md5 }) => layouts.map((layout) => ({ name: archives[layout], md5: md5[layout] })))
    .find((archive) => archive.name === name)?.md5;

async function checkMd5(
  path: string,
  file: Blob,
  expected: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const sum = new Md5();
  for await (const chunk of chunksOf(file.stream(), { signal })) sum.update(chunk);
  const found = sum.digest();
  if (found === expected) return;
  throw new DataError(
    `${path} is not the official archive or damaged: its MD5 is ${found} instead of ${expected}; download it again, or give an archive ` +
      'that you made another name',
  );
}

function datasetOf(format: CifarFormat, target: CifarTarget, files: readonly PathFile[]): UserDataset {
  const { name } = format;
  return {
    dataset: name,
    classes: format.classes,
    images: { train: target.labels.train.length, test: target.labels.test.length },
    bytes: files.reduce((sum, { file }) => sum + file.size, 0),
    notices: [],
    files,
    load: async (choice = {}) => cifarSplits(format, target, choice.labels ?? 'fine'),
  };
}

type Progress = (bytes: number) => void;

/** Counts bytes of all files. */
function counter(files: readonly PathFile[], tell: OpenDatasetOptions['onProgress']): Progress {
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  let done = 0;
  return (bytes) => {
    done += bytes;
    tell?.({ done, total });
  };
}

async function* chunksOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  { progress, signal }: { readonly progress?: Progress; readonly signal?: AbortSignal | undefined },
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  const reader = stream.getReader();
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
      progress?.(value.length);
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

async function* gunzipped(
  path: string,
  packed: AsyncGenerator<Uint8Array<ArrayBuffer>, void, void>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const { value, done } = await packed.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
  try {
    yield* chunksOf(source.pipeThrough(new DecompressionStream('gzip')), {});
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new DataError(`${path} is not a complete .tar.gz archive: ${error.message}; download it again`);
  }
}

async function reading<T>(path: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw error instanceof VggError || !(error instanceof DOMException) || error.name === 'AbortError'
      ? error
      : cannotRead(path, error);
  }
}
