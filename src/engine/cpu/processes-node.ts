/**
 * Child processes that are run to their end: the compiler and the self-test of what it makes. Each leads a process group
 * of its own, so that a Ctrl-C in the terminal is this program's alone to obey, and stops with all that it has started
 * when this program ends or is told to give up. Node alone.
 */
import { spawn } from 'node:child_process';

export interface Ended {
  /** None where a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly cwd?: string;
  /** Gives up; the process and its children are killed. */
  readonly signal?: AbortSignal | undefined;
}

/** No compiler says more than this, in characters; the rest is dropped. */
const mostOutput = 1 << 24;

const grouped = process.platform !== 'win32';

/**
 * Resolves when the process has ended, however it did.
 * @throws the system's error where it cannot be started, `signal.reason` where it was stopped.
 */
export async function runToEnd(command: readonly string[], options: ProcessOptions = {}): Promise<Ended> {
  const { cwd, signal } = options;
  signal?.throwIfAborted();
  const [program = '', ...rest] = command;
  const child = spawn(program, rest, {
    ...(cwd !== undefined && { cwd }),
    detached: grouped,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const kill = (): void => {
    try {
      if (grouped && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      else child.kill('SIGKILL');
    } catch {
      // It has ended.
    }
  };
  process.prependOnceListener('exit', kill);
  signal?.addEventListener('abort', kill);
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      if (output[name].length < mostOutput) output[name] += text;
    });
  }
  try {
    const [code, ended] = await new Promise<[number | null, string | null]>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (...how) => resolve(how));
    });
    signal?.throwIfAborted();
    return { code, signal: ended, ...output };
  } finally {
    process.off('exit', kill);
    signal?.removeEventListener('abort', kill);
  }
}

/** How a process ended that should have ended otherwise: `ended with code 1`, `was ended by SIGSEGV`. */
export const howItEnded = ({ code, signal }: Ended): string =>
  signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
