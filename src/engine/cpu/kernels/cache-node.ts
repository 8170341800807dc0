/**
 * Kernels kept in the user's cache once they passed their self-test: native libraries, WebAssembly modules. A file's name
 * holds a hash of everything that the kernels depend on (its key), and one of its content, which detects damage.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory } from '../../../data/cache.ts';
import { moduleFile } from '../../../package-files.ts';

/** Folder of the kernels. */
export const kernelDirectory = (): string => join(cacheDirectory(), 'kernels');

/** The first half of the parts' SHA-256. */
export function hash(...parts: readonly (string | Uint8Array)[]): string {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(part).update('\0');
  return sum.digest('hex').slice(0, 32);
}

/**
 * The sources of the kernels, their language and its printers. They detect a change as well as what they print, which
 * takes a tenth of a second. Undefined in a bundled program, which does not have them.
 */
export function kernelFiles(): readonly string[] | undefined {
  const printer = moduleFile('kernels/c');
  if (!printer) return undefined;
  const folder = new URL('.', printer);
  try {
    // Synchronously, because reading a data set may keep Node's I/O threads busy.
    const names = readdirSync(folder)
      .filter((name) => /(?<!\.test|\.d)\.[jt]s$/.test(name))
      .sort();
    const files = names.map((name) => readFileSync(new URL(name, folder), 'utf8'));
    return existsSync(printer) ? files : undefined;
  } catch {
    return undefined;
  }
}

/** The name of a file with this content in the cache. */
export const keptName = (key: string, content: Uint8Array, suffix: string): string =>
  `${key}-${hash(content)}${suffix}`;

export interface KeptFile {
  readonly file: string;
  /** Open for reading; the caller closes it. */
  readonly fd: number;
  readonly content: Buffer<ArrayBuffer>;
}

/** The undamaged file of this key, if there is one; damaged ones are removed. */
export function openKept(
  directory: string,
  key: string,
  suffix: string,
  onNotice: (line: string) => void = () => {},
): KeptFile | undefined {
  for (const name of readdirSync(directory)) {
    if (!name.startsWith(`${key}-`) || !name.endsWith(suffix)) continue;
    const file = join(directory, name);
    const fd = openOwn(file);
    if (fd === undefined) continue;
    let found = false;
    try {
      const content = readFileSync(fd);
      found = name === keptName(key, content, suffix);
      if (found) {
        recordUse(file);
        return { file, fd, content };
      }
      onNotice(`${file} is damaged and will be replaced`);
      rmSync(file, { force: true });
    } finally {
      if (!found) closeSync(fd);
    }
  }
  return undefined;
}

/** A file's time is that of its last use. */
function recordUse(file: string): void {
  try {
    utimesSync(file, new Date(), new Date());
  } catch {
    // Only matters when the file was not used for long.
  }
}

/** Milliseconds after which a working folder counts as abandoned, and an unused file is removed. */
const abandonedAfter = 3_600_000;
const unusedAfter = 60 * 24 * 3_600_000;

/** Removes what was unused for long, and leftovers of killed processes, whose names start with a dot. */
export async function removeOld(directory: string): Promise<void> {
  for (const name of readdirSync(directory)) {
    if (name === 'lock') continue;
    const left = lstatSync(join(directory, name), { throwIfNoEntry: false });
    if (left && Date.now() - left.mtimeMs > (name.startsWith('.') ? abandonedAfter : unusedAfter))
      await rm(join(directory, name), { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Opens a file of this user's cache; undefined if it is gone or not a file. Removes what another user owns. */
export function openOwn(file: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // A link or a socket is removed; a file may have been removed by another process.
    if (code === 'ELOOP' || code === 'ENXIO') rmSync(file, { force: true });
    else if (code !== 'ENOENT') throw error;
    return undefined;
  }
  const stat = fstatSync(fd);
  const isOwn = process.getuid === undefined || stat.uid === process.getuid();
  if (stat.isFile() && isOwn) return fd;
  closeSync(fd);
  if (!stat.isDirectory()) rmSync(file, { force: true });
  return undefined;
}
