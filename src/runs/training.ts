/**
 * From a config to a trained network in a run folder (Node only), for `vgg train` and every trial of a study.
 * The config holds everything that affects the bits of the result; a run starts and resumes with it.
 */
import type { DatasetSplits } from '../data/dataset.ts';
import { checkBatchSize } from '../data/loader.ts';
import { datasetFacts, loadDataset } from '../data/named.ts';
import { leftToTrain } from '../data/split.ts';
import type { OptimizerOptions } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import { type Chosen, contradictions, type ModelInfo } from '../model/info.ts';
import { createModel } from '../model/models.ts';
import { checkOptions } from '../options.ts';
import {
  checkpointInterval,
  parseConfig,
  refuseUnused,
  stepsPerEpoch,
  type TrainConfig,
} from '../train/config.ts';
import {
  type Callback,
  checkInterval,
  checkLength,
  type FitOptions,
  type FitResult,
  fit as fitModel,
  hasMore,
  lastStep,
  placeOf,
  type Snapshot,
} from '../train/fit.ts';
import { compile, type Model } from '../train/model.ts';
import { adam, adamw, sgd } from '../train/optimizers.ts';
import {
  constantSchedule,
  cosineSchedule,
  multiStepSchedule,
  oneCycleSchedule,
  plateauSchedule,
  type Schedule,
  stepSchedule,
  withWarmup,
} from '../train/schedules.ts';
import { counted } from '../words.ts';
import { captureEnvironment } from './environment.ts';
import { createRun, openRun, type Run, readRun, removeFolder } from './folder.ts';
import { type Loaders, loadersOf } from './loaders.ts';
import { readSnapshot, recordRun, statusBefore } from './recorder.ts';
import { kernelsIn, type RunEnvironment } from './records.ts';

/** The parts of a training, ready to start. */
export interface Training extends Loaders {
  readonly config: TrainConfig;
  readonly model: Model;
  readonly splits: DatasetSplits;
}

export interface TrainingOptions {
  /** Starts a run in this folder. Without `folder` and `resume`, nothing is written. */
  readonly folder?: string;
  /** Resumes the run in this folder; the config must be the run's. */
  readonly resume?: string;
  readonly checkpointEvery?: NonNullable<FitOptions['checkpointEvery']>;
  /** Called when everything is ready, before the first step. */
  readonly onStart?: (training: Training, from: Snapshot | undefined) => void;
  readonly callbacks?: readonly Callback[];
  readonly onNotice?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** @throws UsageError if an option is out of range. */
export function optimizerOf(config: TrainConfig): OptimizerOptions {
  const { optimizer, lr, beta1, beta2, epsilon, momentum, nesterov, weightDecay } = config;
  switch (optimizer) {
    case 'adam':
      return adam({ lr, betas: [beta1, beta2], epsilon, weightDecay });
    case 'adamw':
      return adamw({ lr, betas: [beta1, beta2], epsilon, weightDecay });
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
  return withWarmup(course(), warmup);
}

/**
 * Checks a config before anything is read.
 * @throws UsageError if options contradict each other.
 */
export function checkConfig(config: TrainConfig): void {
  checkParts(config);
  checkLength({ ...config, stepsPerEpoch: stepsPerEpoch(config) });
}

/** Checks all but the training's length, which does not apply to sweeps and to resumed runs of older versions. */
function checkParts(config: TrainConfig): ReturnType<typeof datasetFacts> {
  optimizerOf(config);
  scheduleOf(config);
  checkInterval(checkpointInterval(config));
  const facts = datasetFacts(config);
  const { cutout, batchSize } = config;
  checkBatchSize(batchSize, { ...facts, length: leftToTrain(facts, config.validation) });
  const { name, shape } = facts;
  lastStep({ ...config, stepsPerEpoch: stepsPerEpoch(config) });
  const [, height, width] = shape;
  const most = Math.min(height, width);
  if (cutout <= most) return facts;
  throw new UsageError(
    `cutout ${cutout} is larger than the images of ${name}, ${height} × ${width} pixels; use at most ${most}`,
  );
}

/** Reads the images and compiles the network. @throws UsageError if options contradict each other. */
export async function prepareTraining(
  given: TrainConfig,
  onNotice: (line: string) => void = console.warn,
  signal?: AbortSignal,
): Promise<Training> {
  const config = parseConfig(given, 'prepareTraining: config');
  const { batchSize, seed, device, threads } = config;
  const facts = checkParts(config);
  // The workers start while the images are read. An error in reading is thrown where the images are needed.
  const loading = loadDataset(config);
  loading.catch(() => undefined);
  const network = createModel(config.model, { classes: facts.classes, options: config.modelOptions });
  const model = await compile(network, {
    input: facts.shape,
    batchSize,
    seed,
    device,
    onNotice,
    ...(threads !== undefined && { threads }),
    ...(signal && { signal }),
  });
  try {
    const splits = await loading;
    const loaders = loadersOf(splits, config);
    if (config.init !== undefined) {
      const info = await model.load(config.init);
      if (info) refuseContradictions(config.init, info, { normalize: config.normalize });
    }
    model.learnsFrom(loaders.trainLoader);
    return { config, model, splits, ...loaders };
  } catch (error) {
    await model.close();
    throw error;
  }
}

/**
 * Rejects options that contradict the information stored with weights. `named` words an option for its source.
 * @throws UsageError that names both values and the way out.
 */
export function refuseContradictions(
  path: string,
  info: ModelInfo,
  chosen: Chosen,
  named = (option: keyof Chosen, value: string): string => `${option} ${value}`,
): void {
  const [found] = contradictions(info, chosen);
  if (!found) return;
  const { option, stored, chosen: own } = found;
  throw new UsageError(
    `${path}: its weights were trained with ${option} ${stored}, which contradicts ${named(option, own)}; ` +
      'leave that out, use the same value, or choose other weights',
  );
}

/** The options of `fit` for a training. */
export function fitOptionsOf({ config, splits: _, ...parts }: Training): Omit<FitOptions, 'callbacks'> {
  return {
    ...parts,
    optimizer: optimizerOf(config),
    schedule: scheduleOf(config),
    patience: config.patience,
    epochs: config.epochs,
    ...(config.steps !== undefined && { steps: config.steps }),
    earlyStopping: config.earlyStopping,
    accumulate: config.accumulate,
    labelSmoothing: config.labelSmoothing,
    clipNorm: config.clipNorm,
    averageDecay: config.averageDecay,
    mixup: config.mixup,
  };
}

export interface TrainingResult extends FitResult {
  readonly training: Training;
  /** The run's folder; undefined without a run. */
  readonly folder: string | undefined;
}

/**
 * Trains according to a config. The caller closes `training.model`.
 * @throws what `fit` throws; the run's state then says how it ended.
 */
export async function runTraining(
  given: TrainConfig,
  options: TrainingOptions = {},
): Promise<TrainingResult> {
  const config = parseConfig(given, 'runTraining: config');
  checkOptions<TrainingOptions>('runTraining', options, {
    folder: 'optional',
    resume: 'optional',
    checkpointEvery: 'optional',
    onStart: 'optional',
    callbacks: 'optional',
    onNotice: 'optional',
    signal: 'optional',
  });
  const { folder, resume, onStart, callbacks = [], onNotice = console.warn, signal } = options;
  const run =
    resume !== undefined
      ? await openRun(resume, { onWait: onNotice, signal })
      : folder !== undefined
        ? await createRun(folder, config, undefined, { onWait: onNotice, signal })
        : undefined;
  const notice = (line: string): void => {
    onNotice(line);
    // A log that cannot be written must not stop the training.
    if (run) run.log(line).catch(() => undefined);
  };
  let training: Training | undefined;
  let begun = false;
  try {
    if (resume === undefined) checkConfig(config);
    const from = run && resume !== undefined ? await readSnapshot(run, notice, { signal }) : undefined;
    if (from?.info)
      refuseContradictions(`${resume}`, from.info, config, (option, value) => `its ${option} ${value}`);
    // A checkpoint's weights replace the initial ones.
    const { init: _, ...withoutInit } = config;
    training = { ...(await prepareTraining(from ? withoutInit : config, notice, signal)), config };
    signal?.throwIfAborted();
    const extent = { ...config, stepsPerEpoch: training.trainLoader.length };
    const left = !from || hasMore(from.loop, extent);
    if (run) {
      const rates = from && left ? bentCourse(run.config, training, from.loop, notice) : undefined;
      // Changed options, such as the number of epochs, are now the run's.
      if (resume !== undefined && left) await run.writeConfig(config);
      // A machine that trains nothing is not recorded.
      if (left) await writeEnvironment(run, training, from, rates, notice);
    }
    begun = true;
    const every = options.checkpointEvery ?? checkpointInterval(config);
    // A finished run without new steps stays unchanged.
    const rests = run && !left && (await statusBefore(run))?.state === 'finished';
    const recorder =
      run && !rests
        ? await recordRun(run, {
            stepInterval: config.logEvery,
            model: training.model,
            trainLoader: training.trainLoader,
            resumed: resume !== undefined,
            left,
            ...(from && { from }),
          })
        : undefined;
    try {
      onStart?.(training, from);
      const result = await fitModel({
        ...fitOptionsOf(training),
        // The run's files come first: they must not wait for other callbacks.
        callbacks: [...(recorder ? [recorder.callback] : []), ...callbacks],
        ...(from && { resume: from }),
        ...(every && { checkpointEvery: every }),
        ...(signal && { signal }),
      });
      await recorder?.close('finished', result.reason === 'earlyStopped' ? 'no progress' : undefined);
      return { ...result, training, folder: run ? run.folder : undefined };
    } catch (error) {
      const interrupted = signal?.aborted === true && error === signal.reason;
      // If the disk is the problem, closing may fail too, and must not hide the first error.
      await recorder
        ?.close(
          interrupted ? 'interrupted' : 'failed',
          error instanceof Error ? error.message : String(error),
        )
        .catch(() => undefined);
      throw error;
    }
  } catch (error) {
    await training?.model.close();
    throw error;
  } finally {
    if (run) {
      await run.close();
      // A run that never started leaves no folder.
      if (!begun && resume === undefined) await removeFolder(run.folder);
    }
  }
}

/** Writes `env.json` and a line of the log, at the start of a run and each time it resumes. */
async function writeEnvironment(
  run: Run,
  { model }: Training,
  from: Snapshot | undefined,
  rates: Rates | undefined,
  notice: (line: string) => void,
): Promise<void> {
  const { device, description, threads } = model;
  const now = await captureEnvironment({ device, description, threads });
  const { env } = await readRun(run.folder);
  const name = kernelsIn(description);
  if (env && !from) await run.log(`starting again on ${description}: no checkpoint was written yet`);
  if (!env || !from) {
    await run.writeEnvironment({ ...now, kernels: [{ after: 0, name }] });
    return;
  }
  const differs = differences(env, now);
  const { epoch, step, totalSteps } = from.loop;
  await run.log(`resuming ${placeOf(from.loop)}, on ${description}`);
  // Older versions did not store kernels, and each resume replaced the description.
  const before = env.kernels ?? (env.resumed ? undefined : [{ after: 0, name: kernelsIn(env.description) }]);
  // Leave out the kernels of steps that will be done again.
  const kernels = before?.filter(({ after }) => after < totalSteps);
  if (kernels && kernels.at(-1)?.name !== name) kernels.push({ after: totalSteps, name });
  const entry = {
    at: now.started,
    epoch,
    step,
    description,
    ...(differs && { differs }),
    ...(rates && { rates }),
  };
  if (differs) {
    notice(
      `The run started with other kernels or versions, so its results may differ in the last bits: ${differs}.`,
    );
  }
  // The next resume compares with the latest environment.
  const { vggnet, node, v8, processor, hostname } = now;
  await run.writeEnvironment({
    ...env,
    ...{ vggnet, node, v8, processor, hostname, device, description, threads },
    ...(kernels && { kernels }),
    resumed: [...(env.resumed ?? []), entry],
  });
}

type Rates = NonNullable<NonNullable<RunEnvironment['resumed']>[number]['rates']>;

/**
 * Learning rates of the last step and the next one, if new `epochs` or `steps` change the schedule's curve from here on;
 * undefined otherwise.
 */
function bentCourse(
  before: TrainConfig,
  { config: now, trainLoader: { length: stepsPerEpoch } }: Training,
  { totalSteps, counters: { plateaus = 0 } }: Snapshot['loop'],
  notice: (line: string) => void,
): Rates | undefined {
  const rateAt = (config: TrainConfig, total: number): number => {
    const [epoch, step] = [Math.floor(total / stepsPerEpoch) + 1, total % stepsPerEpoch];
    const ends = lastStep({ ...config, stepsPerEpoch });
    return scheduleOf(config)({
      ...{ epoch, step, stepsPerEpoch, epochs: config.epochs, totalSteps: ends, plateaus },
    });
  };
  const rates = { before: rateAt(before, Math.max(0, totalSteps - 1)), now: rateAt(now, totalSteps) };
  if (rateAt(before, totalSteps) === rates.now) return undefined;
  const lengthOf = (config: TrainConfig): number => lastStep({ ...config, stepsPerEpoch });
  notice(
    `With ${counted(lengthOf(now), 'step')} instead of ${lengthOf(before)}, ${now.schedule} follows another curve: the learning rate ` +
      `was ${rates.before.toPrecision(3)} in the last step and is ${rates.now.toPrecision(3)} in the next one.`,
  );
  return rates;
}

/** Why bits may differ, in words; undefined if nothing that could change them differs. */
function differences(before: RunEnvironment, now: RunEnvironment): string | undefined {
  const pairs: readonly (readonly [string, string, string])[] = [
    ['kernels', kernelsIn(before.description), kernelsIn(now.description)],
    ['vggnet', before.vggnet, now.vggnet],
    // V8's logarithm computes the loss.
    ['V8', before.v8, now.v8],
  ];
  const changed = pairs.filter(([, old, fresh]) => old !== fresh);
  return changed.length === 0
    ? undefined
    : changed.map(([what, old, fresh]) => `${what} ${old} before, ${fresh} now`).join('; ');
}

/**
 * The config of a run that resumes after `stepsDone` steps with `changes`.
 * @throws UsageError for a change that is not allowed, and for an end before `stepsDone`.
 */
export function resumedConfig(
  config: TrainConfig,
  changes: Partial<TrainConfig>,
  stepsDone = 0,
): TrainConfig {
  const allowed = ['epochs', 'steps', 'device', 'threads', 'data', 'checkpointEvery', 'logEvery'] as const;
  const refused = Object.keys(changes).find((key) => !(allowed as readonly string[]).includes(key));
  if (refused !== undefined) {
    throw new UsageError(
      `--resume keeps the run's ${refused}; only ${allowed.join(', ')} may be changed. ` +
        'To train differently from here, start a new run with --init RUN/last.safetensors',
    );
  }
  refuseUnused(changes, config, '--resume');
  const changed = { ...config, ...changes };
  if ('epochs' in changes || 'steps' in changes)
    checkLength({ ...changed, stepsPerEpoch: stepsPerEpoch(changed) });
  const endOf = (of: TrainConfig): number => lastStep({ ...of, stepsPerEpoch: stepsPerEpoch(of) });
  if (endOf(changed) < stepsDone && endOf(changed) < endOf(config)) {
    const limit = changes.steps !== undefined && changes.steps < stepsDone ? 'steps' : 'epochs';
    throw new UsageError(
      `--${limit} ${changed[limit]} ends the run after ${counted(endOf(changed), 'step')}, but it has already done ${stepsDone}; ` +
        `use a larger value, or leave out --${limit}`,
    );
  }
  return changed;
}
