/** Runs the real `vgg` in a process of its own, for the tests of the command line. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const bin = fileURLToPath(new URL('../bin/vgg.js', import.meta.url));

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Called with all of standard output so far, each time there is more. */
  readonly onOutput?: (stdout: string, child: ChildProcess) => void;
  /** The same for standard error. */
  readonly onErrorOutput?: (stderr: string, child: ChildProcess) => void;
}

/** `vgg` with these arguments; resolves when it has ended. */
export function vgg(
  args: readonly string[],
  { env = {}, onOutput, onErrorOutput }: RunOptions = {},
): Promise<Run> {
  const child = spawn(process.execPath, [bin, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return new Promise((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      onOutput?.(stdout, child);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      onErrorOutput?.(stderr, child);
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** Standard output as JSON, one object a line. Throws where a line is anything else. */
export function jsonLines({ stdout }: Run): readonly Record<string, unknown>[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
