/**
 * The machine's C compiler: which one there is, what it compiles for, and its work on the kernels' sources. Node alone.
 */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { VggError } from '../../errors.ts';
import { cannotRun, isMissing } from '../../files/files.ts';
import type { nativeTargets } from '../../kernels/catalogue.ts';
import { isTooManyOpenFiles, tooManyOpenFiles } from '../../open-files.ts';
import { howItEnded, runToEnd } from './processes-node.ts';

/** A compiler's vectors: the target to record for, and what it is called. */
export type NativeTarget = keyof typeof nativeTargets;
const targetNames: Readonly<Record<NativeTarget, string>> = {
  avx512: 'AVX-512',
  avx2: 'AVX2',
  sse: 'SSE',
  neon: 'NEON',
};

/** What a target's vectors are called: `AVX-512`, for instance. */
export const targetName = (target: NativeTarget): string => targetNames[target];

export interface Compiler {
  /** The command and its own arguments. */
  readonly command: readonly string[];
  /** How to compile, whatever for. */
  readonly flags: readonly string[];
  /** Flags that say what to compile for. */
  readonly machine: readonly string[];
  /** All that it defines, which tells its version and the processor's features. */
  readonly macros: string;
  /** `gcc 12.2.0`, for instance. */
  readonly version: string;
  readonly target: NativeTarget;
}

export interface CompilerOptions {
  /** Vectors narrower than the machine's best; for tests. */
  readonly target?: NativeTarget;
  /** Environment with `VGGNET_CC` or `CC`. */
  readonly environment?: NodeJS.ProcessEnv;
  /** Gives up; nothing is left behind. */
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

/** gcc keeps a counter for every pointer otherwise: a transform's three dozen places do not fit the registers. */
const gccFlags = ['-fno-ivopts'];

/** Makes narrower vectors than the processor's. */
const narrowing: Partial<Record<NativeTarget, readonly string[]>> = {
  avx2: ['-mno-avx512f'],
  sse: ['-mno-avx'],
};

const macro = (macros: string, name: string): string | undefined =>
  new RegExp(`^#define ${name} (.*)$`, 'm').exec(macros)?.[1];

/** A compiler's command: a file, which may have blanks in its path, or words. Paths count from here, wherever it runs. */
function commandOf(candidate: string): string[] {
  const isPath = (name: string): boolean => /[\\/]/.test(name);
  // What is there, but no file, or cannot be looked at, is no compiler either.
  if (isPath(candidate) && existsSync(candidate)) return [resolve(candidate)];
  const [program = '', ...own] = candidate.split(/\s+/);
  return [isPath(program) ? resolve(program) : program, ...own];
}

/** The environment of a compiler: neither it nor what it starts is taken from a folder that depends on where it runs. */
function compilerEnvironment(): NodeJS.ProcessEnv {
  if (process.platform === 'win32') return process.env;
  const folders = (process.env.PATH ?? '').split(delimiter).filter(isAbsolute);
  return { ...process.env, PATH: folders.join(delimiter) };
}

/**
 * The machine's C compiler: `$VGGNET_CC` and no other, or the first that runs of `$CC`, `cc`, `gcc` and `clang`.
 * @throws VggError where there is none, with the reason.
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
        throw new VggError(`${candidate} compiles for a processor whose vectors are not known here`);
      if (wanted && wanted !== found)
        throw new VggError(`${candidate} does not compile for ${targetNames[wanted]} here`);
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
 * Compiles sources side by side in the folder `work` and links them; yields the library.
 * @throws VggError with the compiler's name and its first error.
 */
export async function compileLibrary(
  { command, flags, machine }: Compiler,
  sources: readonly string[],
  work: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  // Where one part fails, the others need not be compiled any more.
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
    throw new VggError(`${command.join(' ')} fails on the kernels: ${reason.trim()}`);
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
      // The reason with which the others end, too.
      failed.abort(error);
    }
  });
  await Promise.all(inTurn);
  either.throwIfAborted();
  await run('-shared', ...sources.map((_, i) => `${i}.o`), '-o', 'kernels.so');
  return join(work, 'kernels.so');
}
