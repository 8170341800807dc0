/** The studio's built files in memory (Node only). Requests name one of them exactly, so none leads to another file. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join, relative, sep } from 'node:path';
import { VggError } from '../errors.ts';
import { cannotRead } from '../files/files.ts';
import { builtStudio } from './studio-build.ts';

export interface PageFile {
  readonly type: string;
  readonly content: Uint8Array;
}

/** Files by their path in URLs; the page itself is `/`. */
export type PageFiles = ReadonlyMap<string, PageFile>;

/** Far more than the page has. */
const mostBytes = 64 << 20;

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.webmanifest': 'application/manifest+json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.webp': 'image/webp',
  '.jpg': 'image/jpeg',
  '.wasm': 'application/wasm',
  '.woff2': 'font/woff2',
};

/** The studio's files. @throws VggError if they cannot be built or read. */
export const studioFiles = async (notice: (line: string) => void): Promise<PageFiles> =>
  filesIn(await builtStudio(notice));

/** All files of a folder. @throws VggError if they cannot be read or are too many. */
export async function filesIn(folder: string): Promise<PageFiles> {
  const files = new Map<string, PageFile>();
  let bytes = 0;
  try {
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (!entry.isFile()) continue;
      bytes += (await stat(path)).size;
      if (bytes > mostBytes)
        throw new VggError(`${folder} has more than ${mostBytes} bytes, so it is no built page`);
      const type = types[extname(path)] ?? 'application/octet-stream';
      files.set(`/${relative(folder, path).split(sep).join('/')}`, { type, content: await readFile(path) });
    }
  } catch (error) {
    throw error instanceof VggError ? error : cannotRead(folder, error);
  }
  const page = files.get('/index.html');
  if (!page)
    throw new VggError(
      `${folder} has no index.html, so the page of vgg studio is not there; reinstall vggnet`,
    );
  return files.set('/', page);
}
