/**
 * `vgg tune`: a search over options. The study's folder has everything; this command begins it, starts workers, here or
 * as a Slurm job array, and shows what they do. It may end and be started again at any time.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { UsageError, VggError } from '../errors.ts';
import { flagOf, trainCommand } from '../report/command.ts';
import { type PrunerSettings, prunerNames, type StudyFolder, samplerNames } from '../tune/folder.ts';
import { shortValue } from '../tune/importance.ts';
import type { TuneSpace } from '../tune/space.ts';
import { readConfigFile } from './config-options.ts';
import type { Interruption } from './interrupt.ts';
import { maxThreads } from './models.ts';
import { note, print, printJson, printTable } from './output.ts';
import { launchHere, launchOnSlurm, stopStudy, watchStudy } from './tune-launch.ts';
import { percent } from './tune-progress.ts';
import { choiceOption, wholeNumberOption } from './values.ts';

const launchers = ['local', 'slurm'] as const;

interface TuneOptions {
  readonly config?: string;
  readonly study: string;
  readonly trials?: number;
  readonly data?: string;
  readonly epochs?: number;
  readonly steps?: number;
  readonly sampler: (typeof samplerNames)[number];
  readonly pruner?: (typeof prunerNames)[number];
  readonly minResource?: number;
  readonly reductionFactor?: number;
  readonly seed: number;
  readonly retries: number;
  readonly report: boolean;
  readonly jobs: number;
  readonly threads?: number;
  readonly launcher: (typeof launchers)[number];
  readonly slurm?: string;
  readonly dryRun?: true;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg tune --config exercise --trials 40 --pruner asha --study studies/exercise-4
  $ vgg tune --config space.json --trials 20 --sampler grid --jobs 2
  $ vgg tune --study studies/exercise-4                goes on with a study
  $ vgg tune status studies/exercise-4                 trials, the best ones, and the commands that repeat them
  $ vgg tune watch studies/exercise-4                  follows it, wherever its workers are; stop ends them
  $ vgg tune report studies/exercise-4                 one HTML file: the answer, its history, what mattered
  $ vgg tune --config space.json --trials 64 --jobs 8 --launcher slurm --slurm "--partition=gpu --time=2:00:00"

A space is a config file in which some values are replaced by candidates: {"lr": {"float": [1e-4, 1e-2], "log": true}};
docs/tuning.md has the forms. "exercise" is the lecture's fourth exercise. Each trial is a run folder in STUDY/runs, and
Optuna reads STUDY/journal.log. Each that ends leaves a brief report there, the best one a whole one. A trial is worth its
accuracy on the pictures kept apart ("validation" in the space), or else on the test's, which flatters the winner.

asha decides after r, r·η, r·η², … epochs (r: --min-resource, η: --reduction-factor): the best 1/η go on, the others are
pruned, and promoted where later results lift them among the best 1/η.`;

export function tuneCommand(interruption: Interruption): Command {
  const command = new Command('tune')
    .description('search options: channels, strides, learning rates, …')
    .addOption(new Option('--config <file>', 'the space: JSON, TypeScript, or "exercise"'))
    .addOption(new Option('--study <dir>', 'folder of the study').default('study'))
    .addOption(wholeNumberOption('--trials <n>', 'configurations in all (default: 20)'))
    .addOption(new Option('--data <dir>', "folder or archive with CIFAR's files, in place of the space's"))
    .addOption(wholeNumberOption('--epochs <n>', "epochs of each trial, in place of the space's"))
    .addOption(wholeNumberOption('--steps <n>', "batches of each trial at most, in place of the space's"))
    .addOption(choiceOption('--sampler <name>', 'how they are chosen', samplerNames).default('tpe'))
    .addOption(
      choiceOption(
        '--pruner <name>',
        "how the worse ones end early (default: the space file's, or none)",
        prunerNames,
      ),
    )
    .addOption(
      wholeNumberOption('--min-resource <epochs>', 'asha: epochs before the first decision (default: 1)'),
    )
    .addOption(
      wholeNumberOption(
        '--reduction-factor <n>',
        'asha: of so many trials one goes on, so many times as long (default: 4)',
        { least: 2 },
      ),
    )
    .addOption(wholeNumberOption('--seed <n>', 'of the sampler', { least: 0 }).default(0))
    .addOption(
      wholeNumberOption('--retries <n>', 'how often a trial is tried again whose worker ended', {
        least: 0,
      }).default(3),
    )
    .option('--no-report', 'no reports of the trials and of the study as they end')
    .addOption(wholeNumberOption('--jobs <j>', 'trials at the same time', { most: 10_000 }).default(1))
    .addOption(
      wholeNumberOption('--threads <n>', 'threads of each trial (default: all, divided among the jobs)', {
        most: maxThreads,
      }),
    )
    .addOption(choiceOption('--launcher <name>', 'where the workers run', launchers).default('local'))
    .addOption(new Option('--slurm <options>', 'passed on to sbatch'))
    .option('--dry-run', 'print the script for Slurm and end')
    .option('--json', 'print one JSON object a line')
    .addHelpText('after', examples)
    .action((options: TuneOptions) => tune(command, options, interruption));
  command
    .command('status')
    .description('what a study has come to')
    .argument('<dir>', 'folder of the study')
    .option('--json', 'print one object')
    .action(async (dir: string, _: unknown, own: Command) => {
      const { openStudyFolder } = await import('../tune/folder.ts');
      showStatus(await openStudyFolder(dir), own.optsWithGlobals<{ json?: true }>().json === true);
    });
  command
    .command('watch')
    .description('follow a study until nobody works on it')
    .argument('<dir>', 'folder of the study')
    .option('--json', 'print one JSON object a line')
    .action(async (dir: string, _: unknown, own: Command) => {
      const folder = await (await import('../tune/folder.ts')).openStudyFolder(dir);
      const json = own.optsWithGlobals<{ json?: true }>().json === true;
      await watchStudy(folder, json, interruption);
      if (!json) showStatus(folder, false);
    });
  command
    .command('stop')
    .description('let the workers of a study write their checkpoints and end; on Slurm, cancel its job')
    .argument('<dir>', 'folder of the study')
    .option('--json', 'print one object')
    .action(async (dir: string, _: unknown, own: Command) => {
      const folder = await (await import('../tune/folder.ts')).openStudyFolder(dir);
      const stopped = await stopStudy(folder);
      if (own.optsWithGlobals<{ json?: true }>().json) return printJson({ event: 'stopped', ...stopped });
      const job = stopped.jobs ? `, and job ${stopped.jobs.join(', ')} is cancelled` : '';
      print(`${stopped.workers} workers were told to end${job}; vgg tune --study ${dir} goes on.`);
    });
  command
    .command('report')
    .description('one HTML file: the answer, the best trials, what mattered, how the search went')
    .argument('<dir>', 'folder of the study')
    .addOption(new Option('--out <file>', "the file (default: report.html in the study's folder)"))
    .option('--json', 'print {"report":…}')
    .action(async (dir: string, { out }: { readonly out?: string }, own: Command) => {
      const [{ openStudyFolder }, { reportStudy }] = await Promise.all([
        import('../tune/folder.ts'),
        import('../tune/report.ts'),
      ]);
      const report = await reportStudy(await openStudyFolder(dir), out);
      if (own.optsWithGlobals<{ json?: true }>().json) printJson({ report });
      else print(`The report is in ${report}; open it in a browser.`);
    });
  command
    .command('work')
    .description('one worker of a study, until nothing is left; started by the launchers')
    .argument('<dir>', 'folder of the study')
    .action(async (dir: string, _: unknown, own: Command) => {
      const [{ openStudyFolder }, { workOn }] = await Promise.all([
        import('../tune/folder.ts'),
        import('../tune/work.ts'),
      ]);
      const { threads } = own.optsWithGlobals<{ threads?: number }>();
      interruption.stopsItself = true;
      interruption.graceMilliseconds = 60_000;
      interruption.kept = 'The trial under way goes on with the next worker.';
      await workOn(await openStudyFolder(dir), {
        signal: interruption.signal,
        onEvent: printJson,
        onNotice: note,
        ...(threads !== undefined && { threads }),
      });
      interruption.signal.throwIfAborted();
    });
  return command;
}

async function tune(command: Command, options: TuneOptions, interruption: Interruption): Promise<void> {
  for (const flag of ['slurm', 'dryRun'] as const) {
    if (options.launcher === 'local' && options[flag] !== undefined)
      throw new UsageError(`${flagOf(flag)} is for --launcher slurm`);
  }
  const [{ createStudyFolder, openStudyFolder }, { parseSpace }] = await Promise.all([
    import('../tune/folder.ts'),
    import('../tune/space.ts'),
  ]);
  const folder = await (async (): Promise<StudyFolder> => {
    if (options.config !== undefined) {
      const { sampler, seed, retries, report, trials = 20 } = options;
      const { space, pruner } = await spaceOf(options);
      await check(parseSpace(space, options.config), options);
      return createStudyFolder(options.study, { space, sampler, pruner, seed, trials, retries, report });
    }
    const fixed = [
      'sampler',
      'pruner',
      'minResource',
      'reductionFactor',
      'seed',
      'retries',
      'data',
      'epochs',
      'steps',
    ].find((name) => command.getOptionValueSource(name) === 'cli');
    if (fixed !== undefined) {
      throw new UsageError(
        `tune: ${options.study} has its own ${flagOf(fixed).slice(2)}; give --config to begin another study`,
      );
    }
    const existing = await openStudyFolder(options.study);
    await check(existing.space, options);
    const { trials = existing.settings.trials } = options;
    const report = options.report && existing.settings.report;
    return createStudyFolder(options.study, { ...existing.settings, trials, report });
  })();
  if (options.launcher === 'slurm') return launchOnSlurm(folder, options);
  await launchHere(folder, options, interruption);
  if (!options.json) showStatus(folder, false);
  if (!folder.settings.report || !existsSync(folder.path('report'))) return;
  if (options.json) printJson({ event: 'report', report: folder.path('report') });
  else print(`Report: ${folder.path('report')}, and one of each trial in its run folder.`);
}

/** Looks for what all trials would fail on. Slurm's nodes may have what this machine lacks, and look again themselves. */
async function check(space: TuneSpace, { launcher, dryRun, study, json }: TuneOptions): Promise<void> {
  if (dryRun) return;
  if (!json) note(`Study: ${study}, checking what its trials need`);
  const { checkTrials } = await import('../tune/check.ts');
  try {
    await checkTrials(space, note);
  } catch (error) {
    if (launcher === 'local' || !(error instanceof VggError) || error instanceof UsageError) throw error;
    note(
      `On this machine a trial would fail: ${error.message}. Each task of the job looks before its first.`,
    );
  }
}

/** The space as it is kept and the pruner: of the file, with what was given beside it. */
async function spaceOf(
  options: TuneOptions,
): Promise<{ readonly space: unknown; readonly pruner: PrunerSettings }> {
  const { config, data, epochs, steps, minResource, reductionFactor } = options;
  const { pruner: inFile = 'none', ...space }: Readonly<Record<string, unknown>> =
    config === 'exercise'
      ? (await import('../tune/exercise-space.ts')).exerciseSpaceSource
      : ((await readConfigFile(config!)) ?? {});
  const { parsePruner } = await import('../tune/folder.ts');
  const pruner = parsePruner(options.pruner ?? inFile, options.pruner ? '--pruner' : config!);
  const ofAsha = { ...(minResource && { minResource }), ...(reductionFactor && { reductionFactor }) };
  const [flag] = Object.keys(ofAsha);
  if (flag !== undefined && pruner.name !== 'asha') {
    throw new UsageError(`${flagOf(flag)} is for --pruner asha; this study's pruner is ${pruner.name}`);
  }
  return {
    space: {
      ...space,
      // Workers may be started from anywhere.
      ...(data !== undefined && { data: resolve(data) }),
      ...(epochs !== undefined && { epochs }),
      ...(steps !== undefined && { steps }),
    },
    pruner: pruner.name === 'asha' ? { ...pruner, ...ofAsha } : pruner,
  };
}

/** Counts, the best trials, and how to repeat them. */
function showStatus(folder: StudyFolder, json: boolean): void {
  using study = folder.open();
  const { trials } = study;
  const counts: Record<string, number> = {};
  for (const { state } of trials) counts[state] = (counts[state] ?? 0) + 1;
  const best = trials
    .filter(({ state, value }) => state === 'complete' && value !== undefined)
    .toSorted((a, b) => b.value! - a.value!)
    .slice(0, 5)
    .map((trial) => ({
      trial: trial.number,
      value: trial.value!,
      params: trial.params,
      run: folder.runOf(trial.number),
      command: trainCommand(folder.configOf(trial.params)),
    }));
  if (json) {
    printJson({ study: folder.folder, wanted: folder.settings.trials, counts, best });
    return;
  }
  const states = Object.entries(counts).map(([state, count]) => `${count} ${state}`);
  print(`${trials.length} trials: ${states.join(', ') || 'none yet'}`);
  if (best.length === 0) {
    if (counts.pruned)
      print('None was trained to its end: of the few so far no one was promoted; take more --trials.');
    return;
  }
  const names = [...new Set(best.flatMap(({ params }) => Object.keys(params)))];
  const rows = best.map(({ trial, value, params }) => [
    String(trial),
    percent(value),
    ...names.map((name) => shortValue(params[name] ?? '')),
  ]);
  printTable([['trial', 'accuracy', ...names], ...rows], 0);
  print(`Repeat the best trial:\n  ${best[0]!.command}`);
}
