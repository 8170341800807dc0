/** Two trainings side by side, which differ in one thing. Each has a worker with half of the processor's cores. */

import { session } from './session.ts';
import type { RunSpec } from './spec.ts';
import { Trainer } from './trainer.ts';

export interface Pair {
  readonly a: RunSpec;
  readonly b: RunSpec;
}

export class Duel {
  readonly a: Trainer;
  readonly b: Trainer;
  #isOpen = false;

  constructor({ a, b }: Pair) {
    const threads = Math.max(1, Math.floor((navigator.hardwareConcurrency ?? 2) / 2));
    this.a = new Trainer(a, { threads });
    this.b = new Trainer(b, { threads });
  }

  get both(): readonly [Trainer, Trainer] {
    return [this.a, this.b];
  }

  /** Prepares both, unless they are. */
  open(): void {
    if (!this.#isOpen) this.set({ a: this.a.spec.value, b: this.b.spec.value });
  }

  /** Prepares two other trainings. */
  set({ a, b }: Pair): void {
    this.#isOpen = true;
    this.a.open(a);
    this.b.open(b);
  }

  /** Trains both. The studio's own training gives way, since they share the processor. */
  train(): void {
    session.pause();
    for (const trainer of this.both) trainer.train();
  }

  pause(): void {
    for (const trainer of this.both) trainer.pause();
  }

  /** Ends both workers and frees their memory; the curves stay. */
  close(): void {
    this.#isOpen = false;
    for (const trainer of this.both) trainer.close();
  }
}
