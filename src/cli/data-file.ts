/** Reads files of plain data, such as a config or a network: JSON, or a TypeScript file that exports it. */
import { extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DataError, UsageError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { moduleFile } from '../package-files.ts';
import type { ConfigAnswer } from './config-program.ts';

/** Bytes of a file. */
const mostBytes = 1 << 20;
/** Milliseconds that a program may take. */
const usualPatience = 10_000;

/** What a file is for, in messages. */
export interface DataFile {
  /** The option that names it: `--config`. */
  readonly option: string;
  /** What it contains, as JSON and as TypeScript. */
  readonly json: string;
  readonly program: string;
  readonly patience?: number;
}

const formsOf = ({ json, program }: DataFile): string =>
  `a JSON file, as in ${json}, or a TypeScript file, as in export default ${program}`;

/**
 * Reads plain data from a JSON file or the default export of a TypeScript file, without checking it. TypeScript files are
 * programs and run in a thread of their own.
 * @throws UsageError if the file is missing or has no data, DataError if it cannot be read.
 */
export async function readDataFile(path: string, kind: DataFile): Promise<unknown> {
  const { option } = kind;
  const { readWhole } = await import('../files/files.ts');
  let text: string;
  try {
    text = new TextDecoder().decode(await readWhole(path, mostBytes));
  } catch (error) {
    const { cause } = error as Error;
    const problem = `${option} ${(error as Error).message}`;
    const wrongPath = ['ENOENT', 'EISDIR', 'ENOTDIR', 'NOT_REGULAR'].includes(
      (cause as NodeJS.ErrnoException | undefined)?.code ?? '',
    );
    if (wrongPath) throw new UsageError(`${problem}; name ${formsOf(kind)}`, { cause });
    throw new DataError(problem, { cause });
  }
  if (['.ts', '.mts', '.js', '.mjs'].includes(extname(path))) return runProgram(path, kind);
  const { value, problem } = parseJson(text);
  if (problem === undefined) return value;
  const wayOut = /^\.ya?ml$/i.test(extname(path)) ? 'YAML is not read: name' : 'correct it, or name';
  throw new UsageError(`${option} ${path} ${problem.replaceAll(/\s+/g, ' ')}; ${wayOut} ${formsOf(kind)}`);
}

/** The default export of a program. @throws UsageError where it does not come, or is no plain data. */
async function runProgram(path: string, kind: DataFile): Promise<unknown> {
  const { option, program, patience = usualPatience } = kind;
  const { Worker } = await import('node:worker_threads');
  const worker = new Worker(moduleFile('cli/config-program')!, {
    workerData: { configUrl: pathToFileURL(resolve(path)).href },
    stdout: true,
  });
  // Standard output is for results, of --json for instance: what the program prints is a note.
  worker.stdout.on('data', (text: Buffer) => process.stderr.write(text));
  let timer: NodeJS.Timeout | undefined;
  const answer = await new Promise<ConfigAnswer>((resolve) => {
    worker.once('message', resolve);
    worker.once('error', (error) => resolve({ thrown: oneLine(error) }));
    worker.once('exit', () =>
      resolve({
        problem: 'it ended without a default export: it waits for a promise that never settles, or exits',
      }),
    );
    timer = setTimeout(() => resolve({ problem: `it did not finish within ${patience / 1000} s` }), patience);
  });
  clearTimeout(timer);
  await worker.terminate();
  if ('json' in answer) return JSON.parse(answer.json);
  if ('missing' in answer) {
    throw new UsageError(
      `${option} ${path}: it has no default export; write export default ${program}, for instance`,
    );
  }
  throw new UsageError(
    'thrown' in answer
      ? `${option} ${path} does not run: ${answer.thrown}; correct it, or name ${formsOf(kind)}`
      : `${option} ${path}: ${answer.problem}; export plain data, as in export default ${program}`,
  );
}

const oneLine = (error: unknown): string =>
  (error instanceof Error ? error.message : `it throws ${String(error)}`).replaceAll(/\s+/g, ' ');
