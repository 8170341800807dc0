/**
 * What a training saves: checkpoints in the run folder, and the weights alone in the --save file, after each epoch and
 * when the user interrupts. `interruption.kept` always says what would be saved if the process ended now.
 */
import { existsSync, realpathSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { DataError } from '../errors.ts';
import { reason } from '../reason.ts';
import type { Callback } from '../train/fit.ts';
import type { Model } from '../train/model.ts';
import { shellWord } from '../words.ts';
import type { Interruption } from './interrupt.ts';

export interface WeightSaver {
  readonly callback: Callback;
  /** The model is ready. */
  begin(model: Model): void;
  /** Saves the weights that were tested last. */
  finish(model: Model): Promise<void>;
  /** `step` of `epoch` was the last one. */
  interrupted(at: { readonly epoch: number; readonly step: number }): void;
}

/** A step of a large network and its checkpoint may take this long. A second signal ends the process at once. */
const graceMilliseconds = 60_000;

/** Saves the weights in `save`, and says what is saved there and in `run`, and how to resume. */
export function weightSaver(
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
): WeightSaver {
  const say = (at: string): void => {
    const places = [
      ...(save === undefined ? [] : [`The weights after ${at} are in ${save}.`]),
      ...(run === undefined || resume === undefined
        ? []
        : [
            `The checkpoint after ${at} is in ${run}. Resume with:\n  vgg train --resume ${shellWord(resume)}`,
          ]),
    ];
    interruption.kept =
      places.length > 0
        ? places.join(' ')
        : `Nothing was saved after ${at}. Without --no-run, a run folder keeps checkpoints.`;
  };
  let info: (() => Model['info']) | undefined;
  return {
    callback: {
      // The loop also writes a checkpoint when it is interrupted.
      async checkpoint({ loop, state }) {
        if (save !== undefined) {
          const [{ testedWeights }, { writeWeights }] = await Promise.all([
            import('../runs/snapshots.ts'),
            import('../model/weight-files.ts'),
          ]);
          await writeWeights(save, testedWeights(state), info?.());
        }
        say(loop.step === 0 ? `epoch ${loop.epoch - 1}` : `epoch ${loop.epoch}, step ${loop.step}`);
      },
    },
    begin(model) {
      info = () => model.info;
      interruption.stopsItself = true;
      if (run !== undefined || save !== undefined) interruption.graceMilliseconds = graceMilliseconds;
      interruption.kept = 'Nothing was saved, because the running step did not end in time.';
    },
    async finish(trained) {
      if (save === undefined) return;
      await (await import('../runs/model-files.ts')).saveWeights(trained, save);
    },
    interrupted({ epoch, step }) {
      if (run === undefined && save === undefined) say(`epoch ${epoch}, step ${step}`);
    },
  };
}

/** Whether two paths lead to one file that exists. */
export const isSameFile = (a: string, b: string): boolean =>
  existsSync(a) && existsSync(b) && realpathSync(a) === realpathSync(b);

/** Rejects a file that cannot be written, before hours are spent on its content. */
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
      ? `: the folder ${dirname(resolve(path))} does not exist; create it, or`
      : why.startsWith('it is ')
        ? ` ${why.slice(3)};`
        : ` cannot be written: ${why};`;
    throw new DataError(`${option} ${path}${problem} name a file elsewhere`, { cause: error });
  }
}
