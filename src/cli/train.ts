/**
 * `vgg train`: the lecture's program, and any other training. Options become a config (`config-options.ts`), and the
 * config a training in a run folder (`runs/training.ts`). This file shows its progress, saves it and ends it.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import type { DatasetSplits } from '../data/dataset.ts';
import { UsageError, VggError } from '../errors.ts';
import { mostSeeds } from '../options.ts';
import type { SeedSeries } from '../runs/seeds.ts';
import { stepsPerEpoch, type TrainConfig, usedOptions } from '../train/config.ts';
import type { Callback } from '../train/fit.ts';
import { percent, shellWord } from '../words.ts';
import { addConfigOptions, chosenConfig, givenOptions } from './config-options.ts';
import { Interrupted, type Interruption } from './interrupt.ts';
import { checkWritable, keeperOf } from './keep.ts';
import { continueWithoutOutput, doing, meanText, note, print, printJson, printVerbatim } from './output.ts';
import { pathOption, wholeNumberOption } from './values.ts';

interface TrainCommandOptions {
  /** A folder, or false for --no-run. */
  readonly run?: string | false;
  readonly resume?: string;
  readonly checkpointEvery?: number | string;
  readonly report: boolean;
  readonly seeds?: number;
  readonly save?: string;
  readonly printConfig?: true;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg train --epochs 3                  the lecture's network, built-in images
  $ vgg train --recipe lecture            the lecture's program, on CIFAR-10
  $ vgg train --recipe cifar100-vgg7      the third exercise
  $ vgg train --resume runs/a             continue a run, with the same bits
  $ vgg train --model vgg7 --model-option channels=64,128 --optimizer sgd --lr 0.05 --schedule cosine --warmup 1
  $ vgg train --seeds 3 --run runs/three  mean and deviation over three seeds
  $ vgg train --log-every 1 --json        one JSON object per step

A run folder holds the config, metrics, checkpoints and a report. Ctrl-C writes a checkpoint, and --resume continues from it.

As in the lecture, training images are padded by 4 pixels, flipped at random and cropped at random, unless you give --no-augment.

Numbers are decimal, with an optional exponent: 100, 0.5, 1e-3. Numbers that need not be whole may be fractions: 1/3.`;

export function trainCommand(interruption: Interruption): Command {
  const command = new Command('train').description('train a network and test it after each epoch');
  addConfigOptions(command)
    .option('--print-config', 'print the complete config as JSON and exit')
    .optionsGroup('Run folder:')
    .addOption(pathOption('--run <dir>', 'run folder (default: a new one in $VGGNET_RUNS or runs/)'))
    .option('--no-run', 'save nothing')
    .addOption(
      pathOption(
        '--resume <dir>',
        'continue the run or the series of seeds in this folder; a name alone is also looked up in runs/',
      ),
    )
    .option('--no-report', 'do not write report.html at the end')
    .addOption(pathOption('--save <file>', 'also save the weights as safetensors, after each epoch'))
    .addOption(
      wholeNumberOption(
        '--seeds <k>',
        'train k times, with --seed and the seeds after it: mean ± deviation',
        {
          most: mostSeeds,
        },
      ),
    )
    .optionsGroup('Output:')
    .option('--json', 'print one JSON object per line');
  return command
    .addHelpText('after', examples)
    .action((options: TrainCommandOptions) => train(command, options, interruption));
}

async function train(
  command: Command,
  options: TrainCommandOptions,
  interruption: Interruption,
): Promise<void> {
  interruption.kept = 'Training had not started, so nothing was saved.';
  const { resume, seeds, save } = options;
  if (save !== undefined) await checkWritable(save);
  if (process.argv.includes('--no-run') && process.argv.some((word) => /^--run(=|$)/.test(word)))
    throw new UsageError('--no-run saves nothing, and --run names where to save; leave out one of them');
  if (options.run === false && save === undefined && options.checkpointEvery) {
    throw new UsageError(
      '--checkpoint-every has no effect with --no-run; leave out one of them, or name a file with --save',
    );
  }
  if (resume !== undefined) return resumeRun(command, options, resume, interruption);
  const config = await chosenConfig(command);
  if (options.printConfig) {
    // The printed config must be one that trains.
    (await import('../runs/training.ts')).checkConfig(config);
    return printVerbatim(JSON.stringify(usedOptions(config), null, 2));
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

/** `--resume`: continues a run, or the unfinished seeds of a series. */
async function resumeRun(
  command: Command,
  options: TrainCommandOptions,
  resume: string,
  interruption: Interruption,
): Promise<void> {
  if (options.run === false) {
    throw new UsageError('--resume continues a run, and --no-run would not save it; leave out one of them');
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
  // A series may get more seeds.
  const seeds = before ? undefined : options.seeds;
  for (const [flag, given] of Object.entries({ recipe, config: file, seeds, run: options.run })) {
    if (given !== undefined)
      throw new UsageError(
        `--${flag} has no effect with --resume, which continues the run as it is; leave it out`,
      );
  }
  const changes = givenOptions(command);
  const run = before ? undefined : await readRun(folder);
  const config = resumedConfig((before ?? run!).config, changes, run?.status?.step ?? 0);
  if (options.printConfig) return printVerbatim(JSON.stringify(usedOptions(config), null, 2));
  if (!before) {
    await trainOnce(config, { ...options, resume: folder, folder }, interruption);
    return;
  }
  refuseSave(options.save);
  const series = { config, seeds: options.seeds ?? before.seeds };
  // Check all seeds before anything is written.
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
    throw new UsageError(
      '--save holds one network; leave it out with several seeds, each of which has a run folder',
    );
  }
}

/** Trains every seed of a series: skips finished ones and continues those that were started. */
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

/** Runs one training from its start or its last checkpoint to its end. Returns the last test accuracy, if known. */
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
  // Until the first step, an interrupt has to remove the new folder.
  interruption.stopsItself = true;
  interruption.graceMilliseconds = startGrace;
  try {
    const result = await runTraining(config, {
      ...(resume !== undefined ? { resume } : folder !== undefined && { folder }),
      signal,
      onNotice: note,
      callbacks: [shown, keeper.callback],
      onStart(training, from) {
        keeper.begin(training.model);
        if (from) position = from.loop;
        progress.start({ ...training, seed: config.seed, run: folder, from: from?.loop });
      },
    });
    await using model = result.training.model;
    const { last, reason } = result;
    const report = async (): Promise<void> => {
      if (folder === undefined || !options.report) return;
      // Free the workers' memory before the report allocates its own.
      await model.close();
      await writeReportOf(folder, config.device, result.training.splits);
    };
    if (!last) {
      const wayOut =
        reason === 'earlyStopped'
          ? `It stopped early; --init ${shellWord(`${folder}/best.safetensors`)} starts a new run from its best weights`
          : `Raise ${bindingLimits(config)} to train it further`;
      note(`${folder} is a finished run. ${wayOut}.`);
      await keeper.finish(model);
      const [{ readRun, runFiles }, { finalAccuracy }] = await Promise.all([
        import('../runs/folder.ts'),
        import('../runs/seeds.ts'),
      ]);
      // If only the report was interrupted, write it now.
      if (folder !== undefined && !existsSync(join(folder, runFiles.report))) await report();
      return finalAccuracy(await readRun(result.folder!));
    }
    await keeper.finish(model);
    progress.end({ last, reason, best: result.best, saved: save, run: folder });
    interruption.stopsItself = false;
    const place = shellWord(String(folder));
    const further =
      series === undefined ? '' : `\nContinue the other seeds:\n  vgg train --resume ${shellWord(series)}`;
    interruption.kept = `The run in ${folder} is finished. Write its report:\n  vgg report ${place}${further}`;
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

/** The options that limit the length of a training. */
function bindingLimits(config: TrainConfig): string {
  const { steps = Infinity, epochs } = config;
  const whole = epochs * stepsPerEpoch(config);
  return steps < whole ? '--steps' : steps > whole ? '--epochs' : '--epochs or --steps';
}

/** Writes the report. The run is finished and saved, so a failing report does not fail the training. */
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
    note(`No report: ${error.message}. Try again:\n  vgg report ${shellWord(folder)}`);
  }
}

async function reportSeeds(accuracies: readonly (number | undefined)[], json: boolean): Promise<void> {
  const { meanAndDeviation } = await import('../runs/seeds.ts');
  const known = accuracies.filter((accuracy) => accuracy !== undefined);
  const figures = meanAndDeviation(known);
  if (json) return printJson({ event: 'seeds', testAccuracy: known, ...figures });
  if (known.length === 0) return note('No seed has a test accuracy.');
  if (known.length === 1) return print(`Accuracy of one seed: ${meanText(figures)}`);
  const each = known.map((accuracy) => (100 * accuracy).toFixed(2)).join(', ');
  print(`Accuracy over ${known.length} seeds: ${meanText(figures)} (${each}; mean ± sample deviation)`);
}

const nextHint = (kept: boolean): string => `
Next:
  vgg summary simplified        the network, layer by layer
${kept ? '  vgg runs                      your runs so far\n' : ''}  vgg download cifar10          then: vgg train --recipe lecture`;
