/** The options that choose a network and the device it runs on, shared by several commands. */
import type { Command } from 'commander';
import { type DeviceName, deviceNames } from '../engine/backend.ts';
import { createModel, models, parseAssignments } from '../model/models.ts';
import type { Shape } from '../model/layer.ts';
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

/** `--model-option`, with the options of each model. */
export function modelOptionOption(): ReturnType<typeof repeatedOption> {
  const takers = new Map<string, string[]>();
  for (const [model, { options }] of Object.entries(models)) {
    const known = Object.entries(options).map(
      ([name, { default: standard }]) => `${name}=${[standard].flat().join(',')}`,
    );
    if (known.length > 0) takers.set(known.join(', '), [...(takers.get(known.join(', ')) ?? []), model]);
  }
  const known = [...takers].map(([options, names]) => `${names.join(' and ')} take ${options}`);
  return repeatedOption(
    '--model-option <name=value>',
    `option of the network, may be repeated; ${known.join('; ')}`,
    'as listed',
  );
}

export interface DeviceOptions {
  readonly device: DeviceName;
  readonly threads?: number;
}

/** Adds `--device` and `--threads`. */
export function addDeviceOptions(command: Command): Command {
  return command
    .addOption(choiceOption('--device <name>', 'device that computes', deviceNames).default('auto'))
    .addOption(
      wholeNumberOption(
        '--threads <n>',
        'worker threads, which do not change results (default: one per core)',
        { most: maxThreads },
      ),
    );
}

/** The chosen network for `classes` classes. @throws UsageError for an unknown name or a wrong option. */
export function chosenModel(
  { model, modelOption }: ModelOptions,
  classes: number,
  input: Shape,
): Sequential {
  return createModel(model, { classes, options: parseAssignments(modelOption), input });
}
