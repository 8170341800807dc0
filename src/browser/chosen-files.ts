/** Files that a user chose: from an input, a drop, or a folder's handle, each with its path. */

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

/** The chosen files with their paths, in order of the paths. @throws UsageError if there are more than 200,000. */
export declare function listFiles(chosen: ChosenFiles): Promise<readonly PathFile[]>;

/**
 * The files of a drop, with those in dropped folders. Call it in the handler of `drop`, before anything is awaited:
 * afterwards browsers forget what was dropped.
 */
export declare function droppedFiles(transfer: DataTransfer): Promise<readonly PathFile[]>;
