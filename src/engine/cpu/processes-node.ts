/**
 * Child processes that are run to their end: the compiler and the self-test of what it makes. They are killed when they
 * are given up, and when this program exits before them. Where this program listens to SIGINT itself, as `vgg` does, each
 * leads a process group of its own (but on Windows): a Ctrl-C in the terminal is then this program's alone to obey, and
 * what a child has started is killed with it. Elsewhere a Ctrl-C ends all of them together. Node alone.
 */
import { type ChildProcess, spawn } from 'node:child_process';

/** What is to be done should this program exit, in order. */
const endings = new Set<() => void>();

/** The latest first: processes are killed before the folder in which they work is removed. */
const endAll = (): void => {
  for (const ending of [...endings].reverse()) {
    try {
      ending();
    } catch {
      // The others still have to be done.
    }
  }
};

/** Has `ending` done should this program exit before the result is called. */
export function onProgramExit(ending: () => void): () => void {
  if (endings.size === 0) process.on('exit', endAll);
  endings.add(ending);
  return () => {
    if (endings.delete(ending) && endings.size === 0) process.off('exit', endAll);
  };
}

export interface Ended {
  /** None where a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Gives up; the process is killed. */
  readonly signal?: AbortSignal | undefined;
}

/** No compiler says more than this, in characters; the rest is dropped. */
const mostOutput = 1 << 24;

function kill(child: ChildProcess, grouped: boolean): void {
  try {
    if (grouped && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    else child.kill('SIGKILL');
  } catch {
    // It has ended.
  }
}

/**
 * Resolves when the process has ended, however it did.
 * @throws the system's error where it cannot be started, `signal.reason` where it was stopped.
 */
export async function runToEnd(command: readonly string[], options: ProcessOptions = {}): Promise<Ended> {
  const { signal, ...rest } = options;
  signal?.throwIfAborted();
  const [program = '', ...words] = command;
  const grouped = process.platform !== 'win32' && process.listenerCount('SIGINT') > 0;
  const child = spawn(program, words, { ...rest, detached: grouped, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<[number | null, string | null]>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (...how) => resolve(how));
  });
  const stop = (): void => kill(child, grouped);
  const forget = onProgramExit(stop);
  signal?.addEventListener('abort', stop);
  try {
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      // There is none where the process could not be started.
      child[name]?.setEncoding('utf8').on('data', (text: string) => {
        if (output[name].length < mostOutput) output[name] += text;
      });
    }
    const [code, by] = await ended;
    signal?.throwIfAborted();
    return { code, signal: by, ...output };
  } finally {
    forget();
    signal?.removeEventListener('abort', stop);
  }
}

/** How a process ended that should have ended otherwise: `ended with code 1`, `was ended by SIGSEGV`. */
export const howItEnded = ({ code, signal }: Ended): string =>
  signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
