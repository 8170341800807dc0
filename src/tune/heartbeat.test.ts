import { mkdtempSync, readdirSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { livenessOf, processIdentity, silentSeconds } from '../files/liveness.ts';
import { clearGoneWorkers, goneWorkers, readWorkers, startHeartbeat } from './heartbeat.ts';

let folder: string;

beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'vgg-workers-')), 'workers');
});
afterEach(() => rmSync(join(folder, '..'), { recursive: true }));

test('a worker gives signs until it is stopped', async () => {
  const beat = startHeartbeat(folder, { interval: 0.02, facts: { job: 7 } });
  const [sign] = readWorkers(folder);
  expect(sign).toMatchObject({ worker: beat.worker, liveness: 'alive', facts: { job: 7 } });
  const path = join(folder, readdirSync(folder)[0]!);
  utimesSync(path, 0, 0);
  await expect.poll(() => readWorkers(folder)[0]!.age).toBeLessThan(1000);
  expect(goneWorkers(folder)(beat.worker)).toBe(false);
  beat.stop();
  expect(readWorkers(folder)).toEqual([]);
  expect(goneWorkers(folder)(beat.worker)).toBe(true);
});

test('a worker that began after the first look is not taken for gone', () => {
  const isGone = goneWorkers(folder);
  using beat = startHeartbeat(folder);
  expect(isGone(beat.worker)).toBe(false);
});

test('a worker of another machine is gone when it gives no sign for long; files that are none do not matter', () => {
  using beat = startHeartbeat(folder);
  const path = join(folder, `${beat.worker}.json`);
  const elsewhere = join(folder, 'elsewhere.json');
  renameSync(path, elsewhere);
  writeFileSync(elsewhere, JSON.stringify({ process: 'other-host++1+2', facts: {} }));
  writeFileSync(join(folder, 'broken.json'), '{"process":1');
  expect(goneWorkers(folder)('elsewhere')).toBe(false);
  const longAgo = Date.now() / 1000 - silentSeconds - 1;
  utimesSync(elsewhere, longAgo, longAgo);
  expect(goneWorkers(folder)('elsewhere')).toBe(true);
  expect(goneWorkers(folder, 2 * silentSeconds)('elsewhere')).toBe(false);
  clearGoneWorkers(folder);
  expect(readdirSync(folder)).toEqual(['broken.json']);
});

test('a process is known by its start, too, and never guessed about from elsewhere', () => {
  const own = processIdentity();
  expect(livenessOf(own)).toBe('alive');
  expect(livenessOf(`${own}+3`)).toBe('alive');
  if (process.platform === 'linux') expect(livenessOf(own.replace(/\d+$/, '1'))).toBe('dead');
  expect(livenessOf(own.replace(/\+\d+\+\d*$/, '+4194999+5'))).toBe('dead');
  expect(livenessOf(`elsewhere${own}`)).toBe('unknown');
  // Of this name, but of another start: before a restart, or another machine.
  expect(livenessOf(own.replace(/\.[^+]*/, '.another-boot'))).toBe('unknown');
  expect(livenessOf('nonsense')).toBe('unknown');
});
