/**
 * The training options as flags: `lrStep` is `--lr-step <n>`. Types, ranges and meanings come from the table in
 * `train/config.ts`. A config is merged from defaults, a recipe, a file and flags; later sources override earlier ones.
 */
import { type Command, Option } from 'commander';
import { isDatasetSpec } from '../data/named.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import { UsageError } from '../errors.ts';
import type { Chosen } from '../model/info.ts';
import type { Shape } from '../model/layer.ts';
import { checkFactor } from '../model/layer-patterns.ts';
import { optionNumbers, parseAssignments } from '../model/models.ts';
import { type PresetName, presetNames } from '../model/normalization-presets.ts';
import { parseNumber, parseWhole } from '../numbers.ts';
import { longestTimer } from '../options.ts';
import { flagOf, flagWithValue } from '../report/command.ts';
import { unknownName } from '../suggest.ts';
import { type Change, checkedSettings, mergedChanges } from '../train/changes.ts';
import { parseConfig, refuseUnused, usedOptions } from '../train/config.ts';
import {
  type TrainConfig,
  type TrainConfigInput,
  type TrainOption,
  trainOptions,
} from '../train/config-table.ts';
import { recipes } from '../train/recipes.ts';
import { readDataFile } from './data-file.ts';
import { datasetOption } from './datasets.ts';
import { modelOption, modelOptionOption, readModel } from './models.ts';
import { note } from './output.ts';
import {
  checkChoice,
  choiceOption,
  layersOption,
  numberOption,
  pathOption,
  repeatedOption,
  switchOptions,
  wholeNumberOption,
} from './values.ts';

/** The options under their headings in the help, in this order. */
export const optionGroups: readonly (readonly [heading: string, options: readonly (keyof TrainConfig)[]])[] =
  [
    ['Network:', ['model', 'modelOptions', 'init', 'initKey', 'freshHead', 'deepen']],
    [
      'Images:',
      [
        'dataset',
        'data',
        'labels',
        'size',
        'skipBroken',
        'validation',
        'normalize',
        'normalization',
        'augment',
        'crop',
        'rotation',
        'colorJitter',
        'colorShift',
        'cutout',
        'mixup',
        'shuffle',
      ],
    ],
    ['Length:', ['epochs', 'steps', 'earlyStopping']],
    ['Steps:', ['batchSize', 'accumulate', 'labelSmoothing', 'clipNorm', 'averageDecay']],
    ['Optimizer:', ['optimizer', 'lr', 'beta1', 'beta2', 'epsilon', 'momentum', 'nesterov', 'weightDecay']],
    ['Layers:', ['freeze', 'unfreezeAfter', 'unfreezeLr', 'lrGroups']],
    ['Schedule:', ['schedule', 'lrStep', 'lrGamma', 'milestones', 'patience', 'minLr', 'warmup', 'changes']],
    ['Machine:', ['device', 'threads', 'seed']],
    ['Run folder:', ['checkpointEvery']],
    ['Output:', ['logEvery']],
  ];

/** Adds the flags of all training options, `--recipe` and `--config`. */
export function addConfigOptions(command: Command, without: readonly (keyof TrainConfig)[] = []): Command {
  for (const [heading, names] of optionGroups) {
    const own = names.filter((name) => !without.includes(name));
    if (own.length > 0) command.optionsGroup(heading);
    for (const option of own.flatMap((name) => optionsOf(name, trainOptions[name])))
      command.addOption(option);
  }
  const known = Object.entries(recipes).map(([name, { description }]) => `${name} (${description})`);
  return command
    .optionsGroup('Configuration:')
    .addOption(new Option('--recipe <name>', `a named set of options: ${known.join('; ')}`))
    .addOption(
      pathOption('--config <file>', 'options from a JSON file or the default export of a TypeScript file'),
    );
}

/** An option's flag; of a boolean option both. */
function optionsOf(
  name: string,
  { description, default: standard, kind }: TrainOption,
): Option | readonly Option[] {
  const flag = flagOf(name);
  const shown = standard === undefined ? '' : `default: ${show(standard)})`;
  // A description may end with the choices that the option belongs to.
  const words =
    shown === '' ? description : description.replace(/\)?$/, (end) => `${end === '' ? ' (' : '; '}${shown}`);
  const suffix = shown === '' ? '' : ` (${shown}`;
  switch (kind.type) {
    case 'switch':
      return switchOptions(flag, words);
    case 'whole':
      return wholeNumberOption(`${flag} <n>`, words, kind);
    case 'number':
      return numberOption(`${flag} <x>`, words, kind);
    case 'choice':
      return choiceOption(`${flag} <name>`, description, kind.choices, suffix);
    case 'dataset':
      return datasetOption(description, suffix);
    case 'wholes':
      return new Option(`${flag} <a,b,…>`, words).argParser((text: string) =>
        // What is not a number is left for the config's own check.
        text.split(',').map((part) => parseWhole(part.trim()) ?? part),
      );
    case 'path':
      return pathOption(`${flag} <path>`, words);
    case 'model':
      return modelOption(suffix);
    case 'text':
      return new Option(`${flag} <text>`, words);
    case 'modelOptions':
      return modelOptionOption();
    case 'names':
      return layersOption(`${flag} <a,b,…>`, words);
    case 'factors':
      return repeatedOption('--lr-group <name=x>', `${description}; may be repeated`, 'all 1');
    case 'changes':
      return repeatedOption('--change <step:name=x,…>', `${description}; may be repeated`, 'none');
    case 'normalization':
      return new Option(`${flag} <name|means/deviations>`, `${presetNames.join(', ')}: ${words}`).argParser(
        parseNormalization,
      );
    case 'interval':
      return new Option(`${flag} <n|Ns>`, words).argParser(parseCheckpointEvery);
    default:
      return kind satisfies never;
  }
}

/** A preset's name, or numbers for the channels: `0.5,0.5,0.5/0.2,0.2,0.2`. What is neither is left for the check. */
function parseNormalization(text: string): string | ChannelStatistics {
  const [mean = [], std = [], ...rest] = text
    .split('/')
    .map((list) => list.split(',').map((part) => parseNumber(part.trim()) ?? Number.NaN));
  const isStatistics = rest.length === 0 && std.length > 0 && [...mean, ...std].every(Number.isFinite);
  return isStatistics ? { mean, std } : checkChoice('normalization', text, presetNames);
}

/** `features=0.1`, once for each name. */
function parseFactors(assignments: readonly string[]): Readonly<Record<string, number>> {
  const factors = assignments.map((text): [string, number] => {
    const equals = text.lastIndexOf('=');
    const factor = parseNumber(text.slice(equals + 1).trim());
    if (equals < 1 || factor === undefined)
      throw new UsageError(`--lr-group ${text} does not have the form name=factor, as in features=0.1`);
    checkFactor('--lr-group', text.slice(0, equals).trim(), factor);
    return [text.slice(0, equals).trim(), factor];
  });
  return Object.fromEntries(factors);
}

/** `500:lr=0.01,momentum=0.8`, once for each step. */
function parseChanges(texts: readonly string[]): readonly Change[] {
  const changes = texts.map((text): Change => {
    const [at = '', ...rest] = text.split(':');
    const step = parseWhole(at.trim());
    const settings = rest
      .join(':')
      .split(',')
      .map((part) => part.split('='));
    if (step === undefined || settings.some((parts) => parts.length !== 2))
      throw new UsageError(`--change ${text} does not have the form step:name=value, as in 500:lr=0.01`);
    const values = settings.map(([name = '', value = '']) => [
      name.trim(),
      parseNumber(value.trim()) ?? value,
    ]);
    return { step, ...checkedSettings(`--change ${text}`, Object.fromEntries(values)) };
  });
  return mergedChanges(changes);
}

/** The name of Commander's value for an option whose flag may be repeated. */
const repeatedFlags: Readonly<Record<string, string>> = {
  modelOptions: 'modelOption',
  lrGroups: 'lrGroup',
  changes: 'change',
};

/** Steps, or seconds as in `30s`. */
function parseCheckpointEvery(text: string): number | string {
  const isTime = text.endsWith('s');
  const limit = isTime ? longestTimer : Number.MAX_SAFE_INTEGER;
  const value = parseNumber(isTime ? text.slice(0, -1) : text) ?? 0;
  const isInRange = value > 0 && value <= limit;
  if (isInRange && isTime) return `${value}s`;
  if (isInRange && Number.isInteger(value) && !text.includes('/')) return value;
  throw new UsageError(
    value > limit
      ? `--checkpoint-every ${text} is above the limit of ${limit}${isTime ? 's' : ''}`
      : `--checkpoint-every ${text} is neither a number of steps such as 100 nor of seconds such as 30s`,
  );
}

function show(value: unknown): string {
  if (value === true) return 'on';
  if (value === false) return 'off';
  if (value === 1 / 3) return '1/3';
  return Array.isArray(value) && value.length === 0 ? 'none' : String(value);
}

/** The options that a user gave as flags, under their config names. */
export function givenOptions(command: Command): Partial<TrainConfig> {
  const options = command.opts<Record<string, unknown>>();
  const given = Object.keys(trainOptions).filter(
    (name) => command.getOptionValueSource(repeatedFlags[name] ?? name) === 'cli',
  );
  const givenValue = (name: string): unknown => {
    if (name === 'modelOptions') return parseAssignments(options.modelOption as readonly string[]);
    if (name === 'changes') return parseChanges(options.change as readonly string[]);
    return name === 'lrGroups' ? parseFactors(options.lrGroup as readonly string[]) : options[name];
  };
  return Object.fromEntries(given.map((name) => [name, givenValue(name)]));
}

/**
 * The complete config from defaults, recipe, file and flags. Options of an optimizer, schedule or data set that a later
 * source replaces are dropped; options that have no effect in their own source are rejected.
 * @throws UsageError, DataError that name the source.
 */
export async function chosenConfig(command: Command): Promise<TrainConfig> {
  const { recipe, config: file } = command.opts<{ recipe?: string; config?: string }>();
  const flags = givenOptions(command);
  const given = typeof flags.model === 'string' ? { ...flags, model: await readModel(flags.model) } : flags;
  let named = recipe === undefined ? {} : recipeOf(recipe);
  if (file !== undefined) {
    const fromFile = await readConfigFile(file);
    // Check each source by itself first, so that a message names the right one.
    parseConfig(fromFile, file);
    named = laidOver(named, fromFile);
    refuseUnused(withoutDefaults(fromFile), named, file);
  }
  const merged = laidOver(named, given);
  // Model options of several sources are merged while they are for the same model.
  if (given.model !== undefined && given.model !== named.model)
    merged.modelOptions = given.modelOptions ?? {};
  else if (given.modelOptions) merged.modelOptions = { ...named.modelOptions, ...given.modelOptions };
  if (recipe !== undefined) requireOptions(recipe, merged);
  if (typeof merged.init === 'string') {
    const { runPlace, weightsIn } = await import('../runs/folder.ts');
    // Of a run, its best weights.
    merged.init = await weightsIn(runPlace(merged.init));
    await adoptWeights(merged.init, merged);
  }
  if (merged.normalization !== undefined) merged.normalize ??= true;
  const config = parseConfig(merged, 'options');
  refuseUnused(given, config, '', (name) => flagFor(name, given));
  // Flags are text; in a config, equal options must look equal.
  const { model, modelOptions } = config;
  return typeof model === 'string' ? { ...config, modelOptions: optionNumbers(model, modelOptions) } : config;
}

/** Reads a config file without checking its options. @throws as `readDataFile` */
export const readConfigFile = (path: string, patience?: number): Promise<Partial<TrainConfig>> =>
  readDataFile(path, {
    option: '--config',
    json: '{"epochs": 3}',
    program: '{ epochs: 3 }',
    ...(patience !== undefined && { patience }),
  }) as Promise<Partial<TrainConfig>>;

/**
 * Takes network, normalization and data set from the `--init` weights where no source sets them.
 * @throws UsageError if a source contradicts the weights. Another data set is allowed: weights may be trained further.
 */
async function adoptWeights(init: string, merged: Options): Promise<void> {
  const [{ readShapes }, { refuseContradictions }] = await Promise.all([
    import('../model/weight-files.ts'),
    import('../model/info.ts'),
  ]);
  const key = merged.initKey;
  const { info, shapes } = await readShapes(init, typeof key === 'string' ? { key } : {});
  if (!info) return adoptImplied(init, shapes, merged);
  const { network, normalization } = info;
  const { model, modelOptions = {}, deepen } = merged;
  // Another network may start from these weights.
  const named = deepen
    ? {}
    : {
        ...(network.options
          ? model !== undefined && { model }
          : { model: model ?? trainOptions.model.default }),
        ...(model === undefined || model === network.name ? { modelOptions } : {}),
      };
  refuseContradictions(init, info, named as Chosen, flagWithValue);
  if (network.options && !deepen) {
    merged.model = network.name;
    merged.modelOptions = { ...network.options, ...modelOptions };
  }
  if (normalization !== undefined) adoptNormalization(normalization, merged);
  if (merged.dataset !== undefined || !isDatasetSpec(info.dataset)) return;
  merged.dataset = info.dataset;
  if (info.labels) merged.labels = info.labels;
}

/** How the weights' images were normalized, unless a source says otherwise. */
function adoptNormalization(normalization: PresetName | ChannelStatistics | null, merged: Options): boolean {
  if (merged.normalize !== undefined || merged.normalization !== undefined) return false;
  merged.normalize = normalization !== null;
  if (normalization !== null) merged.normalization = normalization;
  return true;
}

/** What the tensors of a file that says nothing of itself imply, as with the weights that torchvision publishes. */
async function adoptImplied(
  init: string,
  shapes: ReadonlyMap<string, Shape>,
  merged: Options,
): Promise<void> {
  const [{ classesIn, impliedModel }, { imagenetClasses }] = await Promise.all([
    import('../model/implied.ts'),
    import('../data/imagenet.ts'),
  ]);
  const implied = impliedModel(shapes);
  if (!implied) return;
  const { name, options = {} } = implied.network;
  if (merged.model === undefined && !merged.deepen) {
    merged.model = name;
    merged.modelOptions = { ...options, ...merged.modelOptions };
  }
  if (classesIn(shapes) !== imagenetClasses.length || implied.input[0] !== 3) return;
  if (adoptNormalization('torchvision', merged))
    note(
      `${init}: ${name}, 1000 classes; assuming torchvision's normalization (others: --normalization, --no-normalize)`,
    );
}

/** The flag that a user gave: `--no-nesterov` where it was turned off. */
const flagFor = (name: string, given: Partial<TrainConfig>): string =>
  given[name as keyof TrainConfig] === false ? `--no-${flagOf(name).slice(2)}` : flagOf(name);

/** Drops default values: older versions stored every option, also those without effect. */
function withoutDefaults(options: TrainConfigInput): TrainConfigInput {
  const isDefault = (key: string, value: unknown): boolean =>
    JSON.stringify(value) === JSON.stringify(trainOptions[key as keyof TrainConfig].default);
  return Object.fromEntries(Object.entries(options).filter(([key, value]) => !isDefault(key, value)));
}

type Options = { -readonly [Key in keyof TrainConfigInput]: TrainConfigInput[Key] };

const laidOver = (base: TrainConfigInput, over: TrainConfigInput): Options => ({
  ...usedOptions(base, { ...base, ...over }),
  ...over,
});

function recipeOf(name: string): TrainConfigInput {
  const recipe = Object.hasOwn(recipes, name) ? recipes[name] : undefined;
  if (recipe === undefined) throw new UsageError(unknownName('recipe', name, Object.keys(recipes)));
  return recipe.config;
}

/** @throws UsageError if an option that the recipe cannot do without is missing. */
function requireOptions(name: string, merged: Options): void {
  const missing = recipes[name]?.needs?.find((option) => merged[option] === undefined);
  if (missing === undefined) return;
  throw new UsageError(`--recipe ${name} needs ${flagOf(missing)}: ${trainOptions[missing].description}`);
}
