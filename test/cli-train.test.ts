/**
 * `vgg train` as a user meets it: what it prints, its exit codes, its files bit by bit, and how it ends when it is
 * interrupted.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readSafetensors, writeSafetensors } from '../src/model/safetensors.ts';
import { jsonLines, quickVgg, vgg } from './run-vgg.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-cli-train-'));
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
    const args = [
      'train',
      '--batch-size',
      '4000',
      '--steps',
      '4',
      '--log-every',
      '1',
      '--json',
      '--no-report',
    ];
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
      const own = ['--steps', '6', '--batch-size', '37', '--no-report', '--save', file];
      const { code } = await vgg(['train', ...own, ...args]);
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
    const options = ['--normalize', '--lr', '0.003', '--epochs', '1', '--no-report'];
    const args = [...model, ...options, '--json', '--save', file];
    const trained = jsonLines(await vgg(['train', ...args])).at(-1)!;
    expect(trained.saved).toBe(file);
    const evaluated = jsonLines(await vgg(['evaluate', file, '--json']))[0]!;
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
      const { code, stderr } = await quickVgg([
        command,
        ...(command === 'train' ? ['--init'] : []),
        file,
        flag,
      ]);
      expect(stderr).toContain(`trained with`);
      expect(stderr).toContain(problem);
      expect(code).toBe(2);
    }
    // Weights that overflowed have no results.
    const { tensors, metadata } = readSafetensors(readFileSync(file));
    tensors.values().next().value!.data[0] = NaN;
    await writeFile(file, writeSafetensors(tensors, metadata));
    const overflowed = await vgg(['evaluate', file, '--json']);
    expect(overflowed.stderr).toContain(
      'the loss on the test images is NaN, because its weights are not finite',
    );
    expect([overflowed.code, overflowed.stdout]).toEqual([1, '']);
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
    expect((await vgg(['evaluate', file])).code).toBe(0);
  });
});
