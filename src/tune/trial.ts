/** A running trial, as its objective sees it. */
import { checkWhole } from '../options.ts';
import type { Params } from './distributions.ts';
import type { Journal } from './journal.ts';
import { enqueuedParams, lastStep, parentOf } from './lineage.ts';
import type { Pruner } from './pruners.ts';
import { type Direction, intermediateRecord, trialUserAttrRecord } from './records.ts';
import type { FrozenTrial } from './replay.ts';

/** Thrown by an objective to end its trial early. */
export class TrialPruned extends Error {
  override name = 'TrialPruned';
}

/** What a trial needs of its study. */
export interface TrialStudy {
  readonly direction: Direction;
  readonly trials: readonly FrozenTrial[];
  readonly journal: Pick<Journal, 'append'>;
  frozen(id: number): FrozenTrial;
}

/** Made by `study.ask`. */
export class Trial {
  /** Unique in the journal. */
  readonly id: number;
  readonly #study: TrialStudy;
  readonly #pruner: Pruner;

  constructor(study: TrialStudy, pruner: Pruner, id: number) {
    this.id = id;
    this.#study = study;
    this.#pruner = pruner;
  }

  /** Counts from 0 in its study. */
  get number(): number {
    return this.frozen.number;
  }

  /**
   * The values to try. Enqueued ones are included where the journal cannot hold them as parameters: in a study without a
   * space, when they contradict what an earlier trial had under the same name.
   */
  get params(): Params {
    return { ...enqueuedParams(this.frozen), ...this.frozen.params };
  }

  get userAttrs(): FrozenTrial['userAttrs'] {
    return this.frozen.userAttrs;
  }

  /** The number of the trial that this one continues, starting from its checkpoint. */
  get parent(): number | undefined {
    return parentOf(this.frozen);
  }

  /** The last step that was reported, including by predecessors. */
  get lastStep(): number | undefined {
    return lastStep(this.frozen);
  }

  /** The trial as recorded in the journal. */
  get frozen(): FrozenTrial {
    return this.#study.frozen(this.id);
  }

  /** Reports the objective's value after `step`, a whole number ≥ 0 (usually an epoch). */
  async report(value: number, step: number): Promise<void> {
    checkWhole('report', 'step', step, 0);
    await this.#study.journal.append([intermediateRecord(this.id, step, value)]);
  }

  /** Whether to end early, judged after the last report. If so, tell `{ state: 'pruned' }` or throw `TrialPruned`. */
  shouldPrune(): boolean {
    const { direction, trials } = this.#study;
    return this.#pruner.shouldPrune({ direction, trials }, this.frozen);
  }

  /** Sets an attribute of the trial; values are JSON. */
  async setUserAttr(key: string, value: unknown): Promise<void> {
    await this.#study.journal.append([trialUserAttrRecord(this.id, key, value)]);
  }
}
