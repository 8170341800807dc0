/** The commands that look at runs: `runs`, `compare`, `evaluate` and `report`. */
import { symlinkSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRun } from '../src/runs/run.ts';
import { openMetrics } from '../src/runs/table-files.ts';
import { parseConfig } from '../src/train/config.ts';
import type { TrainConfigInput } from '../src/train/config-table.ts';
import type { EpochRecord } from '../src/train/records.ts';
import { jsonLines, quickVgg, vgg } from './run-vgg.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-cli-runs-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('are listed, compared, evaluated and reported', { timeout: 240_000 }, async () => {
  const root = join(folder, 'runs');
  const [a, b] = [join(root, 'a'), join(root, 'b')];
  const train = ['train', '--steps', '30', '--batch-size', '200', '--no-report', '--json', '--run'];
  const trained = jsonLines(await vgg([...train, a])).at(-1)!;
  expect(trained.run).toBe(a);
  await vgg([...train, b, '--lr', '0.003', '--seed', '2']);

  const listed = await quickVgg(['runs', root]);
  expect(listed.stdout).toMatch(
    /^run +state +epochs +test accuracy +best epoch +time +kernels\n─+\na +finished +1\/80 .* (native|wasm)/,
  );
  const [first, second] = jsonLines(await quickVgg(['runs', root, '--json']));
  expect(first).toMatchObject({ name: 'a', state: 'finished', testAccuracy: trained.testAccuracy });
  expect(second).toMatchObject({ name: 'b', config: { lr: 0.003, seed: 2 } });

  // In a narrow terminal, columns that do not fit follow below.
  const narrow = (await vgg(['runs', root], { env: { COLUMNS: '60' } })).stdout;
  expect(Math.max(...narrow.split('\n').map((line) => line.length))).toBeLessThanOrEqual(60);
  expect(narrow).toMatch(/\n\nrun .*kernels\n─+\na .*(native|wasm)/);

  const compared = jsonLines(await quickVgg(['compare', a, b, '--json']))[0]!;
  expect(compared.differences).toEqual({ lr: [0.001, 0.003], seed: [0, 2] });
  expect((await quickVgg(['compare', a, b])).stdout).toMatch(/\nlr +0\.001 +0\.003\n/);

  const evaluated = jsonLines(await vgg(['evaluate', a, '--json']))[0]!;
  expect(evaluated.accuracy).toBe(trained.testAccuracy);
  expect(evaluated.topFive).toBe(trained.testTopFive);

  const out = join(root, 'report.html');
  expect(jsonLines(await vgg(['report', a, b, '--out', out, '--json']))).toEqual([{ report: out }]);
  expect(await readFile(out, 'utf8')).toContain('</html>');
  expect((await quickVgg(['runs', join(folder, 'none')])).stderr).toContain('There are no runs in');
});

test('a training says by which accuracy it chose the best epoch', async () => {
  const args = ['train', '--validation', '0.1', '--steps', '2', '--no-report', '--device', 'wasm'];
  const { stdout, stderr } = await vgg(args);
  const [, accuracy] = stdout.match(/Validation loss: \d\.\d{4}, Validation accuracy: (\d+\.\d\d %), Test/)!;
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
  const { stdout } = await quickVgg(['runs', root]);
  expect(stdout).toMatch(/\nheld .* 65\.00 % +70\.00 % \(validation\)\n/);
  expect(stdout).toMatch(/\nplain .* 30\.00 % +30\.00 % \(test\)\n/);
  expect(stdout).toMatch(/\nempty .* 0\/4 +– +–\n/);
  expect(jsonLines(await quickVgg(['runs', root, '--json']))[1]).toMatchObject({
    ...{ bestEpoch: 1, bestMetric: 'validationAccuracy', bestAccuracy: 0.6, bestValidationAccuracy: 0.7 },
    ...{ testAccuracy: 0.65, validationAccuracy: 0.5 },
  });

  const compared = await quickVgg(['compare', held, plain, empty]);
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
      const { code, stderr } = await quickVgg([command, a, other]);
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
  const listed = jsonLines(await quickVgg(['runs', root, '--json']));
  const names = ['seeds/seed-3', 'seeds/seed-4'];
  expect(listed.map(({ name }) => name)).toEqual([...names, 'seeds']);
  expect(listed.at(-1)).toEqual({ name: 'seeds', folder: root, seeds: 2, testAccuracy, mean, deviation });
  const percent = (share: number): string => (100 * share).toFixed(2);
  expect((await quickVgg(['runs', root])).stdout).toMatch(
    new RegExp(`\\nseeds +2 of 2 seeds +${percent(mean)} ± ${percent(deviation)} %`),
  );
  // In the folder around it, too.
  expect((await quickVgg(['runs', folder])).stdout).toMatch(/\nseeds\/seed-4 .*\nseeds +2 of 2 seeds /);

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
    const refused = await quickVgg(args);
    expect(refused.stderr).toBe(
      `error: ${root} is a series of seeds, not a single run: ` +
        `name one or more of ${join(root, 'seed-3')} ${join(root, 'seed-4')}\n`,
    );
    expect(refused.code).toBe(1);
  }
});
