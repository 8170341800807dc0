/**
 * The command line as a user meets it: the real `vgg` in a process of its own. What it prints, its exit codes,
 * its files bit by bit, and how it ends when it is interrupted.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { optionGroups } from '../src/cli/config-options.ts';
import { readSafetensors, writeSafetensors } from '../src/model/safetensors.ts';
import { createRun } from '../src/runs/run.ts';
import { openMetrics } from '../src/runs/table.ts';
import { parseConfig } from '../src/train/config.ts';
import { type TrainConfigInput, trainOptions } from '../src/train/config-table.ts';
import type { EpochRecord } from '../src/train/records.ts';
import { bin, jsonLines, vgg } from './run-vgg.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-cli-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('vgg train', () => {
  const steps = ['train', '--steps', '4', '--log-every', '2', '--threads', '2'];

  test("without a terminal it prints the lecture's lines; notes go to standard error", async () => {
    const { code, stdout, stderr } = await vgg(steps);
    expect(stdout).toMatch(
      new RegExp(
        String.raw`^Epoch \[1/80\], step \[2/100\] Loss: \d\.\d{4}\n` +
          String.raw`Epoch \[1/80\], step \[4/100\] Loss: \d\.\d{4}\n` +
          String.raw`Epoch \[1/80\] Train loss: \d\.\d{4}, Test loss: \d\.\d{4}, Test accuracy: \d+\.\d\d %, \d+\.\d s\n` +
          String.raw`Accuracy of the model on the test images: \d+\.\d\d %\n$`,
      ),
    );
    expect(stderr).toMatch(
      /^simplified, 20,778 parameters, on shapes: 10,000 training and 2,000 test images; /,
    );
    expect(stderr).toMatch(
      /\nReport: reading the run\n(Report: .+\n)*Report: testing .+\n(Report: .+\n)*Report: .+report\.html\n/,
    );
    expect(stderr).toContain('\nNext:\n  npx vgg summary simplified');
    expect(code).toBe(0);
  });

  test('--json prints one compact object a line and nothing else', async () => {
    const run = await vgg([...steps, '--json']);
    const events = jsonLines(run);
    expect(run.stdout.trimEnd().split('\n')).toEqual(events.map((event) => JSON.stringify(event)));
    expect(events.map(({ event }) => event)).toEqual(['start', 'step', 'step', 'epoch', 'end']);
    const [start, first, second, epoch, end] = events;
    expect(start).toMatchObject({
      model: 'simplified',
      dataset: 'shapes',
      parameters: 20778,
      threads: 2,
      // Which kernels ran: `native (AVX-512), 2 threads`.
      description: expect.stringMatching(/^(native|wasm)( \(.+\))?, 2 threads$/),
      seed: 0,
    });
    expect(first).toEqual({ event: 'step', epoch: 1, step: 2, loss: expect.any(Number) });
    expect(second).toEqual({ event: 'step', epoch: 1, step: 4, loss: expect.any(Number) });
    const numbers = [
      'trainLoss',
      'testLoss',
      'testAccuracy',
      'trainSeconds',
      'testSeconds',
      'imagesPerSecond',
    ];
    for (const name of [...numbers, 'step', 'lr', 'trainAccuracy', 'testTopFive']) {
      expect(epoch![name], name).toBeGreaterThan(0);
    }
    expect(epoch!.testAccuracy).toBeLessThan(1);
    expect(end).toMatchObject({ reason: 'finished', testAccuracy: epoch!.testAccuracy, saved: null });
    expect(run.stderr).toContain('\nNext:\n  npx vgg summary simplified');
    expect(run.code).toBe(0);
  });

  test('--steps goes over the end of an epoch', async () => {
    const args = ['train', '--batch-size', '4000', '--steps', '4', '--log-every', '1', '--json'];
    const events = jsonLines(await vgg(args));
    const steps = events.filter(({ event }) => event === 'step').map(({ epoch, step }) => [epoch, step]);
    expect(steps).toEqual([
      [1, 1],
      [1, 2],
      [1, 3],
      [2, 1],
    ]);
    expect(events.filter(({ event }) => event === 'epoch')).toHaveLength(2);
  });

  test('the same seed gives the same file, run after run and for any number of threads', async () => {
    const digest = async (name: string, ...args: string[]): Promise<string> => {
      const file = join(folder, `${name}.safetensors`);
      const { code } = await vgg(['train', '--steps', '6', '--batch-size', '37', '--save', file, ...args]);
      expect(code).toBe(0);
      return createHash('sha256')
        .update(await readFile(file))
        .digest('hex');
    };
    const first = await digest('first', '--threads', '1');
    for (const threads of ['1', '2', '3', '5']) {
      expect(await digest(`threads${threads}`, '--threads', threads), `${threads} threads`).toBe(first);
    }
    expect(await digest('seed', '--seed', '1')).not.toBe(first);
  });

  test('--save, --init and evaluate fit together: the file says what it needs', async () => {
    const file = join(folder, 'trained.safetensors');
    const model = ['--model', 'vgg7', '--model-option', 'channels=8,16', '--model-option', 'hidden=32'];
    const args = [...model, '--normalize', '--lr', '0.003', '--json', '--epochs', '1', '--save', file];
    const trained = jsonLines(await vgg(['train', ...args])).at(-1)!;
    expect(trained.saved).toBe(file);
    const evaluated = jsonLines(await vgg(['evaluate', '--init', file, '--json']))[0]!;
    expect(evaluated.accuracy).toBe(trained.testAccuracy);
    expect(evaluated.loss).toBeCloseTo(trained.testLoss as number, 6);
    expect(evaluated.images).toBe(2000);
    const further = await vgg([
      'train',
      '--init',
      file,
      '--steps',
      '1',
      '--log-every',
      '1',
      '--json',
      '--no-run',
    ]);
    expect(jsonLines(further).find(({ event }) => event === 'step')!.loss).toBeLessThan(2);
    for (const [command, flag, problem] of [
      ['evaluate', '--no-normalize', 'normalize true, which contradicts --no-normalize;'],
      ['evaluate', '--model=simplified', 'model vgg7, which contradicts --model simplified;'],
      ['evaluate', '--dataset=cifar10', 'dataset shapes, which contradicts --dataset cifar10;'],
      ['train', '--model-option=hidden=64', 'hidden=32, which contradicts --model-option hidden=64;'],
    ] as const) {
      const { code, stderr } = await vgg([command, '--init', file, flag]);
      expect(stderr).toContain(`trained with`);
      expect(stderr).toContain(problem);
      expect(code).toBe(2);
    }
    // Weights that overflowed have no results.
    const { tensors, metadata } = readSafetensors(readFileSync(file));
    tensors.values().next().value!.data[0] = NaN;
    await writeFile(file, writeSafetensors(tensors, metadata));
    const overflowed = await vgg(['evaluate', '--init', file, '--json']);
    expect(overflowed.stderr).toContain(
      'the loss on the test images is NaN, because its weights are not finite',
    );
    expect([overflowed.code, overflowed.stdout]).toEqual([1, '']);
  });
});

describe('runs', () => {
  test('are listed, compared, evaluated and reported', { timeout: 240_000 }, async () => {
    const root = join(folder, 'runs');
    const [a, b] = [join(root, 'a'), join(root, 'b')];
    const train = ['train', '--steps', '30', '--batch-size', '200', '--no-report', '--json', '--run'];
    const trained = jsonLines(await vgg([...train, a])).at(-1)!;
    expect(trained.run).toBe(a);
    await vgg([...train, b, '--lr', '0.003', '--seed', '2']);

    const listed = await vgg(['runs', root]);
    expect(listed.stdout).toMatch(
      /^run +state +epochs +test accuracy +best epoch +time +kernels\n─+\na +finished +1\/80 .* (native|wasm)/,
    );
    const [first, second] = jsonLines(await vgg(['runs', root, '--json']));
    expect(first).toMatchObject({ name: 'a', state: 'finished', testAccuracy: trained.testAccuracy });
    expect(second).toMatchObject({ name: 'b', config: { lr: 0.003, seed: 2 } });

    // In a narrow terminal, columns that do not fit follow below.
    const narrow = (await vgg(['runs', root], { env: { COLUMNS: '60' } })).stdout;
    expect(Math.max(...narrow.split('\n').map((line) => line.length))).toBeLessThanOrEqual(60);
    expect(narrow).toMatch(/\n\nrun .*kernels\n─+\na .*(native|wasm)/);

    const compared = jsonLines(await vgg(['compare', a, b, '--json']))[0]!;
    expect(compared.differences).toEqual({ lr: [0.001, 0.003], seed: [0, 2] });
    expect((await vgg(['compare', a, b])).stdout).toMatch(/\nlr +0\.001 +0\.003\n/);

    const evaluated = jsonLines(await vgg(['evaluate', a, '--json']))[0]!;
    expect(evaluated.accuracy).toBe(trained.testAccuracy);
    expect(evaluated.topFive).toBe(trained.testTopFive);

    const out = join(root, 'report.html');
    expect(jsonLines(await vgg(['report', a, b, '--out', out, '--json']))).toEqual([{ report: out }]);
    expect(await readFile(out, 'utf8')).toContain('</html>');
    expect((await vgg(['runs', join(folder, 'none')])).stderr).toContain('There are no runs in');
  });

  test('a training says by which accuracy it chose the best epoch', async () => {
    const args = ['train', '--validation', '0.1', '--steps', '2', '--no-report', '--device', 'wasm'];
    const { stdout, stderr } = await vgg(args);
    const [, accuracy] = stdout.match(
      /Validation loss: \d\.\d{4}, Validation accuracy: (\d+\.\d\d %), Test/,
    )!;
    expect(stderr).toContain(`\nBest epoch: 1, validation accuracy ${accuracy}, in `);
    const end = jsonLines(await vgg([...args, '--json'])).at(-1)!;
    const { validationAccuracy } = end;
    expect(end.best).toEqual({ epoch: 1, value: validationAccuracy, metric: 'validationAccuracy' });
  });

  /** A run folder with these epochs, as a training leaves it. */
  async function writeRun(
    dir: string,
    config: TrainConfigInput,
    epochs: readonly Partial<EpochRecord>[],
  ): Promise<void> {
    const run = await createRun(dir, parseConfig(config, 'test'));
    const table = await openMetrics(run.path('metrics'));
    const record = {
      lr: 0.1,
      trainLoss: 1,
      trainAccuracy: 0.5,
      testLoss: 2,
      testAccuracy: 0.4,
      testTopFive: 0.9,
    };
    const times = { trainSeconds: 1, testSeconds: 1, imagesPerSecond: 1 };
    const rows = epochs.map((own, i) => ({ epoch: i + 1, step: 10 * (i + 1), ...record, ...times, ...own }));
    await table.append(rows.map((row) => ({ kind: 'epoch' as const, ...row })));
    await table.close();
    await run.close();
  }

  test('runs and compare say which metric they show', async () => {
    const root = join(folder, 'metrics');
    const [held, plain, empty] = [join(root, 'held'), join(root, 'plain'), join(root, 'empty')];
    await writeRun(held, { validation: 0.1, epochs: 3, device: 'wasm' }, [
      { validationLoss: 1, validationAccuracy: 0.7, testAccuracy: 0.6 },
      { validationLoss: 1, validationAccuracy: 0.5, testAccuracy: 0.65 },
    ]);
    await writeRun(plain, { dataset: 'cifar10', epochs: 2 }, [{ testAccuracy: 0.3 }]);
    await writeRun(empty, { epochs: 4 }, []);
    const { stdout } = await vgg(['runs', root]);
    expect(stdout).toMatch(/\nheld .* 65\.00 % +70\.00 % \(validation\)\n/);
    expect(stdout).toMatch(/\nplain .* 30\.00 % +30\.00 % \(test\)\n/);
    expect(stdout).toMatch(/\nempty .* 0\/4 +– +–\n/);
    expect(jsonLines(await vgg(['runs', root, '--json']))[1]).toMatchObject({
      ...{ bestEpoch: 1, bestMetric: 'validationAccuracy', bestAccuracy: 0.6, bestValidationAccuracy: 0.7 },
      ...{ testAccuracy: 0.65, validationAccuracy: 0.5 },
    });

    const compared = await vgg(['compare', held, plain, empty]);
    expect(compared.stderr).toBe(
      'These runs are on different data sets (shapes, cifar10): their accuracies and losses cannot be compared.\n',
    );
    expect(compared.stdout).toMatch(/\nbest epoch chosen by +validation accuracy +test accuracy +–\n/);
    expect(compared.stdout).toMatch(/\ntest accuracy, last epoch +65\.00 % +30\.00 % +–\n/);
    expect(compared.stdout).toMatch(/\nvalidation accuracy, best epoch +70\.00 % +– +–\n/);
    const labels = compared.stdout.split('\n').map((line) => line.split(/ {2,}/)[0]);
    expect(labels).toContain('epochs');
    expect(labels.filter((label, i) => label !== '' && labels.indexOf(label) !== i)).toEqual([]);
  });

  test('a run is not compared with itself, whatever it is called', async () => {
    const root = join(folder, 'twice');
    const [a, link] = [join(root, 'a'), join(root, 'link')];
    await writeRun(a, {}, [{}]);
    symlinkSync(a, link);
    for (const [other, said] of [
      [a, `${a} is named twice`],
      [`${a}/`, `${a} and ${a}/ are the same run`],
      [join(relative(process.cwd(), a)), `${a} and ${relative(process.cwd(), a)} are the same run`],
      [link, `${a} and ${link} are the same run`],
    ] as const) {
      for (const command of ['compare', 'report']) {
        const { code, stderr } = await vgg([command, a, other]);
        expect(stderr).toBe(`error: ${command}: ${said}; name each run once\n`);
        expect(code).toBe(2);
      }
    }
  });

  test('seeds are trained one after the other, with mean and deviation', { timeout: 60_000 }, async () => {
    const root = join(folder, 'seeds');
    const args = [
      'train',
      '--steps',
      '5',
      '--seeds',
      '2',
      '--seed',
      '3',
      '--no-report',
      '--json',
      '--run',
      root,
    ];
    const { testAccuracy, mean, deviation } = jsonLines(await vgg(args)).at(-1)! as {
      testAccuracy: number[];
      mean: number;
      deviation: number;
    };
    const [x, y] = testAccuracy;
    expect(mean).toBeCloseTo((x! + y!) / 2, 12);
    expect(deviation).toBeCloseTo(Math.abs(x! - y!) / Math.SQRT2, 12);
    const listed = jsonLines(await vgg(['runs', root, '--json']));
    const names = ['seeds/seed-3', 'seeds/seed-4'];
    expect(listed.map(({ name }) => name)).toEqual([...names, 'seeds']);
    expect(listed.at(-1)).toEqual({ name: 'seeds', folder: root, seeds: 2, testAccuracy, mean, deviation });
    const percent = (share: number): string => (100 * share).toFixed(2);
    expect((await vgg(['runs', root])).stdout).toMatch(
      new RegExp(`\\nseeds +2 of 2 seeds +${percent(mean)} ± ${percent(deviation)} %`),
    );
    // In the folder around it, too.
    expect((await vgg(['runs', folder])).stdout).toMatch(/\nseeds\/seed-4 .*\nseeds +2 of 2 seeds /);

    // The folder of the series stands for its runs where they are compared; elsewhere they are named.
    const report = await vgg(['report', root, '--brief', '--json']);
    expect(JSON.parse(report.stdout)).toEqual({ report: join(root, 'report.html') });
    const html = await readFile(join(root, 'report.html'), 'utf8');
    for (const name of names) expect(html).toContain(String(name));
    for (const args of [
      ['evaluate', root],
      ['compare', root],
      ['compare', root, root],
    ]) {
      const refused = await vgg(args);
      expect(refused.stderr).toBe(
        `error: ${root} is a series of seeds, not a single run: ` +
          `name one or more of ${join(root, 'seed-3')} ${join(root, 'seed-4')}\n`,
      );
      expect(refused.code).toBe(1);
    }
  });

  test('a config comes from a recipe, a file and flags, the later one wins', async () => {
    const file = join(folder, 'config.ts');
    await writeFile(
      file,
      "console.log('Hello'); export default { model: 'vgg7', modelOptions: { hidden: 64 }, lr: 0.5, epochs: 2 };",
    );
    const args = ['train', '--recipe', 'cifar100-vgg7', '--config', file, '--epochs', '3', '--print-config'];
    const merged = await vgg(args);
    // What the file prints is no part of the result.
    expect(merged.stderr).toBe('Hello\n');
    const config = JSON.parse(merged.stdout) as Record<string, unknown>;
    expect(config).toMatchObject({ dataset: 'cifar100', lr: 0.5, epochs: 3, modelOptions: { hidden: 64 } });

    // What is said of an optimizer, a schedule or a data set goes with it, and the printed config is one to train by.
    await writeFile(file, "export default { schedule: 'step', lrStep: 3 };");
    const replaced = ['train', '--recipe', 'cifar100-vgg7-bn', '--config', file, '--optimizer', 'adam'];
    const printed = await vgg([...replaced, '--schedule', 'cosine', '--print-config']);
    const adam = JSON.parse(printed.stdout) as Record<string, unknown>;
    expect(adam).toMatchObject({ optimizer: 'adam', lr: 0.05, beta1: 0.9, schedule: 'cosine', minLr: 0 });
    for (const name of ['nesterov', 'momentum', 'lrStep']) expect(adam).not.toHaveProperty(name);
    await writeFile(join(folder, 'printed.json'), printed.stdout);
    const again = await vgg(['train', '--config', join(folder, 'printed.json'), '--print-config']);
    expect(again.stdout).toBe(printed.stdout);

    // What a recipe or a file turns on, or leaves on, a flag turns off, and the other way round.
    const off = ['--no-nesterov', '--no-normalize', '--no-augment', '--no-shuffle'];
    const recipe = ['train', '--recipe', 'cifar100-vgg7-bn', '--print-config'];
    const switches = { nesterov: true, normalize: true, augment: true, shuffle: true };
    expect(JSON.parse((await vgg(recipe)).stdout)).toMatchObject(switches);
    expect(JSON.parse((await vgg([...recipe, ...off])).stdout)).toMatchObject({
      ...{ nesterov: false, normalize: false, augment: false, shuffle: false },
    });
    await writeFile(file, 'export default { augment: false, shuffle: false };');
    const on = ['train', '--config', file, '--augment', '--shuffle', '--print-config'];
    expect(JSON.parse((await vgg(on)).stdout)).toMatchObject({ augment: true, shuffle: true });

    const options = ['--model-option', 'channels=8, 16', '--model-option', 'hidden=32'];
    const numbers = await vgg(['train', '--model', 'vgg7', ...options, '--print-config']);
    expect(JSON.parse(numbers.stdout)).toMatchObject({ modelOptions: { channels: [8, 16], hidden: 32 } });

    // Older versions wrote down every option; what is as by default there is no choice.
    const older = join(folder, 'older.json');
    const complete = { optimizer: 'adamw', momentum: 0.9, nesterov: false, milestones: [], patience: 10 };
    await writeFile(older, JSON.stringify(complete));
    const taken = await vgg(['train', '--config', older, '--print-config']);
    expect(taken.stderr).toBe('');
    expect(JSON.parse(taken.stdout)).toMatchObject({ optimizer: 'adamw', beta1: 0.9 });
    expect(JSON.parse(taken.stdout)).not.toHaveProperty('momentum');

    const idle = join(folder, 'idle.json');
    await writeFile(idle, '{"optimizer": "adam", "nesterov": true}');
    const refused = await vgg(['train', '--config', idle, '--optimizer', 'sgd']);
    expect(refused.stderr).toBe(
      `error: ${idle}: nesterov has no effect with optimizer adam: leave it out, or choose optimizer sgd\n`,
    );
    expect(refused.code).toBe(2);

    const wrong = join(folder, 'wrong.json');
    await writeFile(wrong, '{"epoch": 3}');
    const run = await vgg(['train', '--config', wrong]);
    expect(run.stderr).toBe(`error: ${wrong}: there is no option "epoch"; did you mean "epochs"?\n`);
    expect(run.code).toBe(2);
  });

  test('an end that makes a step of the optimizer after all is allowed', async () => {
    const half = ['--validation', '0.5', '--batch-size', '5000', '--steps', '1', '--accumulate', '2'];
    const printed = await vgg(['train', ...half, '--print-config']);
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
    const { code, stderr } = await vgg(['train', '--config', file]);
    expect(stderr).toMatch(/^error: .+\n$/);
    for (const part of [`--config ${file}`, rule, wayOut]) expect(stderr).toContain(part);
    expect(code).toBe(2);
  });
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
  const run = await vgg(['train', ...args.split(' '), '--print-config']);
  expect(run.stderr).toBe('');
  expect(JSON.parse(run.stdout)).toMatchObject(config);
});

describe('help', () => {
  const commands = [
    '',
    'train',
    'evaluate',
    'lr-find',
    'tune',
    'tune status',
    'report',
    'runs',
    'compare',
    'summary',
    'stats',
    'download',
    'kernels',
    'doctor',
  ];
  test.for(commands)('vgg %s --help fits 80 columns and names commands that work here', async (command) => {
    const { stdout, code } = await vgg([...command.split(' ').filter(Boolean), '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Usage: npx vgg /);
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(stdout).not.toMatch(/\$ vgg /);
  });

  test('options stand under headings, and boolean ones show both forms', async () => {
    const { stdout } = await vgg(['train', '--help']);
    const headings = stdout.match(/^[A-Z][a-z ]+:$/gm);
    const groups = ['Network', 'Images', 'Length', 'Steps', 'Optimizer', 'Schedule', 'Machine', 'Run folder'];
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

describe('bad input', () => {
  const cases: readonly (readonly [args: string, code: number, message: string])[] = [
    ['trian', 2, 'there is no command trian; did you mean train?'],
    ['train --epoch 3', 2, 'there is no option --epoch; did you mean --epochs?'],
    ['train --learning-rate 3', 2, 'there is no option --learning-rate; did you mean --lr?'],
    ['train --flavour 3', 2, 'there is no option --flavour; npx vgg train --help lists the options'],
    ['train --model vgg16', 2, 'there is no model "vgg16"; build other chains of layers with sequential()'],
    ['train --model vgg8', 2, 'there is no model "vgg8"; did you mean "vgg7"?'],
    ['train --dataset cifar', 2, 'there is no data set "cifar"; did you mean "cifar10"?'],
    ['train --device webgpu', 2, 'there is no device "webgpu"; vggnet runs on the CPU'],
    ['report runs/a --device cuda', 2, 'Available: auto, native, wasm, reference'],
    ['train --dataset cifar100 --labels course', 2, 'did you mean "coarse"?'],
    [
      'train --labels fine',
      2,
      '--labels has no effect with dataset shapes: leave it out, or choose --dataset',
    ],
    ['train --dataset cifar10 --labels coarse', 2, '--labels has no effect with dataset cifar10'],
    ['train --data /tmp', 2, '--data has no effect with dataset shapes'],
    ['evaluate --init a --data /tmp', 1, 'a cannot be read: no such file'],
    [
      'train --nesterov',
      2,
      '--nesterov has no effect with optimizer adam: leave it out, or choose --optimizer sgd',
    ],
    ['train --optimizer sgd --beta1 0.9', 2, '--beta1 has no effect with optimizer sgd'],
    ['train --schedule cosine --milestones 3,6', 2, '--milestones has no effect with schedule cosine'],
    [
      'train --schedule oneCycle --lr-step 3 --lr-gamma 0.1',
      2,
      '--lr-step has no effect with schedule oneCycle',
    ],
    ['train --schedule oneCycle --warmup 1', 2, '--warmup has no effect with schedule oneCycle'],
    [
      'train --patience 3',
      2,
      '--patience has no effect with schedule step: leave it out, or choose --schedule plateau',
    ],
    ['train --no-run --checkpoint-every 10', 2, '--checkpoint-every has no effect with --no-run'],
    ['lr-find --epochs 3', 2, 'there is no option --epochs; npx vgg lr-find --help lists the options'],
    ['train --no-nesterov', 2, '--no-nesterov has no effect with optimizer adam'],
    ['lr-find --momentum 0.5', 2, '--momentum has no effect with optimizer adam'],
    ['train --model vgg7 --model-option chanels=8,8', 2, 'did you mean "channels"?'],
    ['train --model vgg7 --model-option channels=8', 2, 'channels=8 is not 2 whole numbers ≥ 1'],
    ['train --model vgg7 --model-option channels', 2, '"channels" does not have the form name=value'],
    ['train --epochs 0', 2, '--epochs 0 is not a whole number ≥ 1'],
    ['train --epochs -3', 2, '--epochs -3 is not a whole number ≥ 1'],
    ['train --epochs 1.5', 2, '--epochs 1.5 is not a whole number ≥ 1'],
    ['train --steps many', 2, '--steps many is not a whole number ≥ 1'],
    ['train --steps 0', 2, '--steps 0 is not'],
    ['train --log-every 0', 2, '--log-every 0 is not'],
    ['train --batch-size -100', 2, '--batch-size -100 is not a whole number ≥ 1'],
    ['train --batch-size 0x10', 2, '--batch-size 0x10 is not a whole number ≥ 1'],
    ['train --batch-size 4/2', 2, '--batch-size 4/2 is not a whole number ≥ 1'],
    ['train --batch-size 1e5', 2, 'batch size 100000 is larger than the 10000 images of shapes'],
    ['train --epochs 1e20', 2, '--epochs 1e20 is above the limit of 4294967295'],
    ['train --threads 1000', 2, '--threads 1000 is above the limit of 256'],
    ['train --seeds 1_000', 2, '--seeds 1_000 is not a whole number ≥ 1'],
    ['summary vgg7 --batch-size 3x', 2, '--batch-size 3x is not'],
    ['train --batch-size 10001', 2, 'batch size 10001 is larger than the 10000 images of shapes'],
    ['train --lr 0', 2, '--lr 0 is not a number above 0'],
    ['train --lr -0.1', 2, '--lr -0.1 is not a number above 0'],
    ['train --lr fast', 2, '--lr fast is not a number above 0'],
    ['train --lr Infinity', 2, '--lr Infinity is not a number above 0'],
    ['train --lr 0x10', 2, '--lr 0x10 is not a number above 0'],
    ['lr-find --from 0x1', 2, '--from 0x1 is not a number above 0'],
    ['train --lr-gamma 1/0', 2, '--lr-gamma 1/0 is not a number above 0'],
    ['train --lr-gamma 1/3/3', 2, '--lr-gamma 1/3/3 is not'],
    ['train --lr-gamma 0', 2, '--lr-gamma 0 is not'],
    ['train --momentum 1', 2, '--momentum 1 is not a number of at least 0 and below 1'],
    ['train --optimizer rmsprop', 2, 'there is no optimizer "rmsprop"; adam and adamw also adapt'],
    ['train --milestones 3,x', 2, 'milestones'],
    ['train --schedule multiStep', 2, 'multiStep has no milestones'],
    ['train --schedule multiStep --print-config', 2, 'multiStep has no milestones; name the epochs'],
    [
      'train --schedule multiStep --milestones 3,2',
      2,
      'milestones 3, 2 are not ascending whole numbers ≥ 1; name each epoch once, in order',
    ],
    ['train --schedule multiStep --milestones 2,2 --print-config', 2, 'milestones 2, 2 are not ascending'],
    [
      'train --schedule cosine --min-lr 0.001',
      2,
      'minLr = 0.001 is not at least 0 and below the learning rate 0.001; use a lower minLr',
    ],
    ['train --cutout 33', 2, 'cutout 33 is larger than the images of shapes, 32 × 32 pixels; use at most 32'],
    [
      'train --steps 3 --accumulate 4',
      2,
      'steps 3 ends the training before its first optimizer step, which needs 4 batches (accumulate 4)',
    ],
    ['train --checkpoint-every soon', 2, '--checkpoint-every soon is neither'],
    ['train --checkpoint-every 0x10', 2, '--checkpoint-every 0x10 is neither'],
    ['train --checkpoint-every 1.5', 2, '--checkpoint-every 1.5 is neither'],
    ['train --checkpoint-every 1e30', 2, '--checkpoint-every 1e30 is above the limit of'],
    ['train --milestones 3,0x10 --schedule multiStep', 2, 'milestones'],
    ['train --recipe cifar100', 2, 'did you mean "cifar100-vgg7"?'],
    [
      'train --config /nowhere.json',
      2,
      '--config /nowhere.json cannot be read: no such file or folder; name a',
    ],
    ['train --config /nowhere.ts', 2, '--config /nowhere.ts cannot be read: no such file or folder; name a'],
    ['train --config src', 2, '--config src cannot be read: it is a folder; name a'],
    ['tune --config /nowhere.json', 2, '--config /nowhere.json cannot be read'],
    ['tune stat x', 2, 'there is no tune command "stat"; did you mean "status"?'],
    ['train --resume /nowhere', 1, '/nowhere is not a run folder'],
    ['train --run a --no-run', 2, '--no-run saves nothing, and --run names where to save'],
    ['train --lr-step 0', 2, '--lr-step 0 is not a whole number ≥ 1'],
    ['train --seed -1', 2, '--seed -1 is not a whole number ≥ 0'],
    ['train --threads 0', 2, '--threads 0 is not a whole number ≥ 1'],
    ['train --threads two', 2, '--threads two is not'],
    ['train --epochs', 2, "option '--epochs <n>' argument missing"],
    ['train shapes', 2, 'too many arguments'],
    ['train --dataset cifar10 --data /nowhere', 1, '/nowhere'],
    ['train --save /nowhere/weights.safetensors', 1, 'the folder /nowhere does not exist'],
    ['train --save /', 1, '--save / is a folder; name a file elsewhere'],
    [
      'train --run /dev/null/run',
      1,
      'cannot create the folder /dev/null/run: part of its path is a file, not a folder',
    ],
    ['train --init /nowhere.safetensors', 1, '/nowhere.safetensors'],
    ['evaluate', 2, 'name a run folder, or weights with --init FILE.safetensors'],
    ['evaluate /nowhere', 1, '/nowhere is not a run folder'],
    ['evaluate runs/a --model vgg7', 2, 'runs/a has its own model; leave out --model,'],
    ['report /nowhere', 1, '/nowhere is not a run folder'],
    ['report', 2, "missing required argument 'run'"],
    ['compare runs/a', 2, 'name two runs or more'],
    ['lr-find --from 1 --to 0.1', 2, 'rates from 1 to 0.1 do not rise'],
    ['summary', 2, "missing required argument 'model'"],
    ['summary vgg17', 2, 'there is no model "vgg17"'],
    ['download cifar11', 2, 'did you mean "cifar10"?'],
    ['kernels gem', 2, 'did you mean "gemm'],
    ['stats --dataset mnist', 2, 'there is no data set "mnist"; to train on other images'],
  ];
  test.for(cases)('vgg %s', async ([args, code, message]) => {
    const run = await vgg(args.split(' '));
    expect(run.stderr).toContain(message);
    expect(run.stderr).toMatch(/^error: /);
    expect(run.stderr).not.toMatch(/^\s+at /m);
    expect(run.stdout).toBe('');
    expect(run.code).toBe(code);
  });

  test.skipIf(process.platform !== 'linux')('a run folder where the system lets none be made', async () => {
    const run = await vgg(['train', '--run', '/proc/x']);
    expect(run.stderr).toBe('error: cannot create a folder in /proc\n');
    expect(run.code).toBe(1);
  });

  test('a kernel larger than its input', async () => {
    const run = await vgg(['train', '--model', 'vgg7', '--model-option', 'poolKernels=40,2']);
    expect(run.stderr).toMatch(/^error: maxPool2d: kernel 40×40 does not fit the 32×32 input/);
    expect(run.code).toBe(2);
  });

  test('a loss that is not finite stops the training; the error names epoch and step', async () => {
    const run = await vgg(['train', '--lr', '1e30', '--json']);
    expect(run.stderr).toMatch(/error: the loss became (NaN|-?Infinity) in epoch 1, step \d+: /);
    expect(run.code).toBe(1);
    expect(jsonLines(run).map(({ event }) => event)).toEqual(['start']);
  });

  test('weights that the last step destroys are an error, and are never kept', async () => {
    const [dir, save] = [join(folder, 'diverged'), join(folder, 'diverged.safetensors')];
    const args = ['--steps', '1', '--optimizer', 'sgd', '--lr', '1e20', '--run', dir, '--save', save];
    const run = await vgg(['train', ...args]);
    expect(run.stderr).toMatch(/error: the (weights are not finite|test loss is NaN) after epoch 1, step 1/);
    expect(run.stderr).toContain('lower the learning rate (--lr; now 1e+20)');
    expect(run.code).toBe(1);
    expect(run.stdout).not.toContain('Accuracy');
    expect(readdirSync(dir).filter((name) => name.endsWith('.safetensors'))).toEqual([]);
    expect(existsSync(save)).toBe(false);
    expect(JSON.parse(readFileSync(join(dir, 'state.json'), 'utf8'))).toMatchObject({ state: 'failed' });
  });

  test('a weight file that is none, and one of another network', async () => {
    const none = join(folder, 'none.safetensors');
    await writeFile(none, 'this is no weight file');
    const notWeights = await vgg(['evaluate', '--init', none]);
    expect(notWeights.stderr).toMatch(/^error: .*none\.safetensors: not a safetensors file/);
    expect(notWeights.code).toBe(1);

    const other = join(folder, 'other.safetensors');
    await vgg(['train', '--steps', '1', '--save', other]);
    // As PyTorch would write it, for a file of ours says its network.
    const { tensors } = readSafetensors(await readFile(other));
    await writeFile(other, writeSafetensors(tensors));
    const vgg7 = await vgg(['evaluate', '--model', 'vgg7', '--init', other]);
    expect(vgg7.stderr).toMatch(
      /^error: .*other\.safetensors: weights do not fit vgg7 .*features\.0\.weight/,
    );
    expect(vgg7.code).toBe(1);
  });
});

describe('interrupting', () => {
  const train = ['train', '--log-every', '1'];

  test.for(['SIGINT', 'SIGTERM'] as const)(
    '%s ends without a trace and says that nothing was saved',
    async (signal) => {
      const run = await vgg([...train, '--no-run'], { interrupt: { signal, after: 'Loss: ' } });
      expect(run.stderr).toMatch(
        /\nInterrupted\. Nothing was saved after epoch \d+(, step \d+)?\. Without --no-run, a run folder/,
      );
      expect(run.stderr).not.toMatch(/^\s+at /m);
      expect(run.stdout).not.toContain('Accuracy');
      expect(run.code).toBe(signal === 'SIGINT' ? 130 : 143);
    },
  );

  test('the command that resumes works for a folder with a space', async () => {
    const run = await vgg([...train, '--no-report', '--run', join(folder, 'a b')], {
      interrupt: { signal: 'SIGINT', after: 'Loss: ' },
    });
    expect(run.stderr).toMatch(/Resume with:\n {2}npx vgg train --resume '\S+a b'\n$/);
  });

  test('with --save the weights so far are kept and can be trained further', async () => {
    const file = join(folder, 'interrupted.safetensors');
    const run = await vgg([...train, '--json', '--save', file], {
      interrupt: { signal: 'SIGINT', after: '"step":20,' },
    });
    expect(run.code).toBe(130);
    expect(run.stderr).toMatch(
      /The weights after epoch \d+(, step \d+)? are in .*interrupted\.safetensors\./,
    );
    expect(jsonLines(run).at(-1)).toMatchObject({ event: 'end', reason: 'interrupted', saved: file });
    expect((await vgg(['evaluate', '--init', file])).code).toBe(0);
  });
});

describe.skipIf(process.platform !== 'linux')('output that cannot be written', () => {
  const quick = ['train', '--steps', '6', '--batch-size', '20', '--device', 'wasm', '--threads', '1'];
  const bash = (words: readonly string[], rest: string, env: NodeJS.ProcessEnv = {}) => {
    const command = [process.execPath, bin, ...words].map((word) => `'${word}'`).join(' ');
    return spawnSync('bash', ['-c', `${command} ${rest}`], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
    });
  };
  const stateOf = async (run: string): Promise<unknown> =>
    (JSON.parse(await readFile(join(run, 'state.json'), 'utf8')) as { state: unknown }).state;

  test.each([
    ['a full disk', '> /dev/full', 'standard output cannot be written: no space left on the disk. Training'],
    [
      'a reader that is gone',
      '--json | head -n 1; exit $PIPESTATUS',
      'cannot be written: its reader has closed it. Training',
    ],
    ['readers that are gone', '2>&1 | true; exit $PIPESTATUS', ''],
  ])('costs no run: %s', async (name, rest, said) => {
    const run = join(folder, `output ${name}`);
    const { status, stderr } = bash([...quick, '--no-report', '--log-every', '1', '--run', run], rest);
    expect(stderr).toContain(said);
    expect(stderr).not.toMatch(/EPIPE|ENOSPC|^\s+at /m);
    expect(status).toBe(0);
    expect(await stateOf(run)).toBe('finished');
  });

  test('ends a command that has nothing to keep: quietly where its reader left, else with exit code 1', () => {
    const idle = [...quick, '--no-run', '--log-every', '1'];
    const left = bash(idle, '--json | head -n 2; exit $PIPESTATUS');
    expect(left.status).toBe(0);
    expect(left.stdout.split('\n')).toHaveLength(3);
    expect(left.stderr).not.toMatch(/EPIPE|^\s+at /m);
    const full = 'error: standard output cannot be written: no space left on the disk\n';
    expect(bash(['kernels'], '> /dev/full')).toMatchObject({ status: 1, stderr: full });
    expect(bash(idle, '> /dev/full')).toMatchObject({ status: 1, stderr: expect.stringContaining(full) });
    expect(bash(['trian'], '2> /dev/full').status).toBe(2);
  });

  test('leaves a search to its end', async () => {
    const study = join(folder, 'output of tune');
    const space = join(folder, 'output-space.json');
    await writeFile(space, '{"lr":{"choices":[0.1,0.01]},"steps":2,"batchSize":10,"device":"wasm"}');
    const words = ['tune', '--config', space, '--trials', '2', '--no-report', '--study', study];
    const { status, stderr } = bash([...words, '--json'], '> /dev/full');
    expect(stderr).toContain(
      'standard output cannot be written: no space left on the disk. The search continues',
    );
    expect(status).toBe(0);
    const { stdout } = await vgg(['tune', 'status', study, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ counts: { complete: 2 } });
  });
});
