/**
 * A training's options as flags: `lrStep` is `--lr-step <n>`. Types, ranges and meanings come from the one table in
 * `train/config.ts`. A config is put together from defaults, a recipe, a file and flags; the later one wins.
 */
import { extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Command, Option } from 'commander';
import { datasetNames } from '../data/named.ts';
import { DataError, UsageError } from '../errors.ts';
import { parseJson } from '../json.ts';
import type { Chosen } from '../model/info.ts';
import { models, optionNumbers, parseAssignments } from '../model/models.ts';
import { flagOf, flagWithValue } from '../report/command.ts';
import { unknownName } from '../suggest.ts';
import {
  parseConfig,
  refuseUnused,
  type TrainConfig,
  type TrainConfigInput,
  type TrainOption,
  trainOptions,
  usedOptions,
} from '../train/config.ts';
import { recipes } from '../train/recipes.ts';
import type { ConfigAnswer } from './config-program.ts';
import { modelOptionOption } from './models.ts';
import { choiceOption, numberOption, pathOption, wholeNumberOption } from './values.ts';

/** Adds a flag for each option of a training, `--recipe` and `--config`. */
export function addConfigOptions(command: Command, without: readonly (keyof TrainConfig)[] = []): Command {
  for (const [name, option] of Object.entries(trainOptions)) {
    if (!without.includes(name as keyof TrainConfig)) command.addOption(optionOf(name, option));
  }
  const known = Object.entries(recipes).map(([name, { description }]) => `${name} (${description})`);
  return command
    .addOption(new Option('--recipe <name>', `options that go together: ${known.join('; ')}`))
    .addOption(
      pathOption('--config <file>', 'options from a JSON file, or the default export of a TypeScript file'),
    );
}

function optionOf(name: string, { description, default: standard, kind }: TrainOption): Option {
  const flag = flagOf(name);
  const shown = standard === undefined || kind.type === 'switch' ? '' : ` (default: ${show(standard)})`;
  const words = description + shown;
  if (name === 'model') return choiceOption(`${flag} <name>`, words, Object.keys(models));
  if (name === 'modelOptions') return modelOptionOption();
  if (name === 'lrGamma') return numberOption(`${flag} <x>`, words, { above: 0, fraction: true });
  switch (kind.type) {
    case 'switch':
      return standard === true
        ? new Option(`--no-${flag.slice(2)}`, `do not ${words}`)
        : new Option(flag, words);
    case 'whole':
      return wholeNumberOption(`${flag} <n>`, words, kind);
    case 'number':
      return numberOption(`${flag} <x>`, words, kind);
    case 'choice':
      return choiceOption(`${flag} <name>`, words, kind.choices);
    case 'list':
      return new Option(`${flag} <a,b,…>`, words).argParser((text: string) =>
        text.split(',').map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : part)),
      );
    case 'text':
      return pathOption(`${flag} <path>`, words);
    default:
      return kind satisfies never;
  }
}

function show(value: unknown): string {
  if (value === 1 / 3) return '1/3';
  return Array.isArray(value) && value.length === 0 ? 'none' : String(value);
}

/** The options that a user gave as flags, by their names in a config. */
export function givenOptions(command: Command): Partial<TrainConfig> {
  const options = command.opts<Record<string, unknown>>();
  const given = Object.keys(trainOptions).filter(
    (name) => command.getOptionValueSource(name === 'modelOptions' ? 'modelOption' : name) === 'cli',
  );
  return Object.fromEntries(
    given.map((name) => [
      name,
      name === 'modelOptions' ? parseAssignments(options.modelOption as readonly string[]) : options[name],
    ]),
  );
}

/**
 * The whole config: defaults, recipe, file, flags. What one source says of an optimizer, a schedule or a data set that
 * a later one replaces is dropped; what a source says to no effect is refused.
 * @throws UsageError, DataError that name the source.
 */
export async function chosenConfig(command: Command): Promise<TrainConfig> {
  const { recipe, config: file } = command.opts<{ recipe?: string; config?: string }>();
  const given = givenOptions(command);
  let named = recipe === undefined ? {} : recipeOf(recipe);
  if (file !== undefined) {
    const fromFile = await readConfigFile(file);
    // Each source by itself first, so that a message names the right one.
    parseConfig(fromFile, file);
    named = laidOver(named, fromFile);
    refuseUnused(withoutDefaults(fromFile), named, file);
  }
  const merged = laidOver(named, given);
  // Options of a model go together, as long as it is the same one.
  if (given.model !== undefined && given.model !== named.model)
    merged.modelOptions = given.modelOptions ?? {};
  else if (given.modelOptions) merged.modelOptions = { ...named.modelOptions, ...given.modelOptions };
  if (typeof merged.init === 'string') await adoptWeights(merged.init, merged);
  const config = parseConfig(merged, 'options');
  refuseUnused(given, config, '', flagOf);
  // Flags are text; a config has numbers, so that equal ones look the same.
  return { ...config, modelOptions: optionNumbers(config.model, config.modelOptions) };
}

/**
 * Takes from weights to begin with what no source says: network, normalization and data set.
 * @throws UsageError where a source contradicts them. Another data set is none: weights may be trained on.
 */
async function adoptWeights(init: string, merged: Options): Promise<void> {
  const [{ readInfo }, { refuseContradictions }] = await Promise.all([
    import('../model/weight-files.ts'),
    import('../runs/training.ts'),
  ]);
  const info = await readInfo(init);
  if (!info) return;
  const { network, normalization } = info;
  const { model, modelOptions = {}, normalize } = merged;
  const chosen = {
    ...(network.options ? model !== undefined && { model } : { model: model ?? trainOptions.model.default }),
    ...(model === undefined || model === network.name ? { modelOptions } : {}),
    ...(normalize !== undefined && { normalize }),
  } as Chosen;
  refuseContradictions(init, info, chosen, flagWithValue);
  if (network.options) {
    merged.model = network.name;
    merged.modelOptions = { ...network.options, ...modelOptions };
  }
  if (normalization !== undefined) merged.normalize = normalization !== null;
  const dataset = datasetNames.find((name) => name === info.dataset);
  if (merged.dataset !== undefined || dataset === undefined) return;
  merged.dataset = dataset;
  if (info.labels) merged.labels = info.labels;
}

/** A run's config of an older version has every option, those without an effect too, and then by default. */
function withoutDefaults(options: TrainConfigInput): TrainConfigInput {
  const isDefault = (key: string, value: unknown): boolean =>
    JSON.stringify(value) === JSON.stringify(trainOptions[key as keyof TrainConfig].default);
  return Object.fromEntries(Object.entries(options).filter(([key, value]) => !isDefault(key, value)));
}

type Options = { -readonly [Key in keyof TrainConfig]?: TrainConfig[Key] };

const laidOver = (base: TrainConfigInput, over: TrainConfigInput): Options => ({
  ...usedOptions(base, { ...base, ...over }),
  ...over,
});

function recipeOf(name: string): Partial<TrainConfig> {
  const recipe = Object.hasOwn(recipes, name) ? recipes[name] : undefined;
  if (recipe === undefined) throw new UsageError(unknownName('recipe', name, Object.keys(recipes)));
  return recipe.config;
}

/** Bytes of a config file. */
const mostConfigBytes = 1 << 20;
/** Milliseconds that a config's program may take. */
const configPatience = 10_000;

/**
 * What a file says, not yet checked. TypeScript files are programs, and run, in a thread of their own.
 * @throws UsageError where there is no such file or it says nothing, DataError where the system does not let it be read.
 */
export async function readConfigFile(
  path: string,
  patience: number = configPatience,
): Promise<Partial<TrainConfig>> {
  const { readWhole } = await import('../files/files.ts');
  let text: string;
  try {
    text = new TextDecoder().decode(await readWhole(path, mostConfigBytes));
  } catch (error) {
    const { cause } = error as Error;
    const problem = `--config ${(error as Error).message}`;
    const wrongPath = ['ENOENT', 'EISDIR', 'ENOTDIR', 'NOT_REGULAR'].includes(
      (cause as NodeJS.ErrnoException | undefined)?.code ?? '',
    );
    if (wrongPath) throw new UsageError(`${problem}; name ${configForms}`, { cause });
    throw new DataError(problem, { cause });
  }
  if (['.ts', '.mts', '.js', '.mjs'].includes(extname(path))) return runConfigFile(path, patience);
  const { value, problem } = parseJson(text);
  if (problem === undefined) return value as Partial<TrainConfig>;
  const wayOut = /^\.ya?ml$/i.test(extname(path)) ? 'YAML is not read: name' : 'correct it, or name';
  throw new UsageError(`--config ${path} ${problem.replaceAll(/\s+/g, ' ')}; ${wayOut} ${configForms}`);
}

/** The default export of a config that is a program. @throws UsageError where it does not come, or is no plain data. */
async function runConfigFile(path: string, patience: number): Promise<Partial<TrainConfig>> {
  const { Worker } = await import('node:worker_threads');
  // The published package holds .js files, and nothing rewrites the name in a URL.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const worker = new Worker(new URL(`./config-program.${extension}`, import.meta.url), {
    workerData: { configUrl: pathToFileURL(resolve(path)).href },
  });
  let timer: NodeJS.Timeout | undefined;
  const answer = await new Promise<ConfigAnswer>((resolve) => {
    worker.once('message', resolve);
    worker.once('error', (error) => resolve({ thrown: oneLine(error) }));
    worker.once('exit', () =>
      resolve({
        problem: 'it ended without a default export: it waits for a promise that never settles, or exits',
      }),
    );
    timer = setTimeout(() => resolve({ problem: `it did not finish within ${patience / 1000} s` }), patience);
  });
  clearTimeout(timer);
  await worker.terminate();
  if ('json' in answer) return JSON.parse(answer.json) as Partial<TrainConfig>;
  if ('missing' in answer) {
    throw new UsageError(
      `--config ${path}: it has no default export; write export default { epochs: 3 }, for instance`,
    );
  }
  throw new UsageError(
    'thrown' in answer
      ? `--config ${path} does not run: ${answer.thrown}; correct it, or name ${configForms}`
      : `--config ${path}: ${answer.problem}; export plain data, as in export default { epochs: 3 }`,
  );
}

const configForms =
  'a JSON file, as in {"epochs": 3}, or a TypeScript file, as in export default { epochs: 3 }';

const oneLine = (error: unknown): string =>
  (error instanceof Error ? error.message : `it throws ${String(error)}`).replaceAll(/\s+/g, ' ');
