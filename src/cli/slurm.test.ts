/** Slurm's commands are shell scripts here: what they print and how they fail is each test's own. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { DataError, UsageError } from '../errors.ts';
import {
  cancelJobs,
  type JobRecord,
  jobName,
  queuedTasks,
  readJobRecord,
  runSlurm,
  SlurmError,
  SlurmMissing,
  SubmissionUnknown,
  submit,
} from './slurm.ts';

let root: string;
let said: string;
let place: { readonly folder: string; readonly path: (file: string) => string };
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'vggnet-slurm-'));
  said = join(root, 'said');
  const folder = join(root, 'study');
  await mkdir(folder);
  place = { folder, path: (file) => join(folder, `${file}.json`) };
  await mkdir(join(root, 'bin'));
  // Nothing of the machine's own Slurm.
  for (const command of ['squeue', 'sbatch', 'scancel']) await fake(command, 'exit 99');
  vi.stubEnv('PATH', `${join(root, 'bin')}:/usr/bin:/bin`);
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  await rm(root, { recursive: true });
});

/** A command that notes how it was called, and then does as `body` says. */
const fake = (command: string, body: string): Promise<void> =>
  writeFile(join(root, 'bin', command), `#!/bin/bash\necho "${command} $*" >> '${said}'\n${body}\n`, {
    mode: 0o755,
  });

const calls = async (command: string): Promise<readonly string[]> =>
  existsSync(said)
    ? (await readFile(said, 'utf8')).split('\n').filter((line) => line.startsWith(`${command} `))
    : [];

const user = userInfo().username;
const time = '2026-11-29T12:00:00';

/** A line of `squeue`. */
const line = (
  task: Partial<Record<'job' | 'user' | 'submitted' | 'restarts' | 'cluster' | 'name', string>> = {},
) => {
  const own = {
    job: '17',
    user,
    submitted: time,
    restarts: '0',
    cluster: 'here',
    name: jobName(place),
    ...task,
  };
  return `echo '${own.job}|${own.user}|${own.submitted}|${own.restarts}|${own.cluster}|${own.name}|'`;
};

const record = (changes: Readonly<Record<string, unknown>> = {}): Promise<void> => {
  const own: JobRecord = { job: '17', name: jobName(place), user, cluster: 'here', submitted: time };
  return writeFile(place.path('slurm'), JSON.stringify({ ...own, ...changes }));
};

describe('a query', () => {
  test('yields the tasks, without what the environment would hide', async () => {
    vi.stubEnv('SQUEUE_STATES', 'RUNNING');
    await fake(
      'squeue',
      `[ -z "$SQUEUE_STATES" ] && [ "$TZ" = UTC ] && ${line()}\n${line({ restarts: '2' })}`,
    );
    expect(await queuedTasks(place, undefined)).toEqual([
      { job: '17', user, submitted: time, restarts: 0, cluster: 'here', name: jobName(place) },
      { job: '17', user, submitted: time, restarts: 2, cluster: 'here', name: jobName(place) },
    ]);
  });

  test.for([
    [
      'fails',
      'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1',
      /Unable to contact/,
    ],
    ['prints something else', 'echo "JOBID PARTITION"', /unknown form/],
    ['is killed', 'kill -9 $$', /squeue failed/],
  ] as const)('that %s is no empty list', async ([, body, message]) => {
    await fake('squeue', body);
    await expect(queuedTasks(place, undefined)).rejects.toThrow(SlurmError);
    await expect(queuedTasks(place, undefined)).rejects.toThrow(message);
  });

  test('that hangs ends, with all that it started', async () => {
    await fake('squeue', `sleep 600 & echo $! > '${root}/child'; wait`);
    await expect(runSlurm('squeue', [], { seconds: 0.5 })).rejects.toThrow(
      'squeue did not answer within 0.5 s',
    );
    const child = Number(await readFile(join(root, 'child'), 'utf8'));
    const stateOf = async (): Promise<string> =>
      /\) (\w)/.exec(await readFile(`/proc/${child}/stat`, 'utf8').catch(() => ') X'))![1]!;
    await expect.poll(stateOf).toMatch(/[XZ]/);
  });

  test('that never stops to print ends', async () => {
    await fake('squeue', 'exec yes');
    await expect(runSlurm('squeue', [])).rejects.toThrow('squeue printed more than a list of jobs');
  });

  test('that a signal ends names it', async () => {
    await fake('squeue', 'kill -KILL $$');
    await expect(queuedTasks(place, undefined)).rejects.toThrow('squeue failed (SIGKILL)');
  });

  test('without Slurm says so', async () => {
    vi.stubEnv('PATH', join(root, 'nowhere'));
    await expect(queuedTasks(place, undefined)).rejects.toThrow(SlurmMissing);
    await expect(queuedTasks(place, undefined)).rejects.toThrow('squeue is not installed');
  });
});

describe('cancelJobs', () => {
  test('cancels the recorded job, also one that was requeued', async () => {
    await record();
    await fake('scancel', 'exit 0');
    for (const task of [{}, { restarts: '1', submitted: '2026-11-29T13:30:00' }]) {
      await fake('squeue', line(task));
      expect(await cancelJobs(place)).toEqual({ canceled: ['17'], kept: [] });
    }
    expect(await calls('scancel')).toEqual(['scancel 17', 'scancel 17']);
  });

  test.for([
    ['another user', {}, { user: 'mallory' }, /belongs to mallory/],
    ['another name', {}, { name: 'training' }, /its name is training/],
    ['another cluster', {}, { cluster: 'there' }, /on the cluster there/],
    ['a later submission', {}, { submitted: '2026-11-30T12:00:00' }, /submitted at 2026-11-30/],
    [
      'an earlier submission',
      {},
      { submitted: '2026-11-28T12:00:00', restarts: '1' },
      /submitted at 2026-11-28/,
    ],
    ['another number', { job: '18' }, {}, /records job 18/],
    ['a copied study', { name: 'vgg-tune-0123456789ab' }, {}, /written for another folder/],
    ['the record of another user', { user: 'mallory' }, {}, /belongs to/],
    ['a record without a number', { job: undefined }, {}, /does not record its number/],
    [
      'a record of an older version',
      { user: undefined, name: undefined, submitted: undefined },
      {},
      /another folder/,
    ],
  ] as const)('leaves alone %s', async ([, recorded, task, reason]) => {
    await record(recorded);
    await fake('squeue', line(task));
    const { canceled, kept } = await cancelJobs(place);
    expect(canceled).toEqual([]);
    expect(kept).toEqual([{ job: '17', reason: expect.stringMatching(reason) }]);
    expect(await calls('scancel')).toEqual([]);
  });

  test('asks by the number too, and a job that is over needs nothing', async () => {
    await record();
    await fake(
      'squeue',
      '[ "$2" = -n ] && exit 0; echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1',
    );
    expect(await cancelJobs(place)).toEqual({ canceled: [], kept: [] });
    expect(await calls('squeue')).toHaveLength(2);
  });

  test.for([
    { job: '1; touch /tmp/x' },
    { job: 17 },
    { job: '-u root' },
    { job: '9'.repeat(50) },
    { name: '$(id)' },
    { submitted: 'yesterday' },
  ])('runs nothing for the untrusted record %o', async (changes) => {
    await record(changes);
    await expect(cancelJobs(place)).rejects.toThrow(DataError);
    expect(existsSync(said)).toBe(false);
  });

  test('asks nobody about a study that was never submitted', async () => {
    expect(await cancelJobs(place)).toEqual({ canceled: [], kept: [] });
    expect(existsSync(said)).toBe(false);
  });

  test('cancels nothing while squeue fails, and tries again', async () => {
    await record();
    await fake('scancel', 'exit 0');
    await fake('squeue', 'exit 1');
    await expect(cancelJobs(place, [0, 0])).rejects.toThrow(SlurmError);
    expect(await calls('squeue')).toHaveLength(3);
    expect(await calls('scancel')).toEqual([]);
    await fake('squeue', `[ -e '${root}/again' ] || { touch '${root}/again'; exit 1; }\n${line()}`);
    expect(await cancelJobs(place, [0])).toEqual({ canceled: ['17'], kept: [] });
  });

  test('says that a job still runs where scancel fails, and nothing where it ended meanwhile', async () => {
    await record();
    await fake('squeue', line());
    await fake('scancel', 'echo "scancel: error: Access denied" >&2; exit 1');
    await expect(cancelJobs(place)).rejects.toThrow(/scancel failed .*Access denied.*job 17 still runs/);
    await fake('squeue', `[ -e '${root}/over' ] || ${line()}`);
    await fake('scancel', `touch '${root}/over'; exit 1`);
    expect(await cancelJobs(place)).toEqual({ canceled: ['17'], kept: [] });
  });
});

describe('submit', () => {
  test('records what is needed to know the job again', async () => {
    await fake('sbatch', `cat > '${root}/script'; echo 17`);
    await fake('squeue', line());
    expect(await submit(place, '#!/bin/bash\n')).toBe('17');
    expect(await readJobRecord(place)).toEqual({
      job: '17',
      name: jobName(place),
      user,
      cluster: 'here',
      submitted: time,
    });
    expect(await readFile(join(root, 'script'), 'utf8')).toBe('#!/bin/bash\n');
  });

  test('remembers a cluster that sbatch names', async () => {
    await fake('sbatch', 'echo "17;there"');
    await fake('squeue', `echo CLUSTER: there\n${line({ cluster: 'there' })}`);
    expect(await submit(place, '')).toBe('17');
    expect(await readJobRecord(place)).toMatchObject({ job: '17', cluster: 'there', elsewhere: true });
    expect((await calls('squeue'))[0]).toMatch(/^squeue -M there /);
  });

  test('passes on why sbatch rejects a job', async () => {
    await fake('sbatch', 'echo "sbatch: error: invalid partition specified: gpu" >&2; exit 1');
    await expect(submit(place, '')).rejects.toThrow(UsageError);
    await expect(submit(place, '')).rejects.toThrow(
      'sbatch rejected the job: sbatch: error: invalid partition',
    );
  });

  test('finds a job that Slurm took although sbatch lost the connection', async () => {
    await fake(
      'sbatch',
      'echo "Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1',
    );
    await fake('squeue', line());
    expect(await submit(place, '')).toBe('17');
  });

  test.for([
    ['a lost connection', 'echo "Socket timed out" >&2; exit 1'],
    ['no number', 'echo submitted'],
    ['an end by a signal', 'kill -KILL $$'],
  ] as const)('does not take %s for a rejection', async ([, body]) => {
    await fake('sbatch', body);
    await fake('squeue', 'exit 0');
    await expect(submit(place, '')).rejects.toThrow(SubmissionUnknown);
  });
});
