/** The options that choose a network and the device it runs on, shared by the commands, and what they make. */
import type { Command } from 'commander';
import { type DeviceName, deviceNames } from '../engine/backend.ts';
import { createModel, models, parseAssignments } from '../model/models.ts';
import type { Sequential } from '../model/network.ts';
import { maxThreads } from '../options.ts';
import { choiceOption, repeatedOption, wholeNumberOption } from './values.ts';

export interface ModelOptions {
  readonly model: string;
  readonly modelOption: readonly string[];
}

/** Adds `--model` and `--model-option`. */
export function addModelOptions(command: Command): Command {
  return command
    .addOption(choiceOption('--model <name>', 'network', Object.keys(models)).default('simplified'))
    .addOption(modelOptionOption());
}

/** `--model-option`, with what each model takes. */
export function modelOptionOption(): ReturnType<typeof repeatedOption> {
  const takers = new Map<string, string[]>();
  for (const [model, { options }] of Object.entries(models)) {
    for (const [name, option] of Object.entries(options)) {
      const assignment = `${name}=${[option.default].flat().join(',')}`;
      takers.set(assignment, [...(takers.get(assignment) ?? []), model]);
    }
  }
  const known = [...takers].map(([assignment, names]) => `${assignment} (${names.join(', ')})`);
  return repeatedOption(
    '--model-option <name=value>',
    `may be repeated; what there is, with its value by default: ${known.join(', ')}`,
  );
}

export { maxThreads };

export interface DeviceOptions {
  readonly device: DeviceName;
  readonly threads?: number;
}

/** Adds `--device` and `--threads`. */
export function addDeviceOptions(command: Command): Command {
  return command
    .addOption(choiceOption('--device <name>', 'what computes', deviceNames).default('auto'))
    .addOption(
      wholeNumberOption(
        '--threads <n>',
        'worker threads (default: one for each core); the results do not depend on it',
        { most: maxThreads },
      ),
    );
}

/** The chosen network for so many classes. @throws UsageError for an unknown name or a wrong option. */
export function chosenModel({ model, modelOption }: ModelOptions, classes: number): Sequential {
  return createModel(model, { classes, options: parseAssignments(modelOption) });
}
