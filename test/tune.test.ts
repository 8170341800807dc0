/**
 * Searches as users meet them: the real `vgg tune` with its workers, killed at bad moments. A trial is neither lost nor
 * counted twice, and one that lost its worker continues from its checkpoint.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readRun } from '../src/runs/folder.ts';
import { openStudyFolder } from '../src/tune/folder.ts';
import { readWorkers } from '../src/tune/heartbeat.ts';
import { bin, jsonLines, quickVgg, vgg } from './run-vgg.ts';

let folder: string;
let space: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-tune-'));
  space = join(folder, 'space.json');
  await writeFile(
    space,
    JSON.stringify({
      model: 'simplified',
      dataset: 'shapes',
      epochs: 4,
      batchSize: 500,
      // Few to train with: an epoch takes half of its time.
      validation: 0.8,
      lr: { float: [0.0005, 0.02], log: true },
      weightDecay: { choices: [0, 0.001] },
    }),
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const sleep = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until `done`, at most a minute. */
async function until(done: () => boolean): Promise<void> {
  for (let waited = 0; !done(); waited += 50) {
    if (waited > 60_000) throw new Error('it never came');
    await sleep(50);
  }
}

test('a study finds the best of its trials; each is a run', { timeout: 300_000 }, async () => {
  const dir = join(folder, 'plain');
  const args = ['tune', '--config', space, '--trials', '4', '--epochs', '1', '--study', dir];
  const run = await vgg([...args, '--jobs', '2', '--threads', '1', '--json']);
  expect(run.code, run.stderr).toBe(0);
  const told = jsonLines(run).filter(({ event }) => event === 'told');
  expect(told.map(({ trial }) => trial).sort()).toEqual([0, 1, 2, 3]);
  const [status] = jsonLines(await quickVgg(['tune', 'status', dir, '--json'])) as readonly [
    { counts: unknown; best: { trial: number; value: number; command: string; run: string }[] },
  ];
  expect(status.counts).toEqual({ complete: 4 });
  expect(status.best[0]!.value).toBe(Math.max(...told.map(({ value }) => value as number)));
  expect(status.best[0]!.command).toMatch(/^vgg train --model simplified --dataset shapes .*--lr 0\.0/);
  const { state, epochs } = await readRun(status.best[0]!.run);
  expect(state).toBe('finished');
  expect(epochs.at(-1)!.validationAccuracy).toBe(status.best[0]!.value);
  // Each has a report, the best one with its network; the study's leads to them.
  const ofStudy = await readFile(join(dir, 'report.html'), 'utf8');
  for (const trial of [0, 1, 2, 3]) {
    const report = `runs/trial-000${trial}/report.html`;
    const text = await readFile(join(dir, report), 'utf8');
    expect(text.includes('id="report-weights"')).toBe(trial === status.best[0]!.trial);
    expect(ofStudy).toContain(`<a href="${report}">${trial}</a>`);
  }
  // Nothing is left to do, and more trials may be wanted.
  expect(jsonLines(await quickVgg(['tune', 'status', dir, '--json']))).toEqual([status]);
  const more = await vgg(['tune', '--study', dir, '--trials', '5', '--threads', '2', '--no-report']);
  expect(existsSync(join(dir, 'runs', 'trial-0004', 'report.html'))).toBe(false);
  expect(more.stdout).toContain('5 trials: 5 complete');
  expect(more.stdout).toMatch(/^trial {2}validation accuracy +lr/m);
  expect((await vgg(['tune', 'stop', dir])).stdout).toBe('No worker is running.\n');
});

test('the first line is there before the check of what trials need', { timeout: 60_000 }, async () => {
  const dir = join(folder, 'first line');
  const [compiler, go] = [join(folder, 'waiting-cc'), join(folder, 'go')];
  // Looked for by the check; it waits until the line was read.
  await writeFile(compiler, `#!/bin/sh\nwhile [ ! -e '${go}' ]; do sleep 0.05; done; exit 1\n`, {
    mode: 0o755,
  });
  const native = join(folder, 'native.json');
  await writeFile(native, '{"device":"native","lr":{"choices":[0.1,0.01]}}');
  const child = spawn(process.execPath, [bin, 'tune', '--config', native, '--study', dir], {
    env: { ...process.env, VGGNET_CC: compiler },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(child, 'close');
  expect(await once(child.stderr.setEncoding('utf8'), 'data')).toEqual([
    `Study: ${dir}, checking what its trials need\n`,
  ]);
  await writeFile(go, '');
  expect(await ended).toEqual([1, null]);
  expect(existsSync(dir)).toBe(false);
});

test('workers and drivers that are killed lose nothing', { timeout: 300_000 }, async () => {
  const dir = join(folder, 'killed');
  const start = (args: readonly string[]) =>
    spawn(process.execPath, [bin, 'tune', ...args, '--jobs', '2', '--threads', '1'], {
      stdio: 'ignore',
      detached: true,
    });
  const hasCheckpoint = (trial: number): boolean =>
    existsSync(join(dir, 'runs', `trial-000${trial}`, 'last.safetensors'));

  // All at once: the driver and its workers, which are in process groups of their own.
  const first = start([
    '--config',
    space,
    '--trials',
    '4',
    '--epochs',
    '6',
    '--sampler',
    'random',
    '--study',
    dir,
  ]);
  await until(() => hasCheckpoint(0) && hasCheckpoint(1));
  process.kill(first.pid!, 'SIGKILL');
  for (const { worker } of readWorkers(join(dir, 'workers')))
    process.kill(Number(worker.split('+')[2]), 'SIGKILL');
  // The driver alone: its workers go on, and a new driver's beside them.
  const second = start(['--study', dir]);
  await until(() => readdirSync(join(dir, 'runs')).length >= 4);
  process.kill(second.pid!, 'SIGKILL');
  const last = await vgg(['tune', '--study', dir, '--jobs', '1', '--threads', '1']);
  expect(last.code, last.stderr).toBe(0);

  const study = await openStudyFolder(dir);
  using opened = await study.open();
  const { trials } = opened;
  const complete = trials.filter(({ state }) => state === 'complete');
  expect(complete).toHaveLength(4);
  expect(trials.filter(({ state }) => state === 'running')).toEqual([]);
  // What was killed is marked, and each has one successor with the same values.
  const failed = trials.filter(({ state }) => state === 'fail');
  expect(failed.length).toBeGreaterThanOrEqual(2);
  for (const { number, params } of failed) {
    const successors = trials.filter(({ userAttrs }) => userAttrs['vgg:parent'] === number);
    expect(successors.map((trial) => trial.params)).toEqual([params]);
  }
  // Six epochs each, all of them reported, whoever trained them.
  for (const { number, intermediateValues } of complete) {
    expect([...intermediateValues.keys()]).toEqual([1, 2, 3, 4, 5, 6]);
    expect((await readRun(study.runOf(number))).epochs).toHaveLength(6);
    expect(existsSync(join(study.runOf(number), 'report.html'))).toBe(true);
  }
  const resumed = await readRun(
    study.runOf(complete.find(({ userAttrs }) => 'vgg:parent' in userAttrs)!.number),
  );
  expect(resumed.env!.resumed!.length).toBeGreaterThanOrEqual(1);
});

test('ASHA ends the worse ones early and goes on with the better', { timeout: 300_000 }, async () => {
  const dir = join(folder, 'asha');
  const asha = ['--pruner', 'asha', '--min-resource', '1', '--reduction-factor', '2'];
  const args = [
    'tune',
    '--config',
    space,
    '--trials',
    '5',
    ...asha,
    '--study',
    dir,
    '--json',
    '--threads',
    '1',
  ];
  const events = jsonLines(await vgg(args));
  const pruned = events.filter(({ event, state }) => event === 'told' && state === 'pruned');
  expect(pruned.length).toBeGreaterThan(0);
  const study = await openStudyFolder(dir);
  expect(study.settings.pruner).toEqual({ name: 'asha', minResource: 1, reductionFactor: 2 });
  for (const { trial } of pruned) {
    expect(existsSync(join(study.runOf(trial as number), 'report.html'))).toBe(true);
  }
  // A promotion begins where its parent ended.
  for (const { trial } of events.filter(({ event, parent }) => event === 'trial' && parent !== undefined)) {
    const own = events.filter((event) => event.event === 'epoch' && event.trial === trial);
    expect(own[0]!.epoch).toBeGreaterThan(1);
  }
});

describe('Slurm', () => {
  /** Runs the script with a worker and a Slurm that say what they hear, and sends it a signal. Yields what was said. */
  async function scriptWith(signal: NodeJS.Signals | undefined, scontrol = ''): Promise<string> {
    const dir = join(folder, 'signals');
    const args = ['tune', '--config', space, '--study', dir, '--launcher', 'slurm', '--dry-run'];
    const { stdout } = await vgg(args);
    const place = await mkdtemp(join(folder, 'signal-'));
    const said = join(place, 'said');
    await writeFile(join(place, 'scontrol'), `#!/bin/bash\necho "scontrol $*" >> ${said}\n${scontrol}\n`, {
      mode: 0o755,
    });
    // Told to end, the worker takes a while, as one does that writes a checkpoint.
    const body = `trap 'sleep 0.2; echo ended >> ${said}; exit 143' TERM; echo begun >> ${said}; for i in $(seq ${signal ? 600 : 1}); do sleep 0.1; done`;
    await writeFile(join(place, 'worker'), `#!/bin/bash\n${body}\n`, { mode: 0o755 });
    const script = stdout.replace(/^.* tune work .* &$/m, `${join(place, 'worker')} &`);
    expect(script).not.toBe(stdout);
    const child = spawn('bash', ['-c', script], {
      env: {
        ...process.env,
        PATH: `${place}:${process.env.PATH}`,
        // Of one task, the first is the array's own.
        SLURM_JOB_ID: '17',
        SLURM_ARRAY_JOB_ID: '17',
        SLURM_ARRAY_TASK_ID: '3',
      },
      stdio: 'ignore',
    });
    const closed = new Promise<number | null>((resolve) => child.once('close', resolve));
    await until(() => existsSync(said));
    if (signal) child.kill(signal);
    const code = await closed;
    return `${code}\n${await readFile(said, 'utf8')}`;
  }

  test.for([
    [
      'a task near its time limit queues itself again',
      'SIGUSR1',
      '143\nbegun\nended\nscontrol requeue 17_3\n',
    ],
    ['one that is preempted or canceled leaves that to Slurm', 'SIGTERM', '143\nbegun\nended\n'],
    ['one that is done ends', undefined, '0\nbegun\n'],
  ] as const)('%s', async ([, signal, said]) => {
    expect(await scriptWith(signal)).toBe(said);
  });

  test('a requeue that fails at first is tried again', async () => {
    expect(await scriptWith('SIGUSR1', `[ -e "$0.again" ] || { touch "$0.again"; exit 1; }`)).toBe(
      '143\nbegun\nended\nscontrol requeue 17_3\nscontrol requeue 17_3\n',
    );
  });

  test('--dry-run shows the script and writes nothing', async () => {
    const dir = join(folder, 'script');
    const args = [
      'tune',
      '--config',
      space,
      '--study',
      dir,
      '--launcher',
      'slurm',
      '--jobs',
      '4',
      '--dry-run',
    ];
    const { stdout, stderr } = await vgg([...args, '--slurm', '--partition=gpu --gres=gpu:1']);
    expect(stdout).toContain('#SBATCH --array=0-3\n');
    expect(stdout).toContain('#SBATCH --partition=gpu --gres=gpu:1\n');
    expect(stdout).toMatch(/\n\S+ \S+vgg\.js tune work \S+script &\n/);
    expect(stderr).toContain('asks for a GPU');
    expect(existsSync(dir)).toBe(false);
  });
});

describe('wrong use', () => {
  test.for([
    ['--config SPACE --launcher local --dry-run', 2, '--dry-run has no effect without --launcher slurm'],
    [
      '--study nowhere',
      1,
      'nowhere has no study (no study.json); start one with npx vgg tune --config exercise --study nowhere',
    ],
    ['--config {"lrr":{"float":[0.1,1]}}', 2, 'there is no option "lrr"'],
    [
      '--config SPACE --pruner asha --min-resource 4',
      2,
      'minResource 4 is not below the 4 epochs of a trial',
    ],
    [
      '--config SPACE --pruner asha --reduction-factor 1',
      2,
      '--reduction-factor 1 is not a whole number ≥ 2',
    ],
    [
      '--config SPACE --reduction-factor 3',
      2,
      '--reduction-factor has no effect with --pruner none; it is an option of asha',
    ],
    [
      '--config {"pruner":{"name":"asha","reductionFactor":1},"lr":{"choices":[1]}}',
      2,
      'pruner.reductionFactor: 1 is not a whole number ≥ 2',
    ],
    [
      '--config {"pruner":"ash","lr":{"choices":[1]}}',
      2,
      'pruner.name: "ash" is not one of none, median, asha; did you mean "asha"?',
    ],
    // What every trial would fail on alike.
    [
      '--config {"dataset":"cifar10","data":"/nowhere","lr":{"choices":[1]}}',
      1,
      'cifar10: /nowhere does not exist',
    ],
    ['--config exercise --data /nowhere', 1, 'cifar100: /nowhere does not exist'],
    [
      '--config {"dataset":"shapes","batchSize":20000,"lr":{"choices":[1]}}',
      2,
      'batch size 20000 is larger than the 10000 images of shapes',
    ],
    [
      '--config {"dataset":"shapes","device":"native","lr":{"choices":[1]}}',
      1,
      '--device native: turned off by VGGNET_CC',
    ],
  ] as const)('vgg tune %s', async ([args, code, message]) => {
    const given = join(folder, 'given.json');
    await writeFile(given, /\{.*\}/.exec(args)?.[0] ?? '');
    const words = args
      .replace('SPACE', space)
      .replace(/\{.*\}/, given)
      .split(' ');
    const dir = join(folder, 'wrong');
    const own = args.includes('--study') ? [] : ['--study', dir];
    const run = await quickVgg(['tune', ...words, ...own], { env: { VGGNET_CC: '' } });
    expect(run.stderr).toContain(message);
    expect(run.code).toBe(code);
    expect(existsSync(dir)).toBe(false);
  });
});

test('a study of which every trial failed ends with 1; its trials can be retried', {
  timeout: 120_000,
}, async () => {
  const dir = join(folder, 'failed');
  const diverging = join(folder, 'diverging.json');
  const options = { model: 'simplified', dataset: 'shapes', steps: 6, optimizer: 'sgd', device: 'wasm' };
  await writeFile(diverging, JSON.stringify({ ...options, lr: { choices: [1e30] } }));
  const args = ['tune', '--study', dir, '--threads', '1', '--no-report', '--json'];
  const run = await vgg([...args, '--config', diverging, '--trials', '1']);
  expect(run.stderr).toMatch(/error: the only trial failed: the loss became .*--retry-failed/s);
  expect(run.code).toBe(1);
  const again = await vgg([...args, '--retry-failed']);
  expect(jsonLines(again)[0]).toEqual({ event: 'retrying', trials: [0] });
  expect(again.code).toBe(1);
  using opened = await (await openStudyFolder(dir)).open();
  expect(opened.trials).toMatchObject([{ state: 'fail' }, { state: 'fail', userAttrs: { 'vgg:parent': 0 } }]);
});

test('stop lets a trial go on later, at no cost; watch and report tell of it', {
  timeout: 300_000,
}, async () => {
  const dir = join(folder, 'stopped');
  const args = ['tune', '--config', space, '--trials', '2', '--sampler', 'random', '--retries', '0'];
  const own = ['--epochs', '8', '--threads', '1', '--no-report', '--study', dir, '--json'];
  const driver = vgg([...args, ...own]);
  await until(() => existsSync(join(dir, 'runs', 'trial-0000', 'last.safetensors')));
  const stopped = jsonLines(await vgg(['tune', 'stop', dir, '--json']));
  expect(stopped).toEqual([{ event: 'stopped', workers: 1 }]);
  expect((await driver).code).toBe(0);
  const watched = vgg(['tune', 'watch', dir]);
  expect((await watched).stdout).toContain('waiting');
  const rest = await vgg(['tune', '--study', dir, '--threads', '1', '--json']);
  expect(rest.code, rest.stderr).toBe(0);
  // Handed on, and with no retries allowed still complete.
  const study = await openStudyFolder(dir);
  using opened = await study.open();
  const states = opened.trials.map(({ state }) => state);
  expect(states.filter((state) => state === 'complete')).toHaveLength(2);
  expect(opened.trials.some(({ userAttrs }) => userAttrs['vgg:parent'] === 0)).toBe(true);
  const [{ report }] = jsonLines(await vgg(['tune', 'report', dir, '--json'])) as readonly [
    { report: string },
  ];
  expect(existsSync(report)).toBe(true);
});

test('a worker that dies is replaced, and its trial tried again so often', { timeout: 300_000 }, async () => {
  const dir = join(folder, 'replaced');
  const args = ['tune', '--config', space, '--trials', '2', '--sampler', 'random', '--retries', '0'];
  const driver = vgg([...args, '--threads', '1', '--no-report', '--study', dir, '--json']);
  await until(() => existsSync(join(dir, 'runs', 'trial-0000', 'last.safetensors')));
  const [worker] = readdirSync(join(dir, 'workers')).filter((name) => name.endsWith('.json'));
  process.kill(Number(worker!.split('+')[2]), 'SIGKILL');
  const { code, stderr } = await driver;
  expect(code, stderr).toBe(0);
  using opened = await (await openStudyFolder(dir)).open();
  expect(opened.trials.map(({ state }) => state)).toEqual(['fail', 'complete']);
  expect(opened.trials[0]!.userAttrs).toMatchObject({
    'vgg:reason': 'its worker ended',
    'vgg:log': expect.stringContaining('epoch 1: train loss'),
  });
});
