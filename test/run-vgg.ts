/** Runs the real `vgg` in a process of its own, for the tests of the command line. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

/** Where runs of the tests go that name no folder. */
const runs = await mkdtemp(join(tmpdir(), 'vggnet-runs-'));
afterAll(() => rm(runs, { recursive: true, force: true }));

export const bin: string = fileURLToPath(new URL('../bin/vgg.js', import.meta.url));

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Sends this signal, once, as soon as either output holds `after`. A second one would end the command at once. */
  readonly interrupt?: { readonly signal: NodeJS.Signals; readonly after: string };
}

/** `vgg` with these arguments; resolves when it has ended. */
export function vgg(args: readonly string[], { env = {}, cwd, interrupt }: RunOptions = {}): Promise<Run> {
  const child = spawn(process.execPath, [bin, ...args], {
    // The width of the terminal that runs the tests is no concern of theirs.
    env: { ...process.env, COLUMNS: '', VGGNET_RUNS: runs, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd,
  });
  return new Promise((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    let interrupted = interrupt === undefined;
    const look = (output: string): void => {
      if (interrupted || !output.includes(interrupt!.after)) return;
      interrupted = true;
      child.kill(interrupt!.signal);
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      look(stdout);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      look(stderr);
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

interface QuickProcess {
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  readonly answers: AsyncIterator<string>;
  /** Settles with the last command. */
  last: Promise<unknown>;
}

/** By environment. */
const quickProcesses = new Map<string, QuickProcess>();
afterAll(() => {
  for (const { child } of quickProcesses.values()) child.kill();
});

function quickProcess(env: Readonly<Record<string, string>>): QuickProcess {
  const key = JSON.stringify(env);
  const known = quickProcesses.get(key);
  if (known) return known;
  const child = spawn(process.execPath, [fileURLToPath(new URL('quick-vgg.ts', import.meta.url))], {
    env: { ...process.env, COLUMNS: '', VGGNET_RUNS: runs, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const started = { child, answers, last: Promise.resolve() };
  quickProcesses.set(key, started);
  return started;
}

/**
 * `vgg` for what trains nothing: messages, help, options. All commands of a test file run one after the other in one
 * process, since starting a process takes longer than they do.
 */
export function quickVgg(args: readonly string[], { env = {} }: Pick<RunOptions, 'env'> = {}): Promise<Run> {
  const quick = quickProcess(env);
  const run = quick.last.then(async () => {
    quick.child.stdin.write(`${JSON.stringify(args)}\n`);
    const { value, done } = await quick.answers.next();
    if (done) throw new Error(`vgg ${args.join(' ')} ended its process, which others need`);
    return JSON.parse(value) as Run;
  });
  quick.last = run.catch(() => undefined);
  return run;
}

/** Standard output as JSON, one object a line. Throws where a line is anything else. */
export function jsonLines({ stdout }: Run): readonly Record<string, unknown>[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
