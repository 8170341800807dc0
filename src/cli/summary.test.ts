import { expect, test } from 'vitest';
import { vgg } from '../../test/run-vgg.ts';

interface Work {
  readonly work: { readonly kind: string; readonly batch: number };
  readonly fits: boolean;
  readonly largestBatch: number | null;
}

const memoryOf = async (...args: readonly string[]): Promise<readonly Work[]> => {
  const { stdout } = await vgg(['summary', ...args, '--json']);
  return (JSON.parse(stdout) as { memory: { works: Work[] } }).memory.works;
};

test('vgg summary prints the layers and the memory of each kind of work', async () => {
  const { code, stdout } = await vgg('summary simplified --dataset cifar100 --threads 2 --layers'.split(' '));
  expect(code).toBe(0);
  expect(stdout).toMatch(/^conv1 .* 16×30×30 .* 448 .* 388,800 /m);
  expect(stdout).toMatch(/^fc .* 100 .* 156,900 /m);
  expect(stdout).toMatch(/^Memory on 2 threads:$/m);
  expect(stdout).toMatch(/^predict 1 +\d+\.\d \w+ .* (any|[\d,]+) +(any|[\d,]+)$/m);
  expect(stdout).toMatch(/^train 100, Adam .* (any|[\d,]+) +(any|[\d,]+)$/m);
});

test('vgg summary --json gives one object', async () => {
  const run = await vgg('summary vgg7 --model-option hidden=20 --batch-size 7 --threads 1 --json'.split(' '));
  expect(run.stdout.trim().split('\n')).toHaveLength(1);
  const summary = JSON.parse(run.stdout) as {
    layers: { name: string; output: number[] }[];
    memory: object;
  };
  expect(summary.layers.find(({ name }) => name === 'classifier.0')?.output).toEqual([20]);
  expect(summary.memory).toMatchObject({
    threads: 1,
    works: [{}, {}, { work: { batch: 7 }, bytes: expect.any(Number) as number }, {}],
  });
});

test('a batch that does not fit is said to, with the largest one that does', async () => {
  const run = await vgg(['summary', 'vgg7', '--batch-size', '1e9', '--threads', '2']);
  expect(run.code).toBe(0);
  const [, batch] =
    /^More than the .*: train 1,000,000,000, SGD; .* Use --batch-size (\d+) or less\.$/m.exec(run.stdout) ??
    [];
  expect(batch).toBeDefined();
  const sgd = async (size: number): Promise<Work | undefined> =>
    (await memoryOf('vgg7', '--batch-size', String(size), '--threads', '2'))[2];
  // Adam needs a little more than SGD.
  expect(await sgd(Number(batch))).toMatchObject({ fits: true });
  const most = (await sgd(7))!.largestBatch!;
  expect(most).toBeGreaterThanOrEqual(Number(batch));
  expect(await sgd(most)).toMatchObject({ fits: true, largestBatch: most });
  expect(await sgd(most + 1)).toMatchObject({ fits: false, largestBatch: most });
});

test('a network that is too large for any batch', async () => {
  const huge = ['vgg7', '--model-option', 'channels=9000,9000'];
  const run = await vgg(['summary', ...huge]);
  expect(run.code).toBe(0);
  expect(run.stdout).toMatch(/^More than the .*: .*train 100, SGD; train 100, Adam\. Use fewer channels/m);
  for (const { work, fits, largestBatch } of await memoryOf(...huge)) {
    if (work.kind === 'train') expect({ fits, largestBatch }).toEqual({ fits: false, largestBatch: 0 });
  }
});

test('the paper’s networks are shown for ImageNet, in the columns of the lecture', async () => {
  const { code, stdout } = await vgg(['summary', 'vgg16', '--threads', '2']);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^ +layer +maps +size +kernel +stride +activation +parameters +multiply-adds$/m);
  expect(stdout).toMatch(/^1 +2 × convolution +64 +224×224×64 +3×3 +1 +relu +38,720 +1,936,392,192$/m);
  expect(stdout).toMatch(/^14 +2 × linear +4096 +4096 +relu, dropout 0\.5 +119,545,856 /m);
  expect(stdout).toMatch(/^ +vgg16 +138,357,544 +15,470,264,320$/m);
});

test('--freeze shows the memory and the plan of training with frozen layers', async () => {
  const plain = ['vgg11', '--size', '64', '--classes', '5', '--batch-size', '16', '--threads', '2'];
  const args = [...plain, '--freeze', 'features'];
  const { code, stdout } = await vgg(['summary', ...args, '--plan']);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^Frozen: 8 layers with [\d,]+ parameters; [\d,]+ are trained\.$/m);
  expect(stdout).toMatch(/^features\.0 .* none +/m);
  const [before, after] = await Promise.all([memoryOf(...plain), memoryOf(...args)]);
  const bytes = (works: readonly Work[], i: number): number => (works[i] as Work & { bytes: number }).bytes;
  expect(bytes(after, 0)).toBe(bytes(before, 0));
  expect(bytes(after, 2)).toBeLessThan(0.8 * bytes(before, 2));
  const wrong = await vgg(['summary', ...plain, '--freeze', 'feature']);
  expect(wrong).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('did you mean "features"') as string,
  });
});

test('size and classes may be chosen; small images get a small classifier', async () => {
  const { stdout } = await vgg('summary vgg11 --size 40x32 --classes 7 --threads 2 --json'.split(' '));
  const { input, layers } = JSON.parse(stdout) as { input: number[]; layers: { name: string }[] };
  expect(input).toEqual([3, 40, 32]);
  expect(layers.at(-1)).toMatchObject({ name: 'classifier', output: [7], parameters: 7 * 513 });
  const wrong = await vgg(['summary', 'vgg16', '--size', '0x4']);
  expect(wrong).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--size 0x4 is neither') as string,
  });
});

interface GpuStep {
  readonly optimizer: string;
  readonly bytes: number;
  readonly largestBuffer: number;
  readonly dispatches: number;
  readonly operations: number;
  readonly traffic: number;
  readonly intensity: number;
  readonly buffers: readonly { readonly label: string; readonly bytes: number }[];
  readonly groups: readonly { readonly name: string; readonly bytes: number; readonly count: number }[];
}

test('--device webgpu shows the buffers of a step on a GPU, without one', async () => {
  const args = 'summary vgg16 --device webgpu --batch-size 64'.split(' ');
  const { code, stdout } = await vgg(args);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^maps +output of features\.1 +18 +784\.0 MiB +2\.1 GiB +2\.1 GiB$/m);
  expect(stdout).toMatch(
    /^optimizer +firstMoment of classifier\.0\.weight +32 +392\.1 MiB +527\.9 MiB +1\.0 GiB$/m,
  );
  expect(stdout).toMatch(
    /^A step with Adam has \d+ dispatches and computes [\d.]+ GFLOP\. It moves [\d.]+ GiB/m,
  );
  const { gpu } = JSON.parse((await vgg([...args, '--json'])).stdout) as { gpu: GpuStep[] };
  const [sgd, adam] = gpu as [GpuStep, GpuStep];
  expect([sgd.optimizer, adam.optimizer]).toEqual(['sgd', 'adam']);
  for (const { buffers, groups, bytes } of gpu) {
    const sum = (list: readonly { readonly bytes: number }[]): number =>
      list.reduce((all, own) => all + own.bytes, 0);
    expect(sum(buffers)).toBe(bytes);
    expect(sum(groups)).toBe(bytes);
    expect(groups.at(-1)!.name).toBe('others');
    expect(buffers.map((own) => own.bytes)).toEqual(
      buffers.map((own) => own.bytes).toSorted((a, b) => b - a),
    );
  }
  // Forward, input gradients and weight gradients, without the first input gradient; images have a fourth channel.
  const forward = 2 * 64 * 15_470_264_320;
  expect(adam.operations).toBeGreaterThan(2.95 * forward);
  expect(adam.operations).toBeLessThan(3.05 * forward);
  // Each output map of 784 MiB is written once, and read and written by neighbors; buffers of all layers count as used.
  expect(adam.traffic).toBeGreaterThan(2 * adam.bytes);
  expect(adam.traffic).toBeLessThan(5 * adam.bytes);
  expect(adam.intensity).toBeCloseTo(adam.operations / adam.traffic, 6);
});

test('--device webgpu with frozen layers needs less, and nothing of the CPU', async () => {
  const plain = 'summary vgg11 --size 32 --classes 5 --device webgpu'.split(' ');
  const bytesOf = async (...more: readonly string[]): Promise<number> =>
    (JSON.parse((await vgg([...plain, '--json', ...more])).stdout) as { gpu: GpuStep[] }).gpu[1]!.bytes;
  expect(await bytesOf('--freeze', 'features')).toBeLessThan(0.7 * (await bytesOf()));
  for (const flag of [['--plan'], ['--profile'], ['--threads', '2']]) {
    expect(await vgg([...plain, ...flag])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(`${flag[0]} is about the CPU's kernels`) as string,
    });
  }
});
