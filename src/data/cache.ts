/** The folder for downloaded data sets: the user's cache directory, as is usual on each platform. */
import { homedir, platform } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { pathInEnvironment } from '../paths.ts';

/** `$XDG_CACHE_HOME/vggnet` (if absolute) or `~/.cache/vggnet`; on macOS `~/Library/Caches`, on Windows `%LOCALAPPDATA%`. */
export function cacheDirectory(
  environment: NodeJS.ProcessEnv = process.env,
  system: string = platform(),
): string {
  const home = homedir();
  switch (system) {
    case 'darwin':
      return join(home, 'Library', 'Caches', 'vggnet');
    case 'win32':
      return join(pathInEnvironment(environment.LOCALAPPDATA) ?? join(home, 'AppData', 'Local'), 'vggnet');
    default: {
      const named = environment.XDG_CACHE_HOME ?? '';
      return join(isAbsolute(named) ? named : join(home, '.cache'), 'vggnet');
    }
  }
}

/** The default folder for finding and downloading data sets: `$VGGNET_DATA`, otherwise the cache. */
export function dataDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return pathInEnvironment(environment.VGGNET_DATA) ?? cacheDirectory(environment);
}
