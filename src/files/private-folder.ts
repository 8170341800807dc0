/**
 * Folders from which code is loaded (Node only). Anyone who can write to such a folder, or replace it, can run code as
 * this user. So every folder on its path must belong to this user or root, and must not be writable by others unless it
 * is sticky like `/tmp`. Symbolic links are resolved here, because the folder that contains a link matters, too.
 */
import { chmodSync, lstatSync, readFileSync, readlinkSync, type Stats } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { VggError } from '../errors.ts';
import { makeFolder } from './make-folder.ts';

/** The number of links that Linux follows. */
const mostLinks = 40;
const modeOf = ({ mode }: Stats): string => (mode & 0o7777).toString(8);

/**
 * Creates the folder if needed and checks that only this user can access it. Removes other users' write permission from
 * its parent if that belongs to this user, and reports this to `onNotice`. On Windows it only creates the folder.
 * @throws VggError that names the folder that others can change, and the way out.
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
    throw new VggError(`${directory} is open to other users (mode ${modeOf(stat)}); run chmod 700 on it`);
}

const belongsTo = (folder: string, { uid }: Stats): VggError =>
  new VggError(
    `${folder} belongs to another user (${uid}); remove it or set XDG_CACHE_HOME to another folder`,
  );

/** Checks the existing part of a folder's path, starting at the root: others cannot change what was checked already. */
function checkWay(directory: string, onNotice: ((line: string) => void) | undefined): void {
  const root = lstatSync('/');
  // In a container, root may have another user ID.
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
      if (++links > mostLinks)
        throw new VggError(`${directory}: its path has too many symbolic links; use a path without them`);
      const target = readlinkSync(path);
      if (target.startsWith('/')) folder = '/';
      rest.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'));
      continue;
    }
    // Not a folder: the caller reports it.
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
  if ((stat.mode & 0o002) === 0 && isOwnGroup(stat.gid)) return;
  if (isOurs && stat.uid === process.getuid!()) {
    chmodSync(folder, stat.mode & 0o7755);
    onNotice?.(`${folder} was writable by other users; removed their permission`);
    return;
  }
  throw new VggError(
    `${folder} is writable by other users (mode ${modeOf(stat)}), who could put their code into the cache below it; ` +
      'run chmod go-w on it or set XDG_CACHE_HOME to another folder',
  );
}

/** Whether this user is the only member of a group, according to the local user database. */
function isOwnGroup(gid: number): boolean {
  try {
    const [users, groups] = ['/etc/passwd', '/etc/group'].map((file) => readFileSync(file, 'utf8'));
    return isPrivateGroup(gid, process.getuid!(), users!, groups!);
  } catch {
    return false;
  }
}

/**
 * Whether a user is the only member of a group. Ubuntu and Fedora create such a group for each user and let it write
 * (umask 002). `users` and `groups` have the format of /etc/passwd and /etc/group; a group missing there is not private.
 */
export function isPrivateGroup(gid: number, uid: number, users: string, groups: string): boolean {
  const rows = (text: string): readonly (readonly string[])[] =>
    text.split('\n').map((line) => line.split(':'));
  const name = rows(users).find(([, , id]) => id === String(uid))?.[0];
  const members = rows(groups).find(([, , id]) => id === String(gid))?.[3];
  if (name === undefined || members === undefined) return false;
  return (
    members.split(',').every((member) => member === '' || member === name) &&
    rows(users).every(([, , id, primary]) => primary !== String(gid) || id === String(uid))
  );
}
