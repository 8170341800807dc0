import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
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
  test('refuses a second writer until the first one releases', async () => {
    const first = await lockFolder(folder);
    await expect(lockFolder(folder)).rejects.toThrow(VggError);
    await expect(lockFolder(folder)).rejects.toThrow(/is in use: this very process writes to it since 20/);
    expect(await lockHolder(folder)).toMatchObject({ pid: process.pid, hostname: hostname() });
    await first.release();
    expect(await lockHolder(folder)).toBeUndefined();
    const second = await lockFolder(folder);
    await first.release(); // Not its own any more.
    expect(await lockHolder(folder)).toBeDefined();
    await second.release();
    expect(await readdir(folder)).toEqual([]);
  });

  test('refuses while another process lives, and takes over when it was killed', async () => {
    const child = await lockingChild();
    await expect(lockFolder(folder)).rejects.toThrow(
      `process ${child.process.pid} on this machine (${hostname()}) writes to it since`,
    );
    await kill(child);
    expect(await lockHolder(folder)).toBeUndefined();
    const held = await lockFolder(folder);
    expect(await readdir(folder)).toEqual(['lock']);
    await held.release();
  });

  test.for([1, 2, 3, 4, 5])('of four that want a dead lock one gets it (%i)', async () => {
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

  test('a claim whose owner died is itself taken over', async () => {
    const dead = { boot: 'an earlier one', started: '', hostname: hostname() };
    await writeFile(lock, JSON.stringify({ id: 'a', pid: 1, ...dead }));
    await writeFile(join(folder, 'lock.after.a'), JSON.stringify({ id: 'b', pid: 1, ...dead }));
    await (await lockFolder(folder)).release();
    expect(await readdir(folder)).toEqual([]);
  });

  test('a lock that is just being written is waited for', async () => {
    await writeFile(lock, '');
    const refused = expect(lockFolder(folder)).rejects.toThrow(/process 4 on elsewhere/);
    await new Promise((done) => setTimeout(done, 100));
    await writeFile(lock, JSON.stringify({ id: 'a', pid: 4, hostname: 'elsewhere', started: '' }));
    await refused;
  });

  test('a claim whose owner lives is a lock', async () => {
    await forgeLock({ id: 'live' });
    await writeFile(join(folder, 'lock.after.a'), await readFile(lock));
    await writeFile(lock, JSON.stringify({ id: 'a', pid: 1, boot: 'x', started: '', hostname: hostname() }));
    await expect(lockFolder(folder)).rejects.toThrow(/is in use/);
  });

  test('of another host it is never taken over', async () => {
    await forgeLock({ hostname: 'elsewhere', pid: 4, boot: 'another' });
    await expect(lockFolder(folder)).rejects.toThrow(
      new RegExp(`process 4 on elsewhere writes to it since .* if it does not, delete ${lock}`),
    );
    expect(await lockHolder(folder)).toMatchObject({ hostname: 'elsewhere' });
  });

  test.runIf(process.platform === 'linux')('a reused number is not mistaken for the process', async () => {
    await forgeLock({ processStart: '1' });
    await (await lockFolder(folder)).release();
    await forgeLock({ boot: 'an earlier one' });
    await (await lockFolder(folder)).release();
    await forgeLock({ namespace: 'pid:[1]' });
    await expect(lockFolder(folder)).rejects.toThrow(/in another container/);
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

  test('says why it cannot', async () => {
    await expect(lockFolder(join(folder, 'none'))).rejects.toThrow(/lock cannot be written: no such file/);
  });
});
