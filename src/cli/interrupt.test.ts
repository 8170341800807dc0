/** Signals, each in a process of its own that sends them to itself. */
import { execFile } from 'node:child_process';
import { expect, test } from 'vitest';

const prologue = `
  import { endInterrupted, listenForInterrupts } from '${new URL('./interrupt.ts', import.meta.url)}';
  const interruption = listenForInterrupts();
  interruption.kept = 'All of it.';
  const interrupt = (name = 'SIGINT') => process.kill(process.pid, name);
  const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
`;

function run(program: string): Promise<{ code: unknown; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const args = ['--input-type=module', '--eval', prologue + program];
    execFile(process.execPath, args, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, stdout, stderr }),
    );
  });
}

test.for([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)('%s ends a command that has nothing to keep at once', async ([name, code]) => {
  const ended = await run(`interrupt('${name}'); await sleep(30_000);`);
  expect(ended).toEqual({ code, stdout: '', stderr: 'Interrupted. All of it.\n' });
});

test('a command that stops by itself may say what it kept', async () => {
  const ended = await run(`
    interruption.stopsItself = true;
    interruption.signal.addEventListener('abort', () => {
      interruption.kept = 'The weights.';
      endInterrupted(interruption.signal.reason, interruption);
    });
    interrupt();
    await sleep(30_000);
  `);
  expect(ended).toEqual({ code: 130, stdout: '', stderr: 'Interrupted. The weights.\n' });
});

test('a command that does not stop is ended', async () => {
  const ended = await run('interruption.stopsItself = true; interrupt(); await sleep(30_000);');
  expect(ended).toEqual({ code: 130, stdout: '', stderr: 'Interrupted. All of it.\n' });
});

test('a second signal ends without a word; the echo of the first one, as npm sends it, does not', async () => {
  const ended = await run(`
    interruption.stopsItself = true;
    interrupt();
    interrupt('SIGTERM');
    await sleep(20);
    process.stdout.write('still there');
    await sleep(200);
    interrupt();
    await sleep(30_000);
  `);
  expect(ended).toEqual({ code: 130, stdout: 'still there', stderr: '' });
});
