/** Where the command line writes: results to standard output, notes and hints to standard error. */
import { reason } from '../errors.ts';
import type { SampleFigures } from '../runs/seeds.ts';
import { percent } from '../words.ts';

/** A line of the result. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** One compact object on a line of its own. */
export function printJson(value: unknown): void {
  // Optuna's journals can have integers that no number holds.
  print(JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? String(part) : part)));
}

/** A note or hint, which is no part of the result. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

const outputNames = { stdout: 'standard output', stderr: 'standard error' } as const;
const lost = new Set<keyof typeof outputNames>();
let continuation: string | undefined;

/** From now on the command has something to keep, so it runs to its end without its output, too. `what` says so. */
export function continueWithoutOutput(what: string): void {
  continuation = what;
}

/**
 * Outlives output that cannot be written: a full disk, a reader or a terminal that is gone. A command with something to
 * keep continues and says so once, where that can still be read. Any other command ends: quietly with exit code 0 where
 * its reader has seen enough, as in `vgg runs | head`, else with 1. Lost notes alone end nothing.
 */
export function guardOutput(): void {
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].on('error', (error: NodeJS.ErrnoException) => {
      if (lost.has(name)) return;
      lost.add(name);
      const other = process[name === 'stdout' ? 'stderr' : 'stdout'];
      const problem = `${outputNames[name]} cannot be written: ${reason(error)}`;
      if (continuation !== undefined) {
        // Standard output may be JSON, in which a note has no place.
        if (name === 'stdout') other.write(`${problem}. ${continuation}\n`);
        return;
      }
      if (name === 'stderr') return;
      if (error.code === 'EPIPE') process.exit(0);
      other.write(`error: ${problem}\n`);
      process.exit(1);
    });
  }
}

/** What a notice of longer work needs of standard error. */
export interface NoteStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Says what longer work is doing. */
export interface Doing {
  /** What is done from now on. */
  readonly now: (what: string) => void;
  /** It is over. */
  readonly end: () => void;
}

/** On a terminal one line that is drawn anew each second, with the time so far; elsewhere a line for each thing done. */
export function doing(work: string, stream: NoteStream = process.stderr): Doing {
  if (!stream.isTTY) return { now: (what) => stream.write(`${work}: ${what}\n`), end: () => undefined };
  const begun = performance.now();
  let current = '';
  const draw = (): void => {
    const seconds = Math.round((performance.now() - begun) / 1000);
    // The last column stays free: some terminals would wrap.
    const line = `${work}: ${current} … ${seconds} s`.slice(0, (stream.columns ?? 80) - 1);
    stream.write(`\r\x1b[2K${line}`);
  };
  const timer = setInterval(draw, 1000).unref();
  return {
    now(what) {
      current = what;
      draw();
    },
    end() {
      clearInterval(timer);
      stream.write('\r\x1b[2K');
    },
  };
}

/** A number with its thousands marked: 20,778. */
export function grouped(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** `97.12 ± 0.30 %` of shares between 0 and 1; a single value has no deviation. */
export function meanText({ mean, deviation }: SampleFigures): string {
  if (mean === undefined || deviation === undefined) return percent(mean);
  return `${(100 * mean).toFixed(2)} ± ${percent(deviation)}`;
}
