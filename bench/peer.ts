/** PyTorch as a child process that does one piece of work for each line it is sent (`pytorch.py`). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const python: string = process.env.PYTHON ?? '/usr/bin/python3';

/** Keep glibc from giving memory back after each step: PyTorch loses up to four times its speed to page faults else. */
const allocator = {
  MALLOC_TRIM_THRESHOLD_: '4000000000',
  MALLOC_MMAP_THRESHOLD_: '4000000000',
  MALLOC_TOP_PAD_: '500000000',
};

export type ModelName = 'simplified' | 'vgg7';

export interface EpochTimes {
  /** From reading the files to the end of the test, without start-up. */
  readonly seconds: number;
  readonly trainSeconds: number;
  readonly testSeconds: number;
  /** 0–1. */
  readonly testAccuracy: number;
}

export interface Peer {
  readonly version: string;
  readonly threads: number;
  /** Seconds of each repetition of a training step or a forward pass of one batch. */
  time(command: 'step' | 'predict', model: ModelName, batch: number, repetitions: number): Promise<number[]>;
  /** The lecture's program for one epoch over the binary files in `folder`. */
  epoch(folder: string): Promise<EpochTimes>;
  close(): Promise<void>;
}

/** Starts PyTorch with so many threads; undefined where there is no PyTorch. */
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
  child.stdin.on('error', () => undefined); // the reply tells that the process has ended
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

/** Resolves when the process has ended or could not be started. */
async function endOf(child: ChildProcess): Promise<void> {
  await Promise.race([once(child, 'close'), once(child, 'error')]).catch(() => undefined);
}
