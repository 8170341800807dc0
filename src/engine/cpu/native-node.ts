/**
 * Native kernels: the C that `kernels/c.ts` prints, compiled once by the machine's own compiler, kept in the user's
 * cache and called through koffi. A library enters the cache only after its self-test, in a process of its own, and by a
 * rename; its name holds the hash of what it was made from and of its content, so that neither a change of compiler,
 * processor or kernels nor a damaged file goes unnoticed. Of several processes that start at once one compiles.
 */
import { createHash, randomUUID } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { mkdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { cacheDirectory } from '../../data/cache.ts';
import { reason, VggError } from '../../errors.ts';
import { makePrivateFolder } from '../../files/private-folder.ts';
import { formatSources } from '../../kernels/c.ts';
import { nativeTargets, recordKernels } from '../../kernels/catalogue.ts';
import { loadKoffi } from '../../koffi-node.ts';
import { isTooManyOpenFiles, tooManyOpenFiles } from '../../open-files.ts';
import { codeUrl, moduleFile } from '../../package-files.ts';
import {
  type Compiler,
  type CompilerOptions,
  compileLibrary,
  findCompiler,
  targetName,
} from './compiler-node.ts';
import { type KernelSource, vectorsOf } from './library.ts';
import { openNative } from './native-library-node.ts';
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
    if (isTooManyOpenFiles(error)) throw new VggError(tooManyOpenFiles);
    if (error instanceof Error && 'syscall' in error) {
      const { path = options.directory ?? nativeDirectory() } = error as NodeJS.ErrnoException;
      throw new VggError(`${path} cannot be used: ${reason(error)}`);
    }
    throw error;
  }
}

async function findOrCompile(options: NativeOptions): Promise<KernelSource> {
  const { directory = nativeDirectory(), onNotice } = options;
  loadKoffi();
  const compiler = await findCompiler(options);
  const { target, command, flags, machine, macros } = compiler;
  makePrivateFolder(directory, onNotice);
  const print = (): string[] => {
    const { widths } = nativeTargets[target];
    return formatSources(
      recordKernels(nativeTargets[target]),
      widths.map(({ lanes }) => lanes),
    );
  };
  const key = hash(...(kernelFiles() ?? print()), JSON.stringify([target, command, flags, machine]), macros);
  const source = (library: Library): KernelSource => ({
    kind: 'native',
    variant: targetName(target),
    ...vectorsOf(nativeTargets[target]),
    ...library,
    program: codeUrl(),
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
): Promise<Library> {
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
    await rename(file, join(directory, libraryName(key, await readFile(file))));
    const made = await findLibrary(directory, key, onNotice);
    if (made) return made;
    throw new VggError(
      `the native kernels were removed from ${directory} while they were compiled; start again`,
    );
  } finally {
    forget();
    remove();
  }
}

/** A library in the cache, and where its checked content is loaded from. */
type Library = Pick<KernelSource & { readonly kind: 'native' }, 'file' | 'path'>;

/** Libraries of the cache that this process has loaded, open, so that they are loaded as they were checked. */
const openLibraries = new Map<string, number>();

/**
 * The library of this key in the cache, where there is a good one; damaged ones are removed.
 * @throws WrongKernels where one was made and failed its self-test.
 */
async function findLibrary(
  directory: string,
  key: string,
  onNotice: NativeOptions['onNotice'],
): Promise<Library | undefined> {
  for (const name of readdirSync(directory).filter((entry) => entry.startsWith(`${key}-`))) {
    const file = join(directory, name);
    const fd = openOwn(file);
    if (fd === undefined) continue;
    let keep = false;
    try {
      const content = readFileSync(fd);
      if (name.endsWith('.failed')) {
        throw new WrongKernels(
          `${content.toString('utf8').trim()} (kept in ${file}; remove it to try again)`,
        );
      }
      if (name !== libraryName(key, content)) {
        onNotice?.(`${file} is damaged`);
        await rm(file, { force: true });
        continue;
      }
      // Its time is that of its last use; a folder that cannot be written says nothing here.
      await utimes(file, new Date(), new Date()).catch(() => undefined);
      const { dev, ino } = fstatSync(fd);
      const identity = `${file} ${dev} ${ino}`;
      keep = !openLibraries.has(identity);
      if (keep) openLibraries.set(identity, fd);
      // The system opens the same file again, whatever is in its place by now.
      const path = `/proc/self/fd/${openLibraries.get(identity)}`;
      return { file, path: existsSync(path) ? path : file };
    } finally {
      if (!keep) closeSync(fd);
    }
  }
  return undefined;
}

/** Opens a file of this user's cache; undefined where it is gone, or no file. What is not the user's own is removed. */
function openOwn(file: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Another process has removed it; or it is a link or a socket.
    if (code === 'ELOOP' || code === 'ENXIO') rmSync(file, { force: true });
    else if (code !== 'ENOENT') throw error;
    return undefined;
  }
  const stat = fstatSync(fd);
  const isOwn = process.getuid === undefined || stat.uid === process.getuid();
  if (stat.isFile() && isOwn) return fd;
  closeSync(fd);
  if (!stat.isDirectory()) rmSync(file, { force: true });
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
    const left = lstatSync(join(directory, name), { throwIfNoEntry: false });
    if (left && Date.now() - left.mtimeMs > (name.startsWith('.') ? abandonedAfter : unusedAfter))
      await rm(join(directory, name), { recursive: true, force: true }).catch(() => undefined);
  }
}

/**
 * What the C is made from: the files of the kernels, their language and its printers. They tell a change as well as the C
 * itself, which takes a tenth of a second to print. Undefined where the program was bundled and they are not there.
 */
function kernelFiles(): readonly string[] | undefined {
  const printer = moduleFile('kernels/c');
  if (!printer) return undefined;
  const folder = new URL('.', printer);
  try {
    // At once, since a data set that is being read keeps the threads of asynchronous reading busy.
    const names = readdirSync(folder)
      .filter((name) => /(?<!\.test|\.d)\.[jt]s$/.test(name))
      .sort();
    const files = names.map((name) => readFileSync(new URL(name, folder), 'utf8'));
    return existsSync(printer) ? files : undefined;
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
  const program = moduleFile('engine/cpu/native-test-node');
  if (program?.protocol !== 'file:' || !existsSync(program)) {
    // A program that was bundled has no files beside it.
    const memory = checkMemory(false);
    return testAgainstPlain(openNative(file, memory), memory, lanes);
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
