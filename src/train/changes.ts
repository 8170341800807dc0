/**
 * Changes of an optimizer's settings during a training, as data: at which step, and to what. A training with the same
 * changes gives the same bits, whether they were made live (`control.ts`) or are listed in the config.
 */
import type { OptimizerOptions } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import { isObject, shown } from '../options.ts';
import { unknownName } from '../suggest.ts';

/** The settings that may change while a network trains. */
export interface LiveSettings {
  /** Replaces the optimizer's rate. A schedule is scaled by this rate / the configured one. */
  readonly lr?: number;
  readonly momentum?: number;
  readonly weightDecay?: number;
}

/** New settings from a step on; those that are missing stay as they are. */
export interface Change extends LiveSettings {
  /** Batches of the whole training that were trained before. */
  readonly step: number;
}

/** The most changes of a training. */
export const mostChanges = 10_000;

/** Ranges of the settings, and their words. */
const rules = {
  lr: [(value: number) => value > 0 && value < Infinity, 'a finite number above 0'],
  momentum: [(value: number) => value >= 0 && value < 1, 'at least 0 and below 1'],
  weightDecay: [(value: number) => value >= 0 && value < Infinity, 'a finite number ≥ 0'],
} as const satisfies Record<keyof LiveSettings, readonly [(value: number) => boolean, string]>;

export const liveSettingNames = Object.keys(rules) as (keyof LiveSettings)[];

/** What is wrong with settings: an unknown one, one out of range, or none at all. */
function settingsProblem(settings: unknown): string | undefined {
  if (!isObject(settings)) return `the settings are ${shown(settings)}, not an object`;
  const given = Object.entries(settings).filter(([, value]) => value !== undefined);
  if (given.length === 0) return `no setting is given; give one or more of ${liveSettingNames.join(', ')}`;
  for (const [name, value] of given) {
    const rule = Object.hasOwn(rules, name) ? rules[name as keyof LiveSettings] : undefined;
    if (!rule) return unknownName('setting', name, liveSettingNames);
    const [holds, words] = rule;
    if (typeof value !== 'number' || !holds(value)) return `${name} ${shown(value)} is not ${words}`;
  }
  return undefined;
}

/** Returns the settings that are given. @throws UsageError for an unknown one, one out of range, and if there is none. */
export function checkedSettings(where: string, settings: unknown): LiveSettings {
  const problem = settingsProblem(settings);
  if (problem !== undefined) throw new UsageError(`${where}: ${problem}`);
  return Object.fromEntries(
    Object.entries(settings as LiveSettings).filter(([, value]) => value !== undefined),
  );
}

/** What is wrong with a list of changes. */
export function changesProblem(changes: unknown): string | undefined {
  if (!Array.isArray(changes))
    return `${shown(changes)} is not a list of changes such as { step: 500, lr: 0.01 }`;
  if (changes.length > mostChanges) return `${changes.length} changes are above the limit of ${mostChanges}`;
  let before = -1;
  for (const change of changes as readonly unknown[]) {
    if (!isObject(change)) return `${shown(change)} is not a change such as { step: 500, lr: 0.01 }`;
    const { step, ...settings } = change;
    if (typeof step !== 'number' || !Number.isSafeInteger(step) || step < 0)
      return `step ${shown(step)} of a change is not a whole number ≥ 0`;
    if (step <= before)
      return `the change at step ${step} follows one at step ${before}; list them by ascending steps, one for each step`;
    const problem = settingsProblem(settings);
    if (problem !== undefined) return `change at step ${step}: ${problem}`;
    before = step;
  }
  return undefined;
}

/** @throws UsageError unless `changes` is a list of changes with ascending steps. */
export function checkChanges(where: string, changes: readonly Change[]): void {
  const problem = changesProblem(changes);
  if (problem !== undefined) throw new UsageError(`${where}: changes: ${problem}`);
}

/** All changes in the order of their steps. At the same step, settings of later lists replace those of earlier ones. */
export function mergedChanges(...lists: readonly (readonly Change[])[]): readonly Change[] {
  const merged = new Map<number, Change>();
  for (const change of lists.flat()) merged.set(change.step, { ...merged.get(change.step), ...change });
  return [...merged.values()].toSorted((a, b) => a.step - b.step);
}

/** The settings of the step after `step` batches. */
export function settingsAt(changes: readonly Change[], step: number): LiveSettings {
  const { step: _, ...settings }: Partial<Change> = Object.assign(
    {},
    ...changes.filter((change) => change.step <= step),
  );
  return settings;
}

/**
 * The optimizer with changed settings; its `lr` stays the configured one, to which the schedule refers.
 * @throws UsageError for a momentum that it has not, or cannot have.
 */
export function withSettings(
  where: string,
  optimizer: OptimizerOptions,
  { momentum, weightDecay }: LiveSettings,
): OptimizerOptions {
  const decayed = weightDecay === undefined ? optimizer : { ...optimizer, weightDecay };
  if (momentum === undefined) return decayed;
  if (!('momentum' in decayed)) {
    throw new UsageError(
      `${where}: ${decayed.kind} has no momentum to change; leave it out, or train with sgd`,
    );
  }
  if (decayed.nesterov && momentum === 0) {
    throw new UsageError(`${where}: momentum 0 is not possible with Nesterov momentum; use a value above 0`);
  }
  return { ...decayed, momentum };
}

/** A schedule's rate where the configured rate was replaced. */
export const changedRate = (rate: number, configured: number, { lr }: LiveSettings): number =>
  lr === undefined ? rate : (rate / configured) * lr;

/** A change as one word: `500:lr=0.01,momentum=0.8`. */
export const changeWord = ({ step, ...settings }: Change): string =>
  `${step}:${liveSettingNames.flatMap((name) => (settings[name] === undefined ? [] : `${name}=${settings[name]}`)).join(',')}`;

/** A change in words: `lr 0.01, momentum 0.8`. */
export const settingsText = (settings: LiveSettings): string =>
  liveSettingNames
    .flatMap((name) => (settings[name] === undefined ? [] : `${name} ${settings[name]}`))
    .join(', ');
