/**
 * A study on a real Slurm, one machine is enough. Skipped, visibly, where no cluster answers. Tasks requeue, are killed
 * and canceled, and the driver ends at once, as it does with Slurm: no trial is lost or counted twice.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readRun } from '../src/runs/folder.ts';
import { openStudyFolder } from '../src/tune/folder.ts';
import { bin, jsonLines, vgg } from './run-vgg.ts';

const answers = spawnSync('sinfo', ['-h', '-o', '%T'], { timeout: 5000, encoding: 'utf8' });
const hasSlurm = answers.status === 0 && /idle|mix|alloc/.test(answers.stdout);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-slurm-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const run = async (command: string, ...args: readonly string[]): Promise<string> =>
  (await promisify(execFile)(command, args)).stdout.trim();
const sleep = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

describe.skipIf(!hasSlurm)('a job array (skipped where no Slurm answers)', () => {
  test('eight trials survive a time limit, a kill, a cancellation', { timeout: 300_000 }, async () => {
    // What shells, Slurm's log paths and its lines of options give a meaning to.
    const dir = join(folder, `it's a 100%j "study" #1 $HOME`);
    const space = join(folder, 'space.json');
    await writeFile(
      space,
      JSON.stringify({
        model: 'simplified',
        dataset: 'shapes',
        epochs: 3,
        batchSize: 500,
        lr: { float: [0.0005, 0.02], log: true },
      }),
    );
    const launch = async (...args: readonly string[]): Promise<string> => {
      const own = ['--study', dir, '--launcher', 'slurm', '--jobs', '2', '--threads', '1', '--json'];
      const submitted = await vgg(['tune', ...args, ...own]);
      expect(submitted.code, submitted.stderr).toBe(0);
      return jsonLines(submitted)[0]!.job as string;
    };
    const study = await (async () => {
      const job = await launch('--config', space, '--trials', '8', '--sampler', 'random');
      const opened = await openStudyFolder(dir);
      using trials = await opened.open();
      const complete = (): number => trials.trials.filter(({ state }) => state === 'complete').length;
      const until = async (done: () => Promise<boolean> | boolean): Promise<void> => {
        for (let waited = 0; !(await done()); waited += 250) {
          if (waited > 120_000) throw new Error(await run('squeue', '-r'));
          await sleep(250);
        }
      };
      const running = async (task: string): Promise<boolean> =>
        (await run('squeue', '-h', '-r', '-t', 'R', '-o', '%i')).split('\n').includes(task);
      await until(() => complete() >= 1);
      expect(existsSync(join(dir, `slurm-${job}-0.log`))).toBe(true);
      // As near its time limit: it queues itself again, and begins two minutes later.
      await run('scancel', '--batch', '-s', 'USR1', `${job}_0`);
      await until(async () =>
        (await run('squeue', '-h', '-r', '-t', 'PD', '-o', '%i')).split('\n').includes(`${job}_0`),
      );
      // That one alone.
      const restarts = await run('squeue', '-h', '-r', '-j', job, '-O', 'ArrayTaskID:|,RestartCnt:|');
      expect(restarts.split(/\s+/).toSorted()).toEqual(['0|1|', '1|0|']);
      await until(() => complete() >= 3);
      await run('scancel', '-s', 'KILL', `${job}_1`);
      await until(async () => !(await running(`${job}_1`)));
      // One array at a time, also where the number of the first was not written down.
      const record = join(dir, 'slurm.json');
      const recorded = await readFile(record, 'utf8');
      await writeFile(record, JSON.stringify({ ...JSON.parse(recorded), job: undefined }));
      const again = await vgg(['tune', '--study', dir, '--launcher', 'slurm', '--jobs', '2']);
      expect(again.stderr).toContain(`job ${job} already works on this study`);
      // A job that the record describes wrongly is somebody else's. (A requeued task may be younger than recorded.)
      await writeFile(record, JSON.stringify({ ...JSON.parse(recorded), submitted: '2036-01-01T00:00:00' }));
      const [refused] = jsonLines(await vgg(['tune', 'stop', dir, '--json']));
      expect(refused!.kept).toEqual([{ job, reason: expect.stringContaining('submitted at') }]);
      expect(await run('squeue', '-h', '-j', job)).not.toBe('');
      await writeFile(record, recorded);
      const [stopped] = jsonLines(await vgg(['tune', 'stop', dir, '--json']));
      expect(stopped).toMatchObject({ event: 'stopped', jobs: [job] });
      await until(async () => (await run('squeue', '-h', '-j', job).catch(() => '')) === '');
      // The rest, by tasks of another job.
      const second = await launch();
      // Whoever watches may be killed, and watch again.
      const watcher = spawn(process.execPath, [bin, 'tune', 'watch', dir], { stdio: 'ignore' });
      await sleep(1500);
      watcher.kill('SIGKILL');
      const watched = await vgg(['tune', 'watch', dir]);
      expect(watched.stdout).toContain('8 complete');
      await until(async () => (await run('squeue', '-h', '-j', second).catch(() => '')) === '');
      return opened;
    })();
    using opened = await study.open();
    const { trials } = opened;
    expect(trials.filter(({ state }) => state === 'running' || state === 'waiting')).toEqual([]);
    const complete = trials.filter(({ state }) => state === 'complete');
    expect(complete).toHaveLength(8);
    for (const { number, intermediateValues } of complete) {
      expect([...intermediateValues.keys()]).toEqual([1, 2, 3]);
      expect((await readRun(study.runOf(number))).state).toBe('finished');
    }
    for (const { number, state } of trials) {
      const successors = trials.filter(({ userAttrs }) => userAttrs['vgg:parent'] === number);
      expect(successors).toHaveLength(state === 'fail' ? 1 : 0);
    }
  });
});
