/** A whole training in the browser's store: the run folder of `vgg train`, written to OPFS. */
import { type DatasetFacts, factsOf, type ImageCounts, type SizedChoice } from '../data/dataset-facts.ts';
import type { PrepareOptions } from '../data/folders/prepare.ts';
import { imageFilesOf } from '../data/named.ts';
import { shapes } from '../data/shapes.ts';
import { UsageError } from '../errors.ts';
import { checkOptions, type KnownKeys } from '../options.ts';
import { type Conducted, conduct, type RunCallbacks } from '../runs/conduct.ts';
import type { DeviceFacts, Place } from '../runs/prepare.ts';
import type { RunEnvironment } from '../runs/records.ts';
import { defaultRunName, runIn } from '../runs/run-folder.ts';
import { checkRunName } from '../runs/run-zip.ts';
import { parseConfig } from '../train/config.ts';
import type { TrainConfig, TrainConfigInput } from '../train/config-table.ts';
import { packageVersion } from '../version.ts';
import type { UserDataset } from './datasets.ts';
import { lockFolder } from './opfs.ts';
import { freeName } from './run-zip.ts';
import { hasRun, readConfigIn, removeRunFolder, runFolder, type Store } from './store.ts';

export interface RunOptions extends RunCallbacks {
  /** The data set, if it is neither built in nor in the store. */
  readonly dataset?: UserDataset;
}

export interface TrainRunOptions extends RunOptions {
  readonly store: Store;
  /** Of the run; by default its model, data set and time. */
  readonly name?: string;
}

export interface ResumeRunOptions extends RunOptions {
  /** Options that change: `epochs`, `steps`, `device`, `threads`, `checkpointEvery`, `logEvery`. */
  readonly changes?: TrainConfigInput;
}

export interface RunResult extends Conducted {
  /** In the store. */
  readonly name: string;
}

const keys: KnownKeys<RunOptions> = {
  dataset: 'optional',
  onStart: 'optional',
  callbacks: 'optional',
  onNotice: 'optional',
  onPrepare: 'optional',
  control: 'optional',
  signal: 'optional',
};

/**
 * Trains according to `config` in a new run of the store. The caller closes `training.model`.
 * @throws UsageError if options contradict each other; what `fit` throws.
 */
export async function trainRun(config: TrainConfigInput, options: TrainRunOptions): Promise<RunResult> {
  checkOptions<TrainRunOptions>('trainRun', options, { ...keys, store: 'required', name: 'optional' });
  const { store, name: wanted, dataset, ...callbacks } = options;
  const given = parseConfig(config, 'trainRun: config');
  if (wanted !== undefined && (await hasRun(store, checkRunName('trainRun', wanted))))
    throw new UsageError(
      `trainRun: there is a run ${wanted}; continue it with resumeRun, or choose another name`,
    );
  const place = await placeOf(store, given, dataset);
  const name = wanted ?? (await freeName(store, defaultRunName(given, new Date())));
  const { folder, lock: lockName } = await runFolder(store, name, true);
  const lock = await lockFolder(lockName, `the run ${name}`);
  const run = runIn(folder, { name, config: given, lock });
  try {
    await run.writeConfig(given);
  } catch (error) {
    await run.close();
    throw error;
  }
  const result = await conduct(place, { run, config: given }, callbacks, () => removeRunFolder(store, name));
  return { ...result, name };
}

/**
 * Continues a run from its last checkpoint, with the same bits. The caller closes `training.model`.
 * @throws as `trainRun`; InUseError if another tab or worker trains it.
 */
export async function resumeRun(
  store: Store,
  name: string,
  options: ResumeRunOptions = {},
): Promise<RunResult> {
  checkOptions<ResumeRunOptions>('resumeRun', options, { ...keys, changes: 'optional' });
  const { changes = {}, dataset, ...callbacks } = options;
  const { folder, lock: lockName } = await runFolder(store, name);
  const config = await readConfigIn(folder);
  const place = await placeOf(store, config, dataset);
  const lock = await lockFolder(lockName, `the run ${name}`);
  const run = runIn(folder, { name, config, lock });
  const result = await conduct(place, { run, changes }, callbacks, async () => undefined);
  return { ...result, name };
}

/** A page as the place of a training: images from the store or the caller. @throws UsageError if they are missing. */
export async function placeOf(
  store: Pick<Store, 'dataset'>,
  config: TrainConfig,
  given: UserDataset | undefined,
): Promise<Place> {
  const dataset = given ?? (await store.dataset(config.dataset));
  if (config.dataset !== 'shapes') requireDataset(config, dataset);
  let counted: ImageCounts | undefined;
  const facts = (choice: SizedChoice): DatasetFacts => factsOf(choice, () => counted ?? countsOf(dataset!));
  return {
    facts,
    load: async (choice, { onProgress, onNotice, signal }: PrepareOptions) => {
      if (choice.dataset === 'shapes') return shapes();
      const splits = await dataset!.load(choice, {
        onNotice,
        signal,
        onProgress: ({ done, total }) => onProgress?.({ done, total, decoded: done }),
      });
      // Without broken images there may be fewer.
      counted = { ...countsOf(dataset!), length: splits.train.length };
      return splits;
    },
    loadWeights: async (_, init) => {
      throw new UsageError(
        `init ${init} is a file on another machine; open weights with openModelBlob and pass them to compile`,
      );
    },
    environment: async (device) => environmentOf(device),
    withAbsolutePaths: (options) => options,
  };
}

const countsOf = ({ classes, images }: UserDataset): ImageCounts => ({
  classes: classes.length,
  length: images.train,
  hasValidation: images.validation !== undefined,
});

function requireDataset({ dataset: name }: TrainConfig, dataset: UserDataset | undefined): void {
  const files = imageFilesOf(name);
  const wayOut = 'open it with openDataset and pass it as the option dataset, or add it to the store';
  if (!dataset) throw new UsageError(`the data set ${name} is not in this browser; ${wayOut}`);
  // A run of another machine names a folder there.
  const fits = files ? imageFilesOf(dataset.dataset) !== undefined : dataset.dataset === name;
  if (!fits)
    throw new UsageError(`the run trains on ${name}, but the data set is ${dataset.dataset}; ${wayOut}`);
}

interface UserAgentData {
  readonly brands: readonly { readonly brand: string; readonly version: string }[];
  readonly platform: string;
}

/** Name and version of the browser: `Chromium 142`, or what it says of itself. */
function browserName(): string {
  const { userAgentData } = navigator as { userAgentData?: UserAgentData };
  const known = userAgentData?.brands.find(({ brand }) => !/not.?a.?brand/i.test(brand));
  if (known) return `${known.brand} ${known.version}`;
  const [, version, name] = /(?:Version\/(\S+) .*)?(Firefox\/\S+|Safari)/.exec(navigator.userAgent) ?? [];
  return [name?.replace('/', ' '), version].filter(Boolean).join(' ') || 'a browser';
}

function environmentOf({ device, description, threads }: DeviceFacts): RunEnvironment {
  const { userAgentData, deviceMemory = 0 } = navigator as {
    userAgentData?: UserAgentData;
    deviceMemory?: number;
  };
  return {
    vggnet: packageVersion(),
    browser: browserName(),
    platform: userAgentData?.platform || navigator.platform || 'unknown',
    processor: 'unknown',
    cores: navigator.hardwareConcurrency,
    memoryBytes: deviceMemory * 2 ** 30,
    hostname: 'browser',
    device,
    description,
    threads,
    command: [],
    folder: '',
    started: new Date().toISOString(),
  };
}
