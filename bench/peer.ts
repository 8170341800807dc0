/** Runs PyTorch in a child process that executes one request per line (`pytorch.py`). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const python: string = process.env.PYTHON ?? '/usr/bin/python3';

/** Keeps glibc from returning memory after each step; otherwise page faults make PyTorch up to four times slower. */
const allocator = {
  MALLOC_TRIM_THRESHOLD_: '4000000000',
  MALLOC_MMAP_THRESHOLD_: '4000000000',
  MALLOC_TOP_PAD_: '500000000',
};

export type ModelName = 'simplified' | 'vgg7';

export interface EpochTimes {
  /** From reading the files to the end of the test, excluding start-up. */
  readonly seconds: number;
  readonly trainSeconds: number;
  readonly testSeconds: number;
  /** 0–1. */
  readonly testAccuracy: number;
}

export interface Peer {
  readonly version: string;
  readonly threads: number;
  /** Seconds of each repetition of a training step or forward pass. */
  time(command: 'step' | 'predict', model: ModelName, batch: number, repetitions: number): Promise<number[]>;
  /** Runs the lecture's program for one epoch on the binary files in `folder`. */
  epoch(folder: string): Promise<EpochTimes>;
  close(): Promise<void>;
}

/** Starts PyTorch with the given number of threads; undefined if it is not installed. */
export async function openPeer(threads: number): Promise<Peer | undefined> {
  const script = fileURLToPath(new URL('pytorch.py', import.meta.url));
  const child = spawn(python, [script, String(threads)], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...allocator },
  });
  const ended = endOf(child);
  let errors = '';
  child.stderr.on('data', (text: Buffer) => {
    errors += text.toString();
  });
  child.stdin.on('error', () => undefined); // `reply` reports that the process has ended
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const reply = async (): Promise<unknown> => {
    const line = await lines.next();
    if (line.done) throw new Error(`PyTorch ended: ${errors.trim().split('\n').at(-1) ?? ''}`);
    return JSON.parse(line.value);
  };
  const ask = (request: object): Promise<unknown> => {
    child.stdin.write(`${JSON.stringify(request)}\n`);
    return reply();
  };

  let hello: { torch: string };
  try {
    hello = (await reply()) as { torch: string };
  } catch (error) {
    await ended;
    if (/No module named|ENOENT/.test(errors) || child.pid === undefined) return undefined;
    throw error;
  }
  return {
    version: hello.torch,
    threads,
    time: async (command, model, batch, repetitions) =>
      ((await ask({ command, model, batch, repetitions })) as { seconds: number[] }).seconds,
    epoch: async (folder) => (await ask({ command: 'epoch', folder })) as EpochTimes,
    close: async () => {
      child.stdin.end();
      await ended;
    },
  };
}

/** Resolves when the process has ended or failed to start. */
async function endOf(child: ChildProcess): Promise<void> {
  await Promise.race([once(child, 'close'), once(child, 'error')]).catch(() => undefined);
}
