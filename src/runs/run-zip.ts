/**
 * Runs as zip archives, to move them between machines and browsers: one folder with the run's files. An archive is
 * untrusted: only the files of a run are read, and its config is checked before anything is written.
 */
import { crc32 } from '../crc32.ts';
import { DamagedRunError, DataError, UsageError } from '../errors.ts';
import { type Folder, jsonIn, mostJson } from '../files/folder.ts';
import type { OpenParts, PartReader } from '../files/parts.ts';
import { bytesOfZipped, filesInZip, type ZippedFile } from '../files/unzip.ts';
import { directoryOf, localHeader, type StoredEntry } from '../files/zip-writer.ts';
import { parseConfig } from '../train/config.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { runFiles } from './run-folder.ts';

/** A run in an archive that is open. */
export interface ZippedRun {
  /** Of its folder in the archive, otherwise of the archive. */
  readonly name: string;
  readonly config: TrainConfig;
  /** By name. */
  readonly files: ReadonlyMap<string, ZippedFile>;
}

/** Two checkpoints of the largest network, and what else a run has. */
const limits = { entries: 10_000, bytes: 2 ** 36 };

const eventFile = /^events\.out\.tfevents\.[\w.-]{1,200}$/;

/** Whether a file in a run's folder belongs to the run: not its lock, and nothing that is being written. */
const isRunFile = (name: string): boolean =>
  (Object.values(runFiles) as readonly string[]).includes(name) || eventFile.test(name);

/** Whether a folder's name can be that of a run on every system, and hides nothing. */
export const isRunName = (name: string): boolean =>
  /^[\p{L}\p{M}\p{N}_][\p{L}\p{M}\p{N} ._-]{0,119}$/u.test(name) && !/[. ]$/.test(name);

/** @throws UsageError if a run in a browser cannot be called so. */
export function checkRunName(where: string, name: string): string {
  if (typeof name === 'string' && isRunName(name)) return name;
  throw new UsageError(
    `${where}: ${JSON.stringify(name)} cannot be the name of a run; use up to 120 letters, digits, ".", "-", "_" and spaces, and begin with a letter or a digit`,
  );
}

const nameOfArchive = (path: string): string => path.replace(/^.*[/\\]/, '').replace(/\.zip$/i, '');

/** The run in an archive, which stays open while its files are read. @throws DataError that names the archive. */
export async function runInZip(file: PartReader): Promise<ZippedRun> {
  try {
    const all = await filesInZip(file, limits);
    const config = `/${runFiles.config}`;
    const places = all.map(({ path }) => `/${path}`).filter((path) => path.endsWith(config));
    const [place] = places;
    if (place === undefined)
      throw new DataError(`it has no ${runFiles.config}, so it is not the archive of a run`);
    if (places.length > 1)
      throw new DataError(
        `it has several runs (${places
          .slice(0, 3)
          .map((path) => path.slice(1))
          .join(', ')}); make an archive of one`,
      );
    const folder = place.slice(1, place.length - runFiles.config.length);
    const files = new Map(
      all.flatMap((entry): [string, ZippedFile][] => {
        const name = entry.path.slice(folder.length);
        return entry.path.startsWith(folder) && isRunFile(name) ? [[name, entry]] : [];
      }),
    );
    const given = [folder.split('/').at(-2), nameOfArchive(file.path), 'run'];
    const name = given.find((one) => one !== undefined && isRunName(one))!;
    return { name, config: await configIn(files.get(runFiles.config)!), files };
  } catch (error) {
    if (!(error instanceof DataError) || error instanceof DamagedRunError) throw error;
    throw new DataError(`${file.path}: ${error.message}`, { cause: error });
  }
}

async function configIn(file: ZippedFile): Promise<TrainConfig> {
  if (file.size > mostJson)
    throw new DataError(`its ${file.path} has ${file.size} bytes, above the limit of ${mostJson}`);
  try {
    return parseConfig(jsonIn(file.path, await bytesOfZipped(file)), file.path);
  } catch (error) {
    throw error instanceof UsageError ? new DamagedRunError(error.message, { cause: error }) : error;
  }
}

/** Writes the files of a run to an empty folder. The config comes last: before it, the folder is no run. */
export async function unpackRun({ files }: ZippedRun, folder: Folder): Promise<void> {
  const last = (name: string): number => Number(name === runFiles.config);
  for (const [name, file] of [...files].sort(([a], [b]) => last(a) - last(b))) {
    await folder.write(name, async ({ append }) => {
      for await (const piece of file.pieces()) await append(piece);
    });
  }
}

const pieceBytes = 2 ** 20;

async function* piecesOf(file: OpenParts): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  for (let at = 0; at < file.size; at += pieceBytes) {
    const piece = new Uint8Array(Math.min(pieceBytes, file.size - at));
    if ((await file.read(piece, at)) < piece.length)
      throw new DataError(`${file.path} became shorter while it was read; try again`);
    yield piece;
  }
}

/**
 * The archive of a run in pieces. Files are read as they are when they are opened; metrics are read behind the checkpoint
 * that they belong to, so a run that is being trained can be archived, too.
 */
export async function* zipOfRun(folder: Folder, name: string): AsyncGenerator<Uint8Array, void, void> {
  const entries: StoredEntry[] = [];
  for (const own of (await folder.names()).filter(isRunFile).sort()) {
    const file = await folder.open(own);
    try {
      let crc = 0;
      for await (const piece of piecesOf(file)) crc = crc32(piece, crc);
      const entry = { name: `${name}/${own}`, size: file.size, crc };
      entries.push(entry);
      yield localHeader(entry);
      yield* piecesOf(file);
    } finally {
      await file.close();
    }
  }
  yield directoryOf(entries);
}
