/** The loop of a search in one process: ask, run, tell. */
import { checkOptions, checkWhole } from '../options.ts';
import { machineFault } from './faults.ts';
import type { AskOptions, Outcome } from './study-options.ts';
import { type Trial, TrialPruned } from './trial.ts';

export interface OptimizeOptions extends AskOptions {
  /** Trials at the same time; 1 by default. */
  readonly jobs?: number;
  /** Starts no further trials after it aborts, but waits for running ones. */
  readonly signal?: AbortSignal;
  /**
   * Whether to continue after an objective threw, which fails its trial; otherwise `optimize` rejects with the error.
   * Faults of the machine are not asked about.
   */
  readonly shouldCatch?: (error: unknown, trial: Trial) => boolean;
}

/** Returns the value of a trial; throws `TrialPruned` to end it early. */
export type Objective = (trial: Trial) => number | Promise<number>;

/** What the loop needs of its study. */
interface OptimizedStudy {
  ask(options: AskOptions): Promise<Trial | undefined>;
  tell(trial: Trial, outcome: Outcome): Promise<boolean>;
  giveBack(trial: Trial, reason: string): Promise<boolean>;
}

/** See `Study.optimize`. */
export async function optimize(
  study: OptimizedStudy,
  objective: Objective,
  options: OptimizeOptions,
): Promise<void> {
  checkOptions<OptimizeOptions>('optimize', options, {
    trials: 'optional',
    jobs: 'optional',
    signal: 'optional',
    shouldCatch: 'optional',
  });
  const { jobs = 1, signal, shouldCatch = () => false, ...askOptions } = options;
  checkWhole('optimize', 'jobs', jobs, 1);
  const running = new Set<Promise<void>>();
  const errors: unknown[] = [];
  const mayGoOn = (): boolean => errors.length === 0 && signal?.aborted !== true;
  for (;;) {
    // A trial that ends may earn a promotion, so only "nothing left" while none is running is the end.
    while (running.size < jobs && mayGoOn()) {
      const trial = await study.ask(askOptions);
      if (trial === undefined) break;
      const run = runTrial(study, objective, trial, shouldCatch)
        .catch((error: unknown) => void errors.push(error))
        .finally(() => running.delete(run));
      running.add(run);
    }
    if (running.size === 0) break;
    await Promise.race(running);
  }
  if (errors.length > 0) throw errors[0];
}

async function runTrial(
  study: OptimizedStudy,
  objective: Objective,
  trial: Trial,
  shouldCatch: NonNullable<OptimizeOptions['shouldCatch']>,
): Promise<void> {
  try {
    await study.tell(trial, await objective(trial));
  } catch (error) {
    if (error instanceof TrialPruned) {
      await study.tell(trial, { state: 'pruned' });
      return;
    }
    const fault = machineFault(error);
    if (fault !== undefined) {
      // If the journal is on the same disk, the trial stays running until its worker is found gone.
      await study.giveBack(trial, fault.message).catch(() => false);
      throw error;
    }
    await study.tell(trial, {
      state: 'fail',
      reason: error instanceof Error ? error.message : String(error),
    });
    if (!shouldCatch(error, trial)) throw error;
  }
}
