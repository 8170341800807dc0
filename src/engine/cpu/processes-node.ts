/**
 * Child processes that are run to their end: the compiler and the self-test of what it makes. Each leads a process group
 * of its own (but on Windows), so that a Ctrl-C in the terminal is this program's alone to obey. It is killed with all that
 * it has started when this program ends before it: by `process.exit`, or by a signal that nobody else listens to. Node
 * alone.
 */
import { type ChildProcess, spawn } from 'node:child_process';

const deadly = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** What is to be done should this program end, in order. */
const endings: (() => void)[] = [];

/** The latest first: processes are killed before the folder in which they work is removed. */
const endAll = (): void => {
  for (const ending of endings.toReversed()) ending();
};

const handlers = deadly.map((name) => {
  const handler = (): void => {
    // Whoever listens, too, decides; should that be to exit, the event of it comes.
    if (process.listenerCount(name) > 1) return;
    endAll();
    process.off(name, handler);
    process.kill(process.pid, name);
  };
  return [name, handler] as const;
});

/** Has `ending` done should this program end before the result is called. */
export function onProgramEnd(ending: () => void): () => void {
  if (endings.length === 0) {
    process.on('exit', endAll);
    for (const [name, handler] of handlers) process.on(name, handler);
  }
  endings.push(ending);
  return () => {
    endings.splice(endings.indexOf(ending), 1);
    if (endings.length > 0) return;
    process.off('exit', endAll);
    for (const [name, handler] of handlers) process.off(name, handler);
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
  /** Gives up; the process and all that it has started are killed. */
  readonly signal?: AbortSignal | undefined;
}

/** No compiler says more than this, in characters; the rest is dropped. */
const mostOutput = 1 << 24;

const grouped = process.platform !== 'win32';

function kill(child: ChildProcess): void {
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
  const child = spawn(program, words, { ...rest, detached: grouped, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<[number | null, string | null]>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (...how) => resolve(how));
  });
  const stop = (): void => kill(child);
  const forget = onProgramEnd(stop);
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
