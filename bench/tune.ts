/**
 * Measures the cost of a study's journal: `node bench/tune.ts [--trials N] [--runs N] [--folder DIR]`. Times each
 * operation on a study of N trials (default 1,000), including the sampler, and opening a study ten times as large, as
 * written by Optuna (a line per value) and by us. Prints median and spread (5th to 95th percentile) over all calls.
 */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { categorical, type Distribution, float, int, toInternal } from '../src/tune/distributions.ts';
import {
  createStudyRecord,
  createTrialRecord,
  formatLine,
  intermediateRecord,
  type JournalRecord,
  paramRecord,
  stateRecord,
} from '../src/tune/records.ts';
import { gridSampler } from '../src/tune/samplers/grid.ts';
import { randomSampler } from '../src/tune/samplers/random.ts';
import type { Sampler } from '../src/tune/samplers/sampler.ts';
import { tpeSampler } from '../src/tune/samplers/tpe.ts';
import { searchSpace } from '../src/tune/search-space.ts';
import { createStudy, loadStudy } from '../src/tune/study.ts';
import { readOptions, wholeNumber } from './options.ts';

const usage = `node bench/tune.ts [options]
  --trials N           trials in the study (default 1000)
  --runs N             how often each study is opened (default 9)
  --folder DIR         where to write studies (default: the system's temporary folder)`;
const { values } = readOptions(usage, {
  options: {
    trials: { type: 'string', default: '1000' },
    runs: { type: 'string', default: '9' },
    folder: { type: 'string', default: tmpdir() },
  },
});
const trials = wholeNumber('--trials', values.trials, 1, usage);
const runs = wholeNumber('--runs', values.runs, 1, usage);
const folder = mkdtempSync(join(values.folder, 'vgg-bench-tune-'));

const distributions: Readonly<Record<string, Distribution>> = {
  lr: float(1e-4, 0.1, { log: true }),
  size: int(16, 256, { step: 16 }),
  depth: int(1, 64, { log: true }),
  rate: float(0, 0.5, { step: 0.1 }),
  kind: categorical(['a', 'b', 'c']),
};
const params: Readonly<Record<string, string | number>> = {
  lr: 0.01,
  size: 64,
  depth: 5,
  rate: 0.3,
  kind: 'b',
};
const finite = { ...distributions, lr: float(0.01, 0.1, { step: 0.01 }), depth: int(1, 32) };

function summary(milliseconds: readonly number[]): string {
  const sorted = milliseconds.toSorted((a, b) => a - b);
  const at = (share: number): string => sorted[Math.round(share * (sorted.length - 1))]!.toFixed(2);
  return `${at(0.5)} ms (${at(0.05)} – ${at(0.95)}, n = ${sorted.length})`;
}

async function timed<T>(times: number[], action: () => T | Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await action();
  times.push(performance.now() - start);
  return result;
}

/** Journal lines of a study whose trials have 5 values and 5 reports each. */
function linesOf(count: number, way: 'optuna' | 'ours', known = distributions): string {
  const lines = [formatLine(createStudyRecord('bench', 'minimize'), 'bench')];
  const write = (record: JournalRecord): void => void lines.push(formatLine(record, 'bench'));
  for (let id = 0; id < count; id++) {
    if (way === 'ours') write(createTrialRecord(0, { state: 'running', params, distributions: known }));
    else {
      write({ op_code: 4, study_id: 0, datetime_start: '2026-01-01T00:00:00.000000' });
      for (const [name, distribution] of Object.entries(known)) {
        write(paramRecord(id, name, toInternal(distribution, params[name]!)!, distribution));
      }
    }
    for (let step = 1; step <= 5; step++) write(intermediateRecord(id, step, 1 / (id + step)));
    write(stateRecord(id, 'complete', [id]));
  }
  return lines.join('');
}

async function operations(sampler: Sampler): Promise<void> {
  const journal = join(folder, `${sampler.name}.log`);
  const known = sampler.name === 'grid' ? finite : distributions;
  const space = searchSpace(known);
  writeFileSync(journal, linesOf(trials, 'ours', known));
  using study = await createStudy({
    journal,
    name: 'bench',
    direction: 'minimize',
    space,
    sampler,
    loadIfExists: true,
  });
  const times = {
    ask: [] as number[],
    report: [] as number[],
    shouldPrune: [] as number[],
    tell: [] as number[],
  };
  for (let i = 0; i < 100; i++) {
    const trial = (await timed(times.ask, () => study.ask()))!;
    await timed(times.report, () => trial.report(1, 1));
    await timed(times.shouldPrune, () => trial.shouldPrune());
    await timed(times.tell, () => study.tell(trial, i));
  }
  for (const [name, each] of Object.entries(times)) {
    console.log(`${sampler.name.padEnd(7)} ${name.padEnd(12)} ${summary(each)}`);
  }
}

console.log(`${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}, ${folder}`);
console.log(`operations with ${trials} trials:`);
for (const sampler of [randomSampler(), gridSampler(), tpeSampler()]) await operations(sampler);
for (const way of ['optuna', 'ours'] as const) {
  const journal = join(folder, `${way}.log`);
  writeFileSync(journal, linesOf(trials * 10, way));
  const times: number[] = [];
  for (let run = 0; run < runs; run++) {
    await timed(times, () => loadStudy({ journal, name: 'bench' }).trials.length);
  }
  const megabytes = (statSync(journal).size / 1e6).toFixed(1);
  console.log(`opening ${trials * 10} trials, ${way}'s lines, ${megabytes} MB: ${summary(times)}`);
}
rmSync(folder, { recursive: true });
