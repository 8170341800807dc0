/** The loader of native kernels: its cache, its messages, and how it handles bad files, folders and compilers. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  onTestFinished,
  test,
  vi,
} from 'vitest';
import { noNative, targetsHere } from '../../../../test/native.ts';
import { jsonLines, vgg } from '../../../../test/run-vgg.ts';
import { VggError } from '../../../errors.ts';
import { thisProcess } from '../../../files/liveness.ts';
import { lockFolder } from '../../../files/lock.ts';
import { nativeTargets } from '../../../kernels/catalogue.ts';
import { flatten, linear } from '../../../model/layers/index.ts';
import { sequential } from '../../../model/network.ts';
import { compile } from '../../../train/model.ts';
import { type Compiler, findCompiler } from './compiler-node.ts';
import { openNative } from './native-library-node.ts';
import { type NativeOptions, nativeKernels, WrongKernels } from './native-node.ts';
import { anyKernels, nativeKernels as nativeProvider } from './provider.ts';
import { checkMemory, testAgainstPlain } from './self-test.ts';

/** The narrowest vectors, which compile fastest. */
const target = targetsHere.at(-1)!;
const missing = '/nowhere/vggnet-cc';

let scratch: string;
let directory: string;
let notices: string[];
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'vggnet-native-'));
  directory = join(scratch, 'cache', 'native');
  notices = [];
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(scratch, { recursive: true, force: true });
});

/** A compiler for tests in which it does not matter what compiles: it copies a library that was compiled before. */
let copying: NativeOptions = {};

/** The library that a start with this folder finds or makes. */
async function load(options: NativeOptions = {}): Promise<string> {
  const onNotice = (line: string): void => void notices.push(line);
  const source = await nativeKernels({ target, directory, onNotice, ...copying, ...options });
  if (source.kind !== 'native') throw new TypeError('not native');
  return source.file;
}

/** The error of a start that must fail. */
async function failure(options: NativeOptions = {}): Promise<VggError> {
  const error = await load(options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(VggError);
  return error as VggError;
}

async function expectRight(file: string): Promise<void> {
  const memory = checkMemory(false);
  const { lanes } = nativeTargets[target].widths[0]!;
  expect(testAgainstPlain(await openNative(file, memory), memory, lanes)).toBeUndefined();
}

describe.skipIf(noNative !== undefined)('the cache of native kernels', () => {
  let compiler: Compiler;
  let home: string;
  /** Of a first start: what it made, and what it told. */
  let firstLibrary: string;
  let firstNotices: readonly string[];
  /** What `copying` makes of it. */
  let library: string;
  beforeAll(async () => {
    compiler = await findCompiler({ target });
    home = mkdtempSync(join(tmpdir(), 'vggnet-native-'));
    const lines: string[] = [];
    firstLibrary = await load({
      directory: join(home, 'cache', 'native'),
      onNotice: (line) => lines.push(line),
    });
    firstNotices = lines;
    const file = join(home, 'copying-cc');
    const steps = `*-E*) exec ${compiler.command.join(' ')} "$@";; *-shared*) cp '${firstLibrary}' kernels.so;;`;
    writeFileSync(file, `#!/bin/sh\ncase "$*" in ${steps} esac\n`, { mode: 0o755 });
    copying = { environment: { VGGNET_CC: file } };
    library = await load({ directory: join(home, 'copies'), onNotice: () => {} });
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  const compiling = (): string => `compiling native kernels with ${compiler.version} for `;
  /** A folder such as a first start leaves, and the library in it. */
  const filled = (): string => {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const copy = join(directory, basename(library));
    copyFileSync(library, copy);
    return copy;
  };
  /** A compiler that is a shell script, with `$cc` for the real one; it tells its macros as the real one does. */
  const script = (...lines: readonly string[]): NativeOptions => {
    const file = join(scratch, 'script-cc');
    const head = [
      `#!/bin/sh`,
      `cc='${compiler.command.join(' ')}'`,
      'case "$*" in *-E*) exec $cc "$@";; esac',
    ];
    writeFileSync(file, [...head, ...lines, ''].join('\n'), { mode: 0o755 });
    return { environment: { VGGNET_CC: file } };
  };

  /** One that compiles code of ours at the head of a kernel. Each file is compiled once, so none is changed under another. */
  const spoiling = (kernel: string, code: string, ...first: readonly string[]): NativeOptions =>
    script(
      ...first,
      'for file; do case $file in',
      `  *.c) sed '/^void ${kernel}(.*{$/s/$/ ${code}/' "$file" > "$file.wrong" && mv "$file.wrong" "$file";;`,
      'esac; done',
      'exec $cc "$@" -O0',
    );
  /** For the rest of a test this is a program that obeys Ctrl-C by itself. */
  const listenToInterrupts = (): void => {
    const obey = (): void => {};
    process.on('SIGINT', obey);
    onTestFinished(() => void process.off('SIGINT', obey));
  };

  test('the first start compiles and says so in one line; the second uses the library silently', async () => {
    expect(firstNotices).toEqual([expect.stringContaining(compiling())]);
    expect(firstNotices[0]).not.toContain('\n');
    const folder = join(home, 'cache', 'native');
    expect(readdirSync(folder)).toEqual([basename(firstLibrary)]);
    expect(await load({ directory: folder, environment: process.env })).toBe(firstLibrary);
    expect(notices).toEqual([]);
    expect(readdirSync(folder)).toEqual([basename(firstLibrary)]);
    await expectRight(firstLibrary);
  });

  test.skipIf(!process.getuid)('the folder is for its user alone', () => {
    expect(statSync(join(home, 'cache', 'native')).mode & 0o777).toBe(0o700);
  });

  test('compiling removes libraries that were unused for two months, and no others', async () => {
    const old = filled();
    const long = new Date(Date.now() - 61 * 24 * 3_600_000);
    utimesSync(old, long, long);
    expect(await load({ directory })).toBe(old);
    expect(Date.now() - statSync(old).mtimeMs).toBeLessThan(3_600_000);
    const unused = join(directory, `${'0'.repeat(32)}-${'0'.repeat(32)}.so`);
    writeFileSync(unused, '');
    utimesSync(unused, long, long);
    rmSync(old);
    await load({ directory });
    expect(readdirSync(directory)).toEqual([basename(library)]);
  });

  test.skipIf(process.platform !== 'linux')('what was checked is what is loaded', async () => {
    const file = filled();
    const content = readFileSync(file);
    const source = await nativeKernels({ target, directory, ...copying });
    if (source.kind !== 'native') throw new TypeError('not native');
    expect(source.file).toBe(file);
    // Another library is put in its place.
    writeFileSync(`${file}.other`, 'not what was checked');
    renameSync(`${file}.other`, file);
    expect(readFileSync(source.path).equals(content)).toBe(true);
    await expectRight(source.path);
  });

  test.skipIf(process.platform === 'win32')('a link in place of a library is not followed', async () => {
    const file = filled();
    renameSync(file, join(scratch, 'elsewhere.so'));
    symlinkSync(join(scratch, 'elsewhere.so'), file);
    await load();
    expect(notices).toEqual([expect.stringContaining(compiling())]);
    expect(lstatSync(file).isFile()).toBe(true);
  });

  test('no compiler is taken from a relative folder in PATH', async () => {
    const before = process.cwd();
    writeFileSync(join(scratch, 'cc'), '#!/bin/sh\ntouch called', { mode: 0o755 });
    vi.stubEnv('PATH', `.${delimiter}${process.env.PATH}`);
    process.chdir(scratch);
    try {
      await findCompiler({ target, environment: {} });
    } finally {
      process.chdir(before);
    }
    expect(existsSync(join(scratch, 'called'))).toBe(false);
  });

  test('a deleted folder is created again', async () => {
    const file = filled();
    expect(await load()).toBe(file);
    rmSync(directory, { recursive: true });
    const again = await load();
    expect(notices).toEqual([expect.stringContaining(compiling())]);
    expect(readdirSync(directory)).toEqual([basename(again)]);
    await expectRight(again);
  });

  test.for([
    [
      'with one byte changed',
      (content: Buffer) =>
        content.fill(content[content.length >> 1]! ^ 0xff, content.length >> 1, (content.length >> 1) + 1),
    ],
    ['cut off after 100 bytes', (content: Buffer) => content.subarray(0, 100)],
  ] as const)('a library %s is compiled again', async ([, damage]) => {
    const file = filled();
    writeFileSync(file, damage(readFileSync(file)));
    const again = await load();
    expect(notices).toEqual([
      `${file} is damaged and will be replaced`,
      expect.stringContaining(compiling()),
    ]);
    expect(readdirSync(directory)).toEqual([basename(again)]);
    await expectRight(again);
  });

  test('two processes that start at once with an empty folder both get a library that works', async () => {
    const url = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);
    const program = `
      const { nativeKernels } = await import(${url('./native-node.ts')});
      const { openNative } = await import(${url('./native-library-node.ts')});
      const { checkMemory, testAgainstPlain } = await import(${url('./self-test.ts')});
      const [target, directory, lanes] = process.argv.slice(1);
      let compiled = false;
      const onNotice = (line) => (compiled ||= line.startsWith('compiling'));
      const { file } = await nativeKernels({ target, directory, onNotice });
      const memory = checkMemory(false);
      const complaint = testAgainstPlain(await openNative(file, memory), memory, Number(lanes));
      console.log(JSON.stringify({ file, complaint: complaint ?? null, compiled }));`;
    const lanes = String(nativeTargets[target].widths[0]!.lanes);
    const args = ['--input-type=module', '--eval', program, target, directory, lanes];
    // Slow enough that the second process meets the first one at work.
    const options = script(
      'case "$*" in *-shared*) sleep 1;; esac',
      `exec ${copying.environment!.VGGNET_CC} "$@"`,
    );
    const env = { ...process.env, ...options.environment };
    const runs = await Promise.all([0, 1].map(() => promisify(execFile)(process.execPath, args, { env })));
    const results = runs.map(({ stdout }) => JSON.parse(stdout) as { file: string; compiled: boolean });
    for (const result of results) {
      expect(result).toEqual({ file: expect.any(String), complaint: null, compiled: expect.any(Boolean) });
    }
    // One of them waits for the other.
    expect(results.filter(({ compiled }) => compiled)).toHaveLength(1);
    const files = [...new Set(results.map(({ file }) => basename(file)))];
    expect(readdirSync(directory)).toEqual(files);
    expect(files).toEqual([expect.stringMatching(/\.so$/)]);
    expect(readdirSync(directory)).toContain(basename(await load(options)));
    expect(notices).toEqual([]);
  });

  describe('rejects a compiler', () => {
    test('that does not even start to compile', async () => {
      const { message } = await failure({ environment: { VGGNET_CC: '/bin/false' } });
      expect(message).toMatch(/^\/bin\/false does not compile: ./);
      expect(existsSync(directory)).toBe(false);
    });

    test('that fails, with its name and its first error', async () => {
      const options = script('echo "0.c: warning: dust" >&2', 'echo "0.c:1: error: boom" >&2', 'exit 1');
      const error = await failure(options);
      expect(error).not.toBeInstanceOf(WrongKernels);
      expect(error.message).toBe(
        `${options.environment!.VGGNET_CC} cannot compile the kernels: 0.c:1: error: boom`,
      );
      expect(readdirSync(directory)).toEqual([]);
    });

    test('that fails without output, in one line', async () => {
      const { message } = await failure(script('exit 3'));
      expect(message).toMatch(/script-cc cannot compile the kernels: it ended with code 3$/);
    });

    test('whose library cannot be loaded', async () => {
      const options = script('case "$*" in *-shared*) echo garbage > kernels.so;; esac');
      expect((await failure(options)).message).toMatch(
        /^native kernels of .* do not run: cannot load .*kernels\.so: /,
      );
      expect(readdirSync(directory)).toEqual([]);
    });

    test('whose self-test is killed from outside, but does not record a failure', async () => {
      const options = spoiling('relu', 'extern int raise(int); raise(15);');
      expect((await failure(options)).message).toMatch(
        /^native kernels of .* do not run: its self-test was killed by SIGTERM$/,
      );
      expect(readdirSync(directory)).toEqual([]);
    });

    test('that fails on a part, without waiting for the others', async () => {
      listenToInterrupts();
      const late = join(scratch, 'late');
      const options = script(
        `case "$*" in *"-c 0.c"*) echo 'error: boom' >&2; exit 1;; *-c*) sleep 2; touch '${late}';; esac`,
      );
      expect((await failure(options)).message).toMatch(/cannot compile the kernels: error: boom$/);
      expect(readdirSync(directory)).toEqual([]);
      await sleep(2500);
      expect(existsSync(late)).toBe(false);
    });

    test('whose code crashes, and remembers it', async () => {
      // ReLU writes where nothing is.
      const options = spoiling('relu', '*(volatile int *)0 = 1;');
      const { message } = await failure(options);
      expect(message).toMatch(/^native kernels of .* failed their self-test: its process was killed by SIG/);
      expect(readdirSync(directory)).toEqual([expect.stringMatching(/-\.failed$/)]);
      expect((await failure(options)).message).toContain(message);
      expect(notices).toHaveLength(1);
    });

    test('whose code is wrong, and remembers it', async () => {
      const log = join(scratch, 'log');
      // Adam returns at once.
      const options = spoiling('adam', 'return;', `echo "$*" >> '${log}'`);
      const error = await failure(options);
      expect(error).toBeInstanceOf(WrongKernels);
      const { message } = error;
      expect(message).toMatch(/^native kernels of .* failed their self-test: adam, /);
      expect(notices).toHaveLength(1);
      const kept = readdirSync(directory);
      expect(kept).toEqual([expect.stringMatching(/-\.failed$/)]);
      const compiled = readFileSync(log, 'utf8');
      expect((await failure(options)).message).toBe(
        `${message} (recorded in ${join(directory, kept[0]!)}; delete it to try again)`,
      );
      expect(notices).toHaveLength(1);
      expect(readFileSync(log, 'utf8')).toBe(compiled);
      expect(readdirSync(directory)).toEqual(kept);
    });
  });

  test('a signal cancels it with its reason, and nothing is left behind', async () => {
    const controller = new AbortController();
    const [begun, late] = [join(scratch, 'begun'), join(scratch, 'late')];
    listenToInterrupts();
    const options = script(`(touch '${begun}'; sleep 1; touch '${late}') & wait`);
    const loading = load({ ...options, signal: controller.signal });
    await vi.waitUntil(() => existsSync(begun), { timeout: 20_000 });
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(loading).rejects.toBe(reason);
    expect(readdirSync(directory)).toEqual([]);
    // What the compiler has started has ended, too.
    await sleep(1500);
    expect(existsSync(late)).toBe(false);
  });

  test('a signal that is already aborted cancels it', async () => {
    const reason = new VggError('enough');
    const options = { target, directory, signal: AbortSignal.abort(reason) };
    await expect(nativeKernels(options)).rejects.toBe(reason);
    expect(existsSync(directory)).toBe(false);
    for (const device of ['auto', 'native', 'wasm', 'reference'] as const) {
      const compiling = compile(sequential([flatten(), linear(2)]), {
        input: [1, 1, 3],
        device,
        signal: options.signal,
      });
      await expect(compiling).rejects.toBe(reason);
    }
  });

  describe('another process that compiles', () => {
    beforeEach(() => void mkdirSync(directory, { recursive: true, mode: 0o700 }));

    test('is waited for, and the wait can be canceled', async () => {
      const other = await lockFolder(directory);
      const controller = new AbortController();
      const [waiting, stopped] = [load(), load({ signal: controller.signal })];
      await vi.waitUntil(() => notices.length === 2);
      expect(notices[0]).toBe('waiting for another process that is compiling native kernels');
      controller.abort(new Error('enough'));
      await expect(stopped).rejects.toThrow('enough');
      const made = filled();
      await other.release();
      expect(await waiting).toBe(made);
      expect(notices).toHaveLength(2);
      expect(readdirSync(directory)).toEqual([basename(made)]);
    });

    test('and was killed is not waited for', async () => {
      const killed = { ...thisProcess(), id: 'killed', pid: 999_999_999, started: '' };
      writeFileSync(join(directory, 'lock'), JSON.stringify(killed));
      await load();
      expect(notices).toEqual([expect.stringContaining(compiling())]);
      expect(readdirSync(directory)).toEqual([basename(library)]);
    });
  });

  test('other output does not affect the verdict of the self-test', async () => {
    const hook = join(scratch, 'hook.cjs');
    writeFileSync(hook, "process.stdout.write('hook loaded, adam, wrong');");
    vi.stubEnv('NODE_OPTIONS', `--require ${hook}`);
    await expectRight(await load());
  });

  test('Ctrl-C ends a compiler together with a program that does not handle SIGINT', async () => {
    const [begun, late] = [join(scratch, 'begun'), join(scratch, 'late')];
    const { environment } = script(`touch '${begun}'; sleep 1; touch '${late}'`);
    const url = JSON.stringify(new URL('./native-node.ts', import.meta.url).href);
    const program = `const { nativeKernels } = await import(${url});
      await nativeKernels({ target: process.argv[1], directory: process.argv[2] });`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', program, target, directory], {
      env: { ...process.env, ...environment },
      stdio: 'ignore',
      detached: true,
    });
    const ended = once(child, 'exit');
    await vi.waitUntil(() => existsSync(begun), { timeout: 20_000 });
    // The terminal's goes to all processes in front.
    process.kill(-child.pid!, 'SIGINT');
    expect(await ended).toEqual([null, 'SIGINT']);
    await sleep(1500);
    expect(existsSync(late)).toBe(false);
  });

  describe('finds a compiler', () => {
    test('by a path with blanks, and by a relative path', async () => {
      const folder = join(scratch, 'a b');
      mkdirSync(folder);
      writeFileSync(join(folder, 'cc'), `#!/bin/sh\nexec ${compiler.command.join(' ')} "$@"\n`, {
        mode: 0o755,
      });
      for (const name of [join(folder, 'cc'), relative(process.cwd(), join(folder, 'cc'))]) {
        const { command } = await findCompiler({ target, environment: { VGGNET_CC: name } });
        expect(command).toEqual([join(folder, 'cc')]);
      }
      const words = `${join(scratch, 'cc')} -O1`;
      copyFileSync(join(folder, 'cc'), join(scratch, 'cc'));
      const relativeWords = `${relative(process.cwd(), join(scratch, 'cc'))} -O1`;
      for (const name of [words, relativeWords]) {
        const { command } = await findCompiler({ target, environment: { VGGNET_CC: name } });
        expect(command).toEqual([join(scratch, 'cc'), '-O1']);
      }
    });

    test('and ignores files in the current folder', async () => {
      const before = process.cwd();
      for (const name of ['cc', 'gcc']) mkdirSync(join(scratch, name));
      process.chdir(scratch);
      try {
        expect((await findCompiler({ target, environment: {} })).command).toEqual(['cc']);
      } finally {
        process.chdir(before);
      }
    });

    test('if $CC does not run', async () => {
      const { version } = await findCompiler({ target, environment: { CC: missing } });
      expect(version).not.toBe('');
    });
  });

  test.skipIf(!process.getuid)("the user's own folder around it is closed to others", async () => {
    filled();
    chmodSync(join(scratch, 'cache'), 0o777);
    await load();
    expect(statSync(join(scratch, 'cache')).mode & 0o777).toBe(0o755);
    expect(notices).toEqual([
      `${join(scratch, 'cache')} was writable by other users; removed their permission`,
    ]);
  });

  describe('refuses a folder', () => {
    test.skipIf(!process.getuid).for(['755', '777'])(
      'that is open to other users (mode %s)',
      async (mode) => {
        filled();
        chmodSync(directory, mode);
        const { message } = await failure();
        expect(message).toContain(directory);
        expect(message).toContain(`(mode ${mode}); run chmod 700 on it`);
        expect(notices).toEqual([]);
      },
    );

    test.skipIf(process.getuid?.() !== 0)('that belongs to another user', async () => {
      filled();
      chownSync(directory, 12_345, 12_345);
      expect((await failure()).message).toContain(`${directory} belongs to another user (12345)`);
      expect(notices).toEqual([]);
    });

    test.skipIf(process.getuid?.() !== 0)('in one of another user', async () => {
      filled();
      const around = join(scratch, 'cache');
      chownSync(around, 12_345, 12_345);
      expect((await failure()).message).toContain(`${around} belongs to another user (12345)`);
    });

    test('that is a file', async () => {
      mkdirSync(join(scratch, 'cache'));
      writeFileSync(directory, '');
      expect((await failure()).message).toBe(`${directory} is not a folder; remove it`);
    });

    test('that cannot be created', async () => {
      writeFileSync(join(scratch, 'cache'), '');
      expect((await failure()).message).toContain(directory);
    });
  });
});

describe('without a compiler', () => {
  const unfound = `no C compiler: ${missing} not found`;

  test('the error names the compiler', async () => {
    const looking = findCompiler({ environment: { VGGNET_CC: missing } });
    await expect(looking).rejects.toThrow(new VggError(unfound));
  });

  test('an empty VGGNET_CC turns native kernels off', async () => {
    const looking = findCompiler({ environment: { VGGNET_CC: '', CC: 'cc' } });
    await expect(looking).rejects.toThrow(new VggError('turned off by VGGNET_CC'));
  });

  test('anyKernels uses WebAssembly and gives the reason', async () => {
    vi.stubEnv('VGGNET_CC', missing);
    const { kind } = await anyKernels(false, (line) => notices.push(line));
    expect(kind).toBe('wasm');
    expect(notices).toContainEqual(
      expect.stringMatching(/^native kernels are not available, using WebAssembly: ./),
    );
  });

  test('explicitly requested native kernels are an error', async () => {
    vi.stubEnv('VGGNET_CC', missing);
    const asking = nativeProvider(false, (line) => notices.push(line));
    await expect(asking).rejects.toThrow(/^--device native: ./);
    await expect(asking).rejects.toBeInstanceOf(VggError);
    expect(notices).toEqual([]);
  });

  const train = ['train', '--steps', '3', '--json', '--threads', '2', '--no-report', '--device'];

  test('vgg train --device native ends with the reason', async () => {
    const run = await vgg([...train, 'native'], { env: { VGGNET_CC: '' } });
    expect(run.stderr).toMatch(/^error: --device native: .+; --device wasm needs no compiler\n$/);
    expect(run.stdout).toBe('');
    expect(run.code).toBe(1);
  });

  test('vgg train --device auto trains on WebAssembly; with VGGNET_CC= it says nothing', async () => {
    const run = await vgg([...train, 'auto'], { env: { VGGNET_CC: '' } });
    expect(jsonLines(run)[0]!.device).toMatch(/^wasm/);
    expect(run.stderr).not.toContain('native');
    expect(run.code).toBe(0);
  });
});
