import { expect, test } from 'vitest';
import { vgg } from '../../test/run-vgg.ts';

test('vgg summary prints the table and the memory of training', async () => {
  const { code, stdout } = await vgg(['summary', 'simplified', '--dataset', 'cifar100', '--threads', '2']);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^conv1 .* 16×30×30 .* 448 .* 388,800 /m);
  expect(stdout).toMatch(/^fc .* 100 .* 156,900 /m);
  expect(stdout).toMatch(/^Training with batches of 100 on 2 threads takes \d+\.\d MiB\.$/m);
});

test('vgg summary --json gives one object', async () => {
  const run = await vgg('summary vgg7 --model-option hidden=20 --batch-size 7 --threads 1 --json'.split(' '));
  expect(run.stdout.trim().split('\n')).toHaveLength(1);
  const summary = JSON.parse(run.stdout) as {
    layers: { name: string; output: number[] }[];
    training: object;
  };
  expect(summary.layers.find(({ name }) => name === 'classifier.0')?.output).toEqual([20]);
  expect(summary.training).toMatchObject({ batchSize: 7, threads: 1, bytes: expect.any(Number) as number });
});

test('a batch that does not fit is said to, with the largest one that does', async () => {
  const run = await vgg(['summary', 'simplified', '--batch-size', '1e9', '--threads', '2']);
  expect(run.code).toBe(0);
  const [, takes, batch] =
    /^Training with batches of 1000000000 on 2 threads takes ([\d.]+ GiB), but [^:]*\. Use --batch-size (\d+) or less\.$/m.exec(
      run.stdout,
    ) ?? [];
  expect(takes).toBeDefined();
  const fits = async (size: number): Promise<unknown> => {
    const args = ['summary', 'simplified', '--batch-size', String(size), '--threads', '2', '--json'];
    return (JSON.parse((await vgg(args)).stdout) as { training: object }).training;
  };
  expect(await fits(Number(batch))).toMatchObject({ fits: true });
  expect(await fits(Number(batch) + 1)).toMatchObject({ fits: false, largestBatch: Number(batch) });
});

test('a network that is too large for any batch', async () => {
  const huge = ['summary', 'vgg7', '--model-option', 'channels=9000,9000'];
  const run = await vgg(huge);
  expect(run.code).toBe(0);
  expect(run.stdout).toMatch(/ [GT]iB, but .*cannot be trained here\. Use fewer channels/);
  const json = JSON.parse((await vgg([...huge, '--json'])).stdout) as { training: object };
  expect(json.training).toMatchObject({ fits: false, largestBatch: 0 });
});
