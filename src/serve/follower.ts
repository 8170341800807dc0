/**
 * Follows one run for the pages that show it (Node only): where its training is, from `live.json`, and rows that are
 * appended to `metrics.csv`. It works as long as somebody listens.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { runFiles } from '../runs/folder.ts';
import { type Accepts, acceptedBy, type LiveRecord, readLive, touchControl } from '../runs/live-files.ts';
import { type MetricsRow, rowsIn } from '../runs/table.ts';
import type { EpochRecord } from '../train/records.ts';
import type { StudioEvent } from './api.ts';
import { pointOf, thinned } from './catalog.ts';

const tickMilliseconds = 200;
/** A training believes for 15 s that somebody watches. */
const touchMilliseconds = 5000;
/** A run that does not train is looked at more rarely. */
const idleMilliseconds = 1000;
/** Bytes of new rows that are read at once. */
const mostRows = 1 << 20;

/** A page that shows the run. */
interface Listener {
  readonly send: (event: StudioEvent) => void;
  /** The process and the step of the last point that was sent. */
  session: string | undefined;
  last: number;
}

export class Follower {
  readonly #id: string;
  readonly #folder: string;
  readonly #listeners = new Set<Listener>();
  #timer: NodeJS.Timeout | undefined;
  #ticking = false;
  /** When it was last looked up what the training accepts. */
  #asked = -Infinity;
  #accepts: Accepts | undefined;
  #live: LiveRecord | undefined;
  #text = '';
  /** The place in `metrics.csv`: the file, and the bytes of whole lines that were read. */
  #table: { readonly ino: number; readonly end: number } | undefined;

  constructor(id: string, folder: string) {
    this.#id = id;
    this.#folder = folder;
  }

  /** Details that are read afterwards, and the rows that `listen` sends, miss no row. */
  async begin(): Promise<void> {
    if (this.#listeners.size === 0) await this.#readRows().catch(() => undefined);
  }

  /** Sends events until the returned function is called. */
  listen(send: Listener['send']): () => void {
    const listener: Listener = { send, session: undefined, last: 0 };
    this.#listeners.add(listener);
    if (this.#live) this.#sendLive(listener, this.#live);
    this.#timer ??= setInterval(() => void this.#tick(), tickMilliseconds);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
      this.#table = undefined;
      this.#live = undefined;
      this.#text = '';
      this.#asked = -Infinity;
    };
  }

  async #tick(): Promise<void> {
    if (this.#ticking) return;
    this.#ticking = true;
    try {
      const now = performance.now();
      const isLive = this.#accepts !== undefined;
      if (now - this.#asked > (isLive ? touchMilliseconds : idleMilliseconds)) {
        this.#asked = now;
        this.#accepts = await acceptedBy(this.#folder);
        if (this.#accepts !== undefined) await touchControl(this.#folder);
      } else if (!isLive) return;
      await this.#readRows();
      await this.#readLive();
    } catch {
      // The run may be gone, or just resuming: the next look may succeed.
    } finally {
      this.#ticking = false;
    }
  }

  async #readLive(): Promise<void> {
    const live = await readLive(this.#folder);
    if (live === undefined) {
      this.#live = undefined;
      return;
    }
    const text = JSON.stringify(live);
    if (text === this.#text) return;
    this.#text = text;
    this.#live = live;
    for (const listener of this.#listeners) this.#sendLive(listener, live);
  }

  #sendLive(listener: Listener, { session, points, answers: _, ...live }: LiveRecord): void {
    if (listener.session !== session) listener.last = 0;
    listener.session = session;
    const fresh = points.filter(([step]) => step > listener.last);
    listener.last = fresh.at(-1)?.[0] ?? listener.last;
    listener.send({ type: 'live', run: this.#id, live, points: fresh });
  }

  /** Rows that were appended since the last look. */
  async #readRows(): Promise<void> {
    const path = join(this.#folder, runFiles.metrics);
    const stats = await stat(path).catch(() => undefined);
    if (!stats) return;
    const before = this.#table;
    if (!before || before.ino !== stats.ino || stats.size < before.end) {
      this.#table = { ino: stats.ino, end: stats.size };
      if (before) this.#send({ type: 'reset', run: this.#id });
      return;
    }
    if (stats.size === before.end) return;
    const rows = await appended(path, before.end, stats.size - before.end);
    if (this.#table !== before) return;
    this.#table = { ino: stats.ino, end: before.end + Buffer.byteLength(rows) };
    const found = rowsIn(rows);
    if (found.length === 0) return;
    this.#send({ type: 'rows', run: this.#id, ...parted(found) });
  }

  #send(event: StudioEvent): void {
    for (const { send } of this.#listeners) send(event);
  }
}

function parted(rows: readonly MetricsRow[]): Pick<StudioEvent & { type: 'rows' }, 'steps' | 'epochs'> {
  const steps = rows.flatMap((row) => (row.kind === 'step' ? [pointOf(row)] : []));
  const epochs = rows.flatMap((row): EpochRecord[] => {
    if (row.kind === 'step') return [];
    const { kind: _, ...epoch } = row;
    return [epoch];
  });
  return { steps: thinned(steps), epochs };
}

/** Whole lines of a file from a position on. */
async function appended(path: string, from: number, bytes: number): Promise<string> {
  const file: FileHandle = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0));
  try {
    const buffer = Buffer.alloc(Math.min(bytes, mostRows));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
    const read = buffer.subarray(0, bytesRead);
    return read.toString('utf8', 0, read.lastIndexOf(10) + 1);
  } finally {
    await file.close();
  }
}
