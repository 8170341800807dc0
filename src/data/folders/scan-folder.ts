/** Finds the images of a folder on disk (Node only); `scan-tree.ts` has the rules. Symbolic links are followed. */
import { type Dirent, readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../../errors.ts';
import { cannotRead } from '../../files/files.ts';
import { type FoundImages, isSystemName, sorted } from './found.ts';
import { type Entries, scanTree } from './scan-tree.ts';

/** @throws DataError if the folder cannot be read, or its images are not a data set. */
export function scanFolder(folder: string): FoundImages {
  let root: string;
  try {
    root = realpathSync(folder);
    if (!statSync(root).isDirectory()) {
      throw new DataError(
        `${folder} is a file, not a folder of images; name the folder that contains the classes`,
      );
    }
  } catch (error) {
    throw cannotRead(folder, error);
  }
  return scanTree(folder, {
    root,
    entries: (path) => entriesOf(join(root, path)),
    id: (path) => folderId(join(root, path)),
  });
}

function folderId(path: string): string {
  const { dev, ino } = statSync(path);
  return `${dev}:${ino}`;
}

/** Folders and files in order, without hidden and system ones; links count as what they lead to. */
function entriesOf(where: string): Entries {
  let entries: Dirent[];
  try {
    entries = readdirSync(where, { withFileTypes: true });
  } catch (error) {
    throw cannotRead(where, error);
  }
  const folders: string[] = [];
  const files: string[] = [];
  for (const entry of entries) {
    const { name } = entry;
    if (isSystemName(name)) continue;
    const kind = entry.isSymbolicLink() ? kindOfTarget(join(where, name)) : kindOf(entry);
    if (kind === 'folder') folders.push(name);
    // A link that leads nowhere is listed with the broken images.
    else if (kind === 'file') files.push(name);
  }
  return { folders: sorted(folders), files: sorted(files) };
}

const kindOf = (entry: Pick<Dirent, 'isDirectory' | 'isFile'>): 'folder' | 'file' | 'other' =>
  entry.isDirectory() ? 'folder' : entry.isFile() ? 'file' : 'other';

function kindOfTarget(path: string): 'folder' | 'file' | 'other' {
  try {
    return kindOf(statSync(path));
  } catch {
    return 'file';
  }
}
