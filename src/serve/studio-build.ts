/**
 * Where the studio's built files are. In the source tree Vite builds them when they are first needed, and again when the
 * sources changed. A build of the package writes another module in place of this one (`report/bundle.ts`).
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VggError } from '../errors.ts';
import { temporaryBeside } from '../files/files.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const prefix = 'studio-';

/** @throws VggError if the page cannot be built. */
export async function builtStudio(notice: (line: string) => void): Promise<string> {
  const config = join(root, 'vite.config.ts');
  if (!existsSync(join(root, 'src/studio/index.html')) || !existsSync(config))
    throw new VggError(`${root} has no sources of the studio (src/studio); reinstall vggnet`);
  const cache = join(root, 'node_modules', '.cache', 'vggnet');
  const folder = join(cache, prefix + keyOfSources());
  if (existsSync(folder)) return folder;
  notice('building the page of vgg studio, which takes some seconds once …');
  const { build } = await import('vite');
  const temporary = temporaryBeside(folder);
  try {
    await build({
      root: join(root, 'src/studio'),
      configFile: config,
      logLevel: 'warn',
      build: { outDir: temporary },
    });
    for (const old of readdirSync(cache).filter((name) => name.startsWith(prefix) && !name.endsWith('.tmp')))
      await rm(join(cache, old), { recursive: true, force: true });
    await rename(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    // Another process may have built it in the meantime.
    if (!existsSync(folder))
      throw new VggError(`the page of vgg studio cannot be built: ${error}`, { cause: error });
  }
  return folder;
}

/** Changes with any source file. */
function keyOfSources(): string {
  const hash = createHash('sha256');
  const files = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  for (const path of [...files.sort(), join(root, 'vite.config.ts'), join(root, 'package.json')]) {
    const { size, mtimeMs } = statSync(path);
    hash.update(`${path} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}
