/** Output that cannot be written: a full disk, or a reader that is gone. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bin, vgg } from './run-vgg.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-cli-output-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.skipIf(process.platform !== 'linux')('output that cannot be written', () => {
  const quick = ['train', '--steps', '6', '--batch-size', '20', '--device', 'wasm', '--threads', '1'];
  const bash = (words: readonly string[], rest: string, env: NodeJS.ProcessEnv = {}) => {
    const command = [process.execPath, bin, ...words].map((word) => `'${word}'`).join(' ');
    return spawnSync('bash', ['-c', `${command} ${rest}`], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
    });
  };
  const stateOf = async (run: string): Promise<unknown> =>
    (JSON.parse(await readFile(join(run, 'state.json'), 'utf8')) as { state: unknown }).state;

  test.each([
    ['a full disk', '> /dev/full', 'standard output cannot be written: no space left on the disk. Training'],
    [
      'a reader that is gone',
      '--json | head -n 1; exit $PIPESTATUS',
      'cannot be written: its reader has closed it. Training',
    ],
    ['readers that are gone', '2>&1 | true; exit $PIPESTATUS', ''],
  ])('costs no run: %s', async (name, rest, said) => {
    const run = join(folder, `output ${name}`);
    const { status, stderr } = bash([...quick, '--no-report', '--log-every', '1', '--run', run], rest);
    expect(stderr).toContain(said);
    expect(stderr).not.toMatch(/EPIPE|ENOSPC|^\s+at /m);
    expect(status).toBe(0);
    expect(await stateOf(run)).toBe('finished');
  });

  test('ends a command that has nothing to keep: quietly where its reader left, else with exit code 1', () => {
    const idle = [...quick, '--no-run', '--log-every', '1'];
    const left = bash(idle, '--json | head -n 2; exit $PIPESTATUS');
    expect(left.status).toBe(0);
    expect(left.stdout.split('\n')).toHaveLength(3);
    expect(left.stderr).not.toMatch(/EPIPE|^\s+at /m);
    const full = 'error: standard output cannot be written: no space left on the disk\n';
    expect(bash(['kernels'], '> /dev/full')).toMatchObject({ status: 1, stderr: full });
    expect(bash(idle, '> /dev/full')).toMatchObject({ status: 1, stderr: expect.stringContaining(full) });
    expect(bash(['trian'], '2> /dev/full').status).toBe(2);
  });

  test('leaves a search to its end', async () => {
    const study = join(folder, 'output of tune');
    const space = join(folder, 'output-space.json');
    await writeFile(space, '{"lr":{"choices":[0.1,0.01]},"steps":2,"batchSize":10,"device":"wasm"}');
    const words = ['tune', '--config', space, '--trials', '2', '--no-report', '--study', study];
    const { status, stderr } = bash([...words, '--json'], '> /dev/full');
    expect(stderr).toContain(
      'standard output cannot be written: no space left on the disk. The search continues',
    );
    expect(status).toBe(0);
    const { stdout } = await vgg(['tune', 'status', study, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ counts: { complete: 2 } });
  });
});
