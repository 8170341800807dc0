/**
 * How the workers of a session keep in step: they claim the items of a phase one by one from a counter, and meet at its
 * end, where the last to arrive does what must be done once. The control block is in shared memory.
 */

/** Words of the control block. */
const arrived = 0;
const generation = 1;
const claimed = 2;
const abortAsked = 3;
const stopped = 4;
export const controlWords = 16;

/** Times that a waiting worker looks before it sleeps. */
const spins = 40_000;

export class Barrier {
  readonly #control: Int32Array;
  readonly #threads: number;

  constructor(control: Int32Array, threads: number) {
    this.#control = control;
    this.#threads = threads;
  }

  /** Calls `run` for those items of a phase that this worker claims. */
  claim<T>(items: readonly T[], run: (item: T) => void): void {
    if (this.#threads === 1) {
      for (const item of items) run(item);
      return;
    }
    for (;;) {
      const item = items[Atomics.add(this.#control, claimed, 1)];
      if (item === undefined) return;
      run(item);
    }
  }

  /** Waits for all workers; the last to arrive runs `last` before the others continue. */
  meet(last?: () => void): void {
    if (this.#threads === 1) {
      last?.();
      return;
    }
    const control = this.#control;
    const current = Atomics.load(control, generation);
    if (Atomics.add(control, arrived, 1) === this.#threads - 1) {
      last?.();
      Atomics.store(control, arrived, 0);
      Atomics.store(control, claimed, 0);
      Atomics.store(control, generation, current + 1);
      Atomics.notify(control, generation);
      return;
    }
    for (let spin = 0; spin < spins; spin++) if (Atomics.load(control, generation) !== current) return;
    while (Atomics.load(control, generation) === current) Atomics.wait(control, generation, current);
  }

  /** Stops all workers after the current step. Called by the last to arrive. */
  stop(): void {
    Atomics.store(this.#control, stopped, 1);
  }

  /** Stops all workers if that was asked for. Called by the last to arrive. */
  stopIfAsked(): void {
    if (Atomics.load(this.#control, abortAsked)) this.stop();
  }

  get stopped(): boolean {
    return Atomics.load(this.#control, stopped) !== 0;
  }
}

/** Asks running workers to stop after their step, or clears that request before the next command. */
export function setAbort(control: Int32Array, abort: boolean): void {
  Atomics.store(control, abortAsked, abort ? 1 : 0);
  if (!abort) Atomics.store(control, stopped, 0);
}
