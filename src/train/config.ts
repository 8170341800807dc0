/**
 * A config: one flat record whose keys are the options of `vgg train`, the keys of a config file and of a run's
 * `config.json`, and the names that a search space may vary. `config-table.ts` states the options.
 */
import * as z from 'zod';
import { check } from '../check.ts';
import { formOf } from '../data/named.ts';
import { UsageError } from '../errors.ts';
import { type Owner, type TrainConfig, type TrainConfigInput, trainOptions } from './config-table.ts';
import type { FitOptions } from './fit.ts';

/** The interval of checkpoints as `fit` takes it. */
export function checkpointInterval({
  checkpointEvery: every,
}: Pick<TrainConfig, 'checkpointEvery'>): FitOptions['checkpointEvery'] {
  if (every === undefined) return undefined;
  return typeof every === 'number' ? { steps: every } : { seconds: Number(every.slice(0, -1)) };
}

const schema = z.strictObject(
  Object.fromEntries(Object.entries(trainOptions).map(([name, option]) => [name, option.schema])),
);

/**
 * Checks and completes a config that a user wrote; the library's `parseConfig`.
 * @throws UsageError like `parseConfig`, and for an option that would have no effect.
 */
export function parseGivenConfig(input: unknown, where = 'config'): TrainConfig {
  const config = parseConfig(input, where);
  refuseUnused(input as TrainConfigInput, config, where);
  return config;
}

/**
 * Checks and completes `input`. `where` names its source in messages. Options without effect are allowed, since a run's
 * config and a point of a search may have them.
 * @throws UsageError that names the key, the value, the rule and, for an unknown key, a close known one.
 */
export function parseConfig(input: unknown, where = 'config'): TrainConfig {
  const checked = check(schema, input, { keys: 'option' });
  if (checked.problems) throw new UsageError(`${where}: ${checked.problems.join('; ')}`);
  // An option that is undefined is one that is missing.
  const given = Object.entries(checked.value).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as unknown as TrainConfig;
}

/** An owner of an option that is not chosen, so that the option has no effect. */
function missingOwner(key: keyof TrainConfig, config: TrainConfigInput): Owner | undefined {
  return trainOptions[key].owners.find(({ option, choices }) => {
    const chosen = config[option] ?? trainOptions[option].default;
    return choices ? !choices.includes(formOf(String(chosen))) : (chosen ?? false) === false;
  });
}

/**
 * The options of a config that have an effect. Used for what a run stores, and for a recipe or file whose optimizer,
 * schedule or data set another source replaces.
 */
export function usedOptions<Config extends TrainConfigInput>(
  options: Config,
  config: TrainConfigInput = options,
): Partial<Config> {
  const used = Object.entries(options).filter(([key]) => !missingOwner(key as keyof TrainConfig, config));
  return Object.fromEntries(used) as Partial<Config>;
}

/**
 * Rejects given options that have no effect in `config`. `nameOf` returns an option's name in its source.
 * @throws UsageError that names the option, the choices it belongs to and the way out.
 */
export function refuseUnused(
  given: TrainConfigInput,
  config: TrainConfigInput,
  where: string,
  nameOf: (key: string) => string = String,
): void {
  const problems = (Object.keys(given) as (keyof TrainConfig)[]).flatMap((key): string[] => {
    const owner = given[key] === undefined ? undefined : missingOwner(key, config);
    if (!owner) return [];
    const { option, choices } = owner;
    if (!choices && given[option] === false)
      return [`${nameOf(key)} has no effect with ${nameOf(option)}: leave out one of them`];
    if (!choices)
      return [`${nameOf(key)} has no effect without ${nameOf(option)}: leave it out, or set both`];
    const chosen = config[option] ?? trainOptions[option].default;
    const others = choices.join(' or ');
    return [
      `${nameOf(key)} has no effect with ${option} ${chosen}: leave it out, or choose ${nameOf(option)} ${others}`,
    ];
  });
  if (problems.length > 0) throw new UsageError(`${where}${where === '' ? '' : ': '}${problems.join('; ')}`);
}
