/**
 * The machine's C compiler: finds it and its target, and compiles the kernels' sources. Node only.
 */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { isTooManyOpenFiles, tooManyOpenFiles, VggError } from '../../../errors.ts';
import { cannotRun, isMissing } from '../../../files/files.ts';
import type { nativeTargets } from '../../../kernels/catalogue.ts';
import { howItEnded, runToEnd } from './processes-node.ts';

/** The vectors of a compiler's target. */
export type NativeTarget = keyof typeof nativeTargets;
const targetNames: Readonly<Record<NativeTarget, string>> = {
  avx512: 'AVX-512',
  avx2: 'AVX2',
  sse: 'SSE',
  neon: 'NEON',
};

/** The name of a target's vectors, such as `AVX-512`. */
export const targetName = (target: NativeTarget): string => targetNames[target];

export interface Compiler {
  /** The command and its own arguments. */
  readonly command: readonly string[];
  /** Flags for every target. */
  readonly flags: readonly string[];
  /** Flags that select the target. */
  readonly machine: readonly string[];
  /** All predefined macros, which tell its version and the processor's features. */
  readonly macros: string;
  /** For instance `gcc 12.2.0`. */
  readonly version: string;
  readonly target: NativeTarget;
}

export interface CompilerOptions {
  /** Vectors narrower than the machine's best; for tests. */
  readonly target?: NativeTarget;
  /** Environment with `VGGNET_CC` or `CC`. */
  readonly environment?: NodeJS.ProcessEnv;
  /** Cancels and leaves nothing behind. */
  readonly signal?: AbortSignal | undefined;
}

const commonFlags = [
  '-std=gnu11',
  '-O2',
  '-fPIC',
  '-fno-math-errno',
  '-fno-strict-aliasing',
  '-fvisibility=hidden',
];

/** Otherwise gcc keeps a counter for every pointer, and a transform's three dozen pointers do not fit the registers. */
const gccFlags = ['-fno-ivopts'];

/** Flags for vectors narrower than the processor's. */
const narrowing: Partial<Record<NativeTarget, readonly string[]>> = {
  avx2: ['-mno-avx512f'],
  sse: ['-mno-avx'],
};

const macro = (macros: string, name: string): string | undefined =>
  new RegExp(`^#define ${name} (.*)$`, 'm').exec(macros)?.[1];

/** A compiler's command: a file, whose path may contain blanks, or words. Paths are relative to the current folder. */
function commandOf(candidate: string): string[] {
  const isPath = (name: string): boolean => /[\\/]/.test(name);
  // A path that exists is taken whole, even if it turns out not to be a program.
  if (isPath(candidate) && existsSync(candidate)) return [resolve(candidate)];
  const [program = '', ...own] = candidate.split(/\s+/);
  return [isPath(program) ? resolve(program) : program, ...own];
}

/** A compiler's environment: PATH without relative folders, so that programs do not depend on where it runs. */
function compilerEnvironment(): NodeJS.ProcessEnv {
  if (process.platform === 'win32') return process.env;
  const folders = (process.env.PATH ?? '').split(delimiter).filter(isAbsolute);
  return { ...process.env, PATH: folders.join(delimiter) };
}

/**
 * The machine's C compiler: only `$VGGNET_CC` if it is set, otherwise the first of `$CC`, `cc`, `gcc` and `clang` that
 * runs.
 * @throws VggError with the reason if there is none.
 */
export async function findCompiler(options: CompilerOptions = {}): Promise<Compiler> {
  const { environment = process.env, target: wanted, signal } = options;
  const [own, usual] = [environment.VGGNET_CC?.trim(), environment.CC?.trim()];
  if (own === '') throw new VggError('turned off by VGGNET_CC');
  const candidates = own === undefined ? [...(usual ? [usual] : []), 'cc', 'gcc', 'clang'] : [own];
  let failure = '';
  for (const candidate of candidates) {
    const command = commandOf(candidate);
    for (const machine of [['-march=native'], ['-mcpu=native'], []]) {
      const narrower = (wanted && narrowing[wanted]) ?? [];
      let macros: string;
      try {
        const ended = await runToEnd([...command, ...machine, ...narrower, '-dM', '-E', '-x', 'c', '-'], {
          env: compilerEnvironment(),
          signal,
        });
        if (ended.code !== 0) {
          const reason = ended.stderr.trim().split('\n')[0] || `it ${howItEnded(ended)}`;
          failure ||= `${candidate} does not compile: ${reason}`;
          continue;
        }
        macros = ended.stdout;
      } catch (error) {
        signal?.throwIfAborted();
        if (isTooManyOpenFiles(error)) throw new VggError(tooManyOpenFiles);
        if (!isMissing(error)) failure ||= cannotRun(candidate, error).message;
        break;
      }
      const has = (name: string): boolean => macro(macros, name) !== undefined;
      const found: NativeTarget | undefined = has('__AVX512F__')
        ? 'avx512'
        : has('__AVX2__') && has('__FMA__')
          ? 'avx2'
          : has('__SSE2__')
            ? 'sse'
            : has('__ARM_NEON')
              ? 'neon'
              : undefined;
      if (!found)
        throw new VggError(`${candidate} compiles for a processor without AVX-512, AVX2, SSE2 or NEON`);
      if (wanted && wanted !== found)
        throw new VggError(`${candidate} cannot compile for ${targetNames[wanted]} on this machine`);
      const version = macro(macros, '__VERSION__')?.replaceAll('"', '') ?? 'unknown';
      return {
        command,
        flags: has('__clang__') ? commonFlags : [...commonFlags, ...gccFlags],
        machine: [...machine, ...narrower],
        macros,
        version: has('__clang__') ? version : `gcc ${version}`,
        target: found,
      };
    }
  }
  throw new VggError(failure || `no C compiler: ${candidates.join(', ')} not found`);
}

/**
 * Compiles sources in parallel in the folder `work` and links them; returns the library's path.
 * @throws VggError with the compiler's name and its first error.
 */
export async function compileLibrary(
  { command, flags, machine }: Compiler,
  sources: readonly string[],
  work: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  // If one part fails, stop compiling the others.
  const failed = new AbortController();
  const either = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const run = async (...rest: readonly string[]): Promise<void> => {
    const ended = await runToEnd([...command, ...flags, ...machine, ...rest], {
      cwd: work,
      env: compilerEnvironment(),
      signal: either,
    });
    if (ended.code === 0) return;
    const lines = ended.stderr.split('\n').filter((line) => line.trim() !== '');
    const reason = lines.find((line) => /error/i.test(line)) ?? lines[0] ?? `it ${howItEnded(ended)}`;
    throw new VggError(`${command.join(' ')} cannot compile the kernels: ${reason.trim()}`);
  };
  await Promise.all(sources.map((source, i) => writeFile(join(work, `${i}.c`), source)));
  const queue = sources.map((_, i) => i);
  const compileRest = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      await run('-c', `${next}.c`, '-o', `${next}.o`);
    }
  };
  const inTurn = Array.from({ length: Math.min(sources.length, availableParallelism()) }, async () => {
    try {
      await compileRest();
    } catch (error) {
      // The others stop with the same reason.
      failed.abort(error);
    }
  });
  await Promise.all(inTurn);
  either.throwIfAborted();
  await run('-shared', ...sources.map((_, i) => `${i}.o`), '-o', 'kernels.so');
  return join(work, 'kernels.so');
}
