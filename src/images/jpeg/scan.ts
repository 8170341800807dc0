/** Copies the codes of a JPEG's only scan without the bytes that mark them as no markers. */

/** The codes between two restarts, in bytes from the scan's start. */
export interface Interval {
  readonly start: number;
  readonly end: number;
}

const [firstRestart, endOfImage] = [0xd0, 0xd9];

/**
 * Copies the scan that starts at `start` of the file; `parts` intervals are expected. Undefined if another number is
 * found, or if something else than the end of the image follows.
 */
export function copyScan(
  file: Uint8Array,
  start: number,
  target: Uint8Array,
  parts: number,
): readonly Interval[] | undefined {
  const intervals: Interval[] = [];
  let [from, to, begin] = [start, 0, 0];
  for (;;) {
    const mark = file.indexOf(0xff, from);
    if (mark === -1 || mark + 1 >= file.length) return undefined;
    const marker = file[mark + 1]!;
    // A byte 0xff of the codes is followed by 0.
    const end = marker === 0 ? mark + 1 : mark;
    target.set(file.subarray(from, end), to);
    to += end - from;
    from = mark + 2;
    if (marker === 0) continue;
    intervals.push({ start: begin, end: to });
    begin = to;
    if (marker === endOfImage) break;
    // Restarts are numbered from 0 to 7.
    if (marker !== firstRestart + ((intervals.length - 1) % 8) || intervals.length >= parts) return undefined;
  }
  return intervals.length === parts ? intervals : undefined;
}
