/**
 * Native kernels: the C that `kernels/c.ts` prints, compiled once by the machine's compiler, kept in the user's cache and
 * called through koffi. A library enters the cache by a rename after a self-test in a separate process. Its name holds
 * hashes of its sources and its content, which detects a new compiler, processor or kernels and damaged files. If several
 * processes start at the same time, one compiles.
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
import { cacheDirectory } from '../../../data/cache.ts';
import { isTooManyOpenFiles, tooManyOpenFiles, VggError } from '../../../errors.ts';
import { cannotWrite } from '../../../files/files.ts';
import { makePrivateFolder } from '../../../files/private-folder.ts';
import { formatSources } from '../../../kernels/c.ts';
import { nativeTargets, recordKernels } from '../../../kernels/catalogue.ts';
import { loadKoffi } from '../../../koffi-node.ts';
import { codeUrl, moduleFile } from '../../../package-files.ts';
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
  /** Receives a line about what takes long. */
  readonly onNotice?: (line: string) => void;
}

/** Compiled kernels that compute wrong results or crash. */
export class WrongKernels extends VggError {}

/** Milliseconds after which a working folder counts as abandoned, and an unused library is removed. */
const abandonedAfter = 3_600_000;
const unusedAfter = 60 * 24 * 3_600_000;

/** Folder of the compiled libraries. */
export const nativeDirectory = (): string => join(cacheDirectory(), 'native');

const hash = (...parts: (string | Uint8Array)[]): string => {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(part).update('\0');
  return sum.digest('hex').slice(0, 32);
};

/** Finds the library in the cache, or compiles it. @throws VggError with the reason if that fails. */
export async function nativeKernels(options: NativeOptions = {}): Promise<KernelSource> {
  try {
    return await findOrCompile(options);
  } catch (error) {
    // For instance a folder that cannot be written, or a full disk.
    if (isTooManyOpenFiles(error)) throw new VggError(tooManyOpenFiles);
    if (error instanceof Error && 'syscall' in error) {
      const { path = options.directory ?? nativeDirectory() } = error as NodeJS.ErrnoException;
      throw cannotWrite(path, error);
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
    // Another process may have compiled in the meantime.
    const made = await findLibrary(directory, key, onNotice);
    return source(made ?? (await compileInto(directory, key, compiler, print(), options)));
  } finally {
    await release();
  }
}

/** Compiles, tests and caches a library. @throws VggError if that fails. */
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
      // Something in it is still in use; a later `removeOld` removes it.
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
      `the native kernels were removed from ${directory} during compilation; run the command again`,
    );
  } finally {
    forget();
    remove();
  }
}

/** A library in the cache, and the path of its checked content. */
type Library = Pick<KernelSource & { readonly kind: 'native' }, 'file' | 'path'>;

/** Open files of the libraries that this process has loaded, so that it loads exactly what was checked. */
const openLibraries = new Map<string, number>();

/**
 * The undamaged library of this key in the cache, if any; damaged ones are removed.
 * @throws WrongKernels if one was compiled and failed its self-test.
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
          `${content.toString('utf8').trim()} (recorded in ${file}; delete it to try again)`,
        );
      }
      if (name !== libraryName(key, content)) {
        onNotice?.(`${file} is damaged and will be replaced`);
        await rm(file, { force: true });
        continue;
      }
      // Its time records the last use; a failure does not matter here.
      await utimes(file, new Date(), new Date()).catch(() => undefined);
      const { dev, ino } = fstatSync(fd);
      const identity = `${file} ${dev} ${ino}`;
      keep = !openLibraries.has(identity);
      if (keep) openLibraries.set(identity, fd);
      // Opens the same file, even if its path now leads to another one.
      const path = `/proc/self/fd/${openLibraries.get(identity)}`;
      return { file, path: existsSync(path) ? path : file };
    } finally {
      if (!keep) closeSync(fd);
    }
  }
  return undefined;
}

/** Opens a file of this user's cache; undefined if it is gone or not a file. Removes what another user owns. */
function openOwn(file: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // A link or a socket is removed; a file may have been removed by another process.
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

/** Milliseconds between checks whether another process has compiled, and the longest wait for it. */
const lookEvery = 100;
const patience = 60_000;

/**
 * Takes the lock to compile. If another process holds it for too long, or locks do not work, compiles without it: two
 * processes then compile the same, which is wasteful but harmless.
 */
async function lockDirectory(
  directory: string,
  { onNotice, signal }: NativeOptions,
): Promise<() => Promise<void>> {
  const { lockHolder, lockFolder } = await import('../../../files/lock.ts');
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
    // It was just released, or locks do not work here.
    if ((await lockHolder(directory).catch(() => undefined)) === undefined) free++;
    else if (!told) {
      onNotice?.('waiting for another process that is compiling native kernels');
      told = true;
    }
    await sleep(lookEvery);
  }
  return async () => {};
}

/** Removes leftovers of killed compilations, and libraries that were unused for long. */
async function removeOld(directory: string): Promise<void> {
  for (const name of readdirSync(directory)) {
    if (name === 'lock') continue;
    const left = lstatSync(join(directory, name), { throwIfNoEntry: false });
    if (left && Date.now() - left.mtimeMs > (name.startsWith('.') ? abandonedAfter : unusedAfter))
      await rm(join(directory, name), { recursive: true, force: true }).catch(() => undefined);
  }
}

/**
 * The sources of the kernels, their language and its printers. They detect a change as well as the C itself, which takes
 * a tenth of a second to print. Undefined in a bundled program, which does not have them.
 */
function kernelFiles(): readonly string[] | undefined {
  const printer = moduleFile('kernels/c');
  if (!printer) return undefined;
  const folder = new URL('.', printer);
  try {
    // Synchronously, because reading a data set may keep Node's I/O threads busy.
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

/** Signals of a crash; other signals come from outside. */
const crashes = ['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP', 'SIGABRT'];
/** On Windows: access violation, illegal and privileged instruction, division by zero, stack overflow, heap corruption. */
const exceptions = [0xc0000005, 0xc000001d, 0xc0000096, 0xc0000094, 0xc00000fd, 0xc0000374];

/** Whether a process crashed by its own fault. */
const hasCrashed = ({ code, signal, stderr }: Ended): boolean =>
  signal === null
    ? exceptions.includes(code ?? 0)
    : crashes.includes(signal) && !/out of memory/i.test(stderr);

/** Milliseconds that the self-test may take. */
const testLimit = 60_000;

/**
 * Runs the self-test in a separate process, which wrong code may crash. Returns what is wrong, if anything.
 * @throws VggError if the test cannot run.
 */
async function testLibrary(
  file: string,
  { target, version }: Compiler,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const { lanes } = vectorsOf(nativeTargets[target]);
  const program = moduleFile('engine/cpu/kernels/native-test-node');
  if (program?.protocol !== 'file:' || !existsSync(program)) {
    // A bundled program has no separate file for the test.
    const memory = checkMemory(false);
    return testAgainstPlain(openNative(file, memory), memory, lanes);
  }
  const limit = AbortSignal.timeout(testLimit);
  // Marks the verdict: other output may come, for instance, from modules that NODE_OPTIONS loads.
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
    if (limit.aborted)
      throw new VggError(`the self-test of native kernels of ${version} did not end within 60 s`);
    throw error;
  }
  const verdict = ended.stdout.split('\n').find((line) => line.startsWith(mark));
  if (ended.code === 0 && verdict !== undefined) return verdict.slice(mark.length) || undefined;
  if (hasCrashed(ended)) return `its process ${howItEnded(ended)}`;
  const reason = /^\w*Error: (.*)$/m.exec(ended.stderr)?.[1] ?? `its self-test ${howItEnded(ended)}`;
  throw new VggError(`native kernels of ${version} do not run: ${reason}`);
}
