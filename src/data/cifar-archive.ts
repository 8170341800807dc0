/** Archives of CIFAR as streams of bytes, in Node and in browsers. */
import { DataError } from '../errors.ts';
import { parse } from './byte-parser.ts';
import {
  type CifarFile,
  type CifarFormat,
  type CifarLayout,
  type CifarTarget,
  checkCifarSize,
  cifarParser,
} from './cifar.ts';
import { readTar, tarLimits } from './tar.ts';

export const layouts: readonly CifarLayout[] = ['binary', 'python'];

/**
 * Returns the data-set file that an archive member contains, by its name and folder. Archives made inside that folder
 * have no folder in their paths.
 */
export function memberFile(
  format: CifarFormat,
  path: string,
): { readonly file: CifarFile; readonly layout: CifarLayout } | undefined {
  const [name, folder] = path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .reverse();
  for (const layout of layouts) {
    if (folder !== undefined && folder !== format.folders[layout]) continue;
    const file = format.files.find((candidate) => candidate[layout] === name);
    if (file) return { file, layout };
  }
  return undefined;
}

/** The first bytes of other compressed formats. */
const otherPackers: readonly (readonly [string, string])[] = [
  ['425a68', 'bzip2'],
  ['fd377a585a00', 'xz'],
  ['28b52ffd', 'zstd'],
  ['504b0304', 'zip'],
];

/** Bytes at the beginning of an archive that tell its packer. */
export const frontBytes = 6;

/** Whether an archive is packed with gzip. @throws DataError if it is packed otherwise, or too short for an archive. */
export function isGzip(path: string, front: Uint8Array, size: number): boolean {
  const hex = Array.from(front, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const [, packer] = otherPackers.find(([magic]) => hex.startsWith(magic)) ?? [];
  if (packer !== undefined) {
    throw new DataError(`${path} is compressed with ${packer}; unpack it, or compress it as .tar.gz`);
  }
  const isPacked = hex.startsWith('1f8b') || /\.t?gz$/i.test(path);
  if (!isPacked && size < 512)
    throw new DataError(`${path} is not a .tar or .tar.gz archive: it has ${size} bytes; download it again`);
  return isPacked;
}

/** Reads an archive to its end, so that its packer checks its checksum, but not beyond the size limit. */
export async function readToEnd(
  path: string,
  chunks: AsyncIterator<Uint8Array>,
  visit: Parameters<typeof readTar>[1],
): Promise<void> {
  await parse(readTar(path, visit), { [Symbol.asyncIterator]: () => ({ next: () => chunks.next() }) }, path);
  let rest = 0;
  for (let next = await chunks.next(); !next.done; next = await chunks.next()) {
    rest += next.value.length;
    if (rest > tarLimits.bytes)
      throw new DataError(`${path} has more data after its last file; this is not a CIFAR archive`);
  }
}

/** Reads the data set's files from an archive; `end` requires that all of them came. */
export function archiveVisitor(
  format: CifarFormat,
  path: string,
  target: CifarTarget,
): { readonly visit: Parameters<typeof readTar>[1]; readonly end: () => void } {
  const missing = new Set(format.files);
  return {
    visit(member) {
      const found = memberFile(format, member.path);
      if (!found) return undefined;
      const { file, layout } = found;
      const name = `${member.path} in ${path}`;
      checkCifarSize(format, layout, file, member.size, name);
      missing.delete(file);
      return cifarParser(format, layout, file, target, name);
    },
    end() {
      const [first] = missing;
      if (!first) return;
      throw new DataError(
        `${path} does not contain ${first.binary} (or ${first.python}) of ${format.name}; use ${format.archives.binary} or ` +
          `${format.archives.python} as downloaded`,
      );
    },
  };
}
