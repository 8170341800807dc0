/**
 * Our journal and real Optuna (Debian's `python3-optuna`, 3.1) on one file. Skipped where $PYTHON (by default Debian's)
 * has no Optuna.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { categorical, type Distribution, distributionToJson, float, int } from '../src/tune/distributions.ts';
import { Journal } from '../src/tune/journal.ts';
import { type Json, parsePythonJson } from '../src/tune/json.ts';
import type { FrozenTrial } from '../src/tune/replay.ts';
import { searchSpace } from '../src/tune/search-space.ts';
import { createStudy, loadStudy, type Study } from '../src/tune/study.ts';
import type { Trial } from '../src/tune/trial.ts';

const python = process.env.PYTHON ?? '/usr/bin/python3';
const script = fileURLToPath(new URL('optuna-peer.py', import.meta.url));

const version = ((): string | undefined => {
  try {
    return execFileSync(python, ['-c', 'import optuna; print(optuna.__version__)'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
})();

interface StudyDump {
  readonly name: string;
  readonly userAttrs: Readonly<Record<string, unknown>>;
  readonly trials: readonly Readonly<Record<string, unknown>>[];
}

let folder: string;
let journal: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vgg-optuna-'));
  journal = join(folder, 'journal.log');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Runs a command of Optuna's side. @returns all studies of the journal as Optuna sees them. */
async function optuna(
  command: 'dump' | 'add' | 'write' | 'fuzz',
  argument = 0,
): Promise<readonly StudyDump[]> {
  const { stdout } = await promisify(execFile)(python, [script, command, journal, 's', String(argument)], {
    maxBuffer: 1e9,
  });
  return normal(parsePythonJson(stdout)) as unknown as readonly StudyDump[];
}

const space = searchSpace({
  lr: float(1e-4, 0.1, { log: true }),
  size: int(16, 64, { step: 16 }),
  rate: float(0, 0.5, { step: 0.1 }),
  channels: categorical(['64,128', '32,64']),
  augment: categorical([true, false]),
});

const open = (): Promise<Study> =>
  createStudy({ journal, name: 's', direction: 'minimize', space, loadIfExists: true, worker: 'w' });

/** Integers that a double has exactly are numbers here, bigints there: both are the same value. */
function normal(value: unknown): Json {
  if (typeof value === 'bigint') return BigInt(Number(value)) === value ? Number(value) : value;
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value !== 'object' || value === null) return value as Json;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, normal(inner)]));
}

const facts = (trial: FrozenTrial) => ({
  id: trial.id,
  number: trial.number,
  state: trial.state,
  values: trial.values ?? (trial.value === undefined ? null : [trial.value]),
  params: trial.params,
  distributions: Object.fromEntries(
    Object.entries(trial.distributions).map(([name, distribution]) => [name, written(distribution)]),
  ),
  intermediateValues: Object.fromEntries(trial.intermediateValues),
  userAttrs: trial.userAttrs,
  systemAttrs: trial.systemAttrs,
  started: trial.started ?? null,
  completed: trial.completed ?? null,
});

const written = (distribution: Distribution): Json => parsePythonJson(distributionToJson(distribution));

function expectSame(ours: Journal, theirs: readonly StudyDump[]): void {
  ours.sync();
  const studies = [...ours.state.studies.values()].map(
    ({ id, name, directions, userAttrs, systemAttrs, trials }) =>
      normal({ id, name, directions, userAttrs, systemAttrs, trials: trials.map(facts) }),
  );
  expect(studies).toEqual(theirs);
  expect(ours.state.malformed).toBe(0);
}

describe.skipIf(version === undefined)(`with Optuna ${version ?? '(not installed)'}`, () => {
  test('Optuna sees our trials, we see those it adds, and both go on with what the other enqueued', async () => {
    using study = await open();
    await study.setUserAttr('note', { a: [1, 'ü'] });
    const complete = (await study.ask())!;
    await complete.report(0.5, 1);
    await complete.report(Number.NaN, 2);
    await complete.report(Number.POSITIVE_INFINITY, 3);
    await complete.setUserAttr('text', 'line\nend "quoted" \u2028 NaN');
    await study.tell(complete, 0.125);
    const pruned = (await study.ask())!;
    await pruned.report(1e-7, 4);
    await study.tell(pruned, { state: 'pruned' });
    const failed = (await study.ask())!;
    await study.tell(failed, { state: 'fail', reason: 'out of memory' });
    expect(await study.retry(failed.frozen, 1)).toBe(true);
    const retried = (await study.ask())!;
    await study.tell(retried, 7);
    await study.ask();
    await study.enqueue({ size: 32 });
    expectSame(study.journal, await optuna('dump'));

    // Optuna begins with the one that we enqueued, and leaves one of its own.
    const theirs = await optuna('add');
    expectSame(study.journal, theirs);
    expect(study.trials[5]).toMatchObject({ state: 'complete', params: { size: 32 }, value: 0.25 });
    const next = (await study.ask())!;
    expect(next.params.size).toBe(48);
    expect(next.number).toBe(theirs[0]!.trials.length - 1);
    await study.tell(next, 1);
    expectSame(study.journal, await optuna('dump'));
  });

  test('both write at the same time, and nothing is lost', async () => {
    const ours = await Promise.all([open(), open()]);
    const each = 90;
    // Asking, one value, one attribute and telling: more than a thousand operations in all.
    const run = (study: Study): Promise<void> =>
      study.optimize(
        async (trial) => {
          await trial.report(trial.number, 1);
          await trial.setUserAttr('by', 'us');
          await sleep(20);
          return trial.number;
        },
        { trials: 3 * each },
      );
    const theirs = optuna('write', each);
    // Python takes its time to start.
    await expect.poll(() => ours[0]!.trials.length, { timeout: 60_000 }).toBeGreaterThan(0);
    await Promise.all([theirs, ...ours.map(run)]);
    const dump = await optuna('dump');
    const [study] = ours;
    expectSame(study!.journal, dump);
    expect(study!.trials.every(({ state }) => state === 'complete')).toBe(true);
    expect(study!.trials.filter(({ userAttrs }) => userAttrs.by === 'optuna').length).toBe(each);
    expect(study!.trials.length).toBeGreaterThanOrEqual(3 * each);
    const writers = study!.trials.map(({ userAttrs }) => userAttrs.by);
    expect(writers.filter((writer, i) => i > 0 && writer !== writers[i - 1]).length).toBeGreaterThan(3);
    for (const trial of study!.trials) {
      const expected = trial.userAttrs.by === 'us' ? trial.number : trial.params.size;
      expect([trial.value, trial.intermediateValues.get(1)]).toEqual([expected, expected]);
    }
    for (const it of ours) it.close();
  });

  test.each([1, 2, 3])(
    'everything that Optuna writes is read as Optuna reads it, and kept: %i',
    async (seed) => {
      expectSame(new Journal(journal), await optuna('fuzz', seed));
      using study = loadStudy({ journal, name: 's' });
      const started: Trial[] = [];
      for (let trial = await study.ask(); trial !== undefined; trial = await study.ask()) {
        started.push(trial);
        await trial.report(0.5, 1);
        if (trial.number % 3 > 0) await study.tell(trial, trial.number % 3 === 1 ? 1 : { state: 'fail' });
      }
      expect(started.length).toBeGreaterThan(2);
      for (const trial of study.trials) await study.retry(trial, 1);
      await study.enqueue({ lr: 0.5 });
      expectSame(study.journal, await optuna('dump'));
      for (const trial of started) expect(study.frozen(trial.id).intermediateValues.get(1)).toBe(0.5);
    },
  );
});
