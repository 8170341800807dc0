/** Shows how image files are prepared, where a data set needs it. */
import type { PrepareOptions, PrepareProgress } from '../data/folders/prepare.ts';
import { grouped } from '../words.ts';
import type { Interruption } from './interrupt.ts';
import { type NoteStream, note, secondsLeft, shorten } from './output.ts';
import { clock } from './progress.ts';

const redrawMilliseconds = 100;
/** Milliseconds between lines where there is no terminal. */
const lineMilliseconds = 20_000;
const clearLine = '\r\x1b[2K';

export interface Preparing {
  readonly progress: (progress: PrepareProgress) => void;
  /** Clears the line of a terminal. */
  readonly end: () => void;
}

/**
 * On a terminal, redraws one line with rate and time left; elsewhere prints a line every 20 seconds. Copying images that
 * are prepared already is not shown as long as it is fast.
 */
export function preparing(
  stream: NoteStream = process.stderr,
  now: () => number = () => performance.now(),
): Preparing {
  let begun: number | undefined;
  let drawn = 0;
  let isDrawn = false;
  const end = (): void => {
    if (isDrawn) stream.write(clearLine);
    isDrawn = false;
  };
  return {
    end,
    progress({ done, total, decoded }) {
      const time = now();
      begun ??= time;
      const isFirst = drawn === 0;
      if (isFirst && !stream.isTTY && decoded > 0 && done < total) {
        drawn = time;
        stream.write(`Preparing ${grouped(total)} images\n`);
      }
      if (done === total) return end();
      if (time - drawn < (stream.isTTY ? redrawMilliseconds : lineMilliseconds)) return;
      drawn = time;
      const milliseconds = time - begun;
      const left = secondsLeft(done, total - done, milliseconds, 20);
      const rate = milliseconds < 1000 ? '' : `, ${grouped((1000 * done) / milliseconds)} images/s`;
      const line =
        `Preparing images: ${grouped(done)} of ${grouped(total)}${rate}` +
        (left === undefined ? '' : `, ${clock(left)} left`);
      if (!stream.isTTY) {
        stream.write(`${line}\n`);
        return;
      }
      isDrawn = true;
      // The last column stays free: some terminals would wrap.
      stream.write(clearLine + shorten(line, (stream.columns ?? 80) - 1));
    },
  };
}

/** The options of preparing for a command that does nothing else before; `end` when it is over. */
export function preparingOptions(
  interruption: Interruption | undefined,
): PrepareOptions & { readonly end: () => void } {
  const { progress, end } = preparing();
  const told = (line: string): void => {
    end();
    note(line);
  };
  return {
    onProgress: progress,
    onNotice: told,
    ...(interruption && { signal: interruption.signal }),
    end,
  };
}
