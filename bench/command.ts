/** Measures the whole command: time to the first step, and memory. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const vgg = fileURLToPath(new URL('../bin/vgg.js', import.meta.url));

interface Running {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  /** Rejects with the command's messages if its exit code is not 0. */
  readonly ended: Promise<void>;
}

function train(arguments_: readonly string[]): Running {
  const child = spawn(process.execPath, [vgg, 'train', '--json', ...arguments_], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let notes = '';
  child.stderr.on('data', (text: Buffer) => {
    notes += text.toString();
  });
  const ended = once(child, 'close').then(([code]) => {
    if (code !== 0 && code !== null) throw new Error(`vgg train ${arguments_.join(' ')}: ${notes.trim()}`);
  });
  return { child, ended };
}

/** Seconds from starting `vgg train` to its report of the first step. */
export async function firstStep(arguments_: readonly string[]): Promise<number> {
  const start = performance.now();
  const { child, ended } = train([...arguments_, '--no-run', '--log-every', '1', '--steps', '2']);
  let seconds: number | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    if ((JSON.parse(line) as { event: string }).event !== 'step') continue;
    seconds = (performance.now() - start) / 1000;
    child.kill('SIGKILL');
    break;
  }
  await ended;
  if (seconds === undefined) throw new Error(`vgg train ${arguments_.join(' ')} reported no step`);
  return seconds;
}

/**
 * Peak resident memory of `vgg train` in bytes, as counted by Linux (VmHWM); undefined on systems without /proc.
 */
export async function peakMemory(arguments_: readonly string[]): Promise<number | undefined> {
  const { child, ended } = train(arguments_);
  child.stdout.resume();
  let peak: number | undefined;
  const look = setInterval(() => {
    readFile(`/proc/${child.pid}/status`, 'utf8').then(
      (status) => {
        const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
        if (kilobytes !== undefined) peak = Math.max(peak ?? 0, 1024 * Number(kilobytes));
      },
      () => undefined, // ended, or no /proc
    );
  }, 20);
  try {
    await ended;
  } finally {
    clearInterval(look);
  }
  return peak;
}
