/**
 * `vgg tune`: a search over options. The study's folder has everything; this command begins it, starts workers, here or
 * as a Slurm job array, and shows what they do. It may end and be started again at any time.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { UsageError } from '../errors.ts';
import { formatTable } from '../model/summary.ts';
import { trainCommand } from '../report/command.ts';
import { parseConfig } from '../train/config.ts';
import { prunerNames, type StudyFolder, samplerNames } from '../tune/folder.ts';
import type { WorkEvent } from '../tune/work.ts';
import { readConfigFile } from './config-options.ts';
import type { Interruption } from './interrupt.ts';
import { maxThreads } from './models.ts';
import { note, print, printJson } from './output.ts';
import { choiceOption, wholeNumberOption } from './values.ts';

const launchers = ['local', 'slurm'] as const;

interface TuneOptions {
  readonly config?: string;
  readonly study: string;
  readonly trials?: number;
  readonly sampler: (typeof samplerNames)[number];
  readonly pruner: (typeof prunerNames)[number];
  readonly seed: number;
  readonly retries: number;
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
  $ vgg tune --config space.json --trials 64 --jobs 8 --launcher slurm --slurm "--partition=gpu --time=2:00:00"

A space is a config file in which some values are replaced by candidates: {"lr": {"float": [1e-4, 1e-2], "log": true}};
docs/tuning.md has the forms. "exercise" is the lecture's fourth exercise. Each trial is a run folder in STUDY/runs, and
Optuna reads STUDY/journal.log. A trial is worth its accuracy on the pictures kept apart ("validation" in the space), or
else on the test's, which flatters the winner.`;

export function tuneCommand(interruption: Interruption): Command {
  const command = new Command('tune')
    .description('search options: channels, strides, learning rates, …')
    .addOption(new Option('--config <file>', 'the space: JSON, TypeScript, or "exercise"'))
    .addOption(new Option('--study <dir>', 'folder of the study').default('study'))
    .addOption(wholeNumberOption('--trials <n>', 'configurations in all (default: 20)'))
    .addOption(choiceOption('--sampler <name>', 'how they are chosen', samplerNames).default('tpe'))
    .addOption(choiceOption('--pruner <name>', 'how the worse ones end early', prunerNames).default('none'))
    .addOption(wholeNumberOption('--seed <n>', 'of the sampler', { least: 0 }).default(0))
    .addOption(
      wholeNumberOption('--retries <n>', 'how often a trial is tried again whose worker ended', {
        least: 0,
      }).default(3),
    )
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
  const { createStudyFolder, openStudyFolder } = await import('../tune/folder.ts');
  const folder = await (async (): Promise<StudyFolder> => {
    if (options.config !== undefined) {
      const { sampler, pruner, seed, retries, trials = 20 } = options;
      const space = await spaceOf(options.config);
      return createStudyFolder(options.study, { space, sampler, pruner, seed, trials, retries });
    }
    const fixed = ['sampler', 'pruner', 'seed', 'retries'].find(
      (name) => command.getOptionValueSource(name) === 'cli',
    );
    if (fixed !== undefined) {
      throw new UsageError(
        `tune: ${options.study} has its own ${fixed}; give --config to begin another study`,
      );
    }
    const existing = await openStudyFolder(options.study);
    return options.trials === undefined
      ? existing
      : createStudyFolder(options.study, { ...existing.settings, trials: options.trials });
  })();
  if (options.launcher === 'slurm') return launchOnSlurm(folder, options);
  for (const flag of ['slurm', 'dryRun'] as const) {
    if (options[flag] !== undefined)
      throw new UsageError(`--${flag === 'slurm' ? 'slurm' : 'dry-run'} is for --launcher slurm`);
  }
  await launchHere(folder, options, interruption);
}

async function spaceOf(config: string): Promise<unknown> {
  if (config === 'exercise') return (await import('../tune/exercise-space.ts')).exerciseSpaceSource;
  return readConfigFile(config);
}

/** The words that start a worker. */
function workerCommand(folder: StudyFolder, threads: number | undefined): readonly string[] {
  const bin = fileURLToPath(new URL('../../bin/vgg.js', import.meta.url));
  const own = [
    'tune',
    'work',
    folder.folder,
    ...(threads === undefined ? [] : ['--threads', String(threads)]),
  ];
  return [process.execPath, bin, ...own];
}

/** Child processes, one for each job. */
async function launchHere(
  folder: StudyFolder,
  { jobs, json, threads = Math.max(1, Math.floor(availableParallelism() / jobs)) }: TuneOptions,
  interruption: Interruption,
): Promise<void> {
  const { trials } = folder.settings;
  if (!json) note(`Study: ${folder.folder}, ${trials} trials, ${jobs} at a time, ${threads} threads each`);
  interruption.stopsItself = true;
  interruption.graceMilliseconds = 60_000;
  interruption.kept = `What was tried is in ${folder.folder}; vgg tune --study ${folder.folder} goes on.`;
  const children: ChildProcess[] = [];
  const stop = (): void => {
    for (const child of children) child.kill('SIGTERM');
  };
  interruption.signal.addEventListener('abort', stop);
  const [program, ...args] = workerCommand(folder, threads);
  const codes = await Promise.all(
    Array.from({ length: jobs }, async () => {
      const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      children.push(child);
      const lines = createInterface({ input: child.stdout! });
      lines.on('line', (line) => {
        if (json) print(line);
        else showEvent(JSON.parse(line) as WorkEvent);
      });
      const [code] = (await once(child, 'close')) as [number | null];
      return code;
    }),
  );
  interruption.signal.throwIfAborted();
  if (!json) showStatus(folder, false);
  const failed = codes.filter((code) => code !== 0).length;
  if (failed > 0) {
    throw new UsageError(
      `${failed} of ${jobs} workers ended before their time; vgg tune --study ${folder.folder} goes on`,
    );
  }
}

const percent = (value: number): string => `${(100 * value).toFixed(2)} %`;

function showEvent(event: WorkEvent): void {
  const name = `Trial ${event.trial}`;
  switch (event.event) {
    case 'trial': {
      const params = Object.entries(event.params).map(([key, value]) => `${key}=${short(value)}`);
      const origin = event.parent === undefined ? '' : `, from trial ${event.parent}`;
      print(`${name}${origin}: ${params.join(' ')}`);
      break;
    }
    case 'epoch':
      print(`${name}, epoch ${event.epoch}: ${percent(event.value)}`);
      break;
    case 'told': {
      const value = event.value === undefined ? '' : `: ${percent(event.value)}`;
      print(`${name} ${event.state}${value}${event.reason ? `: ${event.reason}` : ''}`);
      break;
    }
    default:
      event satisfies never;
  }
}

const short = (value: unknown): string =>
  typeof value === 'number' && !Number.isInteger(value) ? value.toPrecision(3) : String(value);

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
    ...names.map((name) => short(params[name] ?? '')),
  ]);
  print(formatTable([['trial', 'accuracy', ...names], ...rows], 0));
  print(`The best one again: ${best[0]!.command}`);
}

/** A job array, one worker a task. */
async function launchOnSlurm(folder: StudyFolder, options: TuneOptions): Promise<void> {
  const { jobs, slurm = '', threads, dryRun, json } = options;
  if (/--gres\S*gpu|--gpus/.test(slurm)) {
    note(`--slurm asks for a GPU, which the device of these trials (${deviceOf(folder)}) leaves idle.`);
  }
  const quoted = workerCommand(folder, threads).map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  const script = [
    '#!/bin/bash',
    '#SBATCH --job-name=vgg-tune',
    `#SBATCH --array=0-${jobs - 1}`,
    `#SBATCH --output=${folder.folder}/slurm-%A-%a.log`,
    '# A task that is preempted is told a minute before, and its trial goes on from its checkpoint.',
    '#SBATCH --requeue',
    '#SBATCH --signal=B:TERM@60',
    ...(slurm.trim() === '' ? [] : [`#SBATCH ${slurm.trim()}`]),
    `exec ${quoted.join(' ')}`,
    '',
  ].join('\n');
  if (dryRun) return print(script.trimEnd());
  const sbatch = spawn('sbatch', ['--parsable'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const failure = once(sbatch, 'error').then(() => {
    throw new UsageError('--launcher slurm needs sbatch on the path; --launcher local runs the trials here');
  });
  let answer = '';
  sbatch.stdout.on('data', (text) => (answer += text));
  sbatch.stdin.on('error', () => undefined);
  sbatch.stdin.end(script);
  const [code] = (await Promise.race([once(sbatch, 'close'), failure])) as [number | null];
  if (code !== 0) throw new UsageError(`sbatch refused the job (exit code ${code}); see its message above`);
  const job = answer.trim().split(';')[0]!;
  if (json) printJson({ event: 'submitted', job, study: folder.folder });
  else {
    print(
      `Job ${job}: ${jobs} tasks. vgg tune status ${folder.folder} shows the study; scancel ${job} stops it,`,
    );
    print(`and vgg tune --study ${folder.folder} --launcher slurm --jobs ${jobs} goes on.`);
  }
}

const deviceOf = (folder: StudyFolder): string => parseConfig(folder.space.fixed, 'the space').device;
