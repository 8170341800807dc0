/**
 * The processes of test/tune-stress.test.ts: `node tune-process.ts ROLE FOLDER PARENT`.
 * - `driver` keeps two workers alive, fails the trials of dead ones and lets them be retried;
 * - `worker` runs trials and writes each result that `tell` accepted into `FOLDER/accepted.log`;
 * - `tear` dies in the middle of an append: half a line is written and the lock is left behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { float } from '../src/tune/distributions.ts';
import { clearGoneWorkers, goneWorkers, startHeartbeat } from '../src/tune/heartbeat.ts';
import { JournalLock } from '../src/tune/lock.ts';
import { ashaPruner } from '../src/tune/pruners.ts';
import { searchSpace } from '../src/tune/search-space.ts';
import { createStudy, type Study } from '../src/tune/study.ts';

const [role, folder, parent] = process.argv.slice(2) as [string, string, string];
const journal = join(folder, 'journal.log');
const workers = join(folder, 'workers');

const open = (worker?: string): Promise<Study> =>
  createStudy({
    journal,
    name: 'stress',
    direction: 'maximize',
    space: searchSpace({ x: float(0, 1) }),
    pruner: ashaPruner({ reductionFactor: 2 }),
    loadIfExists: true,
    ...(worker !== undefined && { worker }),
  });

/** A child whose parent is gone, perhaps before the child came to ask, belongs to nobody. */
const isOrphan = (): boolean => process.ppid !== Number(parent);

async function driver(): Promise<void> {
  using study = await open();
  const start = (): ChildProcess =>
    spawn(process.execPath, [fileURLToPath(import.meta.url), 'worker', folder, String(process.pid)], {
      stdio: 'inherit',
    });
  const children = [start(), start()];
  while (!isOrphan()) {
    for (const [index, child] of children.entries()) {
      if (child.exitCode !== null || child.signalCode !== null) children[index] = start();
    }
    for (const failed of await study.failTrialsOf(goneWorkers(workers), 'killed'))
      await study.retry(failed, 3);
    clearGoneWorkers(workers);
    await sleep(30);
  }
}

async function worker(): Promise<void> {
  // Not even a sign of life then: the folder may be gone, too.
  if (isOrphan()) return;
  using heartbeat = startHeartbeat(workers, { interval: 1 });
  using study = await open(heartbeat.worker);
  while (!isOrphan()) {
    const trial = (await study.ask())!;
    let value = 0;
    let isPruned = false;
    for (let step = (trial.lastStep ?? 0) + 1; step <= 8 && !isPruned; step++) {
      value = (trial.params.x as number) * step;
      await trial.report(value, step);
      isPruned = trial.shouldPrune();
      await sleep(1);
    }
    const accepted = await study.tell(trial, isPruned ? { state: 'pruned' } : value);
    if (accepted) appendFileSync(join(folder, 'accepted.log'), `${trial.number} ${isPruned} ${value}\n`);
  }
}

async function tear(): Promise<void> {
  await new JournalLock(journal).acquire();
  appendFileSync(journal, '{"op_code":6,"worker_id":"torn","trial_id":0,"sta');
  process.kill(process.pid, 'SIGKILL');
}

await { driver, worker, tear }[role]!();
