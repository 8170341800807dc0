/**
 * Memory that several threads share for decoding, in bytes (Node only). Who needs memory waits until it is free. More
 * than all of it is given to one alone, so that an image that needs it is prepared at all.
 */

export interface MemoryBudget {
  /** Takes memory; a promise if it is not free yet. */
  readonly take: (bytes: number) => Promise<void> | undefined;
  /** Takes memory on top of `held` bytes if that needs no waiting. */
  readonly takeMore: (held: number, bytes: number) => boolean;
  readonly give: (bytes: number) => void;
}

/** Memory is counted in units of 4 KiB, which 32 bits are enough for. */
const unit = 4096;
const units = (bytes: number): number => Math.ceil(bytes / unit);

/** What threads share: the limit and what is taken. */
export type SharedBudget = Int32Array<SharedArrayBuffer>;

export function sharedBudget(bytes: number): SharedBudget {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  shared[limitAt] = units(bytes);
  return shared;
}

const [takenAt, limitAt] = [0, 1];

export function openBudget(shared: SharedBudget): MemoryBudget {
  const limit = shared[limitAt]!;
  /** Whether it is taken; `alone` is what the taker has, which may be exceeded if nobody else has any. */
  const tryTake = (wanted: number, alone: number): boolean => {
    for (;;) {
      const taken = Atomics.load(shared, takenAt);
      if (taken !== alone && taken + wanted > limit) return false;
      if (Atomics.compareExchange(shared, takenAt, taken, taken + wanted) === taken) return true;
    }
  };
  const wait = async (wanted: number): Promise<void> => {
    while (!tryTake(wanted, 0)) {
      const waiting = Atomics.waitAsync(shared, takenAt, Atomics.load(shared, takenAt), longestWait);
      if (waiting.async) await waiting.value;
    }
  };
  return {
    take: (bytes) => (tryTake(units(bytes), 0) ? undefined : wait(units(bytes))),
    // So many that giving all of it back at once is exact.
    takeMore: (held, bytes) => tryTake(units(held + bytes) - units(held), units(held)),
    give: (bytes) => {
      Atomics.sub(shared, takenAt, units(bytes));
      Atomics.notify(shared, takenAt);
    },
  };
}

/** Milliseconds until a waiter looks again, should memory be given between its look and its wait. */
const longestWait = 100;
