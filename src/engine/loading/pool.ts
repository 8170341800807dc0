/**
 * Worker threads that load images ahead of the kernels. A pass reads batches from a ring of a few slots in shared memory:
 * while the device computes one batch, the workers fill the others. Workers start with the first pass that needs them,
 * do not keep the process alive between passes, and end with the session.
 */
import { placementNumbers } from '../../data/fuse.ts';
import { DataError, UsageError, VggError } from '../../errors.ts';
import { startThread, type Thread, type ThreadMessage } from '../cpu/run/threads.ts';
import type { LoaderMessage, LoaderRequest, LoadingPass, Slot } from './worker.ts';

/** A part of memory with a loaded batch. It is refilled when the next one is asked for. */
interface LoadedBatch {
  readonly slot: Slot;
  readonly indices: Uint32Array;
}

interface LoadedBatches {
  /** The next batch. @throws DataError if an image cannot be read. */
  next(): Promise<LoadedBatch>;
  /** Stops loading; waits for what workers have begun. */
  end(): Promise<void>;
}

/** A pass as its user describes it. */
export interface PoolPass extends Omit<LoadingPass, 'slots' | 'control'> {
  readonly batches: readonly Uint32Array[];
  /** Whether slots hold bytes for the fused pass. */
  readonly asBytes: boolean;
  /** Values of an image in a slot. */
  readonly imageSize: number;
}

/** Batches in memory: one that is computed and at least one that is loaded. More even out slow images. */
const fewestSlots = 2;
const mostSlots = 4;
/** Bytes that more than the fewest slots may take. */
const ringBytes = 2 ** 27;

/** Threads that load. More than this would wait for memory. */
const mostThreads = 16;

export class LoadingPool {
  readonly #count: number;
  #threads: Promise<readonly Thread[]> | undefined;
  #pass: PassInPool | undefined;
  #closed = false;
  /** The memory of the last ring, which the next one takes if it is large enough. */
  #memory: SharedArrayBuffer = new SharedArrayBuffer(0);

  constructor(threads: number) {
    this.#count = Math.min(threads, mostThreads);
  }

  /** Begins a pass. The last one must have ended. */
  async open(pass: PoolPass): Promise<LoadedBatches> {
    const threads = await this.#started();
    // It may have been closed meanwhile; its threads would never answer.
    this.#assertOpen();
    const { batches, asBytes, imageSize, ...common } = pass;
    const most = batches.reduce((largest, { length }) => Math.max(largest, length), 0);
    const slots = this.#slots(most, imageSize, asBytes, batches.length);
    const control = new Int32Array(new SharedArrayBuffer(4 * (1 + slots.length)));
    this.#pass = new PassInPool(threads, batches, { ...common, slots, control }, () => this.#broken());
    return this.#pass;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#pass?.kill(new VggError('this session was closed while it loaded images; open a new one'));
    const threads = await this.#threads?.catch(() => []);
    await Promise.all((threads ?? []).map((thread) => thread.stop()));
  }

  #assertOpen(): void {
    if (this.#closed) throw new VggError('this session is closed; open a new one');
  }

  #started(): Promise<readonly Thread[]> {
    this.#assertOpen();
    this.#threads ??= startAll(this.#count).catch((error: unknown) => {
      this.#threads = undefined;
      throw error;
    });
    return this.#threads;
  }

  /** A worker failed; the next pass starts new ones. */
  #broken(): void {
    const threads = this.#threads;
    this.#threads = undefined;
    void threads?.then((all) => Promise.all(all.map((thread) => thread.stop())));
  }

  #slots(batchSize: number, imageSize: number, asBytes: boolean, batches: number): readonly Slot[] {
    const valueBytes = asBytes ? 1 : 4;
    // Placements need multiples of 8 bytes.
    const imageBytes = Math.ceil((batchSize * imageSize * valueBytes) / 8) * 8;
    const slotBytes = imageBytes + batchSize * placementNumbers * 8;
    const fitting = Math.floor(ringBytes / Math.max(1, slotBytes));
    const count = Math.max(1, Math.min(batches, Math.min(Math.max(fitting, fewestSlots), mostSlots)));
    if (this.#memory.byteLength < count * slotBytes) this.#memory = new SharedArrayBuffer(count * slotBytes);
    return Array.from({ length: count }, (_, i) => {
      const at = i * slotBytes;
      const length = batchSize * imageSize;
      return {
        images: asBytes
          ? new Uint8Array(this.#memory, at, length)
          : new Float32Array(this.#memory, at, length),
        placements: new Float64Array(this.#memory, at + imageBytes, batchSize * placementNumbers),
      };
    });
  }
}

/** All workers, or none. */
async function startAll(count: number): Promise<readonly Thread[]> {
  const starting = Array.from({ length: count }, () => startThread());
  try {
    const threads = await Promise.all(starting);
    for (const thread of threads) thread.hold(false);
    return threads;
  } catch (error) {
    for (const thread of await Promise.allSettled(starting))
      if (thread.status === 'fulfilled') await thread.value.stop();
    throw error;
  }
}

class PassInPool implements LoadedBatches {
  readonly #threads: readonly Thread[];
  readonly #batches: readonly Uint32Array[];
  readonly #pass: LoadingPass;
  readonly #broken: () => void;
  /** Answers that each slot's batch still lacks, and why one of its images cannot be loaded. */
  readonly #missing: number[];
  readonly #failed: (Error | undefined)[];
  #sent = 0;
  #taken = 0;
  #failure: Error | undefined;
  /** Whether no more answers come, because a worker or the session ended. */
  #dead = false;
  #ended = false;
  /** Wakes whoever waits for an answer. */
  #wake: () => void = () => undefined;

  constructor(
    threads: readonly Thread[],
    batches: readonly Uint32Array[],
    pass: LoadingPass,
    broken: () => void,
  ) {
    this.#threads = threads;
    this.#batches = batches;
    this.#pass = pass;
    this.#broken = broken;
    this.#missing = pass.slots.map(() => 0);
    this.#failed = pass.slots.map(() => undefined);
    for (const thread of threads) {
      thread.hold(true);
      thread.listen((message) => this.#hear(message));
    }
    this.#post({ kind: 'open', pass });
    while (this.#sent < Math.min(batches.length, pass.slots.length)) this.#send();
  }

  async next(): Promise<LoadedBatch> {
    const at = this.#taken++;
    const { slots } = this.#pass;
    // The batch before it has been used.
    if (at > 0 && this.#sent < this.#batches.length) this.#send();
    const slot = at % slots.length;
    await this.#until(() => this.#missing[slot] === 0 || this.#failure !== undefined);
    // The batches before this one have been used, so that an error comes at the same step whenever it is found.
    const failure = this.#failure ?? this.#failed[slot];
    if (failure) throw failure;
    return { slot: slots[slot]!, indices: this.#batches[at]! };
  }

  async end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    Atomics.store(this.#pass.control, 0, 1);
    await this.#until(() => this.#missing.every((count) => count === 0));
    if (this.#dead) return;
    this.#post({ kind: 'end' });
    for (const thread of this.#threads) thread.hold(false);
  }

  /** No answers will come any more: whoever waits gets this error. */
  kill(error: Error): void {
    this.#dead = true;
    this.#failure ??= error;
    this.#wake();
  }

  /** Waits for answers. */
  async #until(isDone: () => boolean): Promise<void> {
    while (!isDone() && !this.#dead) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #send(): void {
    const slot = this.#sent % this.#pass.slots.length;
    const indices = this.#batches[this.#sent++]!;
    Atomics.store(this.#pass.control, slot + 1, 0);
    this.#missing[slot] = this.#threads.length;
    this.#failed[slot] = undefined;
    this.#post({ kind: 'load', slot, indices });
  }

  #post(request: LoaderRequest): void {
    for (const thread of this.#threads) thread.post(request);
  }

  #hear(message: ThreadMessage): void {
    // One failure ends the pass; another one must not stop the threads that have been started since.
    if (this.#dead) return;
    if (message.kind === 'loaded') this.#missing[message.slot]!--;
    else if (message.kind === 'refused') {
      if (message.slot === undefined) this.#failure ??= errorOf(message);
      else this.#failed[message.slot] ??= errorOf(message);
    } else if (message.kind === 'failed') {
      this.kill(new VggError(`a worker that loads images failed: ${message.message}`));
      this.#broken();
    }
    this.#wake();
  }
}

/** The error that a worker described. */
function errorOf({ name, message }: Extract<LoaderMessage, { kind: 'refused' }>): Error {
  if (name === 'DataError') return new DataError(message);
  if (name === 'UsageError') return new UsageError(message);
  return new VggError(name === 'VggError' ? message : `loading images failed: ${message}`);
}
