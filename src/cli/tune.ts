/**
 * `vgg tune`: a search over options. All state is in the study's folder. This command creates it, starts workers on this
 * machine or as a Slurm job array, and shows their progress. It can be stopped and started again at any time.
 */
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { type DeviceName, deviceNames, gpuDevices } from '../engine/backend.ts';
import { UsageError, VggError } from '../errors.ts';
import { isThere } from '../files/files.ts';
import { maxThreads } from '../options.ts';
import { flagOf, trainCommand } from '../report/command.ts';
import { unknownName } from '../suggest.ts';
import { prunerNames, type StudyFolder, type StudySettings, samplerNames } from '../tune/folder.ts';
import { shortValue, spokenName } from '../tune/importance.ts';
import { shownStates } from '../tune/lineage.ts';
import type { TuneSpace } from '../tune/space.ts';
import { counted, percent, shellWord } from '../words.ts';
import { readConfigFile } from './config-options.ts';
import type { Interruption } from './interrupt.ts';
import { adapterOption, chooseAdapter } from './models.ts';
import { continueWithoutOutput, note, print, printJson, printTable } from './output.ts';
import { launchHere, launchOnSlurm, stopStudy, watchStudy } from './tune-launch.ts';
import { choiceOption, pathArgument, pathOption, wholeNumberOption } from './values.ts';

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
  readonly retryFailed?: true;
  readonly jobs: number;
  readonly threads?: number;
  readonly device?: DeviceName;
  readonly adapter?: string;
  readonly launcher: (typeof launchers)[number];
  readonly slurm?: string;
  readonly dryRun?: true;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg tune --config exercise --trials 40 --pruner asha --study studies/exercise-4
  $ vgg tune --config space.json --trials 20 --sampler grid --jobs 2
  $ vgg tune --study studies/exercise-4                continue a study
  $ vgg tune --study studies/exercise-4 --retry-failed  run its failed trials again first
  $ vgg tune status studies/exercise-4                 show the best trials and how to repeat them
  $ vgg tune watch studies/exercise-4                  follow it, wherever its workers run; stop ends them
  $ vgg tune report studies/exercise-4                 write one HTML file: result, history, what mattered
  $ vgg tune --config space.json --trials 64 --jobs 8 --launcher slurm --slurm "--partition=cpu --time=2:00:00"
  $ vgg tune --config space.json --jobs 8 --launcher slurm --slurm "--gres=gpu:1" --device ${gpuDevices[0]}

A space is a config file with candidates instead of some values: {"lr": {"float": [1e-4, 1e-2], "log": true}}.
docs/tuning.md lists the forms. "exercise" is the lecture's fourth exercise. Each trial has a run folder in STUDY/runs,
and Optuna reads STUDY/journal.log. Each finished trial gets a short report; the best one gets a full report. A trial's
score is its accuracy on the validation images ("validation" in the space) or else on the test images, which makes the
best score slightly optimistic.

asha decides after r, r·η, r·η², … epochs (r: --min-resource, η: --reduction-factor): the best 1/η of the trials continue.
The others are pruned, and promoted if later results put them among the best 1/η.`;

export function tuneCommand(interruption: Interruption): Command {
  const command = new Command('tune')
    .description('search options: channels, strides, learning rates, …')
    .addOption(pathOption('--config <file>', 'the space: JSON, TypeScript, or "exercise"'))
    .addOption(pathOption('--study <dir>', 'folder of the study').default('study'))
    .addOption(wholeNumberOption('--trials <n>', 'number of configurations in total (default: 20)'))
    .addOption(pathOption('--data <dir>', "folder or archive with CIFAR's files, in place of the space's"))
    .addOption(wholeNumberOption('--epochs <n>', 'epochs of each trial, instead of the value in the space'))
    .addOption(
      wholeNumberOption('--steps <n>', 'stop each trial after N steps, instead of the value in the space'),
    )
    .addOption(choiceOption('--device <name>', "device of the trials, in place of the space's", deviceNames))
    .addOption(adapterOption())
    .addOption(choiceOption('--sampler <name>', 'how configurations are chosen', samplerNames).default('tpe'))
    .addOption(
      choiceOption(
        '--pruner <name>',
        "how bad trials end early (default: the space file's pruner, or none)",
        prunerNames,
      ),
    )
    .addOption(
      wholeNumberOption('--min-resource <epochs>', 'asha: epochs before the first decision (default: 1)'),
    )
    .addOption(
      wholeNumberOption(
        '--reduction-factor <n>',
        'asha: one in N trials continues, for N times as many epochs (default: 4)',
        { least: 2 },
      ),
    )
    .addOption(wholeNumberOption('--seed <n>', "the sampler's seed", { least: 0 }).default(0))
    .addOption(
      wholeNumberOption('--retries <n>', 'how often a trial is retried if its worker dies', {
        least: 0,
      }).default(3),
    )
    .option('--retry-failed', 'first run the failed trials of an existing study again')
    .option('--no-report', 'write no reports when trials and the study end')
    .addOption(
      wholeNumberOption('--jobs <j>', 'number of trials at the same time', { most: 10_000 }).default(1),
    )
    .addOption(
      wholeNumberOption('--threads <n>', 'threads of each trial (default: all, divided among the jobs)', {
        most: maxThreads,
      }),
    )
    .addOption(choiceOption('--launcher <name>', 'where the workers run', launchers).default('local'))
    .addOption(new Option('--slurm <options>', 'options for sbatch'))
    .option('--dry-run', 'print the Slurm script and exit')
    .option('--json', 'print one JSON object per line')
    .addHelpText('after', examples)
    .allowExcessArguments()
    .action((options: TuneOptions) => tune(command, options, interruption));
  addStatus(command);
  addWatch(command, interruption);
  addStop(command);
  addReport(command);
  addWork(command, interruption);
  return command;
}

/** Whether `--json` was given, before or after the subcommand's name. */
const wantsJson = (subcommand: Command): boolean =>
  subcommand.optsWithGlobals<{ json?: true }>().json === true;

const openStudy = async (dir: string): Promise<StudyFolder> =>
  (await import('../tune/folder.ts')).openStudyFolder(dir);

function addStatus(command: Command): void {
  command
    .command('status')
    .description('show the best trials of a study and how to repeat them')
    .addArgument(pathArgument('<dir>', 'folder of the study'))
    .option('--json', 'print one object')
    .action(async (dir: string, _: unknown, own: Command) =>
      showStatus(await openStudy(dir), wantsJson(own)),
    );
}

function addWatch(command: Command, interruption: Interruption): void {
  command
    .command('watch')
    .description('follow a study while anyone works on it')
    .addArgument(pathArgument('<dir>', 'folder of the study'))
    .option('--json', 'print one JSON object per line')
    .action(async (dir: string, _: unknown, own: Command) => {
      const folder = await openStudy(dir);
      const json = wantsJson(own);
      await watchStudy(folder, json, interruption);
      if (!json) await showStatus(folder, false);
    });
}

function addStop(command: Command): void {
  command
    .command('stop')
    .description('end the workers of a study after they write checkpoints; on Slurm, cancel its job')
    .addArgument(pathArgument('<dir>', 'folder of the study'))
    .option('--json', 'print one object')
    .action(async (dir: string, _: unknown, own: Command) => {
      const folder = await openStudy(dir);
      const { workers, left, jobs } = await stopStudy(folder);
      const { canceled, kept } = jobs;
      if (wantsJson(own)) {
        return printJson({
          event: 'stopped',
          workers,
          ...(left > 0 && { left }),
          ...(canceled.length > 0 && { jobs: canceled }),
          ...(kept.length > 0 && { kept }),
        });
      }
      print(
        workers === 0
          ? 'No worker is running.'
          : `Told ${counted(workers, 'worker')} to end. Continue the study with:\n  vgg tune --study ${shellWord(dir)}`,
      );
      if (left > 0) print(`${counted(left, 'worker')} had not ended after 90 s.`);
      if (canceled.length > 0) print(`Canceled job ${canceled.join(', ')}.`);
      for (const { job, reason } of kept) {
        print(`Did not cancel job ${job}: ${reason}. If it is yours to cancel: scancel ${job}`);
      }
    });
}

function addReport(command: Command): void {
  command
    .command('report')
    .description('write one HTML file: result, best trials, what mattered, how the search went')
    .addArgument(pathArgument('<dir>', 'folder of the study'))
    .addOption(pathOption('--out <file>', "the file (default: report.html in the study's folder)"))
    .option('--json', 'print {"report":…}')
    .action(async (dir: string, { out }: { readonly out?: string }, own: Command) => {
      const { reportStudy } = await import('../tune/report.ts');
      const report = await reportStudy(await openStudy(dir), out);
      if (wantsJson(own)) printJson({ report });
      else print(`Report: ${report} (open it in a browser)`);
    });
}

function addWork(command: Command, interruption: Interruption): void {
  command
    .command('work')
    .description('run one worker until nothing is left; the launchers start it')
    .addArgument(pathArgument('<dir>', 'folder of the study'))
    .action(async (dir: string, _: unknown, own: Command) => {
      const { workOn } = await import('../tune/work.ts');
      const { threads } = own.optsWithGlobals<{ threads?: number }>();
      interruption.stopsItself = true;
      interruption.graceMilliseconds = 60_000;
      interruption.kept = 'The next worker continues this trial.';
      continueWithoutOutput('The worker continues.');
      await workOn(await openStudy(dir), {
        signal: interruption.signal,
        onEvent: printJson,
        onNotice: note,
        ...(threads !== undefined && { threads }),
      });
      interruption.signal.throwIfAborted();
    });
}

async function tune(command: Command, options: TuneOptions, interruption: Interruption): Promise<void> {
  const [extra] = command.args;
  if (extra !== undefined) {
    const names = command.commands.map((subcommand) => subcommand.name());
    throw new UsageError(unknownName('tune command', extra, names));
  }
  for (const flag of ['slurm', 'dryRun'] as const) {
    if (options.launcher === 'local' && options[flag] !== undefined)
      throw new UsageError(`${flagOf(flag)} has no effect without --launcher slurm`);
  }
  const [{ openStudyFolder, planStudy }, { parseSpace }] = await Promise.all([
    import('../tune/folder.ts'),
    import('../tune/space.ts'),
  ]);
  const given = await (async (): Promise<StudySettings> => {
    const { config, study, sampler, seed, retries, report, trials } = options;
    if (config !== undefined) {
      const source =
        config === 'exercise'
          ? (await import('../tune/exercise-space.ts')).exerciseSpaceSource
          : ((await readConfigFile(config)) ?? {});
      return { ...(await spaceOf(source, options)), sampler, seed, retries, report, trials: trials ?? 20 };
    }
    const { settings } = await openStudyFolder(study);
    const flags = Object.entries({ sampler, seed, retries }).filter(
      ([name]) => command.getOptionValueSource(name) === 'cli',
    );
    return {
      ...settings,
      ...(await spaceOf({ ...(settings.space as object), pruner: settings.pruner }, options)),
      ...Object.fromEntries(flags),
      trials: trials ?? settings.trials,
      report: report && settings.report,
    };
  })();
  const plan = await planStudy(options.study, given);
  const space = parseSpace(given.space, options.config ?? options.study);
  const device = space.fixed.device ?? 'auto';
  chooseAdapter(options.adapter, device);
  await check(space, options);
  const retry = async (folder: StudyFolder): Promise<void> => {
    if (options.retryFailed) await retryFailed(folder, options.json === true);
  };
  if (options.launcher === 'slurm') return launchOnSlurm(plan, { ...options, device }, retry);
  const folder = await plan.write();
  await retry(folder);
  await launchHere(folder, options, interruption);
  if (!options.json) await showStatus(folder, false);
  if (!folder.settings.report || !isThere(folder.path('report'))) return;
  if (options.json) printJson({ event: 'report', report: folder.path('report') });
  else print(`Report: ${folder.path('report')}. Each trial has its own in its run folder.`);
}

/** Queues the failed trials of a study again. */
async function retryFailed(folder: StudyFolder, json: boolean): Promise<void> {
  using study = await folder.open();
  const trials = await study.retryFailed();
  if (json) printJson({ event: 'retrying', trials });
  else note(trials.length === 0 ? 'No trial has failed.' : `Running again: trial ${trials.join(', ')}.`);
}

/** Finds what would make every trial fail. Slurm's nodes may have what this machine lacks, so each one checks again. */
async function check(space: TuneSpace, { launcher, dryRun, study, json }: TuneOptions): Promise<void> {
  if (dryRun) return;
  if (!json) note(`Study: ${study}, checking what its trials need`);
  const { checkTrials } = await import('../tune/check.ts');
  try {
    await checkTrials(space, note);
  } catch (error) {
    if (launcher === 'local' || !(error instanceof VggError) || error instanceof UsageError) throw error;
    note(
      `A trial would fail on this machine: ${error.message}. Each task of the job checks its own machine first.`,
    );
  }
}

/** The space and the pruner of a file or an existing study, with the options that were given beside it. */
async function spaceOf(
  { pruner: known = 'none', ...space }: Readonly<Record<string, unknown>>,
  options: TuneOptions,
): Promise<Pick<StudySettings, 'space' | 'pruner'>> {
  const { config, data, device, epochs, steps, minResource, reductionFactor } = options;
  const { parsePruner } = await import('../tune/folder.ts');
  // A study's pruner may have options that its name alone does not say.
  const isKnown = options.pruner === undefined || options.pruner === (known as { name?: unknown }).name;
  const pruner = parsePruner(
    isKnown ? known : options.pruner,
    isKnown ? (config ?? options.study) : '--pruner',
  );
  const ofAsha = { ...(minResource && { minResource }), ...(reductionFactor && { reductionFactor }) };
  const [flag] = Object.keys(ofAsha);
  if (flag !== undefined && pruner.name !== 'asha') {
    throw new UsageError(
      `${flagOf(flag)} has no effect with --pruner ${pruner.name}; it is an option of asha`,
    );
  }
  return {
    space: {
      ...space,
      // Workers may run in another folder.
      ...(data !== undefined && { data: resolve(data) }),
      ...(device !== undefined && { device }),
      ...(epochs !== undefined && { epochs }),
      ...(steps !== undefined && { steps }),
    },
    pruner: pruner.name === 'asha' ? { ...pruner, ...ofAsha } : pruner,
  };
}

/** Prints how many trials there are in each state, the best ones, and how to repeat them. */
async function showStatus(folder: StudyFolder, json: boolean): Promise<void> {
  const { isRepeatable } = await import('../tune/folder.ts');
  using study = await folder.open();
  const { trials } = study;
  const counts: Record<string, number> = {};
  for (const { state } of trials) counts[state] = (counts[state] ?? 0) + 1;
  const best = trials
    .filter(({ state, value }) => state === 'complete' && value !== undefined && !Number.isNaN(value))
    .filter(({ params }) => isRepeatable(folder, params))
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
  const shownCounts = new Map<string, number>();
  for (const state of trials.map(shownStates(trials)))
    shownCounts.set(state, (shownCounts.get(state) ?? 0) + 1);
  const states = [...shownCounts].map(([state, count]) => `${count} ${state}`);
  print(`${counted(trials.length, 'trial')}: ${states.join(', ') || 'none yet'}`);
  if (best.length === 0) {
    if (counts.pruned)
      print('No trial was trained to its end yet, because none was promoted; run more --trials.');
    return;
  }
  const names = [...new Set(best.flatMap(({ params }) => Object.keys(params)))];
  const rows = best.map(({ trial, value, params }) => [
    String(trial),
    percent(value),
    ...names.map((name) => shortValue(params[name] ?? '')),
  ]);
  const { validation = 0 } = folder.space.fixed;
  const metric = validation === 0 ? 'test accuracy' : 'validation accuracy';
  printTable([['trial', metric, ...names.map(spokenName)], ...rows], 0);
  print(`Repeat the best trial:\n  ${best[0]!.command}`);
}
