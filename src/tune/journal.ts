/**
 * A journal: one append-only file that any number of processes and machines write, in Optuna's format (`records.ts`)
 * and under Optuna's lock (`lock.ts`). Needs Node.
 *
 * Invariants: a record counts once its line end is written. Only whole lines are read, each once: the offset of the
 * next one is remembered. Whoever appends first takes the lock, reads what others wrote, and cuts off a torn last line
 * (its writer died before the record counted, and Optuna stumbles over it).
 */

import { randomUUID } from 'node:crypto';
import { closeSync, constants, fdatasyncSync, fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import { DataError, reason, VggError } from '../errors.ts';
import { openRegularSync } from '../files/files.ts';
import { JournalLock, type LockOptions } from './lock.ts';
import { formatLine, type JournalRecord, parseLine } from './records.ts';
import { JournalState } from './replay.ts';

export interface JournalOptions extends LockOptions {
  /** Whether to create the file where there is none; true by default. */
  readonly create?: boolean;
}

/** Decides what to append: called with everything read, under the lock; each record takes effect at once. */
export type Transaction<T> = (state: JournalState, append: (record: JournalRecord) => void) => T;

interface Queued {
  readonly run: (append: (record: JournalRecord) => void) => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const lineEnd = 0x0a;
const bytesAtOnce = 16 * 1024 * 1024;

/** An open journal. */
export class Journal implements Disposable {
  readonly path: string;
  /** Names this writer in every line. */
  readonly workerId: string = `${randomUUID()}-${process.pid}`;
  #state = new JournalState();
  /** Where the first line begins that has not been read. */
  #offset = 0;
  #lines = 0;
  readonly #lock: JournalLock;
  #queue: Queued[] = [];
  #isWriting = false;

  /** @throws DataError where the file cannot be opened or is no journal. */
  constructor(path: string, options: JournalOptions = {}) {
    this.path = path;
    this.#lock = new JournalLock(path, options);
    if (options.create ?? true) {
      try {
        closeSync(openRegularSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT));
      } catch (error) {
        throw this.#failure(error);
      }
    }
    this.sync();
  }

  /** What has been read. */
  get state(): JournalState {
    return this.#state;
  }

  /** Reads what others have appended. */
  sync(): void {
    const file = this.#open(constants.O_RDONLY);
    try {
      this.#read(file);
    } finally {
      closeSync(file);
    }
  }

  /**
   * Runs `decide` under the lock and writes what it appends, whole or not at all and on the disk before this resolves.
   * Nobody else can write between its decision and its records. Transactions that wait at the same time share the
   * lock and one write. `decide` may run again, and must decide before it appends.
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

  /** Appends records as they are. */
  append(records: readonly JournalRecord[]): Promise<void> {
    return this.transact((_, append) => records.forEach(append));
  }

  /** Forgets the lock's name; the journal itself is never held open. */
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
        // What was applied may not be what was written.
        this.#forget();
        for (const { reject } of batch) reject(error instanceof VggError ? error : this.#failure(error));
      } finally {
        this.#lock.release();
      }
    }
    this.#isWriting = false;
  }

  /** Runs a batch and writes its lines. @returns false where the lock was lost before anything was written. */
  #write(batch: readonly Queued[], acquired: number): boolean {
    const file = this.#open(constants.O_RDWR);
    try {
      this.#read(file);
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
            // As every other reader will see it.
            this.#state.apply(parseLine(line));
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
        this.#appendTo(file, Buffer.from(lines.join('')));
        this.#lines += lines.length;
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

  /** Applies all whole lines from the offset on. */
  #read(file: number): void {
    const { size } = fstatSync(file);
    if (size < this.#offset) {
      throw new DataError(
        `${this.path}: has ${size} bytes but had ${this.#offset}; a journal only grows, so it was replaced: open it again`,
      );
    }
    while (this.#offset < size) {
      const chunk = Buffer.allocUnsafe(Math.min(size - this.#offset, bytesAtOnce));
      let length = 0;
      while (length < chunk.length) {
        const read = readSync(file, chunk, length, chunk.length - length, this.#offset + length);
        if (read === 0) break;
        length += read;
      }
      const end = chunk.subarray(0, length).lastIndexOf(lineEnd) + 1;
      if (end === 0) {
        if (length < bytesAtOnce) return;
        throw new DataError(
          `${this.path}: line ${this.#lines + 1} is longer than ${bytesAtOnce} bytes: no journal`,
        );
      }
      for (const line of chunk.toString('utf8', 0, end - 1).split('\n')) this.#applyLine(line);
      this.#offset += end;
      if (length < chunk.length) return;
    }
  }

  #applyLine(line: string): void {
    this.#lines++;
    let record: unknown;
    try {
      record = parseLine(line);
    } catch {
      const start = line.length > 60 ? `${line.slice(0, 60)}…` : line;
      throw new DataError(
        `${this.path}: line ${this.#lines} is no JSON (${JSON.stringify(start)}); ` +
          'if the rest of the file is right, remove that line while nobody writes',
      );
    }
    this.#state.apply(record);
  }

  /** Starts reading anew. */
  #forget(): void {
    this.#state = new JournalState();
    this.#offset = 0;
    this.#lines = 0;
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
    if (code === 'ENOENT') return new DataError(`${this.path}: there is no such journal`, { cause: error });
    return new DataError(`${this.path}: ${reason(error)}`, { cause: error });
  }
}
