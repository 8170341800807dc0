/** A machine with Node as the place of a training (Node only): data sets and weights from disk. */
import { datasetFacts } from '../data/facts.ts';
import type { PrepareProgress } from '../data/folders/prepare.ts';
import { loadDataset } from '../data/load.ts';
import { withAbsolutePaths } from '../data/places.ts';
import type { TrainConfig, TrainConfigInput } from '../train/config-table.ts';
import { captureEnvironment } from './environment.ts';
import { loadWeights } from './model-files.ts';
import { checkConfigAt, type Place, prepareTrainingAt, type Training } from './prepare.ts';
import { resumedConfigAt } from './resume.ts';

export const nodePlace: Place = {
  facts: datasetFacts,
  load: loadDataset,
  loadWeights,
  environment: captureEnvironment,
  withAbsolutePaths,
};

/**
 * Checks a config before anything is read.
 * @throws UsageError if options contradict each other.
 */
export const checkConfig = (config: TrainConfig): void => checkConfigAt(nodePlace, config);

/** Reads the images and compiles the network. @throws UsageError if options contradict each other. */
export const prepareTraining = (
  config: TrainConfigInput,
  onNotice: (line: string) => void = console.warn,
  signal?: AbortSignal,
  onPrepare?: (progress: PrepareProgress) => void,
): Promise<Training> => prepareTrainingAt(nodePlace, config, { onNotice, signal, onPrepare });

/**
 * The config of a run that resumes after `stepsDone` steps with the `given` changes; equal options are no change.
 * @throws UsageError for a change that is not allowed, and for an end before `stepsDone`.
 */
export const resumedConfig = (
  stored: TrainConfig,
  given: TrainConfigInput,
  stepsDone: number = 0,
): TrainConfig => resumedConfigAt(nodePlace, stored, given, stepsDone);
