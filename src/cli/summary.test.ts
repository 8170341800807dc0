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
