import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { captureEnvironment } from './environment.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-environment-'));
});
afterEach(() => rm(folder, { recursive: true }));

const device = { device: 'native', description: 'native (AVX-512), 2 threads', threads: 2 };
const hasGit = spawnSync('git', ['--version']).status === 0;

test('names versions, machine and command line', async () => {
  const started = new Date(0);
  const environment = await captureEnvironment({ ...device, folder, started, command: ['vgg', 'train'] });
  expect(environment).toMatchObject({
    ...device,
    node: process.versions.node,
    v8: process.versions.v8,
    hostname: hostname(),
    command: ['vgg', 'train'],
    folder,
    started: '1970-01-01T00:00:00.000Z',
  });
  expect(environment.vggnet).toMatch(/^\d+\.\d+\.\d+/);
  expect(environment.cores).toBeGreaterThan(0);
  expect(environment.memoryBytes).toBeGreaterThan(1e6);
  expect(environment).not.toHaveProperty('git');
});

test.runIf(hasGit)("names the commit of the user's project, and whether files differ from it", async () => {
  const git = (...args: string[]): string => {
    const identity = ['-c', 'user.name=a', '-c', 'user.email=a@example.org'];
    const { status, stdout, stderr } = spawnSync('git', ['-C', folder, ...identity, ...args], {
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(stderr);
    return stdout.trim();
  };
  const found = async (): Promise<unknown> => (await captureEnvironment({ ...device, folder })).git;
  git('init', '--quiet');
  expect(await found()).toBeUndefined(); // No commit yet.
  await writeFile(join(folder, 'a'), '1');
  git('add', 'a');
  git('commit', '--quiet', '--message', 'a');
  const commit = git('rev-parse', 'HEAD');
  await writeFile(join(folder, 'untracked'), '');
  expect(await found()).toEqual({ commit, dirty: false });
  await writeFile(join(folder, 'a'), '2');
  expect(await found()).toEqual({ commit, dirty: true });
});
