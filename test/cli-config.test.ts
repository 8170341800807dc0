/** Where a training's options come from: recipe, file and flags; and the help that lists them. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { optionGroups } from '../src/cli/config-options.ts';
import { trainOptions } from '../src/train/config-table.ts';
import { quickVgg, vgg } from './run-vgg.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-cli-config-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a config comes from a recipe, a file and flags, the later one wins', async () => {
  const file = join(folder, 'config.ts');
  await writeFile(
    file,
    "console.log('Hello'); export default { model: 'vgg7', modelOptions: { hidden: 64 }, lr: 0.5, epochs: 2 };",
  );
  const args = ['train', '--recipe', 'cifar100-vgg7', '--config', file, '--epochs', '3', '--print-config'];
  const merged = await quickVgg(args);
  // What the file prints is no part of the result.
  expect(merged.stderr).toBe('Hello\n');
  const config = JSON.parse(merged.stdout) as Record<string, unknown>;
  expect(config).toMatchObject({ dataset: 'cifar100', lr: 0.5, epochs: 3, modelOptions: { hidden: 64 } });

  // What is said of an optimizer, a schedule or a data set goes with it, and the printed config is one to train by.
  await writeFile(file, "export default { schedule: 'step', lrStep: 3 };");
  const replaced = ['train', '--recipe', 'cifar100-vgg7-bn', '--config', file, '--optimizer', 'adam'];
  const printed = await quickVgg([...replaced, '--schedule', 'cosine', '--print-config']);
  const adam = JSON.parse(printed.stdout) as Record<string, unknown>;
  expect(adam).toMatchObject({ optimizer: 'adam', lr: 0.05, beta1: 0.9, schedule: 'cosine', minLr: 0 });
  for (const name of ['nesterov', 'momentum', 'lrStep']) expect(adam).not.toHaveProperty(name);
  await writeFile(join(folder, 'printed.json'), printed.stdout);
  const again = await quickVgg(['train', '--config', join(folder, 'printed.json'), '--print-config']);
  expect(again.stdout).toBe(printed.stdout);

  // What a recipe or a file turns on, or leaves on, a flag turns off, and the other way round.
  const off = ['--no-nesterov', '--no-normalize', '--no-augment', '--no-shuffle'];
  const recipe = ['train', '--recipe', 'cifar100-vgg7-bn', '--print-config'];
  const switches = { nesterov: true, normalize: true, augment: true, shuffle: true };
  expect(JSON.parse((await quickVgg(recipe)).stdout)).toMatchObject(switches);
  expect(JSON.parse((await quickVgg([...recipe, ...off])).stdout)).toMatchObject({
    ...{ nesterov: false, normalize: false, augment: false, shuffle: false },
  });
  await writeFile(file, 'export default { augment: false, shuffle: false };');
  const on = ['train', '--config', file, '--augment', '--shuffle', '--print-config'];
  expect(JSON.parse((await quickVgg(on)).stdout)).toMatchObject({ augment: true, shuffle: true });

  const options = ['--model-option', 'channels=8, 16', '--model-option', 'hidden=32'];
  const numbers = await quickVgg(['train', '--model', 'vgg7', ...options, '--print-config']);
  expect(JSON.parse(numbers.stdout)).toMatchObject({ modelOptions: { channels: [8, 16], hidden: 32 } });

  // Older versions wrote down every option; what is as by default there is no choice.
  const older = join(folder, 'older.json');
  const complete = { optimizer: 'adamw', momentum: 0.9, nesterov: false, milestones: [], patience: 10 };
  await writeFile(older, JSON.stringify(complete));
  const taken = await quickVgg(['train', '--config', older, '--print-config']);
  expect(taken.stderr).toBe('');
  expect(JSON.parse(taken.stdout)).toMatchObject({ optimizer: 'adamw', beta1: 0.9 });
  expect(JSON.parse(taken.stdout)).not.toHaveProperty('momentum');

  const idle = join(folder, 'idle.json');
  await writeFile(idle, '{"optimizer": "adam", "nesterov": true}');
  const refused = await quickVgg(['train', '--config', idle, '--optimizer', 'sgd']);
  expect(refused.stderr).toBe(
    `error: ${idle}: nesterov has no effect with optimizer adam: leave it out, or choose optimizer sgd\n`,
  );
  expect(refused.code).toBe(2);

  const wrong = join(folder, 'wrong.json');
  await writeFile(wrong, '{"epoch": 3}');
  const run = await quickVgg(['train', '--config', wrong]);
  expect(run.stderr).toBe(`error: ${wrong}: there is no option "epoch"; did you mean "epochs"?\n`);
  expect(run.code).toBe(2);
});

test('an end that makes a step of the optimizer after all is allowed', async () => {
  const half = ['--validation', '0.5', '--batch-size', '5000', '--steps', '1', '--accumulate', '2'];
  const printed = await quickVgg(['train', ...half, '--print-config']);
  expect(printed.stderr).toBe('');
  expect(printed.code).toBe(0);

  const file = join(folder, 'short.json');
  await writeFile(file, '{"steps": 3, "accumulate": 4, "batchSize": 10}');
  const sweep = await vgg(['lr-find', '--config', file, '--sweep', '10']);
  expect(sweep.stderr).toBe('');
  expect(sweep.code).toBe(0);
});

test.for([
  ['broken.json', '{"epochs": 3,}', 'is not JSON in UTF-8 (', 'correct it, or name a JSON file'],
  ['broken.yaml', 'epochs: 3\n', 'is not JSON in UTF-8 (', 'YAML is not read: name a JSON file'],
  ['broken.ts', 'export default {', 'does not run: ', 'correct it, or name a JSON file'],
  ['throws.mjs', 'throw 3;', 'does not run: it throws 3; ', 'or a TypeScript file'],
  ['nothing.ts', 'export const epochs = 3;', 'it has no default export; ', 'write export default {'],
] as const)("the mistake in %s is the user's", async ([name, text, rule, wayOut]) => {
  const file = join(folder, name);
  await writeFile(file, text);
  const { code, stderr } = await quickVgg(['train', '--config', file]);
  expect(stderr).toMatch(/^error: .+\n$/);
  for (const part of [`--config ${file}`, rule, wayOut]) expect(stderr).toContain(part);
  expect(code).toBe(2);
});

test.for([
  ['--epochs 1e3', { epochs: 1000 }],
  ['--lr 1/3 --lr-gamma 2e-1/2', { lr: 1 / 3, lrGamma: 0.1 }],
  ['--schedule multiStep --milestones 1e1,20', { milestones: [10, 20] }],
  [
    '--model vgg7 --model-option hidden=1e2 --model-option dropout=1/4',
    { modelOptions: { hidden: 100, dropout: 0.25 } },
  ],
] as const)('numbers are written the same way everywhere: %s', async ([args, config]) => {
  const run = await quickVgg(['train', ...args.split(' '), '--print-config']);
  expect(run.stderr).toBe('');
  expect(JSON.parse(run.stdout)).toMatchObject(config);
});

describe('help', () => {
  const commands = [
    '',
    'train',
    'evaluate',
    'predict',
    'lr-find',
    'tune',
    'tune status',
    'export',
    'report',
    'studio',
    'runs',
    'compare',
    'filters',
    'summary',
    'stats',
    'download',
    'cache',
    'kernels',
    'doctor',
  ];
  test.for(commands)('vgg %s --help fits 80 columns and names commands that work here', async (command) => {
    const { stdout, code } = await quickVgg([...command.split(' ').filter(Boolean), '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Usage: npx vgg /);
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(stdout).not.toMatch(/\$ vgg /);
  });

  test('options stand under headings, and boolean ones show both forms', async () => {
    const { stdout } = await quickVgg(['train', '--help']);
    const headings = stdout.match(/^[A-Z][a-z ]+:$/gm);
    const groups = [
      'Network',
      'Images',
      'Length',
      'Steps',
      'Optimizer',
      'Layers',
      'Schedule',
      'Machine',
      'Run folder',
    ];
    const own = ['Output', 'Configuration', 'Examples'];
    expect(headings).toEqual([...groups, ...own].map((name) => `${name}:`));
    for (const name of ['normalize', 'augment', 'shuffle', 'nesterov'])
      expect(stdout).toContain(`  --[no-]${name} `);
  });

  test('every training option is in one group', () => {
    const grouped = optionGroups.flatMap(([, names]) => names);
    expect(grouped.toSorted()).toEqual(Object.keys(trainOptions).toSorted());
  });
});
