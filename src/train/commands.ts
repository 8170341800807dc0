/** Commands to a running training as data: they come from a page, a file or another thread, and are checked here. */
import { UsageError } from '../errors.ts';
import { isObject, shown } from '../options.ts';
import { unknownName } from '../suggest.ts';
import { checkedSettings, type LiveSettings } from './changes.ts';
import type { TrainingControl } from './control.ts';

export type TrainingCommand =
  | { readonly command: 'pause' | 'resume' }
  /** Stops the training after the current step, with a checkpoint. */
  | { readonly command: 'stop' }
  /** Trains so many batches, then pauses. */
  | { readonly command: 'step'; readonly count: number }
  | { readonly command: 'change'; readonly settings: LiveSettings };

export const commandNames = ['pause', 'resume', 'stop', 'step', 'change'] as const;

/** The most batches of one `step`. */
export const mostSteps = 1_000_000;

/** @throws UsageError that names the value and the rule. */
export function parseCommand(value: unknown): TrainingCommand {
  if (!isObject(value)) throw new UsageError(`a command is ${shown(value)}, not an object`);
  const { command, ...rest } = value;
  switch (command) {
    case 'pause':
    case 'resume':
    case 'stop':
      refuseOthers(command, rest, []);
      return { command };
    case 'step': {
      refuseOthers(command, rest, ['count']);
      const { count = 1 } = rest;
      if (typeof count === 'number' && Number.isInteger(count) && count >= 1 && count <= mostSteps)
        return { command, count };
      throw new UsageError(`step: count ${shown(count)} is not a whole number from 1 to ${mostSteps}`);
    }
    case 'change':
      refuseOthers(command, rest, ['settings']);
      return { command, settings: checkedSettings('change', rest.settings) };
    default:
      throw new UsageError(
        typeof command === 'string'
          ? unknownName('command', command.slice(0, 60), commandNames)
          : `command ${shown(command)} is not one of ${commandNames.join(', ')}`,
      );
  }
}

function refuseOthers(command: string, rest: object, known: readonly string[]): void {
  const other = Object.keys(rest).find((key) => !known.includes(key));
  if (other !== undefined)
    throw new UsageError(`${command}: there is no ${JSON.stringify(other.slice(0, 60))} in this command`);
}

/** Does what a command says. @throws UsageError for settings that the training's optimizer does not have. */
export function obey(control: TrainingControl, command: TrainingCommand, stop: () => void): void {
  if (command.command === 'change') control.change(command.settings);
  else if (command.command === 'step') control.step(command.count);
  else if (command.command === 'stop') stop();
  else control[command.command]();
}
