/**
 * Runs child processes to their end: the compiler and the self-test of its library. They are killed when they are
 * canceled, and when this program exits before them. If this program handles SIGINT, as `vgg` does, each child leads its
 * own process group (except on Windows): only this program then receives a Ctrl-C, and it kills a child with everything
 * the child has started. Otherwise a Ctrl-C ends all of them together. Node only.
 */
import { type ChildProcess, spawn } from 'node:child_process';

/** Actions for an early exit of this program. */
const endings = new Set<() => void>();

/** The newest first: processes are killed before their working folder is removed. */
const endAll = (): void => {
  for (const ending of [...endings].reverse()) {
    try {
      ending();
    } catch {
      // Continue with the others.
    }
  }
};

/** Runs `ending` if this program exits before the returned function is called. */
export function onProgramExit(ending: () => void): () => void {
  if (endings.size === 0) process.on('exit', endAll);
  endings.add(ending);
  return () => {
    if (endings.delete(ending) && endings.size === 0) process.off('exit', endAll);
  };
}

export interface Ended {
  /** Null if a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Cancels: kills the process. */
  readonly signal?: AbortSignal | undefined;
}

/** Characters of output to keep; the rest is dropped. */
const mostOutput = 1 << 24;

function kill(child: ChildProcess, grouped: boolean): void {
  try {
    if (grouped && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    else child.kill('SIGKILL');
  } catch {
    // It has already ended.
  }
}

/**
 * Resolves when the process has ended, even with an error.
 * @throws the system's error if it cannot be started, `signal.reason` if it was canceled.
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
      // Absent if the process could not be started.
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

/** How a process failed: `ended with code 1`, `was killed by SIGSEGV`. */
export const howItEnded = ({ code, signal }: Ended): string =>
  signal === null ? `ended with code ${code}` : `was killed by ${signal}`;
