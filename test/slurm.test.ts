/**
 * A study on a real Slurm, one machine is enough. Skipped, visibly, where no cluster answers. Tasks requeue, are killed
 * and cancelled, and the driver ends at once, as it does with Slurm: no trial is lost or counted twice.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
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
    const dir = join(folder, 'study');
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
      // As near its time limit: it queues itself again, and begins two minutes later.
      await run('scancel', '--batch', '-s', 'USR1', `${job}_0`);
      await until(async () =>
        (await run('squeue', '-h', '-r', '-t', 'PD', '-o', '%i')).split('\n').includes(`${job}_0`),
      );
      await until(() => complete() >= 3);
      await run('scancel', '-s', 'KILL', `${job}_1`);
      await until(async () => !(await running(`${job}_1`)));
      // One array at a time, also where the number of the first was not written down.
      await rm(join(dir, 'slurm.json'));
      const again = await vgg(['tune', '--study', dir, '--launcher', 'slurm', '--jobs', '2']);
      expect(again.stderr).toContain(`job ${job} works on this study already`);
      const [stopped] = jsonLines(await vgg(['tune', 'stop', dir, '--json']));
      expect(stopped!.event).toBe('stopped');
      await until(async () => (await run('squeue', '-h', '-j', job).catch(() => '')) === '');
      // The rest, by tasks of another job.
      const second = await launch();
      // Whoever watches may be killed, and watch again.
      const first = spawn(process.execPath, [bin, 'tune', 'watch', dir], { stdio: 'ignore' });
      await sleep(1500);
      first.kill('SIGKILL');
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
