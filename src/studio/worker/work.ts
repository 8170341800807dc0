/**
 * Runs a training: as a run of the browser's store, which outlives the page, or in memory alone. In memory are the
 * trainings that are compared, experiments with other data, and all of them where the browser has no private files.
 */
import { openStore, type Store } from '../../browser/store.ts';
import { placeOf, resumeRun, trainRun } from '../../browser/training.ts';
import type { Dataset, DatasetSplits } from '../../data/dataset.ts';
import { permutation, random, streams } from '../../data/random.ts';
import { type AnyDataset, isStored } from '../../data/stored.ts';
import { UsageError } from '../../errors.ts';
import { type Conducted, conduct, type RunCallbacks } from '../../runs/conduct.ts';
import type { Place } from '../../runs/prepare.ts';
import { parseConfig } from '../../train/config.ts';
import type { TrainConfigInput } from '../../train/config-table.ts';
import type { RunSpec } from '../state/spec.ts';
import type { Opening } from './protocol.ts';

/** The store, once; why there is none. */
let opened: Promise<Store> | undefined;
export const theStore = (): Promise<Store> => (opened ??= openStore());

/** Without a store, no data set of a user is known. */
const nothingKept: Pick<Store, 'dataset'> = { dataset: async () => undefined };

/** Curves of a kept run are smooth, and a closed tab loses little. */
const kept: TrainConfigInput = { logEvery: 5, checkpointEvery: '5s' };

export interface Work extends RunCallbacks {
  readonly opening: Opening;
  /** Told the name of a kept run, before anything else. */
  readonly onRun: (name: string) => void;
  readonly onNotice: (line: string) => void;
}

/** Trains to the end. The caller closes the model. @throws as `trainRun` and `resumeRun`. */
export async function work({ opening, onRun, ...callbacks }: Work): Promise<Conducted> {
  if ('run' in opening) {
    const { run, epochs } = opening;
    onRun(run);
    return resumeRun(await theStore(), run, {
      ...callbacks,
      ...(epochs !== undefined && { changes: { epochs } }),
    });
  }
  const { spec, keep, threads } = opening;
  const config: TrainConfigInput = { ...spec.config, ...(threads !== undefined && { threads }) };
  const store = await theStore().catch((error: unknown) => {
    if (keep) callbacks.onNotice(`This training ends with the page: ${(error as Error).message}`);
    return undefined;
  });
  const isExperiment = spec.shuffledLabels === true || spec.trainImages !== undefined;
  if (store && keep && !isExperiment) {
    const name = await newName(store, config);
    onRun(name);
    return trainRun({ ...kept, ...config }, { ...callbacks, store, name });
  }
  const parsed = parseConfig(config, 'the training');
  const place = changed(await placeOf(store ?? nothingKept, parsed, undefined), spec);
  return conduct(place, { run: undefined, config: parsed }, callbacks, async () => undefined);
}

/** `simplified-shapes-3`: short, since the page shows it, and free. */
async function newName(store: Store, config: TrainConfigInput): Promise<string> {
  const model = typeof config.model === 'object' ? config.model.name : (config.model ?? 'simplified');
  const words = `${model}-${config.dataset ?? 'shapes'}`.replaceAll(/[^\w-]+/g, '-').slice(0, 60);
  const taken = new Set((await store.runs()).map(({ name }) => name));
  for (let i = 1; ; i++) if (!taken.has(`${words}-${i}`)) return `${words}-${i}`;
}

/** A place whose data an experiment changes. */
function changed(place: Place, { shuffledLabels = false, trainImages }: RunSpec): Place {
  return {
    ...place,
    facts: (choice) => {
      const facts = place.facts(choice);
      return trainImages === undefined ? facts : { ...facts, length: Math.min(facts.length, trainImages) };
    },
    load: async (choice, options) => {
      let splits = await place.load(choice, options);
      if (trainImages !== undefined) splits = withFewImages(splits, trainImages);
      return shuffledLabels ? withShuffledLabels(splits) : splits;
    },
  };
}

/** The training images with labels in another order: nothing in an image says its label any more. */
function withShuffledLabels(splits: DatasetSplits<AnyDataset>): DatasetSplits<AnyDataset> {
  const { train } = splits;
  const order = permutation(train.length, random(0, streams.shuffle, 0));
  const labels = Uint16Array.from(order, (index) => train.labels[index]!);
  return { ...splits, train: { ...train, labels } };
}

/** The first training images only. @throws UsageError if there are not so many. */
function withFewImages(splits: DatasetSplits<AnyDataset>, count: number): DatasetSplits<AnyDataset> {
  const { train } = splits;
  if (isStored(train))
    throw new UsageError(`trainImages works only with small images, not with ${train.name}`);
  if (!(Number.isInteger(count) && count >= 1 && count <= train.length))
    throw new UsageError(`trainImages ${count} is not a whole number from 1 to ${train.length}`);
  const pixels = train.pixels.subarray(0, (train.pixels.length / train.length) * count);
  const few: Dataset = { ...train, pixels, labels: train.labels.subarray(0, count), length: count };
  return { ...splits, train: few };
}
