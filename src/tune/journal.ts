/**
 * A journal: one append-only file that any number of processes and machines can write, in Optuna's format (`records.ts`)
 * and under Optuna's lock (`lock.ts`). Needs Node.
 *
 * Invariants: each line is read once, because the offset of the next one is remembered. A record counts if Optuna counts
 * it: a last line that is not JSON does not count (its writer is still writing, or died), but a complete record without a
 * line end does. Whoever appends takes the lock, reads what others wrote, and then removes a torn last line, which would
 * stop Optuna, or adds the missing line end.
 */

import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { closeSync, constants, fdatasyncSync, fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import { setImmediate as breathe } from 'node:timers/promises';
import { DataError, VggError } from '../errors.ts';
import { openRegularSync } from '../files/files.ts';
import { checkPath } from '../paths.ts';
import { reason } from '../reason.ts';
import { type Json, parsePythonJson } from './json.ts';
import { JournalLock, type LockOptions } from './lock.ts';
import { formatLine, type JournalRecord } from './records.ts';
import { JournalState } from './replay.ts';

export interface JournalOptions extends LockOptions {
  /** Whether to create a missing file; true by default. */
  readonly create?: boolean;
}

/** Decides what to append. Called under the lock, after reading everything. Each record takes effect immediately. */
export type Transaction<T> = (state: JournalState, append: (record: JournalRecord) => void) => T;

interface Queued {
  readonly run: (append: (record: JournalRecord) => void) => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const lineEnd = 0x0a;
/** Longest line, in bytes. */
const bytesAtOnce = 16 * 1024 * 1024;
/** Everything is kept in memory. 10,000 trials of 100 epochs have about 150 MB. */
const mostBytes = 512 * 1024 * 1024;
const mostTrials = 1_000_000;

/** An open journal. */
export class Journal implements Disposable {
  readonly path: string;
  /** This writer's name in every line. */
  readonly workerId: string = `${randomUUID()}-${process.pid}`;
  #state = new JournalState();
  /** Where the first unread line starts. */
  #offset = 0;
  #lines = 0;
  /** Whether the last line that was read has a line end. */
  #isTerminated = true;
  readonly #lock: JournalLock;
  #queue: Queued[] = [];
  #isWriting = false;

  /**
   * Opens a journal and reads it in parts, so that the process can handle signals meanwhile.
   * @throws DataError if the file cannot be opened or is not a journal.
   */
  static async open(path: string, options: JournalOptions = {}): Promise<Journal> {
    const journal = new Journal(path, options, false);
    const file = journal.#open(constants.O_RDONLY);
    try {
      while (journal.#readPart(file)) await breathe();
    } finally {
      closeSync(file);
    }
    return journal;
  }

  /** Reads the whole journal at once. @throws DataError if the file cannot be opened or is not a journal. */
  constructor(path: string, options: JournalOptions = {}, reads = true) {
    this.path = checkPath('journal', path);
    this.#lock = new JournalLock(path, options);
    if (options.create ?? true) {
      try {
        closeSync(openRegularSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT));
      } catch (error) {
        throw this.#failure(error);
      }
    }
    if (reads) this.sync();
  }

  /** The studies and trials read so far. */
  get state(): JournalState {
    return this.#state;
  }

  /** Reads what others have appended. */
  sync(): void {
    const file = this.#open(constants.O_RDONLY);
    try {
      while (this.#readPart(file));
    } finally {
      closeSync(file);
    }
  }

  /**
   * Runs `decide` under the lock and writes the records that it appends: all or none, flushed to disk before this
   * resolves. Nobody else can write between the decision and its records. Transactions that wait at the same time share
   * the lock and one write. `decide` may run again, so it must decide before it appends.
   */
  transact<T>(decide: Transaction<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let result: T;
      this.#queue.push({
        run: (append) => {
          result = decide(this.#state, append);
        },
        resolve: () => resolve(result),
        reject,
      });
      if (!this.#isWriting) void this.#drain();
    });
  }

  /** Appends records unconditionally. */
  append(records: readonly JournalRecord[]): Promise<void> {
    return this.transact((_, append) => records.forEach(append));
  }

  /** Releases the lock's name. The journal itself is never kept open. */
  close(): void {
    this.#lock.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #drain(): Promise<void> {
    this.#isWriting = true;
    while (this.#queue.length > 0) {
      try {
        await this.#lock.acquire();
      } catch (error) {
        for (const { reject } of this.#queue.splice(0)) reject(this.#failure(error));
        break;
      }
      const acquired = performance.now();
      const batch = this.#queue.splice(0);
      try {
        if (!this.#write(batch, acquired)) this.#queue.unshift(...batch);
      } catch (error) {
        // Records may have been applied but not written.
        this.#forget();
        for (const { reject } of batch) reject(error instanceof VggError ? error : this.#failure(error));
      } finally {
        this.#lock.release();
      }
    }
    this.#isWriting = false;
  }

  /** Runs a batch and writes its lines. @returns false if the lock was lost before anything was written. */
  #write(batch: readonly Queued[], acquired: number): boolean {
    const file = this.#open(constants.O_RDWR);
    try {
      while (this.#readPart(file));
      const lines: string[] = [];
      const failed = new Map<Queued, unknown>();
      for (const queued of batch) {
        try {
          queued.run((record) => {
            const line = formatLine(record, this.workerId);
            if (Buffer.byteLength(line) > bytesAtOnce) {
              throw new DataError(
                `${this.path}: a record of ${Buffer.byteLength(line)} bytes; at most ${bytesAtOnce} are read back`,
              );
            }
            lines.push(line);
            // In the form that every other reader gets.
            this.#state.apply(parsePythonJson(line));
          });
        } catch (error) {
          failed.set(queued, error);
        }
      }
      if (lines.length > 0) {
        if (performance.now() - acquired > 500 * this.#lock.graceSeconds && !this.#lock.isHeld()) {
          this.#forget();
          return false;
        }
        this.#appendTo(file, Buffer.from(`${this.#isTerminated ? '' : '\n'}${lines.join('')}`));
        this.#lines += lines.length;
        this.#isTerminated = true;
      }
      for (const queued of batch) {
        if (failed.has(queued)) queued.reject(failed.get(queued));
        else queued.resolve();
      }
      return true;
    } finally {
      closeSync(file);
    }
  }

  #appendTo(file: number, bytes: Buffer): void {
    if (fstatSync(file).size > this.#offset) ftruncateSync(file, this.#offset);
    try {
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(file, bytes, done, bytes.length - done, this.#offset + done);
      }
      fdatasyncSync(file);
    } catch (error) {
      ftruncateSync(file, this.#offset);
      throw error;
    }
    this.#offset += bytes.length;
  }

  /** Applies the lines of the next part of the file. @returns whether there may be more. */
  #readPart(file: number): boolean {
    const { size } = fstatSync(file);
    if (size < this.#offset) {
      throw new DataError(
        `${this.path}: shrank from ${this.#offset} to ${size} bytes, so it was replaced; a journal only grows. Open it again`,
      );
    }
    if (size > mostBytes) {
      throw new DataError(`${this.path}: ${size} bytes are too many; a journal has at most ${mostBytes}`);
    }
    if (this.#state.trialCount > mostTrials || this.#state.studies.size > mostTrials) {
      throw new DataError(`${this.path}: has more than ${mostTrials} trials or studies; start a new journal`);
    }
    const start = this.#offset;
    const part = readAt(file, start, Math.min(size - start, bytesAtOnce));
    const isEnd = start + part.length === size;
    let from = 0;
    if (!this.#isTerminated && part[0] === lineEnd) {
      from = 1;
      this.#isTerminated = true;
    }
    const end = Math.max(part.lastIndexOf(lineEnd) + 1, from);
    if (end === 0 && !isEnd) {
      throw new DataError(
        `${this.path}: line ${this.#lines + 1} is longer than ${bytesAtOnce} bytes; this is not a journal`,
      );
    }
    const lines = end > from ? textOf(part.subarray(from, end - 1)).split('\n') : [];
    for (const [index, line] of lines.entries()) {
      const isLast = isEnd && end === part.length && index === lines.length - 1;
      if (this.#applyLine(line, isLast)) continue;
      this.#offset = start + (end - 2 < from ? from : part.lastIndexOf(lineEnd, end - 2) + 1);
      return false;
    }
    this.#offset = start + end;
    if (!isEnd) return true;
    if (end < part.length && this.#applyLine(textOf(part.subarray(end)), true)) {
      this.#offset = size;
      this.#isTerminated = false;
    }
    return false;
  }

  /**
   * @returns false for a torn last line: the start of a record, a blank line, or zeros, which some file systems leave
   * after a power failure.
   */
  #applyLine(line: string, isLast: boolean): boolean {
    let record: Json | undefined;
    try {
      // What follows a record without a line end on the same line is damaged.
      if (this.#isTerminated) record = parsePythonJson(line);
    } catch {
      // Reported below.
    }
    if (record === undefined) {
      if (isLast && /^[{\0]|^$/.test(line)) return false;
      const shown = line.length > 60 ? `${line.slice(0, 60)}…` : line;
      const number = this.#lines + 1;
      this.#forget();
      throw new DataError(
        `${this.path}: line ${number} is not JSON (${JSON.stringify(shown)}); ` +
          'if the rest of the file is intact, stop all workers and remove this line',
      );
    }
    this.#state.apply(record);
    this.#lines++;
    return true;
  }

  /** Makes the next read start from the beginning. */
  #forget(): void {
    this.#state = new JournalState();
    this.#offset = 0;
    this.#lines = 0;
    this.#isTerminated = true;
  }

  #open(flags: number): number {
    try {
      return openRegularSync(this.path, flags);
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): VggError {
    if (error instanceof VggError) return error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      return new DataError(`${this.path}: this journal does not exist`, { cause: error });
    return new DataError(`${this.path}: ${reason(error)}`, { cause: error });
  }
}

/** `length` bytes of a file from `position`, or fewer at its end. */
function readAt(file: number, position: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const read = readSync(file, bytes, done, length - done, position + done);
    if (read === 0) break;
    done += read;
  }
  return bytes.subarray(0, done);
}

/** Bytes as text. A byte that is not UTF-8 becomes NUL, which JSON does not allow anywhere. */
const textOf = (bytes: Buffer): string =>
  isUtf8(bytes) ? bytes.toString() : bytes.toString().replaceAll('\ufffd', '\0');
