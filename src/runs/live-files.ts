/**
 * The two files through which a running training is watched and steered (Node only). They exist only while it trains.
 *
 * `control.jsonl`: the training creates it with a line that says what it accepts. Others append one command per line, or
 * touch the file to say that they watch. `live.json`: the training writes where it is while somebody watches, and which
 * commands it has handled. Both pass through any file system, so a run on a cluster can be steered from another machine.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { DataError } from '../errors.ts';
import { cannotRead, isMissing, openRegular } from '../files/files.ts';
import { isObject } from '../options.ts';
import { type Change, changesProblem, type LiveSettings } from '../train/changes.ts';
import type { LiveState, StepPoint } from '../train/live-state.ts';

/** The files' names. */
export const liveFiles = { control: 'control.jsonl', live: 'live.json' } as const;

/** What a training accepts: all commands, or none. */
export type Accepts = 'steer' | 'watch';

/** Bytes of `control.jsonl` and `live.json` that are read. */
export const mostControl: number = 1 << 20;
const mostLive = 1 << 20;

export const headSchema: z.ZodType<{ readonly accepts: Accepts }> = z.object({
  accepts: z.enum(['steer', 'watch']),
});

/** The content of `live.json`. */
export interface LiveRecord extends LiveState {
  /** Of the training's process. */
  readonly session: string;
  /** The newest steps. */
  readonly points: readonly StepPoint[];
  /** The newest commands, with what was wrong with them. */
  readonly answers: readonly { readonly id: string; readonly problem?: string | undefined }[];
}

const count = z.int().min(0);
const number = z.number();
const liveSchema: z.ZodType<LiveRecord> = z.object({
  session: z.string().max(64),
  paused: z.boolean(),
  resting: z.boolean(),
  stopping: z.boolean(),
  epoch: count,
  step: count,
  epochs: count,
  stepsPerEpoch: count,
  done: count,
  totalSteps: count,
  stepsPerSecond: number,
  imagesPerSecond: number,
  settings: z.custom<LiveSettings>(isObject),
  changes: z.custom<readonly Change[]>((value) => changesProblem(value) === undefined),
  points: z.array(z.tuple([count, number.nullable(), number])).max(10_000),
  answers: z.array(z.object({ id: z.string().max(64), problem: z.string().max(1000).optional() })).max(100),
});

/** What the training of a run accepts; undefined if it does not listen. */
export async function acceptedBy(folder: string): Promise<Accepts | undefined> {
  const text = await readSmall(join(folder, liveFiles.control), 200);
  const [first = ''] = text?.split('\n', 1) ?? [];
  return headSchema.safeParse(parsed(first)).data?.accepts;
}

/** What the training last wrote; undefined if nothing, or if it cannot be understood. */
export async function readLive(folder: string): Promise<LiveRecord | undefined> {
  const text = await readSmall(join(folder, liveFiles.live), mostLive);
  return text === undefined ? undefined : liveSchema.safeParse(parsed(text)).data;
}

/** Says that somebody watches. */
export async function touchControl(folder: string): Promise<void> {
  await using file = await openControl(folder);
  const now = new Date();
  await file.utimes(now, now);
}

/** Appends a command. @throws DataError if the training does not listen any more. */
export async function appendCommand(folder: string, command: object): Promise<void> {
  await using file = await openControl(folder);
  if ((await file.stat()).size > mostControl)
    throw new DataError('the training has received too many commands');
  await file.appendFile(`${JSON.stringify(command)}\n`);
}

/** Opens a run's `control.jsonl`, which others may have replaced by a link to some other file. */
async function openControl(folder: string): Promise<FileHandle> {
  const path = join(folder, liveFiles.control);
  try {
    await requireNoLink(path);
    const file = await openRegular(
      path,
      constants.O_WRONLY | constants.O_APPEND | (constants.O_NOFOLLOW ?? 0),
    );
    if ((await file.stat()).nlink === 1) return file;
    await file.close();
    throw new DataError(`${path} has a second name (hard link), so nothing is written to it`);
  } catch (error) {
    if (isMissing(error)) throw new DataError('the training does not listen any more; it may have ended');
    throw cannotRead(path, error);
  }
}

/** @throws DataError for a symbolic link. */
export async function requireNoLink(path: string): Promise<void> {
  if ((await lstat(path)).isSymbolicLink())
    throw new DataError(`${path} is a symbolic link, which is not followed here`);
}

/** The beginning of a file; undefined if it does not exist or is a link. */
async function readSmall(path: string, most: number): Promise<string | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  } catch {
    return undefined;
  }
  try {
    const stats = await file.stat();
    if (!stats.isFile()) return undefined;
    const bytes = Buffer.alloc(Math.min(stats.size, most));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    return bytes.toString('utf8', 0, bytesRead);
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
}

export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
