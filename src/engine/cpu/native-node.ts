/**
 * Native kernels: the C that `kernels/c.ts` prints, compiled once by the machine's own compiler, kept in the user's
 * cache and called through koffi. A library enters the cache only after its self-test, under a temporary name first;
 * its name holds the hash of what it was made from and of its content, so that neither a change of compiler, processor
 * or kernels nor a damaged file goes unnoticed.
 */
import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheDirectory } from '../../data/cache.ts';
import { VggError } from '../../errors.ts';
import { formatSources } from '../../kernels/c.ts';
import { lanesOf, nativeTargets, recordKernels } from '../../kernels/catalogue.ts';
import { makeFolder } from '../../make-folder.ts';
import type { KernelSource } from './library.ts';
import { loadKoffi, openNative } from './native-library-node.ts';
import { checkMemory, testAgainstPlain } from './self-test.ts';

const execute = promisify(execFile);

/** A compiler's vectors: the target to record for, and what it is called. */
export type NativeTarget = keyof typeof nativeTargets;
const targetNames: Readonly<Record<NativeTarget, string>> = {
  avx512: 'AVX-512',
  avx: 'AVX2',
  sse: 'SSE',
  neon: 'NEON',
};

/** What a target's vectors are called: `AVX-512`, for instance. */
export const vectorsOf = (target: NativeTarget): string => targetNames[target];

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

export interface NativeOptions {
  /** Vectors narrower than the machine's best; for tests. */
  readonly target?: NativeTarget;
  /** Environment with `VGGNET_CC` or `CC`. */
  readonly environment?: NodeJS.ProcessEnv;
  /** Where libraries are kept; the user's cache by default. */
  readonly directory?: string;
  /** Told what takes long. */
  readonly onNotice?: (line: string) => void;
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
  avx: ['-mno-avx512f'],
  sse: ['-mno-avx'],
};

/** Milliseconds after which a folder is no compilation under way, and after which a library is not kept any longer. */
const abandonedAfter = 3_600_000;
const unusedAfter = 60 * 24 * 3_600_000;

/** Folder of the compiled libraries. */
export const nativeDirectory = (): string => join(cacheDirectory(), 'native');

const macro = (macros: string, name: string): string | undefined =>
  new RegExp(`^#define ${name} (.*)$`, 'm').exec(macros)?.[1];

/**
 * The machine's C compiler: `$VGGNET_CC`, `$CC`, `cc`, `gcc` or `clang`, the first that runs.
 * @throws VggError where there is none, with the reason.
 */
export async function findCompiler(options: NativeOptions = {}): Promise<Compiler> {
  const { environment = process.env, target: wanted } = options;
  if (environment.VGGNET_CC === '') throw new VggError('turned off by VGGNET_CC');
  const named = environment.VGGNET_CC ?? environment.CC;
  const candidates = named === undefined || named === '' ? ['cc', 'gcc', 'clang'] : [named];
  let failure = '';
  for (const candidate of candidates) {
    const command = candidate.trim().split(/\s+/);
    for (const machine of [['-march=native'], ['-mcpu=native'], []]) {
      const narrower = (wanted && narrowing[wanted]) ?? [];
      const all = [...command.slice(1), ...machine, ...narrower, '-dM', '-E', '-x', 'c', '-'];
      try {
        const running = execute(command[0]!, all, { maxBuffer: 1 << 24 });
        running.child.stdin?.on('error', () => {}).end();
        const { stdout: macros } = await running;
        const has = (name: string): boolean => macro(macros, name) !== undefined;
        const found: NativeTarget | undefined = has('__AVX512F__')
          ? 'avx512'
          : has('__AVX2__') && has('__FMA__')
            ? 'avx'
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
      } catch (error) {
        if (error instanceof VggError) throw error;
        const { code, stderr, message } = error as { code?: unknown; stderr?: string; message: string };
        if (code === 'ENOENT') break;
        failure = `${candidate} does not compile: ${(stderr?.trim() || message).split('\n')[0]}`;
      }
    }
  }
  throw new VggError(failure || `no C compiler: ${candidates.join(', ')} not found`);
}

/** Makes sure that the folder belongs to this user alone: whoever may write there could run code as this user. */
async function ownDirectory(directory: string): Promise<void> {
  if (!existsSync(directory)) {
    makeFolder(directory, 0o700);
    await chmod(directory, 0o700);
  }
  const stat = lstatSync(directory);
  if (!stat.isDirectory()) throw new VggError(`${directory} is not a folder; remove it`);
  const { mode, uid } = stat;
  if (process.getuid && uid !== process.getuid()) {
    throw new VggError(`${directory} belongs to another user (${uid}); remove it or set XDG_CACHE_HOME`);
  }
  if (process.getuid && (mode & 0o077) !== 0) {
    throw new VggError(`others may enter ${directory} (mode ${(mode & 0o777).toString(8)}); chmod 700 it`);
  }
}

const hash = (...parts: (string | Uint8Array)[]): string => {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(part).update('\0');
  return sum.digest('hex').slice(0, 32);
};

/** Finds the library in the cache, or compiles it. @throws VggError with the reason where there can be none. */
export async function nativeKernels(options: NativeOptions = {}): Promise<KernelSource> {
  try {
    return await findOrCompile(options);
  } catch (error) {
    // A folder that cannot be written, for instance, or a full disk.
    if (error instanceof Error && 'syscall' in error) throw new VggError(error.message);
    throw error;
  }
}

async function findOrCompile(options: NativeOptions): Promise<KernelSource> {
  const { directory = nativeDirectory(), onNotice } = options;
  const [compiler] = await Promise.all([findCompiler(options), loadKoffi()]);
  const { target, command, flags, machine, macros } = compiler;
  await ownDirectory(directory);
  const print = (): string[] => {
    const { widths } = nativeTargets[target];
    return formatSources(
      recordKernels(nativeTargets[target]),
      widths.map(({ lanes }) => lanes),
    );
  };
  const key = hash(...(kernelFiles() ?? print()), JSON.stringify([target, command, flags, machine]), macros);
  const lanes = lanesOf(nativeTargets[target]);
  const source = (file: string): KernelSource => ({
    kind: 'native',
    variant: targetNames[target],
    lanes,
    file,
  });
  const kept = readdirSync(directory).filter((name) => name.startsWith(`${key}-`));
  for (const name of kept) {
    const file = join(directory, name);
    if (!existsSync(file)) continue; // Another process found it damaged first.
    const content = readFileSync(file);
    if (name.endsWith('.failed')) throw new VggError(`${content.toString('utf8').trim()} (kept in ${file})`);
    if (name === libraryName(key, content)) {
      // Its time is that of its last use; a folder that cannot be written says nothing here.
      await utimes(file, new Date(), new Date()).catch(() => undefined);
      return source(file);
    }
    onNotice?.(`${file} is damaged and is compiled again`);
    await rm(file, { force: true });
  }
  onNotice?.(
    `compiling native kernels with ${compiler.version} for ${targetNames[target]}, once (a few seconds)`,
  );
  // What a process left behind that was ended while it compiled, and libraries that nobody has used for long.
  for (const name of readdirSync(directory)) {
    const left = statSync(join(directory, name), { throwIfNoEntry: false });
    if (left && Date.now() - left.mtimeMs > (name.startsWith('.') ? abandonedAfter : unusedAfter))
      await rm(join(directory, name), { recursive: true, force: true });
  }
  const work = join(directory, `.${randomUUID()}`);
  await mkdir(work, { mode: 0o700 });
  try {
    const file = await compileLibrary(compiler, print(), work);
    const memory = checkMemory(false);
    const library = await openNative(file, memory).catch((error: Error) => {
      throw new VggError(`what ${compiler.version} made does not load: ${error.message}`);
    });
    const complaint = testAgainstPlain(library, memory, lanes);
    if (complaint !== undefined) {
      const reason = `native kernels of ${compiler.version} failed their self-test: ${complaint}`;
      await writeFile(join(work, 'failed'), `${reason}\n`);
      await rename(join(work, 'failed'), join(directory, `${key}-.failed`));
      throw new VggError(reason);
    }
    const final = join(directory, libraryName(key, await readFile(file)));
    await rename(file, final);
    return source(final);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * What the C is made from: the files of the kernels, their language and its printers. They tell a change as well as the C
 * itself, which takes a tenth of a second to print. Undefined where the program was bundled and they are not there.
 */
function kernelFiles(): readonly string[] | undefined {
  const folder = new URL('../../kernels/', import.meta.url);
  try {
    // At once, since a data set that is being read keeps the threads of asynchronous reading busy.
    const names = readdirSync(folder)
      .filter((name) => /(?<!\.test|\.d)\.[jt]s$/.test(name))
      .sort();
    const files = names.map((name) => readFileSync(new URL(name, folder), 'utf8'));
    return names.includes(import.meta.url.endsWith('.ts') ? 'c.ts' : 'c.js') ? files : undefined;
  } catch {
    return undefined;
  }
}

const libraryName = (key: string, content: Uint8Array): string => `${key}-${hash(content)}.so`;

/** Compiles the parts side by side and links them. */
async function compileLibrary(compiler: Compiler, sources: readonly string[], work: string): Promise<string> {
  const [program = '', ...own] = compiler.command;
  const run = async (...rest: readonly string[]): Promise<void> => {
    try {
      await execute(program, [...own, ...compiler.flags, ...compiler.machine, ...rest], {
        cwd: work,
        maxBuffer: 1 << 24,
      });
    } catch (error) {
      const { stderr = '' } = error as { stderr?: string };
      const line = stderr.split('\n').find((text) => /error/i.test(text)) ?? stderr.split('\n')[0];
      throw new VggError(`${compiler.command.join(' ')} fails on the kernels: ${line || String(error)}`);
    }
  };
  await Promise.all(sources.map((source, i) => writeFile(join(work, `${i}.c`), source)));
  const queue = sources.map((_, i) => i);
  const compileNext = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      await run('-c', `${next}.c`, '-o', `${next}.o`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(sources.length, availableParallelism()) }, compileNext));
  await run('-shared', ...sources.map((_, i) => `${i}.o`), '-o', 'kernels.so');
  return join(work, 'kernels.so');
}
