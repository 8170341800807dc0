/** The command line that repeats a run: `vgg train` with the options that differ from their defaults. */
import { changeWord } from '../train/changes.ts';
import { usedOptions } from '../train/config.ts';
import { type TrainConfig, trainOptions } from '../train/config-table.ts';
import { shellWord } from '../words.ts';

export { shellWord };

/** An option's flag: `batchSize` → `--batch-size`. */
export const flagOf = (key: string): string =>
  `--${key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** Flags that are repeated for each entry of an option. */
const repeatedFlags: Readonly<Record<string, string>> = {
  modelOptions: '--model-option',
  lrGroups: '--lr-group',
  changes: '--change',
};

/** An option with its value, as it is given: `--model vgg7`, `--no-normalize`, `--model-option hidden=64`. */
export function flagWithValue(key: string, value: string): string {
  if (value === 'true') return flagOf(key);
  if (value === 'false') return `--no-${flagOf(key).slice(2)}`;
  const repeated = repeatedFlags[key];
  return `${repeated ?? flagOf(key)} ${value}`;
}

/** The options whose values differ from their defaults, in the order of the table. */
export function changedOptions(config: TrainConfig): readonly (keyof TrainConfig)[] {
  const used = usedOptions(config);
  const keys = Object.keys(trainOptions) as (keyof TrainConfig)[];
  return keys.filter(
    (key) =>
      used[key] !== undefined && JSON.stringify(used[key]) !== JSON.stringify(trainOptions[key].default),
  );
}

/** `vgg train --model vgg7 --dataset cifar100 …`; the model and the data set are always named. */
export function trainCommand(config: TrainConfig): string {
  const changed = new Set<keyof TrainConfig>(['model', 'dataset', ...changedOptions(config)]);
  const words = ['vgg', 'train'];
  for (const key of Object.keys(trainOptions) as (keyof TrainConfig)[]) {
    if (!changed.has(key)) continue;
    const value = config[key];
    const repeated = repeatedFlags[key];
    if (key === 'changes') {
      for (const change of config.changes ?? []) words.push('--change', changeWord(change));
    } else if (repeated !== undefined) {
      for (const [name, option] of Object.entries(value as TrainConfig['modelOptions'])) {
        words.push(repeated, `${name}=${[option].flat().join(',')}`);
      }
    } else if (key === 'normalization' && typeof config.normalization === 'object') {
      const { mean, std } = config.normalization;
      words.push(flagOf(key), `${mean.join(',')}/${std.join(',')}`);
    } else if (key === 'model') {
      // Of a network from a file only the name is known.
      words.push('--model', typeof config.model === 'string' ? config.model : `${config.model.name}.json`);
    } else if (typeof value === 'boolean') {
      words.push(value ? flagOf(key) : `--no-${flagOf(key).slice(2)}`);
    } else {
      words.push(flagOf(key), [value].flat().join(','));
    }
  }
  return words.map(shellWord).join(' ');
}
