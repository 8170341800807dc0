/** Where the command line writes: results to standard output, notes and hints to standard error. */

/** A line of the result. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** One compact object on a line of its own. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

/** A note or hint, which is no part of the result. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** A number with its thousands marked: 20,778. */
export function grouped(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}
