/**
 * From a config to a trained network in a run folder (Node only): what `vgg train` and every trial of a search do.
 * Everything that decides about bits is in the config; a run is begun from it or taken up again with it.
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
import { parseConfig, refuseUnused, stepsPerEpoch, type TrainConfig } from '../train/config.ts';
import {
  type Callback,
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

/** All that a training consists of, ready to begin. */
export interface Training extends Loaders {
  readonly config: TrainConfig;
  readonly model: Model;
  readonly splits: DatasetSplits;
}

export interface TrainingOptions {
  /** Begins a run in this folder. */
  readonly folder?: string;
  /** Or goes on with the run in this one; the config is then the run's own. */
  readonly resume?: string;
  /** Leaves out both: nothing is written. */
  readonly checkpointEvery?: NonNullable<FitOptions['checkpointEvery']>;
  /** Hears of the training when all is ready, before its first step. */
  readonly onStart?: (training: Training, from: Snapshot | undefined) => void;
  readonly callbacks?: readonly Callback[];
  readonly onNotice?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** @throws UsageError where an option is out of its range. */
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

/** @throws UsageError where an option is out of its range. */
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
 * What is known before anything is read.
 * @throws UsageError where options do not go together.
 */
export function checkConfig(config: TrainConfig): void {
  checkParts(config);
  checkLength({ ...config, stepsPerEpoch: stepsPerEpoch(config) });
}

/** All but the length of the training, which a sweep and a resumed run of an older version do not have to keep to. */
function checkParts(config: TrainConfig): ReturnType<typeof datasetFacts> {
  optimizerOf(config);
  scheduleOf(config);
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

/** Reads the images and lays out the network. @throws where the config does not fit together. */
export async function prepareTraining(
  given: TrainConfig,
  onNotice: (line: string) => void = console.warn,
  signal?: AbortSignal,
): Promise<Training> {
  const config = parseConfig(given, 'prepareTraining: config');
  const { batchSize, seed, device, threads } = config;
  const facts = checkParts(config);
  // The workers start while the images are read. What goes wrong with those is thrown where they are needed.
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
 * Refuses what is chosen against what weights say of themselves. `named` words an option for its source.
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
      'leave that out or make it agree, or choose other weights',
  );
}

/** What `fit` needs to know of a config. */
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
  /** The run's folder, where there is one. */
  readonly folder: string | undefined;
}

/**
 * Trains what `config` says. The caller closes `training.model`.
 * @throws what `fit` throws; the run then says how it ended.
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
    // A log that cannot be written must not end what it is about.
    if (run) run.log(line).catch(() => undefined);
  };
  let training: Training | undefined;
  let begun = false;
  try {
    if (resume === undefined) checkConfig(config);
    const from = run && resume !== undefined ? await readSnapshot(run, notice) : undefined;
    if (from?.info)
      refuseContradictions(`${resume}`, from.info, config, (option, value) => `its ${option} ${value}`);
    // What a checkpoint holds takes the place of the weights that the run began with.
    const { init: _, ...withoutInit } = config;
    training = { ...(await prepareTraining(from ? withoutInit : config, notice, signal)), config };
    signal?.throwIfAborted();
    const extent = { ...config, stepsPerEpoch: training.trainLoader.length };
    const left = !from || hasMore(from.loop, extent);
    if (run) {
      const rates = from && left ? bentCourse(run.config, training, from.loop, notice) : undefined;
      // What was changed, the number of epochs for instance, now belongs to the run.
      if (resume !== undefined && left) await run.writeConfig(config);
      // A machine that computes nothing has no part in the run.
      if (left) await writeEnvironment(run, training, from, rates, notice);
    }
    begun = true;
    // A finished run to which nothing is added stays as it is.
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
        // What a run keeps comes first: it must not wait for what others make of it.
        callbacks: [...(recorder ? [recorder.callback] : []), ...callbacks],
        ...(from && { resume: from }),
        ...(options.checkpointEvery && { checkpointEvery: options.checkpointEvery }),
        ...(signal && { signal }),
      });
      await recorder?.close('finished', result.reason === 'earlyStopped' ? 'no progress' : undefined);
      return { ...result, training, folder: run ? run.folder : undefined };
    } catch (error) {
      const interrupted = signal?.aborted === true && error === signal.reason;
      // What is wrong with the disk may be so again, and hides nothing.
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
      // A run that never began leaves no folder behind.
      if (!begun && resume === undefined) await removeFolder(run.folder);
    }
  }
}

/** `env.json` and a line of the log: as the run began, and each time that it goes on. */
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
  if (env && !from) await run.log(`beginning again, as there is no checkpoint yet, on ${description}`);
  if (!env || !from) {
    await run.writeEnvironment({ ...now, kernels: [{ after: 0, name }] });
    return;
  }
  const differs = differences(env, now);
  const { epoch, step, totalSteps } = from.loop;
  await run.log(`going on ${placeOf(from.loop)}, on ${description}`);
  // Older versions did not keep it, and each resumption replaced the description.
  const before = env.kernels ?? (env.resumed ? undefined : [{ after: 0, name: kernelsIn(env.description) }]);
  // Of steps that will be done again, it does not count what computed them.
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
    notice(`The run began on other kernels, so its results may differ in their last bits: ${differs}.`);
  }
  // Later changes are measured against what computed last.
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
 * Learning rates of the last step and of the next one if another length of the training changes the curve of the rate
 * from here on; undefined if it does not.
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

/** Why bits may differ, in words; undefined where nothing is known that could change them. */
function differences(before: RunEnvironment, now: RunEnvironment): string | undefined {
  const pairs: readonly (readonly [string, string, string])[] = [
    ['kernels', kernelsIn(before.description), kernelsIn(now.description)],
    ['vggnet', before.vggnet, now.vggnet],
    // It has the logarithm of the loss.
    ['V8', before.v8, now.v8],
  ];
  const changed = pairs.filter(([, old, fresh]) => old !== fresh);
  return changed.length === 0
    ? undefined
    : changed.map(([what, old, fresh]) => `${what} ${old} before, ${fresh} now`).join('; ');
}

/**
 * The config of a run, which has done so many steps, with what may be changed when it is taken up again.
 * @throws UsageError for what may not be, and for an end before what is done.
 */
export function resumedConfig(
  config: TrainConfig,
  changes: Partial<TrainConfig>,
  stepsDone = 0,
): TrainConfig {
  const allowed = ['epochs', 'steps', 'device', 'threads', 'data', 'logEvery'] as const;
  const refused = Object.keys(changes).find((key) => !(allowed as readonly string[]).includes(key));
  if (refused !== undefined) {
    throw new UsageError(
      `--resume goes on with the run's own ${refused}; only ${allowed.join(', ')} may be changed. ` +
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
      `--${limit} ${changed[limit]} ends the run after ${counted(endOf(changed), 'step')}, and it has done ${stepsDone}; ` +
        `give more, or leave out --${limit}`,
    );
  }
  return changed;
}
