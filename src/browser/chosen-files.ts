/** Files that a user chose: from an input, a drop, or a folder's handle, each with its path. */
import { UsageError } from '../errors.ts';

/** A file and its path below what was chosen: `photos/cats/1.png`. It can be posted to a worker. */
export interface PathFile {
  readonly path: string;
  readonly file: Blob;
}

/**
 * A file; the files of an input (with `webkitdirectory`, they have paths); what `droppedFiles` returns; or a folder's
 * handle. All of them can be posted to a worker.
 */
export type ChosenFiles = Blob | FileSystemDirectoryHandle | Iterable<File | PathFile>;

/** Far above what a page can hold. */
const mostFiles = 200_000;

function add(files: PathFile[], file: PathFile): void {
  files.push(file);
  if (files.length > mostFiles)
    throw new UsageError(`there are more than ${mostFiles} files; choose a folder with fewer`);
}

const byPath = (a: PathFile, b: PathFile): number => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0);

/** The chosen files with their paths, in order of the paths. @throws UsageError if there are more than 200,000. */
export async function listFiles(chosen: ChosenFiles): Promise<readonly PathFile[]> {
  if (chosen instanceof Blob) return [pathFile(chosen)];
  const files: PathFile[] = [];
  if ('kind' in chosen) await addFolder(files, chosen.name, chosen);
  else for (const one of chosen) add(files, pathFile(one));
  return files.sort(byPath);
}

function pathFile(given: Blob | PathFile): PathFile {
  if (!(given instanceof Blob)) return given;
  if (!(given instanceof File)) return { path: 'file', file: given };
  return { path: given.webkitRelativePath || given.name, file: given };
}

async function addFolder(files: PathFile[], path: string, folder: FileSystemDirectoryHandle): Promise<void> {
  for await (const entry of folder.values()) {
    const own = `${path}/${entry.name}`;
    if (entry.kind === 'directory') await addFolder(files, own, entry as FileSystemDirectoryHandle);
    else add(files, { path: own, file: await (entry as FileSystemFileHandle).getFile() });
  }
}

/**
 * The files of a drop, with those in dropped folders. Call it in the handler of `drop`, before anything is awaited:
 * afterwards browsers forget what was dropped.
 */
export async function droppedFiles(transfer: DataTransfer): Promise<readonly PathFile[]> {
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  const files: PathFile[] = [];
  for (const entry of entries) await addEntry(files, entry.name, entry);
  return files.sort(byPath);
}

async function addEntry(files: PathFile[], path: string, entry: FileSystemEntry): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => {
      (entry as FileSystemFileEntry).file(resolve, reject);
    });
    add(files, { path, file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    const some = await new Promise<readonly FileSystemEntry[]>((resolve, reject) => {
      reader.readEntries(resolve, reject);
    });
    // Browsers give about a hundred at a time.
    if (some.length === 0) return;
    for (const one of some) await addEntry(files, `${path}/${one.name}`, one);
  }
}
