import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { float, int } from './distributions.ts';
import { Journal } from './journal.ts';
import {
  createStudyRecord,
  createTrialRecord,
  intermediateRecord,
  paramRecord,
  stateRecord,
  trialUserAttrRecord,
} from './records.ts';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vgg-journal-'));
  path = join(folder, 'journal.log');
});
afterEach(() => rmSync(folder, { recursive: true }));

const running = { state: 'running' } as const;
const trialOf = (journal: Journal, id: number) => journal.state.trial(id)!;

test('what one journal appends another reads', async () => {
  using writer = new Journal(path);
  using reader = new Journal(path);
  await writer.append([
    createStudyRecord('study', 'maximize'),
    createTrialRecord(0, {
      ...running,
      params: { lr: 0.01 },
      distributions: { lr: float(1e-4, 0.1, { log: true }) },
      userAttrs: { worker: 'a' },
    }),
    paramRecord(0, 'size', 32, int(16, 64, { step: 16 })),
    intermediateRecord(0, 1, Number.NaN),
    intermediateRecord(0, 2, Number.NEGATIVE_INFINITY),
    trialUserAttrRecord(0, 'note', 'NaN stays "NaN" in text'),
    stateRecord(0, 'complete', [0.5]),
  ]);
  reader.sync();
  expect(reader.state.studyNamed('study')).toMatchObject({ id: 0, directions: ['maximize'] });
  expect(trialOf(reader, 0)).toMatchObject({ number: 0, state: 'complete', value: 0.5 });
  expect({ ...trialOf(reader, 0).params }).toEqual({ lr: 0.01, size: 32 });
  expect({ ...trialOf(reader, 0).userAttrs }).toEqual({ worker: 'a', note: 'NaN stays "NaN" in text' });
  expect([...trialOf(reader, 0).intermediateValues]).toEqual([
    [1, Number.NaN],
    [2, Number.NEGATIVE_INFINITY],
  ]);
  expect(readFileSync(path, 'utf8')).toContain('"intermediate_value":-Infinity}');
});

test('a finished trial is frozen, and of two claims on a waiting trial the first stands', async () => {
  using journal = new Journal(path);
  await journal.append([createStudyRecord('s', 'minimize'), createTrialRecord(0, { state: 'waiting' })]);
  const first = { ...stateRecord(0, 'running'), datetime_start: '2026-01-01T00:00:00.000000' };
  await journal.append([first, { ...first, datetime_start: '2026-01-02T00:00:00.000000' }]);
  expect(trialOf(journal, 0).started).toBe('2026-01-01T00:00:00.000000');
  await journal.append([
    stateRecord(0, 'complete', [1]),
    stateRecord(0, 'fail'),
    intermediateRecord(0, 1, 1),
  ]);
  expect(trialOf(journal, 0)).toMatchObject({ state: 'complete', value: 1 });
  expect(trialOf(journal, 0).intermediateValues.size).toBe(0);
});

test('a parameter that contradicts the earlier distribution of its name is ignored', async () => {
  using journal = new Journal(path);
  const create = createTrialRecord(0, running);
  await journal.append([createStudyRecord('s', 'minimize'), create, create, create]);
  await journal.append([
    paramRecord(1, 'x', 1, int(1, 8)),
    paramRecord(2, 'x', 0.5, float(0, 1)),
    paramRecord(0, 'x', 9, int(1, 16)),
  ]);
  expect([0, 1, 2].map((id) => trialOf(journal, id).params.x)).toEqual([9, 1, undefined]);
});

test('a torn last line is cut off before anything is appended, and is never read', async () => {
  using journal = new Journal(path);
  await journal.append([createStudyRecord('s', 'minimize')]);
  const before = readFileSync(path, 'utf8');
  appendFileSync(path, '{"op_code":4,"worker_id":"x","study_id":0,"datetime_start":nul');
  journal.sync();
  expect(new Journal(path).state.trialCount).toBe(0);
  await journal.append([createTrialRecord(0, running)]);
  expect(readFileSync(path, 'utf8').startsWith(`${before}{"op_code":4`)).toBe(true);
  expect(new Journal(path).state.trialCount).toBe(1);
});

test('records that Optuna refuses and unknown operations are ignored and counted', () => {
  const lines = [
    { op_code: 0, study_name: 's', directions: [2] },
    { op_code: 0, study_name: 7, directions: [2] },
    { op_code: 0, study_name: 'x', directions: [9] },
    { op_code: 99 },
    [],
    { op_code: 4, study_id: 0, datetime_start: null, state: 0 },
    { op_code: 4, study_id: 12, datetime_start: null },
    { op_code: 4, study_id: 0, datetime_start: null, state: 17 },
    { op_code: 5, trial_id: 0, param_name: 'x', param_value_internal: 0, distribution: 'no JSON' },
    { op_code: 5, trial_id: 0, param_name: '__proto__', param_value_internal: 1, distribution: intJson },
    { op_code: 7, trial_id: 0, step: 'one', intermediate_value: 1 },
    { op_code: 7, trial_id: 0, step: 1.5, intermediate_value: 1 },
    { op_code: 6, trial_id: 5, state: 1, values: [1] },
    { op_code: 8, trial_id: 0, user_attr: 'text' },
  ];
  writeFileSync(path, lines.map((line) => `${JSON.stringify({ worker_id: 'w', ...line })}\n`).join(''));
  using journal = new Journal(path);
  expect(journal.state.trialCount).toBe(1);
  expect(Object.entries(trialOf(journal, 0).params)).toEqual([['__proto__', 1]]);
  expect(({} as Record<string, unknown>).x).toBeUndefined();
  expect(journal.state.malformed).toBe(9);
});

const intJson = '{"name":"IntDistribution","attributes":{"log":false,"step":1,"low":0,"high":4}}';

const line = (fields: string): string => `{"op_code": ${fields.replace(',', ', "worker_id": "w",')}}\n`;
const wholeTrial = (params: string, distributions: string, rest = ''): string =>
  line(
    `4, "study_id": 0, "datetime_start": null, "state": 1, "value": 1.0, "values": null, ` +
      `"params": ${params}, "distributions": ${distributions}${rest}`,
  );
const text = (distribution: string): string => JSON.stringify(distribution);

test.each([
  [
    'a category that is a list',
    '0',
    '{"name": "CategoricalDistribution", "attributes": {"choices": [[64, 128]]}}',
    [64, 128],
  ],
  [
    'an infinite category',
    '1',
    '{"name": "CategoricalDistribution", "attributes": {"choices": [1, Infinity]}}',
    Number.POSITIVE_INFINITY,
  ],
  [
    'a category that is not a number',
    '0',
    '{"name": "CategoricalDistribution", "attributes": {"choices": [NaN]}}',
    Number.NaN,
  ],
  [
    'an object and null',
    '1',
    '{"name": "CategoricalDistribution", "attributes": {"choices": [{"a": 1}, null]}}',
    null,
  ],
  [
    'a large category',
    '0',
    '{"name": "CategoricalDistribution", "attributes": {"choices": [9007199254740993]}}',
    9007199254740993n,
  ],
  [
    'large bounds',
    '1.152921504606847e+18',
    '{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 0, "high": 9223372036854775807}}',
    2 ** 60,
  ],
  [
    'infinite bounds',
    '0.5',
    '{"name": "FloatDistribution", "attributes": {"step": null, "low": -Infinity, "high": Infinity, "log": false}}',
    0.5,
  ],
  ['the abbreviated form', '3', '{"type": "int", "low": 1, "high": 4}', 3],
])(
  'a trial added as a whole counts, and its distribution is written back: %s',
  async (_, internal, distribution, value) => {
    writeFileSync(
      path,
      line('0, "study_name": "s", "directions": [1]') +
        wholeTrial(`{"x": ${internal}}`, `{"x": ${text(distribution)}}`) +
        line('4, "study_id": 0, "datetime_start": null'),
    );
    using journal = new Journal(path);
    expect(journal.state.malformed).toBe(0);
    expect(trialOf(journal, 0)).toMatchObject({ number: 0, state: 'complete', value: 1 });
    expect(trialOf(journal, 0).params.x).toEqual(value);
    await journal.append([
      createTrialRecord(0, { ...trialOf(journal, 0), state: 'waiting' }),
      stateRecord(1, 'complete', [2]),
    ]);
    expect(trialOf(journal, 1)).toMatchObject({ number: 1, value: 2 });
    expect(trialOf(journal, 2).params.x).toEqual(value);
    const [last] = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-2);
    expect(last).toContain(text(distribution));
  },
);

test('attributes and values keep what JSON alone would lose', async () => {
  const attribute = '{"a":[NaN,-Infinity,123456789012345678901,"NaN \\" 1e7078"],"__proto__":{"b":-1e+300}}';
  writeFileSync(
    path,
    line('0, "study_name": "s", "directions": [1, 2]') +
      line('4, "study_id": 0, "datetime_start": null') +
      line(`8, "trial_id": 0, "user_attr": {"k": ${attribute}}`) +
      line('6, "trial_id": 0, "state": 1, "values": [Infinity, 18014398509481984]'),
  );
  using journal = new Journal(path);
  const { userAttrs, values } = trialOf(journal, 0);
  expect(values).toEqual([Number.POSITIVE_INFINITY, 2 ** 54]);
  await journal.append([createTrialRecord(0, running), trialUserAttrRecord(1, 'k', userAttrs.k)]);
  expect(readFileSync(path, 'utf8').endsWith(`"user_attr":{"k":${attribute}}}\n`)).toBe(true);
});

test('ids count on after a study is deleted', () => {
  writeFileSync(
    path,
    line('0, "study_name": "s", "directions": [1]') +
      line('4, "study_id": 0, "datetime_start": null') +
      line('1, "study_id": 0') +
      line('4, "study_id": 0, "datetime_start": null') +
      line('0, "study_name": "s", "directions": [1]') +
      line('4, "study_id": 1, "datetime_start": null'),
  );
  using journal = new Journal(path);
  expect(journal.state.studyNamed('s')?.id).toBe(1);
  expect(trialOf(journal, 1)).toMatchObject({ id: 1, number: 0 });
  expect(journal.state.trialCount).toBe(2);
});

test('a last record without its line end counts, as for Optuna, and the next one starts a new line', async () => {
  const study = line('0, "study_name": "s", "directions": [1]');
  writeFileSync(path, study.trimEnd());
  using journal = new Journal(path);
  expect(journal.state.studies.size).toBe(1);
  appendFileSync(path, `\n${line('4, "study_id": 0, "datetime_start": null').trimEnd()}`);
  await journal.append([createTrialRecord(0, running)]);
  expect(journal.state.trialCount).toBe(2);
  expect(new Journal(path).state.trialCount).toBe(2);
  expect(readFileSync(path, 'utf8').startsWith(study)).toBe(true);
});

test.each(['{"op_code": 4, "wor\n', '\n', '\0\0\0'])(
  'a last line that Optuna passes over is passed over: %j',
  async (torn) => {
    const study = line('0, "study_name": "s", "directions": [1]');
    writeFileSync(path, study + torn);
    using journal = new Journal(path);
    await journal.append([createTrialRecord(0, running)]);
    expect(readFileSync(path, 'utf8').startsWith(`${study}{"op_code":4`)).toBe(true);
  },
);

test('a line that is not UTF-8 is refused', () => {
  const study = line('0, "study_name": "s?", "directions": [1]');
  writeFileSync(path, Buffer.from((study + study).replace('?', '\xff'), 'latin1'));
  expect(() => new Journal(path)).toThrow('line 1 is not JSON');
});

test('files that are not journals are refused and left alone', async () => {
  for (const content of ['epoch,loss', 'nonsense\n', `{"a": ${'['.repeat(1e6)}\n{}\n`]) {
    writeFileSync(path, content);
    expect(() => new Journal(path)).toThrow('line 1 is not JSON');
    await expect(Journal.open(path)).rejects.toThrow('line 1 is not JSON');
    expect(readFileSync(path, 'utf8')).toBe(content);
  }
});

test('sizes are checked before anything is read', () => {
  writeFileSync(path, '');
  truncateSync(path, 5e9);
  expect(() => new Journal(path)).toThrow('a journal has at most 536870912');
  truncateSync(path, 20e6);
  expect(() => new Journal(path)).toThrow('line 1 is longer than 16777216 bytes');
});

test('opening a large journal lets timers run', async () => {
  writeFileSync(path, line(`0, "study_name": "${'s'.repeat(1e6)}", "directions": [1]`).repeat(40));
  let ticks = 0;
  const timer = setInterval(() => ticks++, 0);
  using journal = await Journal.open(path);
  clearInterval(timer);
  expect(journal.state.studies.size).toBe(1);
  expect(ticks).toBeGreaterThan(0);
});

test('what is no JSON is refused by line', () => {
  writeFileSync(path, '{"op_code":0,"worker_id":"w","study_name":"s","directions":[1]}\nnonsense\n{}\n');
  expect(() => new Journal(path)).toThrow('line 2 is not JSON ("nonsense")');
});

test('a journal that is not there is refused where it may not be created', () => {
  expect(() => new Journal(path, { create: false })).toThrow('this journal does not exist');
});

test('transactions that wait share the lock; each sees what those before it appended', async () => {
  using journal = new Journal(path);
  await journal.append([createStudyRecord('s', 'minimize')]);
  const counts = await Promise.all(
    Array.from({ length: 20 }, () =>
      journal.transact((state, append) => {
        const { trialCount } = state;
        append(createTrialRecord(0, running));
        return trialCount;
      }),
    ),
  );
  expect(counts).toEqual(Array.from({ length: 20 }, (_, i) => i));
  expect(new Journal(path).state.trialCount).toBe(20);
});

test('a transaction that throws rejects alone', async () => {
  using journal = new Journal(path);
  const [failed, succeeded] = await Promise.allSettled([
    journal.transact(() => {
      throw new Error('no');
    }),
    journal.append([createStudyRecord('s', 'minimize')]),
  ]);
  expect(failed.status).toBe('rejected');
  expect(succeeded.status).toBe('fulfilled');
});

test("the lock's link leads to the journal and names its holder", async () => {
  using journal = new Journal(path);
  await journal.transact(() => {
    expect(readlinkSync(`${path}.lock`)).toContain(`+${process.pid}+`);
    // Through the chain of links.
    expect(readFileSync(`${path}.lock`, 'utf8')).toBe('');
  });
  expect(() => readlinkSync(`${path}.lock`)).toThrow('ENOENT');
});

test('a lock of a process that is gone is taken over at once', async () => {
  const notices: string[] = [];
  using journal = new Journal(path, { onNotice: (line) => notices.push(line) });
  // Our own identity with a start that no process has.
  let holder = '';
  await journal.transact(() => {
    holder = readlinkSync(`${path}.lock`);
  });
  const dead = holder.replace(/\+\d+\+\d+$/, '+1+0');
  symlinkSync(dead, `${path}.lock`);
  // The claimer died, too.
  const deadClaimer = dead.replace(/\+0$/, '+5');
  symlinkSync(deadClaimer.split('/').at(-1)!, `${path}.holders/${dead.split('/').at(-1)}.taken`);
  await journal.append([createStudyRecord('s', 'minimize')]);
  // Whoever waits for a lock says so.
  expect(notices).toEqual([]);
  expect(new Journal(path).state.studies.size).toBe(1);
});

test("Optuna's lock is waited for, and taken over when the journal stands still for the time of grace", async () => {
  using journal = new Journal(path, { graceSeconds: 0.3 });
  symlinkSync(path, `${path}.lock`);
  const appended = journal.append([createStudyRecord('s', 'minimize')]);
  const inTime = await Promise.race([
    appended.then(() => true),
    new Promise((done) => setTimeout(done, 200, false)),
  ]);
  expect(inTime).toBe(false);
  await appended;
  expect(journal.state.studies.size).toBe(1);
});

test('the other lock of Optuna, a plain file, is respected', async () => {
  using journal = new Journal(path);
  writeFileSync(`${path}.lock`, '');
  const appended = journal.append([createStudyRecord('s', 'minimize')]);
  const inTime = await Promise.race([
    appended.then(() => true),
    new Promise((done) => setTimeout(done, 100, false)),
  ]);
  expect(inTime).toBe(false);
  rmSync(`${path}.lock`);
  await appended;
});

test('a folder in place of the lock is an error at once', async () => {
  mkdirSync(`${path}.lock`);
  using journal = new Journal(path);
  await expect(journal.append([createStudyRecord('study', 'maximize')])).rejects.toThrow(
    `${path}.lock is a folder, but the journal's lock has this name; remove it`,
  );
});
