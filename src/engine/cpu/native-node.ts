/**
 * Native kernels: the C that `kernels/c.ts` prints, compiled once by the machine's own compiler, kept in the user's
 * cache and called through koffi. A library enters the cache only after its self-test, in a process of its own, and by a
 * rename; its name holds the hash of what it was made from and of its content, so that neither a change of compiler,
 * processor or kernels nor a damaged file goes unnoticed. Of several processes that start at once one compiles.
 */
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { chmod, mkdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { cacheDirectory } from '../../data/cache.ts';
import { VggError } from '../../errors.ts';
import { cannotWrite } from '../../files/files.ts';
import { makeFolder } from '../../files/make-folder.ts';
import { formatSources } from '../../kernels/c.ts';
import { nativeTargets, recordKernels } from '../../kernels/catalogue.ts';
import {
  type Compiler,
  type CompilerOptions,
  compileLibrary,
  findCompiler,
  targetName,
} from './compiler-node.ts';
import { type KernelSource, vectorsOf } from './library.ts';
import { loadKoffi, openNative } from './native-library-node.ts';
import { type Ended, howItEnded, onProgramExit, runToEnd } from './processes-node.ts';
import { checkMemory, testAgainstPlain } from './self-test.ts';

export interface NativeOptions extends CompilerOptions {
  /** Where libraries are kept; the user's cache by default. */
  readonly directory?: string;
  /** Told what takes long. */
  readonly onNotice?: (line: string) => void;
}

/** Kernels that were compiled but compute wrongly, or crash. */
export class WrongKernels extends VggError {}

/** Milliseconds after which a folder is no compilation under way, and after which a library is not kept any longer. */
const abandonedAfter = 3_600_000;
const unusedAfter = 60 * 24 * 3_600_000;

/** Folder of the compiled libraries. */
export const nativeDirectory = (): string => join(cacheDirectory(), 'native');

/** Makes sure that the folder belongs to this user alone: whoever may write there could run code as this user. */
async function ownDirectory(directory: string, onNotice: NativeOptions['onNotice']): Promise<void> {
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
  // Others who may write in the folder around it could put another one in its place, unless that is sticky, as /tmp is.
  const around = dirname(directory);
  const outer = statSync(around);
  if (!process.getuid) return;
  if (outer.uid !== process.getuid() && outer.uid !== 0)
    throw new VggError(`${around} belongs to another user (${outer.uid}); set XDG_CACHE_HOME`);
  if ((outer.mode & 0o022) === 0 || (outer.mode & 0o1000) !== 0) return;
  await chmod(around, outer.mode & 0o7755);
  onNotice?.(`${around} was open for others to write in, and is so no longer`);
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
    if (error instanceof Error && 'syscall' in error) {
      const { path } = error as NodeJS.ErrnoException;
      throw cannotWrite(path ?? 'the cache of native kernels', error);
    }
    throw error;
  }
}

async function findOrCompile(options: NativeOptions): Promise<KernelSource> {
  const { directory = nativeDirectory(), onNotice } = options;
  const [compiler] = await Promise.all([findCompiler(options), loadKoffi()]);
  const { target, command, flags, machine, macros } = compiler;
  await ownDirectory(directory, onNotice);
  const print = (): string[] => {
    const { widths } = nativeTargets[target];
    return formatSources(
      recordKernels(nativeTargets[target]),
      widths.map(({ lanes }) => lanes),
    );
  };
  const key = hash(...(kernelFiles() ?? print()), JSON.stringify([target, command, flags, machine]), macros);
  const source = (file: string): KernelSource => ({
    kind: 'native',
    variant: targetName(target),
    ...vectorsOf(nativeTargets[target]),
    file,
  });
  const kept = await findLibrary(directory, key, onNotice);
  if (kept !== undefined) return source(kept);
  const release = await lockDirectory(directory, options);
  try {
    // Another process may have compiled meanwhile.
    const made = await findLibrary(directory, key, onNotice);
    return source(made ?? (await compileInto(directory, key, compiler, print(), options)));
  } finally {
    await release();
  }
}

/** Compiles, tests and keeps a library. @throws VggError where that cannot be. */
async function compileInto(
  directory: string,
  key: string,
  compiler: Compiler,
  sources: readonly string[],
  { onNotice, signal }: NativeOptions,
): Promise<string> {
  const { target, version } = compiler;
  onNotice?.(`compiling native kernels with ${version} for ${targetName(target)}, once (a few seconds)`);
  await removeOld(directory);
  const work = join(directory, `.${randomUUID()}`);
  const remove = (): void => {
    try {
      rmSync(work, { recursive: true, force: true, maxRetries: 3 });
    } catch {
      // Something in it is still in use; `removeOld` comes again.
    }
  };
  const forget = onProgramExit(remove);
  try {
    await mkdir(work, { mode: 0o700 });
    const file = await compileLibrary(compiler, sources, work, signal);
    const complaint = await testLibrary(file, compiler, signal);
    if (complaint !== undefined) {
      const reason = `native kernels of ${version} failed their self-test: ${complaint}`;
      await writeFile(join(work, 'failed'), `${reason}\n`);
      await rename(join(work, 'failed'), join(directory, `${key}-.failed`));
      throw new WrongKernels(reason);
    }
    const final = join(directory, libraryName(key, await readFile(file)));
    await rename(file, final);
    return final;
  } finally {
    forget();
    remove();
  }
}

/**
 * The library of this key in the cache, where there is a good one; damaged ones are removed.
 * @throws WrongKernels where one was made and failed its self-test.
 */
async function findLibrary(
  directory: string,
  key: string,
  onNotice: NativeOptions['onNotice'],
): Promise<string | undefined> {
  for (const name of readdirSync(directory).filter((entry) => entry.startsWith(`${key}-`))) {
    const file = join(directory, name);
    let content: Buffer;
    try {
      content = readFileSync(file);
    } catch (error) {
      // Another process has removed it, or it is no file.
      if (['ENOENT', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) continue;
      throw error;
    }
    if (name.endsWith('.failed')) {
      throw new WrongKernels(`${content.toString('utf8').trim()} (kept in ${file}; remove it to try again)`);
    }
    if (name !== libraryName(key, content)) {
      onNotice?.(`${file} is damaged`);
      await rm(file, { force: true });
      continue;
    }
    // Its time is that of its last use; a folder that cannot be written says nothing here.
    await utimes(file, new Date(), new Date()).catch(() => undefined);
    return file;
  }
  return undefined;
}

/** Milliseconds between two looks whether another process has compiled, and after which it is not waited for. */
const lookEvery = 100;
const patience = 60_000;

/**
 * Makes this process the one that compiles, where that can be had: where another one may or may not live, and has not ended
 * in good time, or where locks do not work, two compile the same, which is a waste and no harm.
 */
async function lockDirectory(
  directory: string,
  { onNotice, signal }: NativeOptions,
): Promise<() => Promise<void>> {
  const { lockHolder, lockFolder } = await import('../../files/lock.ts');
  const begun = performance.now();
  let told = false;
  let free = 0;
  while (free < 3 && performance.now() - begun < patience) {
    signal?.throwIfAborted();
    const lock = await lockFolder(directory).catch(() => undefined);
    if (lock) {
      const forget = onProgramExit(() => rmSync(join(directory, 'lock'), { force: true }));
      return async () => {
        forget();
        await lock.release().catch(() => undefined);
      };
    }
    // It was released just now, or cannot be had.
    if ((await lockHolder(directory).catch(() => undefined)) === undefined) free++;
    else if (!told) {
      onNotice?.('waiting for another process that compiles native kernels');
      told = true;
    }
    await sleep(lookEvery);
  }
  return async () => {};
}

/** Removes what a process left behind that was ended while it compiled, and libraries that nobody has used for long. */
async function removeOld(directory: string): Promise<void> {
  for (const name of readdirSync(directory)) {
    if (name === 'lock') continue;
    const left = statSync(join(directory, name), { throwIfNoEntry: false });
    if (left && Date.now() - left.mtimeMs > (name.startsWith('.') ? abandonedAfter : unusedAfter))
      await rm(join(directory, name), { recursive: true, force: true }).catch(() => undefined);
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

/** Signals by which code that is wrong ends its process; others come from somebody else. */
const crashes = ['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP', 'SIGABRT'];
/** On Windows: access violation, illegal and privileged instruction, division by zero, overflow of the stack, damaged heap. */
const exceptions = [0xc0000005, 0xc000001d, 0xc0000096, 0xc0000094, 0xc00000fd, 0xc0000374];

/** Whether a process ended because of what its code did. */
const hasCrashed = ({ code, signal, stderr }: Ended): boolean =>
  signal === null
    ? exceptions.includes(code ?? 0)
    : crashes.includes(signal) && !/out of memory/i.test(stderr);

/** Milliseconds that the self-test may take. */
const testLimit = 60_000;

/**
 * What the self-test finds wrong, in a process of its own, which wrong code may crash.
 * @throws VggError where it could not be done.
 */
async function testLibrary(
  file: string,
  { target, version }: Compiler,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const { lanes } = vectorsOf(nativeTargets[target]);
  // The published package holds .js files, and nothing rewrites the name in a URL.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const program = new URL(`./native-test-node.${extension}`, import.meta.url);
  if (program.protocol !== 'file:' || !existsSync(program)) {
    // A program that was bundled has no files beside it.
    const memory = checkMemory(false);
    return testAgainstPlain(await openNative(file, memory), memory, lanes);
  }
  const limit = AbortSignal.timeout(testLimit);
  // What else is printed, by what NODE_OPTIONS loads for instance, is no verdict.
  const mark = `${randomUUID()} `;
  const NODE_OPTIONS = (process.env.NODE_OPTIONS ?? '').replaceAll(/--inspect\S*/g, '');
  let ended: Ended;
  try {
    ended = await runToEnd([process.execPath, fileURLToPath(program), file, String(lanes), mark], {
      env: { ...process.env, NODE_OPTIONS, ELECTRON_RUN_AS_NODE: '1' },
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    signal?.throwIfAborted();
    if (limit.aborted) throw new VggError(`the self-test of what ${version} made does not end`);
    throw error;
  }
  const verdict = ended.stdout.split('\n').find((line) => line.startsWith(mark));
  if (ended.code === 0 && verdict !== undefined) return verdict.slice(mark.length) || undefined;
  if (hasCrashed(ended)) return `its process ${howItEnded(ended)}`;
  const reason = /^\w*Error: (.*)$/m.exec(ended.stderr)?.[1] ?? `its self-test ${howItEnded(ended)}`;
  throw new VggError(`what ${version} made does not run: ${reason}`);
}
