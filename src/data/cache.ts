/** Where downloaded data sets live: the user's cache directory, by the platform's own convention. */
import { homedir, platform } from 'node:os';
import { join } from 'node:path';

/** `$XDG_CACHE_HOME/vggnet` or `~/.cache/vggnet`; on macOS `~/Library/Caches`, on Windows `%LOCALAPPDATA%`. */
export function cacheDirectory(
  environment: NodeJS.ProcessEnv = process.env,
  system: string = platform(),
): string {
  const home = homedir();
  switch (system) {
    case 'darwin':
      return join(home, 'Library', 'Caches', 'vggnet');
    case 'win32':
      return join(environment.LOCALAPPDATA || join(home, 'AppData', 'Local'), 'vggnet');
    default:
      return join(environment.XDG_CACHE_HOME || join(home, '.cache'), 'vggnet');
  }
}

/** Where data sets are looked for, and downloaded to, when no place is named: `$VGGNET_DATA`, else the cache. */
export function dataDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return environment.VGGNET_DATA || cacheDirectory(environment);
}
