/**
 * Two drivers with two workers each on one study, and SIGKILL at random: the journal stays readable, and every result
 * that was accepted is there once. Ten seconds; VGGNET_STRESS_SECONDS sets another time.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { readWorkers } from '../src/tune/heartbeat.ts';
import { Journal } from '../src/tune/journal.ts';
import { createTrialRecord, isFinished } from '../src/tune/records.ts';

const seconds = Number(process.env.VGGNET_STRESS_SECONDS ?? 10);
const script = fileURLToPath(new URL('tune-process.ts', import.meta.url));

test('kill -9 at random loses nothing', { timeout: (seconds + 200) * 1000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vgg-stress-'));
  const path = join(folder, 'journal.log');
  const start = (role: string): ChildProcess =>
    spawn(process.execPath, [script, role, folder, String(process.pid)], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  const drivers = [start('driver'), start('driver')];
  const torn: Promise<unknown>[] = [];
  const kills = { driver: 0, worker: 0, torn: 0 };
  const ends = Date.now() + seconds * 1000;
  // A worker's name holds its process id; see files/liveness.ts.
  const workerPids = (): number[] =>
    readWorkers(join(folder, 'workers'))
      .filter(({ liveness }) => liveness === 'alive')
      .map(({ worker }) => Number(worker.split('+')[2]));
  const acceptedLines = (): string[] => {
    const log = join(folder, 'accepted.log');
    return existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n') : [];
  };
  try {
    while (Date.now() < ends) {
      // A machine that is busy gets time to start the processes before they are killed again.
      const before = acceptedLines().length;
      await expect
        .poll(() => acceptedLines().length, { timeout: 60_000, interval: 100 })
        .toBeGreaterThan(before);
      await sleep(Math.random() * 300);
      const chance = Math.random();
      if (chance < 0.6) {
        const pids = workerPids();
        const pid = pids[Math.floor(Math.random() * pids.length)];
        if (pid !== undefined && kill(pid)) kills.worker++;
      } else if (chance < 0.75) {
        const index = Math.random() < 0.5 ? 0 : 1;
        if (drivers[index]!.kill('SIGKILL')) kills.driver++;
        drivers[index] = start('driver');
      } else if (existsSync(path)) {
        torn.push(once(start('tear'), 'exit'));
        kills.torn++;
      }
    }
  } finally {
    for (const driver of drivers) driver.kill('SIGKILL');
    await Promise.all(torn);
    await expect.poll(workerPids, { timeout: 60_000 }).toEqual([]);
  }

  using journal = new Journal(path);
  // Whatever the last one left behind is no hindrance.
  await journal.append([createTrialRecord(0, { state: 'running' })]);
  const { trials } = journal.state.studyNamed('stress')!;
  const accepted = acceptedLines();
  const numbers = accepted.map((line) => Number(line.split(' ')[0]));
  expect(new Set(numbers).size).toBe(numbers.length);
  for (const line of accepted) {
    const [number, isPruned, value] = line.split(' ');
    const { state, value: recorded } = trials[Number(number)]!;
    expect([state, recorded]).toEqual([isPruned === 'true' ? 'pruned' : 'complete', Number(value)]);
  }
  // A worker may die between its result's record and its note in accepted.log, but only then.
  const finished = trials.filter(({ state }) => isFinished(state) && state !== 'fail').length;
  expect(finished - accepted.length).toBeLessThanOrEqual(kills.worker + kills.driver * 2 + 4);
  const promoted = trials
    .map(({ userAttrs }) => userAttrs['vgg:parent'])
    .filter((parent) => parent !== undefined);
  expect(new Set(promoted).size).toBe(promoted.length);
  expect(journal.state.malformed).toBe(0);
  expect(kills.worker + kills.driver + kills.torn).toBeGreaterThan(0);
  console.log(`${trials.length} trials, ${accepted.length} accepted, killed: ${JSON.stringify(kills)}`);
  rmSync(folder, { recursive: true });
});

function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}
