/**
 * Keeping the weights of a run in its --save file: after each epoch and where the user interrupts. `interruption.kept`
 * says at every moment what an end would leave behind.
 */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { DataError } from '../errors.ts';
import type { Model } from '../train/model.ts';
import type { Interruption } from './interrupt.ts';

export interface Keeper {
  afterEpoch(epoch: number): Promise<void>;
  /** `step` of `epoch` is the last one done. */
  whenInterrupted(at: { readonly epoch: number; readonly step: number }): Promise<void>;
}

const howToSave = '--save FILE.safetensors keeps the weights.';

/** Saves the weights of `model` to `path`, or only says how to where there is none. */
export function keeperOf(model: Model, path: string | undefined, interruption: Interruption): Keeper {
  interruption.stopsItself = true;
  if (path === undefined) {
    interruption.kept = `Nothing was saved; ${howToSave}`;
    return {
      afterEpoch: async () => undefined,
      whenInterrupted: async ({ epoch, step }) => {
        interruption.kept = `Nothing of epoch ${epoch}, step ${step} was saved; ${howToSave}`;
      },
    };
  }
  interruption.kept = 'Nothing was saved: the running step did not end in time.';
  return {
    afterEpoch: async (epoch) => {
      await model.save(path);
      interruption.kept = `The weights after epoch ${epoch} are in ${path}.`;
    },
    whenInterrupted: async ({ epoch, step }) => {
      await model.save(path);
      interruption.kept = `The weights after epoch ${epoch}, step ${step} are in ${path}; --init ${path} goes on from them.`;
    },
  };
}

/** Refuses a --save that cannot be written before hours are spent on what it is to hold. */
export async function checkWritable(path: string): Promise<void> {
  const folder = dirname(resolve(path));
  try {
    await access(folder, constants.W_OK);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new DataError(
      `--save ${path}: the folder ${folder} ${missing ? 'does not exist' : 'cannot be written'}; ` +
        'make it, or name a file elsewhere',
    );
  }
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory()) throw new DataError(`--save ${path} is a folder; name a file in it`);
}
