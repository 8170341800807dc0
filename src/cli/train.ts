/**
 * `vgg train`: the lecture's program, and any other training. Options become a config (`config-options.ts`), and the
 * config a training in a run folder or a series of them (`runs/training.ts`, `runs/series.ts`).
 */
import { Command } from 'commander';
import { TrainingStopped, UsageError } from '../errors.ts';
import { mostSeeds } from '../options.ts';
import type { SeedsResult } from '../runs/series.ts';
import { usedOptions } from '../train/config.ts';
import type { TrainConfig, TrainConfigInput } from '../train/config-table.ts';
import { addConfigOptions, chosenConfig, givenOptions } from './config-options.ts';
import { type Follower, follow } from './follow.ts';
import { Interrupted, type Interruption } from './interrupt.ts';
import { adapterOption, chooseAdapter } from './models.ts';
import { meanText, note, print, printJson, printVerbatim } from './output.ts';
import { pathOption, wholeNumberOption } from './values.ts';
import { checkWritable } from './weight-saver.ts';

interface TrainCommandOptions {
  /** A folder, or false for --no-run. */
  readonly run?: string | false;
  readonly resume?: string;
  readonly checkpointEvery?: number | string;
  readonly report: boolean;
  readonly seeds?: number;
  readonly adapter?: string;
  readonly save?: string;
  readonly open?: true;
  readonly printConfig?: true;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg train --epochs 3                  the lecture's network, built-in images
  $ vgg train --recipe lecture            the lecture's program, on CIFAR-10
  $ vgg train --recipe cifar100-vgg7      the third exercise
  $ vgg train --dataset folder:photos     one folder of images per class
  $ vgg train --resume runs/a             continue a run, with the same bits
  $ vgg train --open                      watch it in a browser: pause it, change the learning rate
  $ vgg train --config runs/a/config.json repeat a run with the changes made while it trained
  $ vgg train --model vgg7 --model-option channels=64,128 --optimizer sgd --lr 0.05 --schedule cosine --warmup 1
  $ vgg train --seeds 3 --run runs/three  mean and deviation over three seeds
  $ vgg train --log-every 1 --json        one JSON object per step

A run folder holds the config, metrics, checkpoints and a report. Ctrl-C writes a checkpoint, and --resume continues from it.

As in the lecture, training images are padded by 4 pixels, flipped at random and cropped at random, unless you give --no-augment.
Photos are flipped, and cropped as --crop says.

Numbers are decimal, with an optional exponent: 100, 0.5, 1e-3. Numbers that need not be whole may be fractions: 1/3.`;

export function trainCommand(interruption: Interruption): Command {
  const command = new Command('train').description('train a network and test it after each epoch');
  addConfigOptions(command)
    .addOption(adapterOption().helpGroup('Machine:'))
    .option('--print-config', 'print the complete config as JSON and exit')
    .optionsGroup('Run folder:')
    .addOption(pathOption('--run <dir>', 'run folder (default: a new one in $VGGNET_RUNS or runs/)'))
    .option('--no-run', 'save nothing')
    .addOption(
      pathOption(
        '--resume <dir>',
        'continue the run or the series of seeds in this folder, or the run in a zip archive, which is unpacked to runs/; a name alone is also looked up in runs/',
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
    .option('--open', 'open a page that shows the training live, pauses it and changes its learning rate')
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
  const { resume, save, seeds } = options;
  if (save !== undefined) await checkWritable(save);
  refuseWithoutRun(options);
  if (resume !== undefined) return resumeTraining(command, options, resume, interruption);
  const config = await chosenConfig(command);
  chooseAdapter(options.adapter, config.device);
  if (options.printConfig) {
    // The printed config must be one that trains.
    (await import('../runs/place-node.ts')).checkConfig(config);
    return printConfig(config);
  }
  if (seeds !== undefined) refuseSave(save);
  const folder = await folderOf(options, config);
  if (seeds !== undefined) return runSeeds(config, folder, { ...options, seeds }, interruption);
  await runOne(config, folder, options, interruption);
  if (config.dataset === 'shapes') note(nextHint(folder !== undefined));
}

/** `--resume`: continues a run, or the unfinished seeds of a series. */
async function resumeTraining(
  command: Command,
  options: TrainCommandOptions,
  resume: string,
  interruption: Interruption,
): Promise<void> {
  const [
    { isSeries, readRun, runPlace, runsRoot },
    { resumedConfig },
    { resumedSeries },
    { configInZip, isZip, unpackZip },
  ] = await Promise.all([
    import('../runs/folder.ts'),
    import('../runs/place-node.ts'),
    import('../runs/series.ts'),
    import('../runs/run-zip-files.ts'),
  ]);
  const zip = isZip(resume) ? resume : undefined;
  const folder = zip ?? runPlace(resume);
  const series = zip === undefined && isSeries(folder);
  const { recipe, config: file } = command.opts<{ recipe?: string; config?: string }>();
  // A series may get more seeds.
  const seeds = series ? undefined : options.seeds;
  for (const [flag, given] of Object.entries({ recipe, config: file, seeds, run: options.run })) {
    if (given !== undefined)
      throw new UsageError(
        `--${flag} has no effect with --resume, which continues the run as it is; leave it out`,
      );
  }
  const changes = givenOptions(command);
  const stored = series
    ? undefined
    : zip === undefined
      ? await readRun(folder)
      : { config: await configInZip(zip), status: undefined };
  if (stored) chooseAdapter(options.adapter, changes.device ?? stored.config.device);
  if (options.printConfig) {
    if (!stored) return printConfig((await resumedSeries(folder, changes)).config);
    return printConfig(resumedConfig(stored.config, changes, stored.status?.step));
  }
  if (zip !== undefined) {
    const unpacked = await unpackZip(zip, runsRoot());
    note(`${zip} was unpacked to ${unpacked}, where the run continues.`);
    return runOne(changes, unpacked, { ...options, resume: unpacked }, interruption);
  }
  if (!series) return runOne(changes, folder, options, interruption);
  refuseSave(options.save);
  return runSeeds(changes, folder, options, interruption);
}

/** Starts or resumes one training. */
async function runOne(
  config: TrainConfigInput,
  folder: string | undefined,
  options: TrainCommandOptions,
  interruption: Interruption,
): Promise<void> {
  const { save, resume, report, json = false } = options;
  const { runTraining } = await import('../runs/training.ts');
  const follower = follow({ folder, save, report, json }, interruption);
  const { onStart, onPrepare, callbacks } = follower;
  const { signal } = interruption;
  const place = folder !== undefined && (resume === undefined ? { folder } : { resume: folder });
  await shown({ kind: 'run', folder }, options, () =>
    followedBy(follower, async () => {
      const result = await runTraining(config, {
        ...{ ...place, onStart, onPrepare, callbacks, signal },
        ...(place && { live: 'steer' }),
        onNotice: note,
      });
      await using _ = result.training.model;
      await follower.onEnd(result);
    }),
  );
}

/** Trains, with --open beside a page that shows it. */
async function shown<T>(
  { kind, folder }: { readonly kind: 'run' | 'series'; readonly folder: string | undefined },
  { open, json }: Pick<TrainCommandOptions, 'open' | 'json'>,
  training: () => Promise<T>,
): Promise<T> {
  if (!open || folder === undefined) return training();
  const { shownInStudio } = await import('./studio.ts');
  return shownInStudio({ kind, folder }, { json: json === true }, training);
}

/** Starts or resumes a series. */
async function runSeeds(
  config: TrainConfigInput,
  series: string | undefined,
  options: TrainCommandOptions,
  interruption: Interruption,
): Promise<void> {
  const { seeds, resume, report, json = false } = options;
  const { trainSeeds } = await import('../runs/series.ts');
  let follower: Follower | undefined;
  const result = await shown({ kind: 'series', folder: series }, options, () =>
    followedBy({ interrupted: () => follower?.interrupted() }, () =>
      trainSeeds(config, {
        ...(seeds !== undefined && { seeds }),
        ...(series !== undefined && (resume === undefined ? { folder: series } : { resume: series })),
        onSeed({ folder }) {
          follower = follow({ folder, series, save: undefined, report, json }, interruption);
          const { onStart, onPrepare, callbacks, onEnd } = follower;
          return { onStart, onPrepare, callbacks, onEnd, ...(folder !== undefined && { live: 'steer' }) };
        },
        onNotice: note,
        signal: interruption.signal,
      }),
    ),
  );
  reportSeeds(result, json);
}

/** Trains, and says what an interrupt leaves. */
async function followedBy<T>(
  follower: Pick<Follower, 'interrupted'>,
  training: () => Promise<T>,
): Promise<T> {
  try {
    return await training();
  } catch (caught) {
    // Stopped from a page, it ends as with Ctrl-C.
    const error = caught instanceof TrainingStopped ? new Interrupted('SIGINT') : caught;
    if (error instanceof Interrupted) follower.interrupted();
    throw error;
  }
}

function refuseWithoutRun({ run, save, resume, open, checkpointEvery }: TrainCommandOptions): void {
  if (process.argv.includes('--no-run') && process.argv.some((word) => /^--run(=|$)/.test(word)))
    throw new UsageError('--no-run saves nothing, and --run names where to save; leave out one of them');
  if (run !== false) return;
  if (save === undefined && checkpointEvery !== undefined) {
    throw new UsageError(
      '--checkpoint-every has no effect with --no-run; leave out one of them, or name a file with --save',
    );
  }
  if (open) {
    throw new UsageError('--open shows a run, and --no-run keeps none; leave out one of them');
  }
  if (resume !== undefined) {
    throw new UsageError('--resume continues a run, and --no-run would not save it; leave out one of them');
  }
}

function refuseSave(save: string | undefined): void {
  if (save !== undefined) {
    throw new UsageError(
      '--save holds one network; leave it out with several seeds, each of which has a run folder',
    );
  }
}

const printConfig = (config: TrainConfig): void =>
  printVerbatim(JSON.stringify(usedOptions(config), null, 2));

/** The folder of a new run or series; undefined with --no-run. */
async function folderOf({ run }: TrainCommandOptions, config: TrainConfig): Promise<string | undefined> {
  if (run === false) return undefined;
  const [{ runsRoot }, { newRunFolder }] = await Promise.all([
    import('../runs/folder.ts'),
    import('../runs/run.ts'),
  ]);
  return typeof run === 'string' ? run : newRunFolder(runsRoot(), config);
}

function reportSeeds({ runs, ...figures }: SeedsResult, json: boolean): void {
  const known = runs.flatMap(({ testAccuracy }) => testAccuracy ?? []);
  const mean = meanText(figures);
  const each = known.map((accuracy) => (100 * accuracy).toFixed(2)).join(', ');
  if (json) printJson({ event: 'seeds', testAccuracy: known, ...figures });
  else if (known.length === 0) note('No seed has a test accuracy.');
  else if (known.length === 1) print(`Accuracy of one seed: ${mean}`);
  else print(`Accuracy over ${known.length} seeds: ${mean} (${each}; mean ± sample deviation)`);
}

const nextHint = (kept: boolean): string => `
Next:
  vgg summary simplified        the network, layer by layer
${kept ? '  vgg runs                      your runs so far\n' : ''}  vgg download cifar10          then: vgg train --recipe lecture`;
