/**
 * A whole training in a run folder on disk (Node only), for `vgg train`, each seed of a series and each trial of a study.
 */
import { withAbsolutePaths } from '../data/places.ts';
import { UsageError } from '../errors.ts';
import { checkOptions } from '../options.ts';
import { parseConfig } from '../train/config.ts';
import type { TrainConfigInput } from '../train/config-table.ts';
import { type Conducted, conduct, type Listen, type RunCallbacks } from './conduct.ts';
import { openLive } from './live.ts';
import type { Accepts } from './live-files.ts';
import { nodePlace } from './place-node.ts';
import { createRun, openRun, removeFolder } from './run.ts';

export interface TrainingOptions extends RunCallbacks {
  /** Starts a run in this folder. Without `folder` and `resume`, nothing is written. */
  readonly folder?: string;
  /** Resumes the run in this folder. */
  readonly resume?: string;
  /**
   * Lets `vgg studio` show the training while it runs, also from another process, and steer it. `stop` ends it as
   * `signal` does, with a `TrainingStopped`. Needs a run folder.
   */
  readonly live?: Accepts;
}

export interface TrainingResult extends Conducted {
  /** The run's folder; undefined without a run. */
  readonly folder: string | undefined;
}

/**
 * Trains according to `config`: all options of a new run, or those that change when a run resumes. The caller closes
 * `training.model`.
 * @throws UsageError if options contradict each other or cannot change; what `fit` throws, and the run's state then says
 * how it ended.
 */
export async function runTraining(
  config: TrainConfigInput,
  options: TrainingOptions = {},
): Promise<TrainingResult> {
  checkOptions<TrainingOptions>('runTraining', options, {
    folder: 'optional',
    resume: 'optional',
    onStart: 'optional',
    callbacks: 'optional',
    onNotice: 'optional',
    onPrepare: 'optional',
    control: 'optional',
    live: 'optional',
    signal: 'optional',
  });
  const given = withAbsolutePaths(parseConfig(config, 'runTraining: config'));
  const { folder, resume, live, onNotice = console.warn, signal } = options;
  if (live && folder === undefined && resume === undefined)
    throw new UsageError('runTraining: live needs a run folder; name one, or leave out live');
  const listen: Listen | undefined = live && ((run, facts) => openLive(run, { ...facts, accepts: live }));
  const conducted = { ...options, ...(listen && { listen }) };
  const waiting = { onWait: onNotice, signal };
  if (resume !== undefined) {
    const run = await openRun(resume, waiting);
    const result = await conduct(nodePlace, { run, changes: config }, conducted, async () => undefined);
    return { ...result, folder: run.folder };
  }
  const run = folder === undefined ? undefined : await createRun(folder, given, undefined, waiting);
  const result = await conduct(nodePlace, { run, config: given }, conducted, async () => {
    // A run that never started leaves no folder.
    if (run) await removeFolder(run.folder);
  });
  return { ...result, folder: run?.folder };
}
