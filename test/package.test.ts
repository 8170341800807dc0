/**
 * The published package: what `npm pack` makes, installed into an empty project, gives a working `vgg`, workers
 * included, imports with types, and programs and pages that can be bundled.
 */
import { execFile } from 'node:child_process';
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { expectAllClose } from './allclose.ts';
import { hasChromium, isolating, openBrowser, servePage, skipped, webgpuFlags } from './browser.ts';
import { noNative } from './native.ts';

const program = `
import { adam, compile, conv2d, dataLoader, flatten, linear, type Model, maxPool2d, relu, sequential, shapes } from 'vggnet';
import { type Checkpoint, readCheckpoint, type SeedsResult, trainSeeds } from 'vggnet/node';
import { float, searchSpace } from 'vggnet/tune';

const { train, test } = shapes();
const network = sequential([conv2d({ out: 4, kernel: 3 }), relu(), maxPool2d(4), flatten(), linear(10)]);
const model: Model = await compile(network, { input: train.shape, threads: 2 });
const { steps } = await model.train(dataLoader(train, { batchSize: 100 }), { epoch: 1, optimizer: adam(), steps: 3 });
const { accuracy } = await model.evaluate(dataLoader(test, { batchSize: 100 }));
const rounded: number = accuracy;
const { parameters } = searchSpace({ lr: float(0.1, 1) });
console.log(steps, rounded > 0, parameters.length);
await model.close();
export const read: (path: string) => Promise<Checkpoint> = readCheckpoint;
export const seeds = (): Promise<SeedsResult> => trainSeeds({ epochs: 1 }, { seeds: 2 });
`;

/** Plain JavaScript, with everything in a bundle: what a page does. */
const inBrowser = `
import * as vggnet from 'vggnet';
const { adam, compile, compose, conv2d, dataLoader, flatten, linear, randomResizedCrop, relu, sequential, shapes, toTensor } = vggnet;
const { train } = shapes();
const cropped = dataLoader(train, { batchSize: 100, transform: compose([randomResizedCrop(32), toTensor()]) });
const network = sequential([conv2d({ out: 4, kernel: 3 }), relu(), flatten(), linear(10)]);
const device = location.search === '?webgpu' ? 'webgpu' : 'auto';
const model = await compile(network, { input: train.shape, threads: 2, device });
const { losses } = await model.train(dataLoader(train, { batchSize: 100 }), { epoch: 1, optimizer: adam(), steps: 3 });
const { steps } = await model.train(cropped, { epoch: 2, optimizer: adam(), steps: 3 });
if (steps !== 3) throw new Error('loading ahead failed');
globalThis.result = { device: model.description, losses: [...losses], exports: Object.keys(vggnet).length };
await model.close();
`;

// Not a part of the interface: what `vgg report` does.
const reporting = `
import { compile, createModel, shapes } from 'vggnet';
const { parseConfig } = await import('./node_modules/vggnet/dist/train/config.js');
const { buildReport } = await import('./node_modules/vggnet/dist/report/report.js');
const splits = shapes();
const model = await compile(createModel('simplified', { classes: 10 }), { input: splits.test.shape });
const environment = { vggnet: '', node: '', v8: '', platform: '', processor: '', cores: 1, memoryBytes: 1, hostname: '',
  device: 'wasm', description: 'wasm', threads: 1, command: ['vgg'], folder: '', started: '' };
const epoch = { epoch: 1, step: 1, lr: 0.1, trainLoss: 2, trainAccuracy: 0, testLoss: 2, testAccuracy: 0, testTopFive: 0,
  trainSeconds: 1, testSeconds: 1, imagesPerSecond: 1 };
const run = { name: 'run', config: parseConfig({}, 'test'), environment, epochs: [epoch], steps: [], splits,
  weights: await model.weights() };
await model.close();
const html = await buildReport([run]);
console.log(html.includes('<svg role="img"'), html.includes('WebAssembly'), html.length > 100_000);
`;

const wrong = `
import { conv2d } from 'vggnet';
conv2d({ out: 'many', kernel: 3 });
`;

const toBundle = `
import { adam, compile, compose, conv2d, dataLoader, flatten, linear, randomResizedCrop, relu, sequential, shapes, toTensor } from 'vggnet';
import { reportRuns } from 'vggnet/node';
async function main([device, ...runs]) {
  const { train } = shapes();
  const network = sequential([conv2d({ out: 4, kernel: 3 }), relu(), flatten(), linear(10)]);
  const model = await compile(network, { input: train.shape, threads: 2, device, onNotice: () => {} });
  // Workers of their own load these images.
  const transform = compose([randomResizedCrop(32), toTensor()]);
  const loader = dataLoader(train, { batchSize: 100, transform });
  const { steps, waitSeconds } = await model.train(loader, { epoch: 1, optimizer: adam(), steps: 3 });
  if (!(waitSeconds > 0)) throw new Error('no worker loaded images');
  console.log(steps, model.device);
  if (runs.length > 0) console.log(await reportRuns(runs, { out: 'bundled.html', device }));
}
main(process.argv.slice(2));
`;

const compilerOptions = {
  target: 'ES2024',
  lib: ['ES2024', 'ESNext.Disposable', 'DOM'],
  strict: true,
  exactOptionalPropertyTypes: true,
  types: [],
};

/** How TypeScript finds a package. */
const resolutions: Readonly<Record<string, object>> = {
  node16: { module: 'Node16', moduleResolution: 'Node16' },
  bundler: { module: 'ESNext', moduleResolution: 'bundler' },
};

/** `d3-array` of `…/node_modules/d3-array`: where npm puts a package does not matter. */
const nameOf = (path: string): string => path.split('node_modules/').at(-1)!;

let project: string;
let dependencies: readonly string[];
beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'vggnet-package-'));
  await run('npm', ['pack', '--pack-destination', project], process.cwd());
  // What it depends on is packed, too, from what is installed here: nothing is asked of a registry. By the lock file,
  // since optional peers of tests may be installed, too.
  const [, ...installed] = (
    await run(
      'npm',
      ['ls', '--package-lock-only', '--omit=dev', '--omit=optional', '--all', '--parseable'],
      process.cwd(),
    )
  )
    .trim()
    .split('\n');
  dependencies = installed.map(nameOf);
  await run('npm', ['pack', '--ignore-scripts', '--pack-destination', project, ...installed]);
  await writeFile(
    join(project, 'package.json'),
    JSON.stringify({ name: 'project', type: 'module', private: true }),
  );
  const archives = (await readdir(project)).filter((name) => name.endsWith('.tgz'));
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', ...archives]);
}, 300_000);
afterAll(() => rm(project, { recursive: true, force: true }));

/** A command in the project, with this Node and the project's own commands first on the path. */
async function run(command: string, args: readonly string[], cwd: string = project): Promise<string> {
  const path = [dirname(process.execPath), join(project, 'node_modules', '.bin'), process.env.PATH];
  // The package has a compile cache of its own.
  const { NODE_COMPILE_CACHE: _, ...env } = process.env;
  const { stdout } = await promisify(execFile)(command, args, {
    cwd,
    env: { ...env, PATH: path.join(delimiter) },
  });
  return stdout;
}

test('vgg --version', async () => {
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  expect(await run('vgg', ['--version'])).toBe(`${version}\n`);
});

test('vgg train, with two worker threads', async () => {
  const output = await run('vgg', ['train', '--steps', '3', '--log-every', '1', '--threads', '2']);
  expect(output).toMatch(/step \[3\/100\] Loss: \d\.\d{4}\n/);
  expect(output).toMatch(/Accuracy of the model on the test images: \d+\.\d\d %\n$/);
});

test("vgg report, with the page's script that was bundled beforehand", async () => {
  await run('vgg', ['train', '--steps', '3', '--run', 'run', '--no-report']);
  expect(await run('vgg', ['report', 'run'])).toContain('The report is in ');
  expect(await readFile(join(project, 'run', 'report.html'), 'utf8')).toContain('</html>');
});

test.each(Object.entries(resolutions))(
  'a typed program is checked against the package (%s) and runs',
  async (_, resolution) => {
    const tsc = resolve('node_modules/typescript/bin/tsc');
    const settings = { compilerOptions: { ...compilerOptions, ...resolution }, files: ['program.ts'] };
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify(settings));
    await writeFile(join(project, 'program.ts'), program);
    await run(process.execPath, [tsc, '--noEmit']);
    expect(await run(process.execPath, ['program.ts'])).toBe('3 true 1\n');

    await writeFile(join(project, 'program.ts'), wrong);
    await expect(run(process.execPath, [tsc, '--noEmit'])).rejects.toMatchObject({
      stdout: expect.stringContaining("Type 'string' is not assignable to type 'number'"),
    });
  },
);

test('a program in plain JavaScript imports from all entries', async () => {
  const text = `
import { shapes } from 'vggnet';
import * as node from 'vggnet/node';
import * as tune from 'vggnet/tune';
console.log(shapes().test.length, typeof node.runTraining, typeof tune.createStudy, 'shapes' in node);
`;
  await writeFile(join(project, 'plain.mjs'), text);
  expect(await run(process.execPath, ['plain.mjs'])).toBe('2000 function function false\n');
});

test('it reports a run without a bundler or a chart library beside it', async () => {
  await writeFile(join(project, 'report.mjs'), reporting);
  expect(await run(process.execPath, ['report.mjs'])).toBe('true true true\n');
});

describe('a program that was bundled trains and reports, with nothing installed beside it', () => {
  /** Where its file and no package is. */
  let alone: string;
  beforeAll(async () => {
    alone = await mkdtemp(join(tmpdir(), 'vggnet-bundled-'));
    await writeFile(join(project, 'bundled.mjs'), toBundle);
    await run('vgg', ['train', '--steps', '3', '--run', join(alone, 'run'), '--no-report']);
  });
  afterAll(() => rm(alone, { recursive: true, force: true }));

  const rolldown = async (format: 'esm' | 'cjs'): Promise<string> => {
    const { build } = await import('rolldown');
    const dir = join(alone, `rolldown-${format}`);
    const entryFileNames = format === 'esm' ? '[name].mjs' : '[name].cjs';
    await build({
      cwd: project,
      input: 'bundled.mjs',
      platform: 'node',
      logLevel: 'silent',
      output: { dir, format, entryFileNames, chunkFileNames: entryFileNames },
    });
    return join(dir, `bundled.${format === 'esm' ? 'mjs' : 'cjs'}`);
  };
  const esbuild = async (format: 'esm' | 'cjs', minify = false): Promise<string> => {
    const { build } = await import('esbuild');
    const outfile = join(alone, 'esbuild', `bundled.${format === 'esm' ? 'mjs' : 'cjs'}`);
    await build({
      absWorkingDir: project,
      entryPoints: ['bundled.mjs'],
      bundle: true,
      platform: 'node',
      logLevel: 'silent',
      format,
      minify,
      outfile,
    });
    return outfile;
  };
  const bundlers: Readonly<Record<string, () => Promise<string>>> = {
    'Rolldown, modules': () => rolldown('esm'),
    'Rolldown, CommonJS': () => rolldown('cjs'),
    'esbuild, modules': () => esbuild('esm'),
    'esbuild, CommonJS, minified': () => esbuild('cjs', true),
  };

  test.for(Object.keys(bundlers))('%s', async (name, { skip }) => {
    const program = await bundlers[name]!();
    expect(await run(process.execPath, [program, 'wasm', 'run'], alone)).toBe('3 wasm\nbundled.html\n');
    expect(await readFile(join(alone, 'bundled.html'), 'utf8')).toContain('WebAssembly');
    if (noNative !== undefined) skip(`native kernels: ${noNative}`);
    // koffi has a binary, which no bundle holds: it is installed beside the bundle.
    await mkdir(join(dirname(program), 'node_modules'));
    await symlink(resolve('node_modules/koffi'), join(dirname(program), 'node_modules/koffi'));
    expect(await run(process.execPath, [program, 'native'], alone)).toBe('3 native\n');
    await rm(dirname(program), { recursive: true });
  });
});

interface PageOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: string;
  readonly flags?: readonly string[];
}

describe('a page bundles the core without settings, and trains', () => {
  const bundlers: Readonly<Record<string, (input: string, folder: string) => Promise<readonly string[]>>> = {
    /** Writes `page.js` and returns all warnings. */
    async esbuild(input, folder) {
      const { build } = await import('esbuild');
      const { warnings } = await build({
        ...{ absWorkingDir: project, entryPoints: [input], outfile: join(folder, 'page.js') },
        ...{ bundle: true, platform: 'browser', format: 'esm', logLevel: 'silent' },
      });
      return warnings.map(({ text }) => text);
    },
    async Rolldown(input, folder) {
      const { rolldown } = await import('rolldown');
      const warnings: string[] = [];
      const bundle = await rolldown({
        ...{ cwd: project, input, platform: 'browser' },
        onLog: (_, { message }) => void warnings.push(message),
      });
      await bundle.write({ dir: folder, format: 'esm', entryFileNames: 'page.js' });
      return warnings;
    },
  };

  /** Opens a page with the bundle, and returns its result. */
  async function resultOf(
    folder: string,
    { headers = {}, query = '', flags = [] }: PageOptions = {},
  ): Promise<unknown> {
    using server = await servePage(folder, headers);
    await using browser = await openBrowser(flags);
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.stack ?? error.message));
    await page.goto(server.url + query);
    const result = page.waitForFunction(() => (globalThis as { result?: unknown }).result);
    // With await, since the browser is closed behind it.
    return await result.then((handle) => handle.jsonValue()).catch(() => errors);
  }

  test.for(Object.keys(bundlers))('%s', async (name, { skip }) => {
    const folder = join(project, `page-${name}`);
    await writeFile(join(project, 'in-browser.mjs'), inBrowser);
    expect(await bundlers[name]!('in-browser.mjs', folder)).toEqual([]);
    for (const file of await readdir(folder)) {
      const code = await readFile(join(folder, file), 'utf8');
      expect(/(?:from|import\(?)\s*["']node:/.exec(code)?.[0], file).toBeUndefined();
    }
    if (!hasChromium) skip(skipped);
    const alone = (await resultOf(folder)) as { losses: number[] };
    expect(alone).toMatchObject({ device: 'wasm, 1 thread', exports: expect.any(Number) });
    expect(alone.losses).toHaveLength(3);
    // Worker threads share memory, and compute the same bits.
    expect(await resultOf(folder, { headers: isolating })).toEqual({ ...alone, device: 'wasm, 2 threads' });
    const onGpu = (await resultOf(folder, { query: '?webgpu', flags: webgpuFlags })) as { losses: number[] };
    expect(onGpu).toMatchObject({ device: expect.stringMatching(/^webgpu \(.*swiftshader/i) });
    expectAllClose(onGpu.losses, alone.losses, 1e-4, 'losses');
  });
});

describe('the examples for browsers train, with threads and without', () => {
  const examples = resolve('examples/browser');
  const built = join('node_modules', 'vggnet', 'dist');

  /** What the page says at the end; it must not complain. */
  async function statusOf(folder: string, headers: PageOptions['headers'] = {}): Promise<string> {
    using server = await servePage(folder, headers);
    await using browser = await openBrowser();
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    await page.goto(server.url);
    const status = page.getByRole('status');
    await status.filter({ hasText: /^Accuracy/ }).waitFor({ timeout: 240_000 });
    expect(errors).toEqual([]);
    return (await status.textContent())!;
  }
  const withAndWithout = async (folder: string): Promise<void> => {
    expect(await statusOf(folder)).toMatch(/^Accuracy \d+\.\d % .*on wasm, 1 thread/);
    expect(await statusOf(folder, isolating)).toMatch(/^Accuracy \d+\.\d % .*on wasm, \d+ threads/);
  };

  test.skipIf(!hasChromium)(`a page with vggnet.js${hasChromium ? '' : ` ${skipped}`}`, async () => {
    const folder = join(project, 'plain');
    await cp(join(examples, 'plain'), folder, { recursive: true });
    for (const name of ['vggnet.js', 'vggnet'])
      await cp(join(project, built, name), join(folder, name), { recursive: true });
    await withAndWithout(folder);
  });

  test.skipIf(!hasChromium)(`a project with Vite${hasChromium ? '' : ` ${skipped}`}`, async () => {
    const root = join(project, 'vite');
    await cp(join(examples, 'vite'), root, { recursive: true });
    const { build } = await import('vite');
    await build({ root, configFile: join(root, 'vite.config.js'), logLevel: 'error' });
    await withAndWithout(join(root, 'dist'));
  });
});

test('nothing in it imports what is for development', async () => {
  const { devDependencies } = JSON.parse(await readFile('package.json', 'utf8')) as {
    readonly devDependencies: Readonly<Record<string, string>>;
  };
  const imported = new RegExp(`(from|import)\\s*\\(?\\s*['"](${Object.keys(devDependencies).join('|')})['"]`);
  const dist = join(project, 'node_modules/vggnet/dist');
  for (const file of (await readdir(dist, { recursive: true })).filter((name) => name.endsWith('.js'))) {
    expect(imported.exec(await readFile(join(dist, file), 'utf8'))?.[0], file).toBeUndefined();
  }
});

test('it holds what is needed to run and nothing else', async () => {
  const files = await readFile(join(project, 'node_modules/.package-lock.json'), 'utf8');
  const { packages } = JSON.parse(files) as { packages: Record<string, unknown> };
  // koffi and sharp are optional: they come, with what they need, where the cache of npm has them.
  const optional = /koffi|^sharp$|^@img\/|^detect-libc$|^semver$/;
  expect(
    [...new Set(Object.keys(packages).map(nameOf))].filter((name) => !optional.test(name)).sort(),
  ).toEqual([...new Set([...dependencies, 'vggnet'])].sort());
  const folder = join(project, 'node_modules/vggnet');
  expect((await readdir(folder)).sort()).toEqual(['LICENSE', 'README.md', 'bin', 'dist', 'package.json']);
  const built = await readdir(join(folder, 'dist'), { recursive: true });
  // The studio's page is the only thing that is not a program.
  const isPageFile = (name: string): boolean =>
    /^studio[\\/](index\.html|assets[\\/][\w-]+\.(css|svg))$/.test(name);
  expect(
    built.filter((name) => /\.\w+$/.test(name) && !/\.(js|d\.ts)$/.test(name) && !isPageFile(name)),
  ).toEqual([]);
  expect(built.filter((name) => name.includes('.test.'))).toEqual([]);
});

test('npm ci prints no warnings about an older Node, since the project brings its own', async () => {
  const place = await mkdtemp(join(tmpdir(), 'vggnet-npmrc-'));
  onTestFinished(() => rm(place, { recursive: true }));
  const pretend = "Object.defineProperty(process, 'version', { value: 'v20.20.2' });";
  // npm passes its settings on to what it runs, these tests for instance.
  const inherited = Object.entries(process.env).filter(([name]) => !/^npm_config_/i.test(name));
  const warnings = async (): Promise<string> => {
    const args = ['ci', '--dry-run', '--offline', '--no-audit', '--no-fund'];
    const { stderr } = await promisify(execFile)('npm', args, {
      cwd: place,
      env: {
        ...Object.fromEntries(inherited),
        NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(pretend)}`,
      },
    });
    return stderr;
  };
  for (const name of ['package.json', 'package-lock.json']) await copyFile(name, join(place, name));
  expect(await warnings()).toContain('EBADENGINE');
  await copyFile('.npmrc', join(place, '.npmrc'));
  expect(await warnings()).toBe('');
});
