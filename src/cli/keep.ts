/**
 * What a training leaves behind: the run folder's checkpoints, and the weights alone in the --save file, written
 * after each epoch and where the user interrupts. `interruption.kept` says at every moment what an end would leave.
 */
import { open, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { DataError, reason } from '../errors.ts';
import type { Callback } from '../train/fit.ts';
import type { Model } from '../train/model.ts';
import type { Interruption } from './interrupt.ts';

export interface Keeper {
  readonly callback: Callback;
  /** The model is there. */
  begin(): void;
  /** The weights that were tested last. */
  finish(model: Model): Promise<void>;
  /** `step` of `epoch` is the last one done. */
  interrupted(at: { readonly epoch: number; readonly step: number }): void;
}

/** A step of a large network and its checkpoint may take this long; a second signal ends it at once. */
const graceMilliseconds = 60_000;

/** Keeps the weights in `save`, and says what is kept there and in `run`, and with which `--resume` it goes on. */
export function keeperOf(
  {
    save,
    run,
    resume,
  }: {
    readonly save: string | undefined;
    readonly run: string | undefined;
    readonly resume: string | undefined;
  },
  interruption: Interruption,
): Keeper {
  const say = (at: string): void => {
    const places = [
      ...(run === undefined
        ? []
        : [`The checkpoint after ${at} is in ${run}; vgg train --resume ${resume} goes on.`]),
      ...(save === undefined ? [] : [`The weights after ${at} are in ${save}.`]),
    ];
    interruption.kept =
      places.length > 0
        ? places.join(' ')
        : `Nothing of ${at} was saved: a run folder (without --no-run) keeps it.`;
  };
  return {
    callback: {
      // Each checkpoint of the loop is a good moment, the one of an interruption among them.
      async checkpoint({ loop, state }) {
        if (save !== undefined) {
          const [{ testedWeights }, { saveWeights }] = await Promise.all([
            import('../runs/recorder.ts'),
            import('../model/weight-files.ts'),
          ]);
          await saveWeights(save, testedWeights(state));
        }
        say(loop.step === 0 ? `epoch ${loop.epoch - 1}` : `epoch ${loop.epoch}, step ${loop.step}`);
      },
    },
    begin() {
      interruption.stopsItself = true;
      if (run !== undefined || save !== undefined) interruption.graceMilliseconds = graceMilliseconds;
      interruption.kept = 'Nothing was saved: the running step did not end in time.';
    },
    async finish(trained) {
      if (save !== undefined) await trained.save(save);
    },
    interrupted({ epoch, step }) {
      if (run === undefined && save === undefined) say(`epoch ${epoch}, step ${step}`);
    },
  };
}

/** Refuses a file that cannot be written before hours are spent on what it is to hold. */
export async function checkWritable(path: string, option = '--save'): Promise<void> {
  const { checkReplaceable, isMissing, temporaryBeside } = await import('../files/files.ts');
  // As it will be written: under a name beside its own.
  const temporary = temporaryBeside(path);
  try {
    checkReplaceable(path);
    await (await open(temporary, 'wx')).close();
    await rm(temporary, { force: true });
  } catch (error) {
    const why = reason(error);
    const problem = isMissing(error)
      ? `: the folder ${dirname(resolve(path))} does not exist; make it, or`
      : why.startsWith('it is ')
        ? ` ${why.slice(3)};`
        : ` cannot be written: ${why};`;
    throw new DataError(`${option} ${path}${problem} name a file elsewhere`, { cause: error });
  }
}
