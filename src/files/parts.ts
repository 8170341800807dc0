/** Files that are read and written by parts (`files.ts`). Types of the package reach these, which need no Node types. */

/** A file that is read by parts. */
export interface PartReader {
  readonly path: string;
  /** In bytes, when it was opened. */
  readonly size: number;
  /**
   * Fills `into` with the bytes from `position` on; returns how many there were: fewer only at the end of the file.
   * @throws the system's error; pass it to `cannotRead`.
   */
  readonly read: (into: Uint8Array, position: number) => Promise<number>;
}

export interface OpenParts extends PartReader {
  readonly close: () => Promise<void>;
}

/** A file that is being written. */
export interface PartWriter {
  /** Writes behind everything written so far. */
  readonly append: (bytes: Uint8Array) => Promise<void>;
  /** Replaces bytes from `position` on. */
  readonly overwrite: (bytes: Uint8Array, position: number) => Promise<void>;
}
