/** A child process that answers requests: JSON objects, one per line, on its standard input and output. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export interface LineProcess {
  /** Its first line, written without a request. */
  readonly hello: unknown;
  ask(request: object): Promise<unknown>;
  close(): Promise<void>;
  /** Ends it at once, in the middle of a request. */
  kill(): void;
}

/** Resolves with the first line. @throws Error with the last line of its messages if it ends before that. */
export async function openProcess(
  command: string,
  arguments_: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<LineProcess> {
  const child = spawn(command, arguments_, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  const ended = endOf(child);
  let errors = '';
  child.stderr.on('data', (text: Buffer) => {
    errors += text.toString();
  });
  child.on('error', (error) => {
    errors += error.message;
  });
  child.stdin.on('error', () => undefined); // `reply` reports that the process has ended
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const reply = async (): Promise<unknown> => {
    const line = await lines.next();
    if (!line.done) return JSON.parse(line.value);
    await ended;
    throw new Error(`${[command, ...arguments_].join(' ')} ended: ${errors.trim().split('\n').at(-1) ?? ''}`);
  };
  return {
    hello: await reply(),
    ask: (request) => {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      return reply();
    },
    close: async () => {
      child.stdin.end();
      await ended;
    },
    kill: () => void child.kill('SIGKILL'),
  };
}

/** Resolves when the process has ended or failed to start. */
async function endOf(child: ChildProcess): Promise<void> {
  await Promise.race([once(child, 'close'), once(child, 'error')]).catch(() => undefined);
}
