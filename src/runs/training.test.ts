import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { digests } from '../../test/digests.ts';
import { DataError, UsageError, VggError } from '../errors.ts';
import { parseConfig } from '../train/config.ts';
import type { TrainConfigInput } from '../train/config-table.ts';
import { TrainingControl } from '../train/control.ts';
import type { Callback } from '../train/fit.ts';
import type { Snapshot } from '../train/loop-state.ts';
import { readCheckpoint, writeCheckpoint } from './checkpoint-files.ts';
import { readConfig } from './folder.ts';
import { checkConfig, resumedConfig } from './place-node.ts';
import { readMetrics } from './table-files.ts';
import { runTraining, type TrainingOptions } from './training.ts';

let root: string;
let run: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'vggnet-training-'));
  run = join(root, 'run');
});
afterEach(() => rm(root, { recursive: true, force: true }));

const small = { batchSize: 500, steps: 6, epochs: 2, device: 'wasm', threads: 1, logEvery: 2 } as const;

async function begin(input: TrainConfigInput = {}, options: TrainingOptions = {}): Promise<void> {
  const config = parseConfig({ ...small, ...input }, 'test');
  const { training } = await runTraining(config, { folder: run, ...options });
  await training.model.close();
}

/** Resumes the run up to `steps`; returns its notices. */
async function resume(steps: number, changes: TrainingOptions = {}): Promise<readonly string[]> {
  const notices: string[] = [];
  const onNotice = (line: string): void => void notices.push(line);
  const { training } = await runTraining({ steps }, { resume: run, onNotice, ...changes });
  await training.model.close();
  return notices;
}

test('says that the training ends before its layers are unfrozen', async () => {
  const notices: string[] = [];
  const options = { freeze: ['conv1'], unfreezeAfter: 2, epochs: 2, steps: 1 };
  await begin(options, { onNotice: (line) => void notices.push(line) });
  expect(notices.join()).toContain('unfreezeAfter 2 has no effect in a training of 1 step, 20 in each epoch');
});

test.each([
  [{ warmup: 3, epochs: 2 }, 'warmup 3 is longer than the training of 2 epochs (200 steps)'],
  [{ warmup: 1, steps: 20 }, 'warmup 1 is longer than the training of about 0.2 epochs (20 steps)'],
  [{ earlyStopping: 6, epochs: 5 }, 'earlyStopping 6 is longer than the training of 5 epochs'],
  [{ earlyStopping: 3, steps: 120 }, 'earlyStopping 3 is longer than the training of about 1.2 epochs'],
  [
    { validation: 0.99999 },
    'validation 0.99999 holds out 10000 of the 10000 training images of shapes; choose a share that holds out',
  ],
  [{ validation: 1e-6 }, 'validation 0.000001 holds out 0 of the 10000 training images'],
  [{ validation: 0.995 }, 'batch size 100 is larger than the 50 images of shapes'],
] as const)('%j is refused before anything is read or written', async (input, message) => {
  const config = parseConfig(input, 'test');
  const refused = runTraining(config, { folder: run });
  await expect(refused).rejects.toThrow(UsageError);
  await expect(refused).rejects.toThrow(message);
  expect(existsSync(run)).toBe(false);
  expect(() => checkConfig(config)).toThrow(message);
});

test('warm-up and early stopping may be as long as the training, also in a resumed run', () => {
  for (const input of [
    { warmup: 2, epochs: 2 },
    { warmup: 0.2, steps: 20 },
    { earlyStopping: 2, steps: 120 },
  ])
    checkConfig(parseConfig(input, 'test'));
  const config = parseConfig({ warmup: 3, epochs: 4 }, 'test');
  expect(() => resumedConfig(config, { epochs: 2 })).toThrow('warmup 3 is longer than the training of 2');
  expect(resumedConfig(parseConfig({ warmup: 3, epochs: 2 }, 'test'), { threads: 1 }).warmup).toBe(3);
});

test('changes that are made live are recorded; the config repeats the run, and a resumed run repeats them', async () => {
  const control = new TrainingControl();
  const sgd = { optimizer: 'sgd', steps: 10, checkpointEvery: 4 } as const;
  let killed = false;
  const change: Callback = {
    step({ epoch, step }) {
      if (epoch === 1 && step === 3) control.change({ lr: 0.01, momentum: 0.5 });
    },
    change() {
      if (killed) return;
      killed = true;
      throw new Error('killed');
    },
  };
  control.step(6);
  // Like a process that is killed before the first step with the new settings.
  await expect(begin(sgd, { control, callbacks: [change] })).rejects.toThrow('killed');
  const { changes } = await readConfig(run);
  expect(changes).toEqual([{ step: expect.any(Number), lr: 0.01, momentum: 0.5 }]);
  expect(await readFile(join(run, 'log.txt'), 'utf8')).toContain(
    `step ${changes![0]!.step}: lr 0.01, momentum 0.5`,
  );
  await resume(10);
  expect(await readConfig(run)).toMatchObject({ changes });
  const first = await digests(run);
  expect((await readCheckpoint(join(run, 'last.safetensors'))).loop.changes).toEqual(changes);

  const config = JSON.parse(await readFile(join(run, 'config.json'), 'utf8'));
  run = join(root, 'again');
  await begin(config);
  expect(await digests(run)).toEqual(first);
  run = join(root, 'plain');
  await begin(sgd);
  expect(await digests(run)).not.toEqual(first);
});

test('changes that do not fit the optimizer are refused before anything is read', async () => {
  await expect(begin({ changes: [{ step: 3, momentum: 0.5 }] })).rejects.toThrow(
    'changes: change at step 3: adam has no momentum to change; leave it out, or train with sgd',
  );
  expect(() => parseConfig({ changes: [{ step: 3, lr: 0 }] }, 'test')).toThrow(
    'test: changes: change at step 3: lr 0 is not a finite number above 0',
  );
});

test('a resumed run logs at the same steps as before', async () => {
  await begin();
  await resume(12);
  const { steps } = await readMetrics(join(run, 'metrics.csv'));
  expect(steps.map(({ step }) => step)).toEqual([2, 4, 6, 8, 10, 12]);
});

test('a resumed run writes checkpoints as often as before', async () => {
  await begin({ checkpointEvery: 3 });
  const found: number[] = [];
  const callbacks = [{ checkpoint: ({ loop }: Snapshot) => void found.push(loop.totalSteps) }];
  const { training } = await runTraining({ steps: 12 }, { resume: run, callbacks });
  await training.model.close();
  expect(found).toEqual(expect.arrayContaining([9, 12]));
  expect(() => checkConfig(parseConfig({ checkpointEvery: '99999999999s' }, 'test'))).toThrow('seconds');
  expect(() => parseConfig({ checkpointEvery: 'often' }, 'test')).toThrow('checkpointEvery');
});

describe('the run folder changes during training', () => {
  /** Does `change` at the first step, and yields the error that ends the training. */
  async function ended(change: () => Promise<unknown>): Promise<unknown> {
    let changed: Promise<unknown> | undefined;
    const callbacks = [
      {
        step: () => {
          changed ??= change();
        },
        checkpoint: () => expect.fail('a checkpoint was kept'),
      },
    ];
    return begin({}, { callbacks }).then(
      () => expect.fail('the training finished'),
      async (error: unknown) => {
        await changed;
        return error;
      },
    );
  }

  test('emptied', async () => {
    const error = await ended(async () => {
      for (const name of readdirSync(run)) await rm(join(run, name));
    });
    expect(error).toBeInstanceOf(VggError);
    expect((error as Error).message).toBe(
      `${run} was emptied, moved or replaced during training, so nothing more is written there; if it was moved, ` +
        'continue with vgg train --resume and its new path',
    );
    expect(readdirSync(run)).toEqual([]);
  });

  test('moved', async () => {
    const error = await ended(() => rename(run, `${run}-moved`));
    expect((error as Error).message).toContain('emptied, moved or replaced');
    expect(existsSync(run)).toBe(false);
  });

  test('replaced by another folder with a run', async () => {
    const error = await ended(async () => {
      await rename(run, `${run}-moved`);
      await mkdir(run);
      await copyFile(join(`${run}-moved`, 'config.json'), join(run, 'config.json'));
    });
    expect((error as Error).message).toContain('emptied, moved or replaced');
    expect(readdirSync(run)).toEqual(['config.json']);
  });

  test.each(['config.json', 'metrics.csv'])('without %s', async (name) => {
    const error = await ended(() => rm(join(run, name)));
    expect((error as Error).message).toContain(`${join(run, name)} was deleted during training`);
    expect(JSON.parse(readFileSync(join(run, 'state.json'), 'utf8'))).toMatchObject({ state: 'failed' });
  });
});

describe('metrics.csv that does not match its checkpoint', () => {
  /** Lines of the table: columns, steps 2 to 20, epoch 1, steps 22 and 24, the part of epoch 2. */
  const damages: readonly (readonly [string, (lines: string[]) => void, string])[] = [
    [
      'a missing row',
      (lines) => void lines.splice(3, 1),
      'has 12 rows up to step 24, but the checkpoint expects 13',
    ],
    ['a missing end', (lines) => void lines.splice(12), 'has 10 rows up to step 24'],
    ['a repeated row', (lines) => void lines.splice(3, 0, lines[3]!), 'has two rows for step 6'],
    ['a repeated epoch', (lines) => void lines.splice(13, 0, lines[11]!), 'has two rows for epoch 1'],
    [
      'a changed row',
      (lines) => {
        // Not the last digits, which a double may not tell apart.
        lines[3] = lines[3]!.replace(
          /(\d)(\d{4},*)$/,
          (_, digit: string, end: string) => `${9 - Number(digit)}${end}`,
        );
      },
      'was changed: its rows up to step 24 do not match the checkpoint',
    ],
    [
      'a damaged row',
      (lines) => void lines.splice(3, 1, 'step,1,x'),
      'line 4: 3 cells, expected 14; correct that line',
    ],
  ];
  test('is rejected with the fault and the way out', { timeout: 60_000 }, async () => {
    await begin({ steps: 24 });
    const [path, checkpoint] = [join(run, 'metrics.csv'), join(run, 'last.safetensors')];
    const [text, bytes] = [await readFile(path, 'utf8'), await readFile(checkpoint)];
    for (const [name, damage, message] of damages) {
      const lines = text.split('\n');
      damage(lines);
      await writeFile(path, lines.join('\n'));
      // A finished run, too, although nothing is left to do.
      for (const steps of [24, 26]) {
        const resumed = resume(steps);
        await expect(resumed, name).rejects.toThrow(DataError);
        await expect(resumed, name).rejects.toThrow(message);
        await expect(resumed, name).rejects.toThrow(/restore the file, or delete it to continue/);
      }
      expect(await readFile(path, 'utf8'), name).toBe(lines.join('\n'));
      expect(await readFile(checkpoint), name).toEqual(bytes);
    }
    await rm(path);
    expect(await resume(26)).toContainEqual(
      `${path} is missing: its rows up to step 24 are lost; the run continues without them.`,
    );
    expect((await readMetrics(path)).steps.map(({ step }) => step)).toEqual([26]);
    await resume(28);
    expect((await readMetrics(path)).steps.map(({ step }) => step)).toEqual([26, 28]);
  });

  test('rows after the checkpoint and the row of a partial epoch are accepted', async () => {
    await begin({ steps: 24 });
    // The row of the part of epoch 2 is cut off, and the process ends before its next checkpoint.
    const onStart = (): never => {
      throw new Error('killed');
    };
    await expect(resume(40, { onStart })).rejects.toThrow('killed');
    await resume(40);
    const { steps, epochs } = await readMetrics(join(run, 'metrics.csv'));
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 20 }, (_, i) => 2 * i + 2));
    expect(epochs.map(({ step }) => step)).toEqual([20, 40]);
  });

  test('the checkpoint of a version without row counts is accepted', async () => {
    await begin();
    const [path, metrics] = [join(run, 'last.safetensors'), join(run, 'metrics.csv')];
    const { extra, ...older } = await readCheckpoint(path);
    expect(extra).toEqual({ metrics: { rows: 3, checksum: expect.any(Number) } });
    await writeCheckpoint(path, older);
    await writeFile(metrics, (await readFile(metrics, 'utf8')).split('\n').toSpliced(2, 1).join('\n'));
    await resume(8);
    expect((await readMetrics(metrics)).steps.map(({ step }) => step)).toEqual([2, 6, 8]);
  });
});
