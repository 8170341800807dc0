import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { VggError } from '../errors.ts';
import { lockFolder, lockHolder } from './lock.ts';

let folder: string;
let lock: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-lock-'));
  lock = join(folder, 'lock');
});
afterEach(() => rm(folder, { recursive: true }));

/** Waits for a line on its input, tries to take the lock, says how it went, and holds what it has. */
const program = `
  import { lockFolder } from ${JSON.stringify(new URL('lock.ts', import.meta.url).href)};
  process.stdin.once('data', async () => {
    try { await lockFolder(process.argv[1]); console.log('locked'); }
    catch (error) { console.log(error.message); process.exit(); }
  });
  console.log('ready');
`;

interface Child {
  readonly process: ChildProcessByStdio<Writable, Readable, null>;
  readonly line: () => Promise<string>;
}

async function startChild(): Promise<Child> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program, folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = child.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false });
  const line = async (): Promise<string> => String((await lines.next()).value).trim();
  expect(await line()).toBe('ready');
  return { process: child, line };
}

async function lockingChild(): Promise<Child> {
  const child = await startChild();
  child.process.stdin.write('\n');
  expect(await child.line()).toBe('locked');
  return child;
}

async function kill({ process: child }: Child): Promise<void> {
  const gone = new Promise((done) => child.once('exit', done));
  child.kill('SIGKILL');
  await gone;
}

/** A lock that is there, with some of its values changed. */
async function forgeLock(changes: object): Promise<void> {
  const held = await lockFolder(folder);
  const text = await readFile(lock, 'utf8');
  await held.release();
  await writeFile(lock, JSON.stringify({ ...JSON.parse(text), ...changes }));
}

describe('lockFolder', () => {
  test('rejects a second writer until the first one releases', async () => {
    const first = await lockFolder(folder);
    await expect(lockFolder(folder)).rejects.toThrow(VggError);
    await expect(lockFolder(folder)).rejects.toThrow(
      /is in use: this process has been writing to it since 20/,
    );
    expect(await lockHolder(folder)).toMatchObject({ pid: process.pid, hostname: hostname() });
    await first.release();
    expect(await lockHolder(folder)).toBeUndefined();
    const second = await lockFolder(folder);
    await first.release(); // Not its own any more.
    expect(await lockHolder(folder)).toBeDefined();
    await second.release();
    expect(await readdir(folder)).toEqual([]);
  });

  test('rejects while another process lives, and takes over when it was killed', async () => {
    const child = await lockingChild();
    await expect(lockFolder(folder)).rejects.toThrow(
      `process ${child.process.pid} on this machine (${hostname()}) has been writing to it since`,
    );
    await kill(child);
    expect(await lockHolder(folder)).toBeUndefined();
    const held = await lockFolder(folder);
    expect(await readdir(folder)).toEqual(['lock']);
    await held.release();
  });

  test.for([1, 2, 3, 4, 5])('one of four processes gets a dead lock (%i)', async () => {
    await kill(await lockingChild());
    const children = await Promise.all([1, 2, 3, 4].map(startChild));
    for (const child of children) child.process.stdin.write('\n');
    const answers = await Promise.all(children.map((child) => child.line()));
    const winner = children[answers.indexOf('locked')]!;
    expect(answers.filter((answer) => answer === 'locked')).toHaveLength(1);
    for (const answer of answers) {
      if (answer !== 'locked') expect(answer).toContain(`process ${winner.process.pid} on this machine`);
    }
    await kill(winner);
  });

  test('a claim whose owner died is taken over', async () => {
    const dead = { boot: 'an earlier one', started: '', hostname: hostname() };
    await writeFile(lock, JSON.stringify({ id: 'a', pid: 1, ...dead }));
    await writeFile(join(folder, 'lock.after.a'), JSON.stringify({ id: 'b', pid: 1, ...dead }));
    for (const path of [lock, join(folder, 'lock.after.a')]) await utimes(path, 1, 1);
    await (await lockFolder(folder)).release();
    expect(await readdir(folder)).toEqual([]);
  });

  test('waits for a lock that is being written', async () => {
    await writeFile(lock, '');
    const refused = expect(lockFolder(folder)).rejects.toThrow(/process 4 on elsewhere/);
    await new Promise((done) => setTimeout(done, 100));
    await writeFile(lock, JSON.stringify({ id: 'a', pid: 4, hostname: 'elsewhere', started: '' }));
    await refused;
  });

  test('a claim whose owner is alive is a lock', async () => {
    await forgeLock({ id: 'live' });
    await writeFile(join(folder, 'lock.after.a'), await readFile(lock));
    await writeFile(lock, JSON.stringify({ id: 'a', pid: 1, boot: 'x', started: '', hostname: hostname() }));
    await utimes(lock, 1, 1);
    await expect(lockFolder(folder)).rejects.toThrow(/is in use: this process/);
  });

  /** Holders of which this process can know nothing but their signs. */
  const unknown: readonly (readonly [string, object, string])[] = [
    ['another host', { hostname: 'elsewhere' }, 'on elsewhere'],
    [
      'another start of a machine of this name',
      { boot: 'another' },
      `on ${hostname()} (before its last restart, or another machine with this name)`,
    ],
    ['another container', { namespace: 'pid:[1]' }, 'in another container'],
  ];
  describe.each(unknown)('a lock of %s', (_, changes, place) => {
    test('is respected while its heartbeat is recent, and the error says how long to wait', async () => {
      await forgeLock({ pid: 4, ...changes });
      await expect(lockFolder(folder)).rejects.toThrow(
        `${folder} is in use: process 4 ${place} was last active 0 s ago; if it has ended, try again in 180 s`,
      );
      expect(await lockHolder(folder)).toMatchObject({ pid: 4 });
    });

    test('is taken over at once after a long silence', async () => {
      await forgeLock({ pid: 4, ...changes });
      const longAgo = Date.now() / 1000 - 181;
      await utimes(lock, longAgo, longAgo);
      expect(await lockHolder(folder)).toBeUndefined();
      const held = await lockFolder(folder);
      expect(await readdir(folder)).toEqual(['lock']);
      await held.release();
    });

    test('is taken over after waiting without a heartbeat', async () => {
      await forgeLock({ pid: 4, ...changes });
      const told: string[] = [];
      const held = await lockFolder(folder, { silentSeconds: 0.5, onWait: (line) => told.push(line) });
      expect(told).toEqual([
        `${folder} is locked by process 4 ${place}, which may still be running; waiting up to 1 s for a sign of life before taking over`,
      ]);
      await held.release();
    });

    test('is respected if a heartbeat comes while waiting, even with a clock in the future', async () => {
      await forgeLock({ pid: 4, ...changes });
      const future = Date.now() / 1000 + 5000;
      await utimes(lock, future, future);
      const onWait = (): void => void utimes(lock, future + 1, future + 1);
      await expect(lockFolder(folder, { onWait })).rejects.toThrow(
        /process 4 .* has been writing to it since .* and was active just now; wait for it/,
      );
    });
  });

  test('waiting can be aborted, and ends when the lock is released', async () => {
    await forgeLock({ hostname: 'elsewhere' });
    const controller = new AbortController();
    const onWait = (): void => controller.abort(new Error('given up'));
    await expect(lockFolder(folder, { onWait, signal: controller.signal })).rejects.toThrow('given up');
    await (await lockFolder(folder, { onWait: () => void rm(lock) })).release();
  });

  test('heartbeats never touch a later lock', async () => {
    const held = await lockFolder(folder, { beatSeconds: 0.02 });
    const text = await readFile(lock, 'utf8');
    await utimes(lock, 1, 1);
    await expect.poll(async () => (await stat(lock)).mtimeMs).toBeGreaterThan(1e6);
    expect(await readFile(lock, 'utf8')).toBe(text);
    await rm(lock);
    await writeFile(lock, text.replace(/"id":"[^"]*"/, '"id":"other"'));
    await utimes(lock, 1, 1);
    await new Promise((done) => setTimeout(done, 100));
    expect((await stat(lock)).mtimeMs).toBe(1000);
    await held.release();
    expect(await readdir(folder)).toEqual(['lock']);
  });

  test.skipIf(process.platform === 'win32').each([
    ['a pipe', () => void spawnSync('mkfifo', [lock]), 'it is a pipe (FIFO), not a regular file'],
    ['a folder', () => mkdir(lock), 'it is a folder'],
    ['a link that leads nowhere', () => symlink('/nowhere', lock), 'a symbolic link to /nowhere'],
    ['a device', () => symlink('/dev/zero', lock), 'it is a device, not a regular file'],
  ])('%s instead of the lock is an error', async (_, make, problem) => {
    await make();
    await expect(lockFolder(folder)).rejects.toThrow(VggError);
    await expect(lockFolder(folder)).rejects.toThrow(problem);
  });

  test.runIf(process.platform === 'linux')('a reused number is not mistaken for the process', async () => {
    await forgeLock({ processStart: '1' });
    await (await lockFolder(folder)).release();
  });

  test.each([
    ['empty', ''],
    ['torn', '{"id":"a","pi'],
    ['of other content', '{"id":"../x","pid":-1}'],
  ])('a lock that stays %s is taken over', async (_name, text) => {
    await writeFile(lock, text);
    await utimes(lock, 1, 1);
    await (await lockFolder(folder)).release();
    expect(await readdir(folder)).toEqual([]);
  });

  test('says why it fails', async () => {
    await expect(lockFolder(join(folder, 'none'))).rejects.toThrow(/lock cannot be written: no such file/);
  });
});
