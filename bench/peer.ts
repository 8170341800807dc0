/** Runs PyTorch in a child process that executes one request per line (`pytorch.py`). */
import { fileURLToPath } from 'node:url';
import { type LineProcess, openProcess } from './process.ts';

export const python: string = process.env.PYTHON ?? '/usr/bin/python3';

/** Keeps glibc from returning memory after each step; otherwise page faults make PyTorch up to four times slower. */
export const allocator: Readonly<Record<string, string>> = {
  MALLOC_TRIM_THRESHOLD_: '4000000000',
  MALLOC_MMAP_THRESHOLD_: '4000000000',
  MALLOC_TOP_PAD_: '500000000',
};

export type ModelName = 'simplified' | 'vgg7' | 'vgg16-bn';

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
  let torch: LineProcess;
  try {
    torch = await openProcess(python, [script, String(threads)], allocator);
  } catch (error) {
    if (/No module named|ENOENT/.test((error as Error).message)) return undefined;
    throw error;
  }
  return {
    version: (torch.hello as { torch: string }).torch,
    threads,
    time: async (command, model, batch, repetitions) =>
      ((await torch.ask({ command, model, batch, repetitions })) as { seconds: number[] }).seconds,
    epoch: async (folder) => (await torch.ask({ command: 'epoch', folder })) as EpochTimes,
    close: torch.close,
  };
}
