/**
 * Native kernels: the C that `kernels/c.ts` prints, compiled once by the machine's compiler, kept in the user's cache and
 * called through koffi. A library enters the cache by a rename after a self-test in a separate process. Its name holds
 * hashes of its sources and its content, which detects a new compiler, processor or kernels and damaged files. If several
 * processes start at the same time, one compiles.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, fstatSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isTooManyOpenFiles, tooManyOpenFiles, VggError } from '../../../errors.ts';
import { cannotWrite } from '../../../files/files.ts';
import { makePrivateFolder } from '../../../files/private-folder.ts';
import { nativeTargets, recordKernels } from '../../../kernels/catalogue.ts';
import { loadKoffi } from '../../../koffi-node.ts';
import { codeUrl, moduleFile } from '../../../package-files.ts';
import { hash, keptName, kernelDirectory, kernelFiles, openKept, openOwn, removeOld } from './cache-node.ts';
import {
  type Compiler,
  type CompilerOptions,
  compileLibrary,
  findCompiler,
  targetName,
} from './compiler-node.ts';
import { type KernelSource, vectorsOf } from './library.ts';
import { type Ended, howItEnded, onProgramExit, runToEnd } from './processes-node.ts';

export interface NativeOptions extends CompilerOptions {
  /** Where libraries are kept; the user's cache by default. */
  readonly directory?: string;
  /** Receives a line about what takes long. */
  readonly onNotice?: (line: string) => void;
}

/** Compiled kernels that compute wrong results or crash. */
export class WrongKernels extends VggError {}

/** Finds the library in the cache, or compiles it. @throws VggError with the reason if that fails. */
export async function nativeKernels(options: NativeOptions = {}): Promise<KernelSource> {
  try {
    return await findOrCompile(options);
  } catch (error) {
    // For instance a folder that cannot be written, or a full disk.
    if (isTooManyOpenFiles(error)) throw new VggError(tooManyOpenFiles);
    if (error instanceof Error && 'syscall' in error) {
      const { path = options.directory ?? kernelDirectory() } = error as NodeJS.ErrnoException;
      throw cannotWrite(path, error);
    }
    throw error;
  }
}

async function findOrCompile(options: NativeOptions): Promise<KernelSource> {
  const { directory = kernelDirectory(), onNotice } = options;
  loadKoffi();
  const compiler = await findCompiler(options);
  const { target, command, flags, machine, macros } = compiler;
  makePrivateFolder(directory, onNotice);
  const print = async (): Promise<string[]> => {
    const { formatSources } = await import('../../../kernels/c.ts');
    const { widths } = nativeTargets[target];
    return formatSources(
      recordKernels(nativeTargets[target]),
      widths.map(({ lanes }) => lanes),
    );
  };
  const key = hash(
    ...(kernelFiles() ?? (await print())),
    JSON.stringify([target, command, flags, machine]),
    macros,
  );
  const source = (library: Library): KernelSource => ({
    kind: 'native',
    variant: targetName(target),
    ...vectorsOf(nativeTargets[target]),
    ...library,
    program: codeUrl(),
  });
  const kept = findLibrary(directory, key, onNotice);
  if (kept !== undefined) return source(kept);
  const release = await lockDirectory(directory, options);
  try {
    // Another process may have compiled in the meantime.
    const made = findLibrary(directory, key, onNotice);
    return source(made ?? (await compileInto(directory, key, compiler, await print(), options)));
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
      await rename(join(work, 'failed'), join(directory, failureName(key)));
      throw new WrongKernels(reason);
    }
    await rename(file, join(directory, keptName(key, await readFile(file), '.so')));
    const made = findLibrary(directory, key, onNotice);
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
 * The undamaged library of this key in the cache, if any.
 * @throws WrongKernels if one was compiled and failed its self-test.
 */
function findLibrary(
  directory: string,
  key: string,
  onNotice: NativeOptions['onNotice'],
): Library | undefined {
  const note = join(directory, failureName(key));
  const reason = openOwn(note);
  if (reason !== undefined) {
    try {
      const text = readFileSync(reason, 'utf8').trim();
      throw new WrongKernels(`${text} (recorded in ${note}; delete it to try again)`);
    } finally {
      closeSync(reason);
    }
  }
  const kept = openKept(directory, key, '.so', onNotice);
  if (!kept) return undefined;
  const { file, fd } = kept;
  const { dev, ino } = fstatSync(fd);
  const identity = `${file} ${dev} ${ino}`;
  if (openLibraries.has(identity)) closeSync(fd);
  else openLibraries.set(identity, fd);
  // Opens the same file, even if its path now leads to another one.
  const path = `/proc/self/fd/${openLibraries.get(identity)}`;
  return { file, path: existsSync(path) ? path : file };
}

/** The name of the note that kernels failed their self-test. */
const failureName = (key: string): string => `${key}-.failed`;

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
    const [{ checkMemory, testAgainstPlain }, { openNative }] = await Promise.all([
      import('./self-test.ts'),
      import('./native-library-node.ts'),
    ]);
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
