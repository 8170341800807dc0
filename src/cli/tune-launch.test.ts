/** The launchers with a Slurm of shell scripts, or with none. Between two tries of a query nothing is waited for. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { UsageError, VggError } from '../errors.ts';
import { createStudyFolder, planStudy, type StudySettings } from '../tune/folder.ts';
import { startHeartbeat } from '../tune/heartbeat.ts';
import { shellWord } from '../words.ts';
import type { Interruption } from './interrupt.ts';
import { jobName } from './slurm.ts';
import { launchOnSlurm, slurmScript, stopStudy, watchStudy } from './tune-launch.ts';

vi.mock('node:timers/promises', async () => ({
  setTimeout: () => new Promise((done) => setImmediate(done)),
}));

let root: string;
let dir: string;
let notes: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'vggnet-launch-'));
  dir = join(root, 'some', 'study');
  notes = '';
  await mkdir(join(root, 'bin'));
  vi.stubEnv('PATH', join(root, 'bin'));
  vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    notes += text;
    return true;
  });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  await rm(root, { recursive: true });
});

const fake = (command: string, body: string): Promise<void> =>
  writeFile(join(root, 'bin', command), `#!/bin/bash\nPATH=/usr/bin:/bin\n${body}\n`, { mode: 0o755 });

const settings: StudySettings = {
  space: { dataset: 'shapes', lr: { float: [0.001, 0.1] } },
  sampler: 'random',
  pruner: { name: 'none' },
  seed: 0,
  trials: 4,
  retries: 3,
  report: false,
};
const interruption: Interruption = {
  signal: new AbortController().signal,
  kept: '',
  stopsItself: false,
  graceMilliseconds: 0,
};
const time = '2026-11-29T12:00:00';
const line = (folder: string): string =>
  `echo '17|${userInfo().username}|${time}|0|here|${jobName({ folder })}|'`;
const record = (folder: string): Promise<void> =>
  writeFile(
    join(folder, 'slurm.json'),
    JSON.stringify({
      job: '17',
      name: jobName({ folder }),
      user: userInfo().username,
      cluster: 'here',
      submitted: time,
    }),
  );

/** All files below a folder with their contents. */
async function contents(folder: string): Promise<Readonly<Record<string, string>>> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Object.fromEntries(
    await Promise.all(files.map(async (file) => [file, await readFile(file, 'utf8')])),
  );
}

describe('launchOnSlurm', () => {
  const launch = async (changes: Partial<StudySettings> = {}): Promise<void> =>
    launchOnSlurm(await planStudy(dir, { ...settings, ...changes }), { jobs: 2 }, async () => {});

  test('a rejected job leaves no study behind, nor the folders made for it', async () => {
    await fake('squeue', 'exit 0');
    await fake('sbatch', 'echo "invalid partition" >&2; exit 1');
    await expect(launch()).rejects.toThrow(UsageError);
    expect(readdirSync(root)).toEqual(['bin']);
  });

  test('a rejected job leaves an existing study as it was', async () => {
    await createStudyFolder(dir, settings);
    await writeFile(join(dir, 'stop'), '');
    await record(dir);
    const before = await contents(dir);
    await fake('squeue', 'exit 0');
    await fake('sbatch', 'exit 1');
    await expect(launch({ trials: 9 })).rejects.toThrow('sbatch rejected the job');
    expect(await contents(dir)).toEqual(before);
  });

  test('without sbatch nothing is written', async () => {
    await expect(launch()).rejects.toThrow(/squeue is not installed.*--launcher local/);
    await fake('squeue', 'exit 0');
    await expect(launch()).rejects.toThrow(/sbatch is not installed.*--launcher local/);
    expect(existsSync(join(root, 'some'))).toBe(false);
  });

  test('while squeue fails nothing is submitted', async () => {
    await fake('squeue', 'exit 1');
    await fake('sbatch', `touch '${root}/submitted'; echo 18`);
    await expect(launch()).rejects.toThrow(/squeue failed .*nothing was submitted/);
    expect(notes).toContain('trying again in 8 s');
    expect(readdirSync(root)).toEqual(['bin']);
  });

  test('one job at a time', async () => {
    await fake('squeue', line(dir));
    await expect(launch()).rejects.toThrow('job 17 already works on this study');
    expect(existsSync(dir)).toBe(false);
  });

  test('commands in messages quote the folder', async () => {
    dir = join(root, "my study's");
    await fake('squeue', line(dir));
    const quoted = `'${dir.replaceAll("'", "'\\''")}'`;
    await expect(launch()).rejects.toThrow(
      `vgg tune watch ${quoted}, or end it with vgg tune stop ${quoted}`,
    );
    vi.mocked(process.stdout.write).mockClear();
    await fake('squeue', 'exit 0');
    await fake('sbatch', 'echo 18');
    await launch();
    const said = vi.mocked(process.stdout.write).mock.calls.join('').replaceAll(/\s+/g, ' ');
    expect(said).toContain(`vgg tune --study ${quoted} --launcher slurm --jobs 2`);
  });

  test('where Slurm may have the job, the study stays', async () => {
    await fake('squeue', 'exit 0');
    await fake('sbatch', 'echo "Socket timed out" >&2; exit 1');
    await expect(launch()).rejects.toThrow(/unknown/);
    expect(existsSync(join(dir, 'study.json'))).toBe(true);
  });

  test('a dry run writes nothing', async () => {
    const plan = await planStudy(dir, settings);
    vi.stubEnv('COLUMNS', '40');
    const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    try {
      await launchOnSlurm(plan, { jobs: 2, dryRun: true }, async () => {});
      // A script that is broken to the terminal's width would run the rest of a comment as a command.
      expect(write.mock.calls).toEqual([[`${slurmScript(plan, { jobs: 2 }).trimEnd()}\n`]]);
    } finally {
      write.mockRestore();
      vi.unstubAllEnvs();
    }
    expect(existsSync(join(root, 'some'))).toBe(false);
  });
});

describe('slurmScript', () => {
  test.for(["a b'c", '100%j "quoted" #1', '-$HOME $(touch x) `id`', 'a;b&c|d>e', 'Übung'])(
    'a folder called %s reaches the worker and the log',
    async (name) => {
      const folder = join(root, name);
      const script = slurmScript({ folder }, { jobs: 2 });
      const shown = script.replace(/^.* (?=tune work )/m, "printf '%s\\n' ");
      const { stdout } = spawnSync('/bin/bash', ['-c', shown], { encoding: 'utf8' });
      expect(stdout).toBe(`tune\nwork\n${folder}\n`);
      const [, quoted] = /^#SBATCH --output="(.*)%A-%a\.log$/m.exec(script.replace('"%A', '%A'))!;
      expect(quoted!.replaceAll('%%', '%').replaceAll('\\"', '"')).toBe(`${folder}/slurm-`);
      expect(/^#SBATCH --output=.*$/m.exec(script)![0].replaceAll('%%', '').match(/%./g)).toEqual([
        '%A',
        '%a',
      ]);
    },
  );

  test.for([
    ['a\nb', 'a control character'],
    ['a\\b', 'a backslash'],
  ] as const)('a folder that Slurm cannot handle is refused: %j', ([name, what]) => {
    const refused = (): string => slurmScript({ folder: join('/tmp', name) }, { jobs: 1 });
    expect(refused).toThrow(UsageError);
    expect(refused).toThrow(what);
  });

  test.for(['--job-name=mine', '-J mine', '--time=1 --array 3', '-a0-3'])(
    'options that would hide the job are refused: %s',
    (slurm) => {
      expect(() => slurmScript({ folder: '/tmp/a' }, { jobs: 1, slurm })).toThrow(/--slurm cannot set -/);
    },
  );

  test('options pass, each line in one of its own', () => {
    const slurm = '--partition=gpu --account=x\ntouch y';
    const script = slurmScript({ folder: '/tmp/a' }, { jobs: 1, slurm });
    expect(script).toContain('\n#SBATCH --partition=gpu --account=x\n#SBATCH touch y\n');
  });
});

describe('watch', () => {
  test('ends without Slurm for a study that was never submitted', async () => {
    const folder = await createStudyFolder(dir, settings);
    await watchStudy(folder, true, interruption);
    expect(notes).toBe('');
  });

  test('does not end while squeue fails', async () => {
    const folder = await createStudyFolder(dir, settings);
    await record(dir);
    await fake('squeue', `n=$(cat '${root}/n' 2>/dev/null); echo x$n > '${root}/n'; [ "$n" = xx ]`);
    await watchStudy(folder, true, interruption);
    expect(notes.match(/squeue failed .*unknown/g)).toHaveLength(2);
  });

  test('says that it cannot know of a job without Slurm', async () => {
    const folder = await createStudyFolder(dir, settings);
    await record(dir);
    await expect(watchStudy(folder, true, interruption)).rejects.toThrow('squeue is not installed');
  });

  test('ends with an error where all trials failed', async () => {
    const folder = await createStudyFolder(dir, settings);
    using study = await folder.open();
    for (let i = 0; i < 2; i++) await study.tell((await study.ask())!, { state: 'fail', reason: 'NaN' });
    await expect(watchStudy(folder, true, interruption)).rejects.toThrow(
      `all 2 trials failed: NaN. After a change, vgg tune --study ${dir} --retry-failed runs them again`,
    );
    expect(await study.retryFailed()).toEqual([0, 1]);
    await watchStudy(folder, true, interruption);
  });
});

test('hints name a folder as a shell needs it', async () => {
  dir = join(root, "it's a study");
  const quoted = shellWord(dir);
  expect(quoted).toBe(`'${root}/it'\\''s a study'`);
  const folder = await createStudyFolder(dir, settings);
  await record(dir);
  await fake('squeue', 'exit 1');
  await expect(stopStudy(folder)).rejects.toThrow(`Run vgg tune stop ${quoted} again later`);
  await fake('squeue', line(dir));
  const plan = await planStudy(dir, settings);
  await expect(launchOnSlurm(plan, { jobs: 2 }, async () => {})).rejects.toThrow(
    `follow it with vgg tune watch ${quoted}, or end it with vgg tune stop ${quoted}`,
  );
  await fake('squeue', `[ -e '${root}/submitted' ] && ${line(dir)} || true`);
  await fake('sbatch', `touch '${root}/submitted'; echo 17`);
  await launchOnSlurm(plan, { jobs: 2 }, async () => {});
  const printed = vi.mocked(process.stdout.write).mock.calls.join('');
  for (const command of ['watch ', 'stop ', '--study '])
    expect(printed).toContain(`vgg tune ${command}${quoted}`);
  using study = await folder.open();
  await study.tell((await study.ask())!, { state: 'fail' });
  await fake('squeue', '');
  await expect(watchStudy(folder, true, interruption)).rejects.toThrow(
    `vgg tune --study ${quoted} --retry-failed`,
  );
});

describe('stop', () => {
  test('needs no Slurm for a study that was never submitted', async () => {
    const folder = await createStudyFolder(dir, settings);
    expect(await stopStudy(folder)).toEqual({ workers: 0, left: 0, jobs: { canceled: [], kept: [] } });
    expect(existsSync(join(dir, 'stop'))).toBe(true);
  });

  test('is not done while squeue fails', async () => {
    const folder = await createStudyFolder(dir, settings);
    await record(dir);
    await fake('squeue', 'exit 1');
    await fake('scancel', `touch '${root}/canceled'`);
    await expect(stopStudy(folder)).rejects.toThrow(VggError);
    await expect(stopStudy(folder)).rejects.toThrow(/may still be queued: squeue failed/);
    expect(existsSync(join(root, 'canceled'))).toBe(false);
  });

  test('tells of workers that do not end', async () => {
    const folder = await createStudyFolder(dir, settings);
    using _ = startHeartbeat(folder.path('workers'));
    expect(await stopStudy(folder)).toMatchObject({ workers: 1, left: 1 });
  });
});
