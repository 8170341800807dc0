/** `vgg predict`: image files, their classes as bars or JSON, and what it says to files and options that do not fit. */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compile, conv2d, createModel, flatten, linear, maxPool2d, sequential } from '../src/index.ts';
import { writeSafetensors } from '../src/model/safetensors.ts';
import { openModel, saveWeights } from '../src/node.ts';
import { bin, jsonLines, quickVgg, type Run, vgg } from './run-vgg.ts';

const photo = (name: string): string => `test/golden/images/${name}`;
const classes = [
  'ant',
  'bee',
  'cow',
  'a fish with a name of many words, which is too long for a narrow terminal',
];
const network = sequential([conv2d({ out: 4, kernel: 3 }), maxPool2d(8), flatten(), linear(4)]);
const wasm = { VGGNET_CC: '' };
const predict = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> =>
  quickVgg(['predict', ...args], { env: { ...wasm, ...env } });

let folder: string;
let weights: string;
let foreign: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-predict-'));
  weights = join(folder, 'animals.safetensors');
  const options = { input: [3, 64, 64], device: 'wasm', threads: 1, classes } as const;
  await using model = await compile(network, { ...options, normalization: { mean: [0.4], std: [0.1] } });
  await saveWeights(model, weights);
  foreign = join(folder, 'torch.safetensors');
  await using simplified = await compile(createModel('simplified', { classes: 3 }), {
    input: [3, 32, 32],
    device: 'wasm',
    threads: 1,
  });
  await writeFile(foreign, writeSafetensors(await simplified.weights()));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('prints the classes of each image as bars, the same as the library and as JSON', async () => {
  const images = [photo('420.jpg'), photo('lossy.webp'), photo('gray-alpha.png')];
  const run = await predict([...images, '--weights', weights]);
  expect(run).toMatchObject({ code: 0, stderr: '' });
  await using model = await openModel(weights, { device: 'wasm' });
  const expected = await model.classify(images);
  const blocks = run.stdout.trimEnd().split('\n\n');
  for (const [i, block] of blocks.entries()) {
    const [name, ...lines] = block.split('\n');
    expect(name).toBe(images[i]);
    expect(lines).toHaveLength(4);
    for (const [k, line] of lines.entries()) {
      const { class: label, probability } = expected[i]![k]!;
      expect(line.startsWith(`  ${label}  `)).toBe(true);
      expect(line.endsWith(` ${(100 * probability).toFixed(2)} %`)).toBe(true);
      expect(Math.abs((line.match(/█/g) ?? []).length - 30 * probability)).toBeLessThan(1.1);
    }
  }
  const json = await predict([...images, '--weights', weights, '--json', '--top', '2']);
  expect(jsonLines(json)).toEqual(images.map((file, i) => ({ file, top: expected[i]!.slice(0, 2) })));
});

test('bars fit a narrow terminal', async () => {
  const { stdout } = await predict([photo('420.jpg'), '--weights', weights], { COLUMNS: '40' });
  const lines = stdout.trimEnd().split('\n').slice(1);
  expect(Math.max(...lines.map((line) => line.length))).toBe(40);
  expect(stdout).toMatch(/^ {2}a fish … {2}/m);
});

test('an image that cannot be read does not stop the others', async () => {
  const svg = join(folder, 'drawing.jpg');
  await writeFile(svg, '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>');
  const none = join(folder, 'none.jpg');
  const images = [folder, none, photo('420.jpg'), svg];
  const run = await predict([...images, '--weights', weights, '--json']);
  expect(run.code).toBe(1);
  expect(jsonLines(run).map(({ file }) => file)).toEqual([photo('420.jpg')]);
  expect(run.stderr.split('\n')).toEqual([
    `error: ${folder} is a folder; pass its files, for instance ${folder}/*.jpg`,
    `error: ${none} cannot be read: no such file or folder`,
    `error: ${svg}: the file is an SVG drawing; convert the image to JPEG, PNG, WebP, AVIF, GIF or TIFF`,
    '3 of 4 images could not be classified.',
    '',
  ]);
});

test('- is the image in standard input', async () => {
  const piped = async (input: string | Uint8Array): Promise<Run> => {
    const child = spawn(process.execPath, [bin, 'predict', '-', '--weights', weights, '--json'], {
      env: { ...process.env, ...wasm },
    });
    child.stdin.end(input);
    const text = async (stream: AsyncIterable<Buffer>): Promise<string> => {
      const parts: Buffer[] = [];
      for await (const part of stream) parts.push(part);
      return Buffer.concat(parts).toString();
    };
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
    return { code: child.exitCode, stdout, stderr };
  };
  const [whole] = jsonLines(await predict([photo('420.jpg'), '--weights', weights, '--json']));
  const run = await piped(await readFile(photo('420.jpg')));
  expect(jsonLines(run)).toEqual([{ ...whole, file: '-' }]);
  const text = await piped('no image');
  expect(text.stderr).toContain('error: standard input: the file is no image in a known format');
});

test('run folders and their names stand for the best weights', async () => {
  const runs = join(folder, 'runs');
  await vgg([
    'train',
    '--steps',
    '1',
    '--run',
    join(runs, 'a'),
    '--no-report',
    '--device',
    'wasm',
    '--threads',
    '1',
  ]);
  const image = photo('420.jpg');
  const best = join(runs, 'a', 'best.safetensors');
  const args = [image, '--top', '1', '--json', '--weights'];
  const run = await predict([...args, best]);
  expect(run.code).toBe(0);
  expect(await predict([...args, join(runs, 'a')])).toEqual(run);
  expect(await predict([...args, 'a'], { VGGNET_RUNS: runs })).toEqual(run);
  await mkdir(join(folder, 'empty'));
  expect((await predict([...args, join(folder, 'empty')])).stderr).toContain(
    'is neither a weight file nor a run folder',
  );
});

test('a file that says nothing of itself needs options', async () => {
  const image = photo('420.jpg');
  const normalized = ['--mean', '0.5', '--std', '0.2,0.2,0.2'];
  const told = [
    '--model',
    'simplified',
    '--classes',
    '3',
    '--input',
    '3,32,32',
    '--mean',
    '0.5',
    '--std',
    '0.2',
  ];
  const names = join(folder, 'names.txt');
  await writeFile(names, 'red\ngreen\n\nblue\n');
  const run = await predict([image, '--weights', foreign, '--json', ...told]);
  const [found] = jsonLines(run) as unknown as readonly {
    top: readonly { class: string; index: number }[];
  }[];
  expect(found!.top.map((one) => one.class).sort()).toEqual(['0', '1', '2']);
  const named = await predict([image, '--weights', foreign, ...told, '--classes', names]);
  expect(named.stdout).toMatch(/^ {2}(red|green|blue) /m);
  for (const [args, message] of [
    [[], 'does not say its network, and its tensors are not those of a known one; name it: --model'],
    [['--model', 'simplified'], 'does not say how its images are normalized; give --normalization'],
    [['--model', 'simplified', '--normalization', 'caffe'], 'did you mean "caffe-rgb"'],
    [['--mean', '0.5'], '--mean and --std go together'],
    [['--mean', 'a', '--std', '1'], '--mean a is not a list of numbers, separated by commas'],
    [['--mean', '0.5', '--std', '0.2'], 'does not say its network'],
    [['--model-option', 'hidden=3'], '--model-option needs --model'],
    [[...told, ...normalized], 'the normalization is not { mean, std } with a number for each of 3 channels'],
    [[...told, '--classes', '4'], 'it has 3 classes, but simplified has 4'],
    [[...told, '--classes', join(folder, 'none.txt')], 'none.txt cannot be read: no such file'],
    [[...told, '--model', 'vgg8'], 'did you mean "vgg7"?'],
  ] as const) {
    const wrong = await predict([image, '--weights', foreign, ...args]);
    expect(wrong.stderr).toMatch(/^error: /);
    expect(wrong.stderr).toContain(message);
    expect(wrong.code).toBeGreaterThan(0);
  }
});

test.for<[string, string, number]>([
  ['', "required option '--weights <file>' not specified", 2],
  ['--weights none.safetensors', 'none.safetensors is neither a weight file nor a run folder', 2],
  ['--weights WEIGHTS --top 0', '--top 0 is not a whole number ≥ 1', 2],
  ['--weights WEIGHTS --model vgg7', 'which contradicts --model vgg7', 2],
  ['--weights WEIGHTS --classes 5', 'its network has 4 classes, which contradicts --classes with 5', 2],
  ['--weights WEIGHTS --mean 0.5 --std 0.5', 'its weights were trained with normalization mean 0.4000', 2],
  ['--weights WEIGHTS --input 3,32,32', 'the file is for images of 3×64×64', 1],
  ['--weights WEIGHTS - -', 'predict: - reads standard input, which can be read once', 2],
])('vgg predict cat.jpg %s', async ([args, message, code]) => {
  const words = args.split(' ').filter((word) => word !== '');
  const run = await predict(['cat.jpg', ...words.map((word) => (word === 'WEIGHTS' ? weights : word))]);
  expect(run.stderr).toMatch(/^error: /);
  expect(run.stderr).toContain(message);
  expect(run.stdout).toBe('');
  expect(run.code).toBe(code);
});
