/** Signals, and too few open files, where commands compute for long: they end at once, and in words. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { bin, vgg } from './run-vgg.ts';

test.concurrent.for([
  ['SIGINT', 130],
  ['SIGHUP', 129],
] as const)('%s ends vgg doctor while it examines kernels', async ([signal, code], { expect }) => {
  const child = spawn(process.execPath, [bin, 'doctor'], {
    env: { ...process.env, VGGNET_CC: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  const ended = once(child, 'close');
  // What the machine has is printed first; the examination takes many seconds more.
  await once(child.stdout, 'data');
  await sleep(3000);
  child.kill(signal);
  expect(await ended).toEqual([code, null]);
  expect(stdout).toContain('compiler      none: turned off by VGGNET_CC');
  expect(stdout).toContain('native        none: turned off by VGGNET_CC');
  // None of the tables that stand at its end.
  expect(stdout).not.toContain('--device auto uses');
  expect(stderr).toMatch(/Interrupted\.\n$/);
});

test('SIGHUP lets a training write its checkpoint', async () => {
  const run = await vgg(['train', '--epochs', '500', '--json', '--log-every', '1', '--device', 'wasm'], {
    interrupt: { signal: 'SIGHUP', after: '"event":"step"' },
  });
  expect(run.stdout).toMatch(/\{"event":"end","reason":"interrupted",/);
  expect(run.stderr).toMatch(/Interrupted\. The checkpoint after epoch \d+, step \d+ is in /);
  expect(run.code).toBe(129);
});

test.skipIf(process.platform === 'win32').for([22, 24, 26, 28, 31])(
  'with %d open files at most, a training ends with one line',
  async (limit) => {
    const command = `ulimit -n ${limit} && exec "$0" "$@"`;
    const args = [
      '-c',
      command,
      process.execPath,
      bin,
      'train',
      '--steps',
      '2',
      '--no-run',
      '--threads',
      '4',
    ];
    const { code, stderr } = await new Promise<{ readonly code: unknown; readonly stderr: string }>(
      (resolve) =>
        execFile('bash', args, (error, _, text) => resolve({ code: error?.code ?? 0, stderr: text })),
    );
    expect(stderr).not.toMatch(/^ +at /m);
    expect(stderr).toMatch(
      /^error: .*too many (open files|files are open); raise the limit \(ulimit -n 1024\)/m,
    );
    expect(code).toBe(1);
  },
);
