/** A series of seeds that is killed, interrupted or damaged, with the real `vgg` in separate processes. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { digests } from './digests.ts';
import { bin, jsonLines, quickVgg, type Run, vgg } from './run-vgg.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-series-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const small = ['--no-report', '--json', '--threads', '2', '--log-every', '1'];
/** The event that comes last. */
const summary = (run: Run): unknown => jsonLines(run).at(-1);

test('killed in its second seed, it resumes that one and trains the missing ones', {
  timeout: 240_000,
}, async () => {
  const [whole, series] = [join(folder, 'seeds-whole'), join(folder, 'seeds-killed')];
  const steps = ['--steps', '12', '--batch-size', '200', '--checkpoint-every', '3'];
  const args = ['train', ...small, ...steps, '--seeds', '3', '--seed', '4', '--run'];
  const expected = summary(await vgg([...args, whole])) as { testAccuracy: number[] };
  expect(expected).toMatchObject({
    event: 'seeds',
    testAccuracy: [expect.any(Number), expect.any(Number), expect.any(Number)],
  });

  // In the middle of the second seed. On a busy machine the kill may come too late.
  let signal: NodeJS.Signals | null = null;
  for (let attempt = 0; attempt < 3 && (signal === null || existsSync(join(series, 'seed-6'))); attempt++) {
    await rm(series, { recursive: true, force: true });
    const child = spawn(process.execPath, [bin, ...args, series], { stdio: ['ignore', 'pipe', 'ignore'] });
    const count = (event: string): number => output.split(event).length - 1;
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (count('"event":"start"') === 2 && count('"step":7,') === 2) child.kill('SIGKILL');
    });
    await new Promise((resolve) => child.on('close', resolve));
    signal = child.signalCode;
  }
  expect(signal).toBe('SIGKILL');
  expect(existsSync(join(series, 'seed-6'))).toBe(false);
  const [accuracy] = expected.testAccuracy;
  const listed = jsonLines(await quickVgg(['runs', series, '--json']));
  expect(listed).toMatchObject([
    { name: 'seeds-killed/seed-4', state: 'finished' },
    { name: 'seeds-killed/seed-5', state: 'interrupted' },
    { name: 'seeds-killed', seeds: 3, testAccuracy: [accuracy], mean: accuracy },
  ]);
  expect(listed.at(-1)).not.toHaveProperty('deviation');
  expect((await quickVgg(['runs', series])).stdout).toMatch(/1 of 3 seeds +\d+\.\d\d %\s*$/);

  const resumed = await vgg(['train', '--resume', series, '--no-report', '--json']);
  expect(resumed.code, resumed.stderr).toBe(0);
  expect(resumed.stderr).toMatch(/seed-4 is finished: \d+\.\d\d %\./);
  expect(summary(resumed)).toEqual(expected);
  for (const seed of ['seed-4', 'seed-5', 'seed-6']) {
    expect(await digests(join(series, seed))).toEqual(await digests(join(whole, seed)));
  }
  // An end before the steps that a seed has done is rejected, and nothing is written.
  const before = await readFile(join(series, 'seeds.json'), 'utf8');
  const less = await vgg(['train', '--resume', series, '--steps', '1']);
  expect(less.stderr).toContain('--steps 1 ends the run after 1 step, but it has already done');
  expect(less.code).toBe(2);
  expect(await readFile(join(series, 'seeds.json'), 'utf8')).toBe(before);
  // All are finished, and there may be more.
  const more = await vgg(['train', '--resume', series, '--seeds', '4', '--no-report', '--json']);
  expect(more.stderr).toContain('seed-6 is finished');
  const { testAccuracy } = summary(more) as { testAccuracy: number[] };
  expect(testAccuracy).toEqual([...expected.testAccuracy, expect.any(Number)]);
  const runs = jsonLines(await quickVgg(['runs', folder, '--json'])).map(({ name }) => name);
  expect(runs).toContain('seeds-killed/seed-7');
});

test('interrupted by SIGINT, it names the series; an early-stopped seed counts', {
  timeout: 240_000,
}, async () => {
  const series = join(folder, 'seeds-early');
  // No epoch is better than the first at this rate.
  const early = ['--lr', '1e-12', '--early-stopping', '1', '--seeds', '2', '--batch-size', '2500'];
  const first = await vgg(['train', ...small, ...early, '--run', series], {
    interrupt: { signal: 'SIGINT', after: 'earlyStopped' },
  });
  const ended = jsonLines(first).find(({ event }) => event === 'end') as { testAccuracy: number };
  expect(first.code).toBe(130);
  expect(first.stderr).toContain(`Continue the other seeds:\n  npx vgg train --resume ${series}`);
  const second = await vgg(['train', '--resume', series, '--no-report', '--json']);
  const { testAccuracy } = summary(second) as { testAccuracy: number[] };
  expect(testAccuracy).toHaveLength(2);
  expect(testAccuracy[0]).toBe(ended.testAccuracy);
});

test('a series that cannot start leaves no folder, and is not created twice', async () => {
  const series = join(folder, 'seeds-twice');
  const args = ['train', '--steps', '1', '--no-report', '--seeds', '1', '--run', series];
  await vgg([...args, '--init', '/nowhere.safetensors']);
  expect(existsSync(series)).toBe(false);
  expect((await vgg(args)).stdout).toMatch(/^Accuracy of one seed: \d+\.\d\d %$/m);
  // A finished run without metrics does not count in the statistics.
  const metrics = join(series, 'seed-0', 'metrics.csv');
  const kept = await readFile(metrics);
  await rm(metrics);
  const known = await vgg(['train', '--resume', series]);
  expect(known.stderr).toContain('seed-0 is finished.\nNo seed has a test accuracy');
  expect(known.stdout).toBe('');
  await writeFile(metrics, kept);
  const again = await vgg(args);
  expect(again.stderr).toContain(`already holds seeds.json: resume it (--resume ${series})`);
  expect(again.code).toBe(2);
  await writeFile(join(series, 'seeds.json'), '{"seeds": 0}');
  const damaged = await vgg(['train', '--resume', series]);
  expect(damaged.stderr).toMatch(
    /seeds\.json is damaged: config: is missing; .*seeds: 0 is not a whole number ≥ 1.*; correct it/,
  );
  expect(damaged.code).toBe(1);
});
