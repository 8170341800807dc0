/**
 * Folders from which code is loaded (Node only). Whoever can write in such a folder, or put another one in its place, runs
 * code as this user: each folder on the way to it belongs to this user or to root, and others may not write in it, unless it
 * is sticky, as `/tmp` is. Links are followed by hand, since a link lies in a folder, too.
 */
import { chmodSync, lstatSync, readlinkSync, type Stats } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { VggError } from '../errors.ts';
import { makeFolder } from './make-folder.ts';

/** As many links as Linux follows. */
const mostLinks = 40;
const modeOf = ({ mode }: Stats): string => (mode & 0o7777).toString(8);

/**
 * Makes the folder, where it is missing, and makes sure that it is for this user alone. The user's own folder around it is
 * closed to others, which `onNotice` is told. On Windows, where folders have no owner in this sense, it is only made.
 * @throws VggError with the folder that others could change, and the way out.
 */
export function makePrivateFolder(directory: string, onNotice?: (line: string) => void): void {
  const user = process.getuid?.();
  if (user !== undefined) checkWay(directory, onNotice);
  if (!lstatSync(directory, { throwIfNoEntry: false })) {
    makeFolder(directory, 0o700);
    chmodSync(directory, 0o700);
    if (user !== undefined) checkWay(directory, onNotice);
  }
  const stat = lstatSync(directory);
  if (!stat.isDirectory()) throw new VggError(`${directory} is not a folder; remove it`);
  if (user === undefined) return;
  if (stat.uid !== user) throw belongsTo(directory, stat);
  if ((stat.mode & 0o077) !== 0)
    throw new VggError(`others may enter ${directory} (mode ${modeOf(stat)}); chmod 700 it`);
}

const belongsTo = (folder: string, { uid }: Stats): VggError =>
  new VggError(`${folder} belongs to another user (${uid}); remove it or set XDG_CACHE_HOME`);

/** Checks what there is of the way to a folder, from the root on: what was checked, others can no longer change. */
function checkWay(directory: string, onNotice: ((line: string) => void) | undefined): void {
  const root = lstatSync('/');
  // In a container, root may have another number.
  const trusted = [0, root.uid, process.getuid!()];
  const around = dirname(resolve(directory));
  const rest = resolve(directory).split('/').filter(Boolean);
  let folder = '/';
  let links = 0;
  checkFolder(folder, root, false, onNotice);
  for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
    if (name === '..') {
      folder = dirname(folder);
      continue;
    }
    const path = join(folder, name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (!stat) return;
    if (!trusted.includes(stat.uid)) throw belongsTo(path, stat);
    if (stat.isSymbolicLink()) {
      if (++links > mostLinks) throw new VggError(`${directory} leads through too many links`);
      const target = readlinkSync(path);
      if (target.startsWith('/')) folder = '/';
      rest.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'));
      continue;
    }
    // What is no folder is found out where it is used.
    if (!stat.isDirectory()) return;
    folder = path;
    if (rest.length > 0) checkFolder(folder, stat, folder === around, onNotice);
  }
}

function checkFolder(
  folder: string,
  stat: Stats,
  isOurs: boolean,
  onNotice: ((line: string) => void) | undefined,
): void {
  if ((stat.mode & 0o022) === 0 || (stat.mode & 0o1000) !== 0) return;
  if (isOurs && stat.uid === process.getuid!()) {
    chmodSync(folder, stat.mode & 0o7755);
    onNotice?.(`${folder} was open for others to write in, and is so no longer`);
    return;
  }
  throw new VggError(
    `others may write in ${folder} (mode ${modeOf(stat)}) and could put their code into the cache below it; ` +
      'chmod go-w it or set XDG_CACHE_HOME to another place',
  );
}
