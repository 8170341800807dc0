/** Options of the programs in this folder. `--help` prints the usage; an error prints the problem, then the usage. */
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { parseWhole } from '../src/numbers.ts';

/** Prints an error and exits with code 2. */
export function fail(message: string, usage: string): never {
  console.error(`${message}\n\n${usage}`);
  process.exit(2);
}

export function readOptions<T extends ParseArgsConfig>(
  usage: string,
  config: T,
): ReturnType<typeof parseArgs<T>> {
  if (process.argv.slice(2).some((word) => word === '--help' || word === '-h')) {
    console.log(usage);
    process.exit();
  }
  try {
    return parseArgs(config);
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error), usage);
  }
}

/** Parses a whole number ≥ `least`. */
export function wholeNumber(name: string, text: string, least: number, usage: string): number {
  const value = parseWhole(text) ?? Number.NaN;
  if (!(value >= least && value <= Number.MAX_SAFE_INTEGER))
    fail(`${name} ${text} is not a whole number ≥ ${least}`, usage);
  return value;
}
