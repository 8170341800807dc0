/** Image folders on the command line: checking, training, evaluation, reports, broken files, interruption. */
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeShapesFolder } from '../examples/make-shapes-folder.ts';
import { jsonLines, quickVgg, type Run, vgg } from './run-vgg.ts';

let root: string;
let photos: string;
let env: Record<string, string>;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'vgg-cli-folders-'));
  photos = join(root, 'my photos');
  await makeShapesFolder(photos, 5);
  // Kernels stay where they are; images have a cache of their own.
  env = { XDG_CACHE_HOME: join(root, 'cache'), VGGNET_CC: '' };
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const quick = (...args: readonly string[]): Promise<Run> => quickVgg(args, { env });
const held =
  'has no separate test images: 20 % of each class are held out, 4 images of 20, the same in each run.';

test('stats prepares the images once and prints their statistics', async () => {
  const first = await quick('stats', '--dataset', `folder:${photos}`, '--json');
  expect(first.stderr).toBe(`${photos} ${held}\nPreparing 20 images\n`);
  const [{ mean, std, images, broken }] = jsonLines(first) as [Record<string, unknown>];
  expect([images, broken]).toEqual([16, []]);
  expect(mean).toHaveLength(3);
  const second = await quick('stats', '--dataset', `folder:${photos}`);
  expect(second.stderr).toBe(`${photos} ${held}\n`);
  expect(second.stdout).toContain((std as number[])[0]!.toFixed(10));
});

test('summary takes classes from the folder and the input from the model', async () => {
  const { stdout } = await quick('summary', 'vgg16', '--dataset', `folder:${photos}`, '--json');
  const { input, layers } = JSON.parse(stdout) as { input: number[]; layers: { output: number[] }[] };
  expect(input).toEqual([3, 224, 224]);
  expect(layers.at(-1)!.output).toEqual([4]);
});

test('trains, evaluates, reports and resumes, also where the folder has moved', async () => {
  const run = join(root, 'run');
  const options = [
    '--model',
    'simplified',
    '--batch-size',
    '4',
    '--epochs',
    '2',
    '--normalize',
    '--log-every',
    '1',
  ];
  const trained = await vgg(['train', '--dataset', 'folder:my photos', ...options, '--run', run, '--json'], {
    env,
    cwd: root,
  });
  expect(trained).toMatchObject({ code: 0 });
  expect(trained.stderr).toContain(`my photos ${held}`);
  expect(trained.stderr).not.toContain(photos);
  // The run finds the images from any folder.
  expect(JSON.parse(readFileSync(join(run, 'config.json'), 'utf8'))).toMatchObject({
    dataset: `folder:${photos}`,
  });
  const events = jsonLines(trained);
  expect(events[0]).toMatchObject({ dataset: `folder:${photos}`, trainImages: 16, testImages: 4 });
  expect(events.filter(({ event }) => event === 'step')).toHaveLength(8);
  const report = readFileSync(join(run, 'report.html'), 'utf8');
  expect(report).toContain('This report does not contain the network and its explanations');
  expect(report).toContain(
    'my photos: 16 training images and 4 test images in 4 classes. The network sees 32×32',
  );
  const last = events
    .filter(({ event }) => event === 'epoch')
    .map(({ testAccuracy }) => testAccuracy as number);
  const evaluated = await vgg(['evaluate', run, '--json'], { env });
  expect(jsonLines(evaluated)[0]).toMatchObject({ images: 4, accuracy: Math.max(...last) });
  // The same images, however they are named.
  const same = ['train', '--resume', 'run', '--dataset', 'folder:./my photos', '--print-config'];
  const unchanged = await vgg(same, { env, cwd: root });
  expect(JSON.parse(unchanged.stdout)).toMatchObject({ dataset: `folder:${photos}` });
  const moved = join(root, 'moved');
  renameSync(photos, moved);
  try {
    const missing = await vgg(['evaluate', run], { env });
    expect(missing).toMatchObject({
      code: 1,
      stderr: `error: ${photos} cannot be read: no such file or folder\n`,
    });
    const found = await vgg(['evaluate', run, '--data', moved, '--json'], { env });
    const results = (of: Run): unknown => ({ ...jsonLines(of)[0], seconds: 0 });
    expect(results(found)).toEqual(results(evaluated));
    const resumed = await vgg(
      ['train', '--resume', run, '--epochs', '3', '--data', moved, '--no-report', '--json'],
      { env },
    );
    expect(jsonLines(resumed).at(-1)).toMatchObject({ event: 'end', reason: 'finished' });
    copyFileSync(join(moved, 'circle/circle-001.jpg'), join(moved, 'circle/added.jpg'));
    const changed = await vgg(['train', '--resume', run, '--epochs', '4', '--data', moved, '--no-report'], {
      env,
    });
    expect(changed).toMatchObject({ code: 1 });
    expect(changed.stderr).toContain('are not those that the run started with');
    rmSync(join(moved, 'circle/added.jpg'));
  } finally {
    renameSync(moved, photos);
  }
});

test('broken files: the message, all of them as JSON, and left out', async () => {
  const broken = join(root, 'broken');
  await makeShapesFolder(broken, 3);
  const names = Array.from({ length: 12 }, (_, i) =>
    join(broken, 'circle', `${String(i).padStart(2, '0')}.jpg`),
  );
  for (const name of names) writeFileSync(name, 'text');
  const dataset = ['--dataset', `folder:${broken}`] as const;
  const refused = await quick('stats', ...dataset, '--json');
  expect(refused.code).toBe(1);
  expect(
    (jsonLines(refused)[0] as { broken: { file: string }[] }).broken.map(({ file }) => file).sort(),
  ).toEqual(names);
  expect(refused.stderr).toMatch(
    /12 images of 24 are broken:\n( {2}.* is no image .*\n){9} {2}.* and 2 more\n/,
  );
  expect(refused.stderr).toContain('or leave them out with --skip-broken');
  const left = await quick('stats', ...dataset, '--skip-broken', '--json');
  expect(left.code).toBe(0);
  expect(left.stderr).toContain('12 broken images of 24 are left out.');
  const config = await quick('train', ...dataset, '--skip-broken', '--batch-size', '4', '--print-config');
  expect(JSON.parse(config.stdout)).toMatchObject({ dataset: dataset[1], skipBroken: true });
});

test("Kaggle's layout", async () => {
  const kaggle = join(root, 'kaggle');
  await makeShapesFolder(join(kaggle, 'train'), 1);
  const rows: string[] = [];
  for (const [label, name] of readdirSync(join(kaggle, 'train')).entries()) {
    for (let i = 0; i < 3; i++) {
      const id = 3 * label + i + 1;
      copyFileSync(join(kaggle, 'train', name, `${name}-001.jpg`), join(kaggle, 'train', `${id}.jpg`));
      rows.push(`${id},${name}`);
    }
  }
  writeFileSync(join(kaggle, 'trainLabels.csv'), `id,label\n${rows.join('\n')}\n`);
  const { stdout, code } = await quick(
    'stats',
    '--dataset',
    `csv:${join(kaggle, 'trainLabels.csv')}`,
    '--json',
  );
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ images: 8 });
});

test('an interrupted preparation is continued', async () => {
  const large = join(root, 'large');
  await makeShapesFolder(large, 30);
  const stats = ['stats', '--dataset', `folder:${large}`, '--json'];
  const stopped = await vgg(stats, { env, interrupt: { signal: 'SIGINT', after: 'Preparing 120 images' } });
  expect(stopped.code).toBe(130);
  const whole = await vgg(stats, { env });
  expect(jsonLines(whole)[0]).toMatchObject({ images: 96, broken: [] });
});

test.for([
  [['train', '--dataset', 'shapes', '--size', '64'], '--size has no effect with dataset shapes'],
  [
    ['stats', '--dataset', 'shapes', '--skip-broken'],
    '--skip-broken works only with folder:DIR and csv:FILE',
  ],
  [['train', '--dataset', 'photos/'], 'a folder of images is named as folder:DIR'],
  [['train', '--dataset', 'folder:/nowhere'], '/nowhere cannot be read: no such file or folder'],
] as const)('%j is refused', async ([args, message]) => {
  const { code, stderr } = await quick(...args);
  expect(code).not.toBe(0);
  expect(stderr).toContain(message);
});
