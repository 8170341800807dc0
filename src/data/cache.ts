/** Where downloaded data sets live: the user's cache directory, by the platform's own convention. */
import { homedir, platform } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { pathInEnvironment } from '../paths.ts';

/** `$XDG_CACHE_HOME/vggnet` (only an absolute path counts) or `~/.cache/vggnet`; on macOS `~/Library/Caches`, on Windows `%LOCALAPPDATA%`. */
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

/** Where data sets are looked for, and downloaded to, when no place is named: `$VGGNET_DATA`, else the cache. */
export function dataDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return pathInEnvironment(environment.VGGNET_DATA) ?? cacheDirectory(environment);
}
