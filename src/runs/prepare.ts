/**
 * From a config to the parts of a training: images, loaders, compiled model, optimizer and schedule. The config holds
 * everything that affects the bits of the result. Where images and weights come from is up to the place of the training.
 */
import type { DatasetSplits } from '../data/dataset.ts';
import { type DatasetFacts, type SizedChoice, stepsIn } from '../data/dataset-facts.ts';
import type { PrepareOptions } from '../data/folders/prepare.ts';
import { checkBatchSize } from '../data/loader.ts';
import { imageFilesOf } from '../data/named.ts';
import { leftToTrain } from '../data/split.ts';
import type { AnyDataset } from '../data/stored.ts';
import type { OptimizerOptions, Session } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import { type ModelInfo, normalizationText, sameNormalization } from '../model/info.ts';
import { checkFactor, layersMatching, rateFactorsOf } from '../model/layer-patterns.ts';
import { networkOf } from '../model/models.ts';
import { buildNetwork } from '../model/network.ts';
import { normalizationPresets } from '../model/normalization-presets.ts';
import { checkArgument } from '../options.ts';
import { withSettings } from '../train/changes.ts';
import { checkpointInterval, parseConfig } from '../train/config.ts';
import type { TrainConfig, TrainConfigInput } from '../train/config-table.ts';
import { checkInterval, type FitOptions } from '../train/fit.ts';
import { checkLength, lastStep } from '../train/length.ts';
import { compile, type Model } from '../train/model.ts';
import { adam, adamw, muon, sgd } from '../train/optimizers.ts';
import {
  constantSchedule,
  cosineSchedule,
  multiStepSchedule,
  oneCycleSchedule,
  plateauSchedule,
  type Schedule,
  stepSchedule,
  withFactorAfter,
  withWarmup,
} from '../train/schedules.ts';
import { stepOptionsOf } from '../train/step-options.ts';
import { counted } from '../words.ts';
import { type Loaders, loadersOf, normalizationOf } from './loaders.ts';
import type { LoadWeightsOptions } from './model-files.ts';
import type { RunEnvironment } from './records.ts';

/** The device of a model. */
export type DeviceFacts = Pick<Model, 'device' | 'description' | 'threads'>;

/** What a training takes from the place where it runs: a machine with Node (`place-node.ts`), or a page. */
export interface Place {
  /** What is known of a data set before its images are read. @throws DataError */
  readonly facts: (choice: SizedChoice) => DatasetFacts;
  readonly load: (choice: SizedChoice, options: PrepareOptions) => Promise<DatasetSplits<AnyDataset>>;
  /** Reads the weights that the option `init` names. */
  readonly loadWeights: (
    model: Model,
    init: string,
    options: LoadWeightsOptions,
  ) => Promise<ModelInfo | undefined>;
  /** Versions, machine and device. */
  readonly environment: (device: DeviceFacts) => Promise<RunEnvironment>;
  /** `options` with paths that are found from anywhere. */
  readonly withAbsolutePaths: <Options extends Pick<TrainConfigInput, 'dataset' | 'data'>>(
    options: Options,
  ) => Options;
}

/** The parts of a training, ready to start. */
export interface Training extends Loaders {
  readonly config: TrainConfig;
  readonly model: Model;
  readonly splits: DatasetSplits<AnyDataset>;
}

/** @throws UsageError if an option is out of range. */
export function optimizerOf(config: TrainConfig): OptimizerOptions {
  const { optimizer, lr, beta1, beta2, epsilon, momentum, nesterov, otherLr, weightDecay } = config;
  switch (optimizer) {
    case 'adam':
      return adam({ lr, betas: [beta1, beta2], epsilon, weightDecay });
    case 'adamw':
      return adamw({ lr, betas: [beta1, beta2], epsilon, weightDecay });
    case 'muon':
      return muon({ lr, otherLr, momentum, weightDecay });
    case 'sgd':
      return sgd({ lr, momentum, nesterov, weightDecay });
    default:
      return optimizer satisfies never;
  }
}

/** @throws UsageError if an option is out of range. */
export function scheduleOf(config: TrainConfig): Schedule {
  const { schedule, lr, lrStep, lrGamma, milestones, minLr, warmup } = config;
  const course = (): Schedule => {
    switch (schedule) {
      case 'constant':
        return constantSchedule(lr);
      case 'step':
        return stepSchedule(lr, lrStep, lrGamma);
      case 'multiStep':
        return multiStepSchedule(lr, milestones, lrGamma);
      case 'cosine':
        return cosineSchedule(lr, minLr);
      case 'oneCycle':
        return oneCycleSchedule(lr);
      case 'plateau':
        return plateauSchedule(lr, lrGamma, minLr);
      default:
        return schedule satisfies never;
    }
  };
  const { unfreezeAfter, unfreezeLr } = config;
  const whole = withWarmup(course(), warmup);
  return unfreezeAfter === undefined ? whole : withFactorAfter(whole, unfreezeAfter, unfreezeLr);
}

/**
 * Checks a config before anything is read.
 * @throws UsageError if options contradict each other.
 */
export function checkConfigAt(place: Place, config: TrainConfig): void {
  const facts = checkParts(place, config);
  checkLength({ ...config, stepsPerEpoch: stepsIn(facts, config) });
}

/** Checks all but the training's length, which does not apply to sweeps and to resumed runs of older versions. */
function checkParts(place: Place, config: TrainConfig): DatasetFacts {
  const optimizer = optimizerOf(config);
  for (const change of config.changes ?? [])
    withSettings(`changes: change at step ${change.step}`, optimizer, change);
  scheduleOf(config);
  checkInterval(checkpointInterval(config));
  const facts = place.facts(config);
  checkLayers(config, facts);
  const { cutout, batchSize, validation } = config;
  if (validation > 0 && facts.hasValidation) {
    throw new UsageError(
      `validation ${validation} has no effect with ${facts.name}, which has validation images of its own; leave it out`,
    );
  }
  checkBatchSize(batchSize, { ...facts, length: leftToTrain(facts, config.validation) });
  const { name, shape } = facts;
  lastStep({ ...config, stepsPerEpoch: stepsIn(facts, config) });
  const [, height, width] = shape;
  const most = Math.min(height, width);
  if (cutout <= most) return facts;
  throw new UsageError(
    `cutout ${cutout} is larger than the images of ${name}, ${height} × ${width} pixels; use at most ${most}`,
  );
}

/** Checks the patterns of layers before anything is read. @throws UsageError for one that chooses no layer. */
function checkLayers(config: TrainConfig, { classes, shape }: DatasetFacts): void {
  const { freeze = [], lrGroups, unfreezeAfter } = config;
  if (freeze.length === 0 && Object.keys(lrGroups).length === 0) return;
  for (const [pattern, factor] of Object.entries(lrGroups)) checkFactor('lrGroups', pattern, factor);
  const model = networkOf(config.model, { classes, options: config.modelOptions, input: shape });
  const network = buildNetwork(model, shape);
  const frozen = layersMatching('freeze', network, freeze);
  const factors = rateFactorsOf('lrGroups', network, lrGroups);
  // Layers that are unfrozen later learn at these rates.
  if (unfreezeAfter !== undefined || frozen.length === 0) return;
  const idle = Object.keys(lrGroups).find((pattern) =>
    layersMatching('lrGroups', network, [pattern]).every((layer) => frozen.includes(layer)),
  );
  if (idle === undefined || factors.length === 0) return;
  throw new UsageError(
    `lrGroups: all layers of "${idle}" are frozen, so its factor has no effect; leave one of the two out, or unfreeze ` +
      'the layers (--unfreeze-after)',
  );
}

/** Options of `prepareTrainingAt`. */
export interface PreparationOptions {
  readonly onNotice: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
  readonly onPrepare?: PrepareOptions['onProgress'];
  /** Of an earlier model of the run, for the same bits. */
  readonly kept?: Pick<Session, 'tiles' | 'cacheBytes'> | undefined;
}

/** Reads the images and compiles the network. @throws UsageError if options contradict each other. */
export async function prepareTrainingAt(
  place: Place,
  given: TrainConfigInput,
  { onNotice, signal, onPrepare, kept }: PreparationOptions,
): Promise<Training> {
  const config = parseConfig(given, 'prepareTraining: config');
  const { batchSize, seed, device, threads } = config;
  let facts = checkParts(place, config);
  // The workers start while the images are read. An error in reading is thrown where the images are needed.
  const loading = place.load(config, { threads, onNotice, signal, onProgress: onPrepare });
  loading.catch(() => undefined);
  if (imageFilesOf(config.dataset)) {
    // Without broken images there may be fewer, and preparing them uses all cores.
    await loading;
    facts = checkParts(place, config);
  }
  noteLateUnfreezing(config, facts, onNotice);
  const network = networkOf(config.model, {
    classes: facts.classes,
    options: config.modelOptions,
    input: facts.shape,
  });
  const model = await compile(network, {
    input: facts.shape,
    purpose: 'train',
    // The check of memory is for what trains most.
    freeze: config.unfreezeAfter === undefined ? (config.freeze ?? []) : [],
    batchSize,
    seed,
    device,
    tiles: kept?.tiles,
    cacheBytes: kept?.cacheBytes,
    onNotice,
    ...(threads !== undefined && { threads }),
    ...(signal && { signal }),
  });
  try {
    const splits = await loading;
    const loaders = loadersOf(splits, config, facts.shape);
    if (config.init !== undefined)
      await startFrom(place, config.init, model, config, splits, onNotice, signal);
    await model.freeze(config.freeze ?? []);
    model.learnsFrom(loaders.trainLoader);
    return { config, model, splits, ...loaders };
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** Says it if the training ends before its layers are unfrozen. */
function noteLateUnfreezing(
  config: TrainConfig,
  facts: DatasetFacts,
  onNotice: (line: string) => void,
): void {
  const { unfreezeAfter } = config;
  if (unfreezeAfter === undefined) return;
  const perEpoch = stepsIn(facts, config);
  const steps = lastStep({ ...config, stepsPerEpoch: perEpoch });
  if (steps > unfreezeAfter * perEpoch) return;
  onNotice(
    `unfreezeAfter ${unfreezeAfter} has no effect in a training of ${counted(steps, 'step')}, ${perEpoch} in each epoch: ` +
      'its frozen layers stay frozen. Train longer (--epochs, --steps), or unfreeze earlier (--unfreeze-after).',
  );
}

/** Reads initial weights. Reports where their images were normalized otherwise than here. */
async function startFrom(
  place: Place,
  init: string,
  model: Model,
  config: TrainConfig,
  { train }: DatasetSplits<AnyDataset>,
  onNotice: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { initKey: key, freshHead, deepen, seed, normalize, normalization } = config;
  const isTurned =
    typeof normalization === 'string' && normalizationPresets[normalization].blueFirst === true;
  const options = { key, freshHead, deepen, seed, blueFirst: isTurned, onNotice, signal };
  const info = await place.loadWeights(model, init, options);
  const own = normalization === undefined && normalize ? "by the data set's mean and deviation" : undefined;
  if (info?.normalization === undefined) {
    if (normalization !== undefined) return;
    onNotice(
      `${init} does not say how its images were normalized; here they are normalized ` +
        `${own ?? 'not at all; --normalize or --normalization change this'}`,
    );
    return;
  }
  const here = normalizationOf(train, config) ?? null;
  if (sameNormalization(info.normalization, here)) return;
  onNotice(
    `${init} was trained with normalization ${normalizationText(info.normalization)}; here images are normalized ` +
      `${own ?? `with ${normalizationText(here)}`}, as the options say`,
  );
}

/** The options of `fit` for a training. */
export function fitOptionsOf(training: Training): Omit<FitOptions, 'callbacks'> {
  checkArgument('fitOptionsOf', 'training', training, ['config', 'model'], 'the result of prepareTraining');
  const { config, splits: _, ...parts } = training;
  const every = checkpointInterval(config);
  return {
    ...parts,
    optimizer: optimizerOf(config),
    schedule: scheduleOf(config),
    patience: config.patience,
    lrGroups: config.lrGroups,
    ...(config.freeze && { freeze: config.freeze }),
    ...(config.unfreezeAfter !== undefined && { unfreezeAfter: config.unfreezeAfter }),
    epochs: config.epochs,
    ...(config.steps !== undefined && { steps: config.steps }),
    earlyStopping: config.earlyStopping,
    ...(every && { checkpointEvery: every }),
    ...(config.changes && { changes: config.changes }),
    ...stepOptionsOf(config),
  };
}
