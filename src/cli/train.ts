/**
 * `vgg train`: the lecture's program, and any other training. The options become a config (`config-options.ts`), the
 * config a training in a run folder (`runs/training.ts`); here it is shown, kept and ended well.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import type { DatasetSplits } from '../data/dataset.ts';
import { UsageError, VggError } from '../errors.ts';
import type { SeedSeries } from '../runs/seeds.ts';
import { stepsPerEpoch, type TrainConfig, usedOptions } from '../train/config.ts';
import type { Callback, FitOptions } from '../train/fit.ts';
import { percent } from '../words.ts';
import { addConfigOptions, chosenConfig, givenOptions } from './config-options.ts';
import { Interrupted, type Interruption } from './interrupt.ts';
import { checkWritable, keeperOf } from './keep.ts';
import { continueWithoutOutput, doing, meanText, note, print, printJson } from './output.ts';
import { pathOption, wholeNumberOption } from './values.ts';

interface TrainCommandOptions {
  /** A folder, or false for --no-run. */
  readonly run?: string | false;
  readonly resume?: string;
  readonly checkpointEvery?: NonNullable<FitOptions['checkpointEvery']>;
  readonly report: boolean;
  readonly seeds?: number;
  readonly save?: string;
  readonly printConfig?: true;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg train --epochs 3                        the lecture's network on the built-in shapes
  $ vgg train --recipe lecture                  the lecture's whole program, on CIFAR-10
  $ vgg train --recipe cifar100-vgg7            the third exercise
  $ vgg train --resume runs/vgg7-cifar100-…     goes on where a run was left, with the same bits
  $ vgg train --model vgg7 --model-option channels=64,128 --optimizer sgd --lr 0.05 --schedule cosine --warmup 1
  $ vgg train --epochs 5 --seeds 3 --run runs/three
                                                mean and deviation over three seeds; --resume runs/three goes on
  $ vgg train --steps 20 --log-every 1 --json   each step as one JSON object

A run folder holds config, metrics, checkpoints and a report; Ctrl-C writes a checkpoint, and --resume goes on. Training
pictures are padded by 4, flipped at random and cropped to their size at random, as in the lecture, unless
--no-augment is given.`;

export function trainCommand(interruption: Interruption): Command {
  const command = new Command('train').description('train a network and test it after each epoch');
  addConfigOptions(command)
    .addOption(
      pathOption('--run <dir>', 'folder of the run (default: a new one in runs/, or in $VGGNET_RUNS)'),
    )
    .option('--no-run', 'keep nothing')
    .addOption(
      pathOption(
        '--resume <dir>',
        'go on with the run, or the seeds, in this folder; a name alone is looked for in runs/, too',
      ),
    )
    .addOption(
      new Option(
        '--checkpoint-every <n|Ns>',
        'a checkpoint each n steps, or each N seconds, besides every epoch',
      ).argParser(parseCheckpointEvery),
    )
    .option('--no-report', 'no report.html at the end')
    .addOption(
      wholeNumberOption(
        '--seeds <k>',
        'train k times, with --seed and the seeds that follow it; mean ± deviation',
      ),
    )
    .addOption(pathOption('--save <file>', 'also write the weights alone as safetensors, for PyTorch too'))
    .option('--print-config', 'print the complete config as JSON and end')
    .option('--json', 'report one JSON object a line');
  return command
    .addHelpText('after', examples)
    .action((options: TrainCommandOptions) => train(command, options, interruption));
}

function parseCheckpointEvery(text: string): NonNullable<FitOptions['checkpointEvery']> {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)(s?)$/.exec(text) ?? [];
  const value = Number(digits);
  if (unit === 's' && value > 0) return { seconds: value };
  if (unit === '' && Number.isInteger(value) && value > 0) return { steps: value };
  throw new UsageError(
    `--checkpoint-every ${text} is neither a whole number of steps, as in 100, nor of seconds, as in 30s`,
  );
}

async function train(
  command: Command,
  options: TrainCommandOptions,
  interruption: Interruption,
): Promise<void> {
  interruption.kept = 'Nothing was trained yet, so nothing was saved.';
  const { resume, seeds, save } = options;
  if (save !== undefined) await checkWritable(save);
  if (process.argv.includes('--no-run') && process.argv.some((word) => /^--run(=|$)/.test(word)))
    throw new UsageError('--no-run keeps nothing, and --run names where to keep it; leave out one of them');
  if (options.run === false && save === undefined && options.checkpointEvery) {
    throw new UsageError(
      '--checkpoint-every: --no-run keeps no checkpoints; leave out one of them, or name a file with --save',
    );
  }
  if (resume !== undefined) return goOn(command, options, resume, interruption);
  const config = await chosenConfig(command);
  if (options.printConfig) {
    // What is printed is to train by.
    (await import('../runs/training.ts')).checkConfig(config);
    return print(JSON.stringify(usedOptions(config), null, 2));
  }
  if (seeds !== undefined) refuseSave(save);
  const folder = await folderOf(options, config);
  if (seeds === undefined) {
    await trainOnce(config, { ...options, ...(folder !== undefined && { folder }) }, interruption);
    if (config.dataset === 'shapes') note(nextHint(folder !== undefined));
    return;
  }
  if (folder === undefined) {
    const accuracies: (number | undefined)[] = [];
    for (let i = 0; i < seeds; i++) {
      accuracies.push(await trainOnce({ ...config, seed: config.seed + i }, options, interruption));
    }
    return reportSeeds(accuracies, options.json === true);
  }
  const { createSeries, removeSeries } = await import('../runs/seeds.ts');
  await createSeries(folder, { config, seeds });
  try {
    await trainSeries(folder, { config, seeds }, {}, options, interruption);
  } finally {
    await removeSeries(folder, { config, seeds });
  }
}

/** `--resume`: a run, or the seeds of a series that are not finished. */
async function goOn(
  command: Command,
  options: TrainCommandOptions,
  resume: string,
  interruption: Interruption,
): Promise<void> {
  if (options.run === false) {
    throw new UsageError('--resume goes on with a run, which --no-run would not keep; leave out one of them');
  }
  const [
    { isSeries, readRun, runFiles, runPlace },
    { resumedConfig },
    { readSeries, seedFolder, writeSeries },
  ] = await Promise.all([
    import('../runs/folder.ts'),
    import('../runs/training.ts'),
    import('../runs/seeds.ts'),
  ]);
  const folder = runPlace(resume);
  const before = isSeries(folder) ? await readSeries(folder) : undefined;
  const { recipe, config: file } = command.opts<{ recipe?: string; config?: string }>();
  // A series may be given more seeds.
  const seeds = before ? undefined : options.seeds;
  for (const [flag, given] of Object.entries({ recipe, config: file, seeds, run: options.run })) {
    if (given !== undefined)
      throw new UsageError(`--resume goes on with a run as it is; leave out --${flag}`);
  }
  const changes = givenOptions(command);
  const run = before ? undefined : await readRun(folder);
  const config = resumedConfig((before ?? run!).config, changes, run?.status?.step ?? 0);
  if (options.printConfig) return print(JSON.stringify(usedOptions(config), null, 2));
  if (!before) {
    await trainOnce(config, { ...options, resume: folder, folder }, interruption);
    return;
  }
  refuseSave(options.save);
  const series = { config, seeds: options.seeds ?? before.seeds };
  // Nothing is written where a seed's run could not go on.
  for (let seed = config.seed; seed < config.seed + before.seeds; seed++) {
    const own = seedFolder(folder, seed);
    if (!existsSync(join(own, runFiles.config))) continue;
    const { config: trained, status } = await readRun(own);
    resumedConfig(trained, changes, status?.step ?? 0);
  }
  await writeSeries(folder, series);
  await trainSeries(folder, series, changes, options, interruption);
}

function refuseSave(save: string | undefined): void {
  if (save !== undefined) {
    throw new UsageError('--save keeps one network; with several seeds leave it out: each has a run');
  }
}

/** Every seed of a series: those that are finished as they are, those that were begun from where they were left. */
async function trainSeries(
  series: string,
  { config, seeds }: SeedSeries,
  changes: Partial<TrainConfig>,
  { resume: _, ...options }: TrainCommandOptions,
  interruption: Interruption,
): Promise<void> {
  const [{ readRun, runFiles }, { resumedConfig }, { finalAccuracy, seedFolder }] = await Promise.all([
    import('../runs/folder.ts'),
    import('../runs/training.ts'),
    import('../runs/seeds.ts'),
  ]);
  const accuracies: (number | undefined)[] = [];
  for (let seed = config.seed; seed < config.seed + seeds; seed++) {
    const folder = seedFolder(series, seed);
    const own = { ...options, folder, series };
    if (!existsSync(join(folder, runFiles.config))) {
      accuracies.push(await trainOnce({ ...config, seed }, own, interruption));
      continue;
    }
    const run = await readRun(folder);
    if (run.state === 'finished' && changes.epochs === undefined && changes.steps === undefined) {
      const accuracy = finalAccuracy(run);
      note(`${folder} is finished${accuracy === undefined ? '' : `: ${percent(accuracy)}`}.`);
      accuracies.push(accuracy);
      continue;
    }
    const resumed = resumedConfig(run.config, changes, run.status?.step ?? 0);
    accuracies.push(await trainOnce(resumed, { ...own, resume: folder }, interruption));
  }
  await reportSeeds(accuracies, options.json === true);
}

/** The run's folder; undefined with --no-run. */
async function folderOf({ run }: TrainCommandOptions, config: TrainConfig): Promise<string | undefined> {
  if (run === false) return undefined;
  const { newRunFolder, runsRoot } = await import('../runs/folder.ts');
  return typeof run === 'string' ? run : newRunFolder(runsRoot(), config);
}

const startGrace = 10_000;

/** One training from its start, or from where it was left, to its end. Yields its last test accuracy, if known. */
async function trainOnce(
  config: TrainConfig,
  options: TrainCommandOptions & { readonly folder?: string; readonly series?: string },
  interruption: Interruption,
): Promise<number | undefined> {
  const { folder, resume, save, series } = options;
  const { signal } = interruption;
  const [{ runTraining }, { progressFor }] = await Promise.all([
    import('../runs/training.ts'),
    import('./progress.ts'),
  ]);
  const { logEvery, batchSize } = config;
  const progress = progressFor({ json: options.json === true, logEvery, batchSize });
  let position = { epoch: 1, step: 0 };
  const shown: Callback = {
    step(event) {
      position = event;
      progress.step(event);
    },
    epoch: (event) => progress.epoch(event),
  };
  if (folder !== undefined || save !== undefined)
    continueWithoutOutput(`Training continues, and ${folder ?? save} keeps its results.`);
  const keeper = keeperOf({ save, run: folder, resume: series ?? folder }, interruption);
  // Until the first step there is a folder to be taken away again.
  interruption.stopsItself = true;
  interruption.graceMilliseconds = startGrace;
  try {
    const result = await runTraining(config, {
      ...(resume !== undefined ? { resume } : folder !== undefined && { folder }),
      ...(options.checkpointEvery && { checkpointEvery: options.checkpointEvery }),
      signal,
      onNotice: note,
      callbacks: [shown, keeper.callback],
      onStart(training, from) {
        keeper.begin();
        if (from) position = from.loop;
        progress.start({ ...training, seed: config.seed, run: folder, from: from?.loop });
      },
    });
    await using model = result.training.model;
    const { last, reason } = result;
    const report = async (): Promise<void> => {
      if (folder === undefined || !options.report) return;
      // The workers' memory is free before the report needs its own.
      await model.close();
      await writeReportOf(folder, config.device, result.training.splits);
    };
    if (!last) {
      const wayOut =
        reason === 'earlyStopped'
          ? `it ended early; --init ${folder}/best.safetensors begins a new run from its best weights`
          : `a larger ${bindingLimits(config)} trains it further`;
      note(`${folder} is finished: nothing was left to do; ${wayOut}.`);
      await keeper.finish(model);
      const [{ readRun, runFiles }, { finalAccuracy }] = await Promise.all([
        import('../runs/folder.ts'),
        import('../runs/seeds.ts'),
      ]);
      // Where only the report was interrupted, that is what is left.
      if (folder !== undefined && !existsSync(join(folder, runFiles.report))) await report();
      return finalAccuracy(await readRun(result.folder!));
    }
    await keeper.finish(model);
    progress.end({ last, reason, best: result.best, saved: save, run: folder });
    interruption.stopsItself = false;
    const further = series === undefined ? '' : ` vgg train --resume ${series} goes on with the other seeds.`;
    interruption.kept = `The run in ${folder} is finished; vgg report ${folder} makes its report.${further}`;
    await report();
    return last.testAccuracy;
  } catch (error) {
    if (error instanceof Interrupted) {
      keeper.interrupted(position);
      progress.interrupt({ epoch: position.epoch, step: position.step, saved: save, run: folder });
    }
    throw error;
  }
}

/** Which options end a training. */
function bindingLimits(config: TrainConfig): string {
  const { steps = Infinity, epochs } = config;
  const whole = epochs * stepsPerEpoch(config);
  return steps < whole ? '--steps' : steps > whole ? '--epochs' : '--epochs and --steps';
}

/** The run is finished and safe: a report that cannot be made is said, and is no failure of the training. */
async function writeReportOf(
  folder: string,
  device: TrainConfig['device'],
  splits: DatasetSplits,
): Promise<void> {
  const progress = doing('Report');
  progress.now('reading the run');
  try {
    const { reportRuns } = await import('../report/from-run.ts');
    const path = await reportRuns([folder], { device, splits, onProgress: progress.now });
    progress.end();
    note(`Report: ${path}`);
  } catch (error) {
    progress.end();
    if (!(error instanceof VggError)) throw error;
    note(`There is no report: ${error.message}. vgg report ${folder} tries again.`);
  }
}

async function reportSeeds(accuracies: readonly (number | undefined)[], json: boolean): Promise<void> {
  const { meanAndDeviation } = await import('../runs/seeds.ts');
  const known = accuracies.filter((accuracy) => accuracy !== undefined);
  const figures = meanAndDeviation(known);
  if (json) return printJson({ event: 'seeds', testAccuracy: known, ...figures });
  if (known.length === 0) return note('No seed has a test accuracy in its metrics.');
  if (known.length === 1) return print(`Accuracy of one seed: ${meanText(figures)}`);
  const each = known.map((accuracy) => (100 * accuracy).toFixed(2)).join(', ');
  print(`Accuracy over ${known.length} seeds: ${meanText(figures)} (${each}; mean ± sample deviation)`);
}

const nextHint = (kept: boolean): string => `
Next: npx vgg summary simplified                 what was just trained, layer by layer
${kept ? '      npx vgg runs                               what was trained so far\n' : ''}      npx vgg download cifar10                   then: npx vgg train --recipe lecture, the lecture's program`;
