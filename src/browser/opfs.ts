/**
 * The browser's private files (OPFS). A file is written as a copy that replaces it when it is complete, which is what
 * `createWritable` does; only a new file exists, empty, before. So an empty file counts as missing.
 */
import { InUseError, VggError } from '../errors.ts';
import type { AppendFile, Folder } from '../files/folder.ts';
import type { OpenParts, PartWriter } from '../files/parts.ts';
import { cannotRead, cannotWrite, isMissing } from '../files/problems.ts';
import type { WriterLock } from '../runs/run-folder.ts';

/** Codes of the system by the names of the browser's errors. */
const codes: Readonly<Record<string, string>> = {
  NotFoundError: 'ENOENT',
  QuotaExceededError: 'ENOSPC',
  NoModificationAllowedError: 'EBUSY',
  TypeMismatchError: 'EISDIR',
  NotAllowedError: 'EACCES',
  NotReadableError: 'EIO',
};

/** The browser's error with a code, so that `reason` and `isMissing` know it. */
function coded(error: unknown): unknown {
  const code = error instanceof DOMException ? codes[error.name] : undefined;
  return code === undefined ? error : Object.assign(new Error((error as Error).message), { code });
}

const missing = (): Error => Object.assign(new Error('there is no such file'), { code: 'ENOENT' });

async function reading<T>(path: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw cannotRead(path, coded(error));
  }
}

async function writing<T>(path: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw cannotWrite(path, coded(error));
  }
}

/** A file of the user or of OPFS as parts. */
export const blobParts = (path: string, blob: Blob): OpenParts => ({
  path,
  size: blob.size,
  read: async (into, position) => {
    const bytes = await reading(path, () => blob.slice(position, position + into.length).arrayBuffer());
    into.set(new Uint8Array(bytes));
    return bytes.byteLength;
  },
  close: async () => undefined,
});

/** Streams do not take shared memory. */
const unshared = (bytes: Uint8Array): Uint8Array<ArrayBuffer> =>
  bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : bytes.slice();

/** A folder of OPFS. @throws VggError if the browser cannot write there. */
export function opfsFolder(handle: FileSystemDirectoryHandle, path: string): Folder {
  const pathOf = (name: string): string => `${path}/${name}`;
  /** Undefined if there is no such file. */
  const fileOf = async (name: string): Promise<File | undefined> => {
    try {
      const file = await (await handle.getFileHandle(name)).getFile();
      return file.size > 0 ? file : undefined;
    } catch (error) {
      if (isMissing(coded(error))) return undefined;
      throw error;
    }
  };
  const write = (name: string, body: (file: PartWriter) => Promise<void>): Promise<void> =>
    writeFile(handle, name, pathOf(name), body);
  const copy = async (file: File, name: string): Promise<void> => {
    const stream = await (await handle.getFileHandle(name, { create: true })).createWritable();
    await file.stream().pipeTo(stream);
  };
  const remove = async (name: string): Promise<void> => {
    try {
      await handle.removeEntry(name);
    } catch (error) {
      if (!isMissing(coded(error))) throw cannotWrite(pathOf(name), coded(error));
    }
  };
  return {
    path,
    pathOf,
    names: () =>
      reading(path, async () => {
        const names: string[] = [];
        for await (const name of handle.keys()) names.push(name);
        return names;
      }),
    open: (name) =>
      reading(pathOf(name), async () => {
        const file = await fileOf(name);
        if (!file) throw missing();
        return blobParts(pathOf(name), file);
      }),
    write,
    replace: async (name, previous, body) => {
      const temporary = `${name}.new`;
      await write(temporary, body);
      // Only now: until here, the previous one may have been the only good one.
      await writing(pathOf(name), async () => {
        const old = await fileOf(name);
        if (old) await copy(old, previous);
        await rename(handle, temporary, name, copy);
      });
    },
    append: (name) => writing(pathOf(name), () => openAppend(handle, name, pathOf(name))),
    remove,
  };
}

/** Errors of the browser name the file; those of `body` stay as they are. */
async function writeFile(
  folder: FileSystemDirectoryHandle,
  name: string,
  path: string,
  body: (file: PartWriter) => Promise<void>,
): Promise<void> {
  const stream = await writing(path, async () =>
    (await folder.getFileHandle(name, { create: true })).createWritable(),
  );
  const put = (bytes: Uint8Array, position: number): Promise<void> =>
    writing(path, () => stream.write({ type: 'write', position, data: unshared(bytes) }));
  let end = 0;
  try {
    await body({
      append: async (bytes) => {
        await put(bytes, end);
        end += bytes.length;
      },
      overwrite: put,
    });
    await writing(path, () => stream.close());
  } catch (error) {
    await stream.abort().catch(() => undefined);
    throw error;
  }
}

/** Renames a file; browsers without `move` copy it. */
async function rename(
  folder: FileSystemDirectoryHandle,
  from: string,
  to: string,
  copy: (file: File, name: string) => Promise<void>,
): Promise<void> {
  const handle = (await folder.getFileHandle(from)) as FileSystemFileHandle & {
    readonly move?: (name: string) => Promise<void>;
  };
  try {
    if (handle.move) return await handle.move(to);
  } catch {
    // Some browsers do not replace a file.
  }
  await copy(await handle.getFile(), to);
  await folder.removeEntry(from);
}

/** Appends by a copy each time, which is complete or does not count. */
async function openAppend(
  folder: FileSystemDirectoryHandle,
  name: string,
  path: string,
): Promise<AppendFile> {
  const handle = await folder.getFileHandle(name, { create: true });
  let { size } = await handle.getFile();
  const append = async (content: string | Uint8Array): Promise<void> => {
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : unshared(content);
    const stream = await handle.createWritable({ keepExistingData: true });
    try {
      await stream.write({ type: 'write', position: size, data: bytes });
      await stream.close();
    } catch (error) {
      await stream.abort().catch(() => undefined);
      throw error;
    }
    size += bytes.length;
  };
  let queue: Promise<void> = Promise.resolve();
  return {
    append: (content) => {
      queue = queue.catch(() => undefined).then(() => writing(path, () => append(content)));
      return queue;
    },
    sync: async () => undefined,
    close: async () => queue.catch(() => undefined),
  };
}

/**
 * Makes this page or worker the only writer of a folder, until it is closed or ends.
 * @throws InUseError if another one writes.
 */
export async function lockFolder(name: string, what: string): Promise<WriterLock> {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const { promise: held, resolve, reject } = Promise.withResolvers<void>();
  const ended = navigator.locks
    .request(name, { ifAvailable: true }, async (lock) => {
      if (!lock) {
        reject(new InUseError(`${what} is in use in another tab or worker; close it there, then try again`));
        return;
      }
      resolve();
      await released;
    })
    .catch(reject);
  await held;
  let isHeld = true;
  return {
    isHeld: async () => isHeld,
    release: async () => {
      isHeld = false;
      release();
      await ended;
    },
  };
}

/** Whether any page or worker of this site holds a lock. */
export async function isLocked(name: string): Promise<boolean> {
  const { held = [] } = await navigator.locks.query();
  return held.some((lock) => lock.name === name);
}

/** The site's private files. @throws VggError if this browser or window has none. */
export async function privateFiles(): Promise<FileSystemDirectoryHandle> {
  const wayOut = 'use a current browser, not in a private window, and a page from https or localhost';
  const { storage, locks } = navigator as Partial<Pick<Navigator, 'storage' | 'locks'>>;
  if (!storage?.getDirectory || !locks)
    throw new VggError(`this page cannot keep files (OPFS is missing); ${wayOut}`);
  if (!('createWritable' in FileSystemFileHandle.prototype))
    throw new VggError(`this browser cannot write files as a whole (createWritable is missing); ${wayOut}`);
  try {
    return await storage.getDirectory();
  } catch (error) {
    throw new VggError(`this page cannot keep files: ${(error as Error).message}; ${wayOut}`, {
      cause: error,
    });
  }
}
