/**
 * Runs that are killed and resumed, with the real `vgg` in separate processes. However often a run was interrupted, its
 * last and best checkpoints have the bytes of an uninterrupted run.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { random } from '../src/data/random.ts';
import { readCheckpoint } from '../src/runs/checkpoint-files.ts';
import { type RunStatus, readRun } from '../src/runs/folder.ts';
import type { RunEnvironment } from '../src/runs/records.ts';
import { readMetrics } from '../src/runs/table-files.ts';
import { digests } from './digests.ts';
import { bin, jsonLines, quickVgg, vgg } from './run-vgg.ts';
import { canMountSmallDisk, mountSmallDisk } from './small-disk.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-resume-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Everything that has a state: moments, an average, random transforms, accumulated gradients, a warm-up. */
const options = [
  ...['--epochs', '3', '--batch-size', '250', '--optimizer', 'sgd', '--lr', '0.05', '--schedule', 'cosine'],
  ...['--warmup', '0.5', '--cutout', '6', '--mixup', '0.2', '--label-smoothing', '0.1', '--accumulate', '2'],
  ...['--average-decay', '0.99', '--clip-norm', '1', '--log-every', '7', '--no-report', '--threads', '2'],
];

/** The metrics that do not depend on time. */
async function metricsOf(run: string): Promise<unknown> {
  const { epochs, steps } = await readMetrics(join(run, 'metrics.csv'));
  return {
    steps,
    epochs: epochs.map(({ trainSeconds: _, testSeconds: __, imagesPerSecond: ___, ...rest }) => rest),
  };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Starts `vgg` in a new process group, kills the whole group after a while, and checks that it is gone. */
async function killed(args: readonly string[], milliseconds: number): Promise<'killed' | 'finished'> {
  const child: ChildProcess = spawn(process.execPath, [bin, ...args], { detached: true, stdio: 'ignore' });
  const ended = new Promise<NodeJS.Signals | null>((resolve) =>
    child.on('close', (_, signal) => resolve(signal)),
  );
  const timer = setTimeout(() => {
    if (child.exitCode === null) process.kill(-child.pid!, 'SIGKILL');
  }, milliseconds);
  const signal = await ended;
  clearTimeout(timer);
  // Its children, too: the last of them may take a moment to be gone.
  for (let waited = 0; isAlive(-child.pid!); waited += 20) {
    if (waited > 5000) throw new Error(`the process group ${child.pid} outlived SIGKILL`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return signal === 'SIGKILL' ? 'killed' : 'finished';
}

describe('a run in pieces', () => {
  let whole: string;
  /** Milliseconds that it takes from start to end. */
  let duration: number;
  beforeAll(async () => {
    whole = join(folder, 'whole');
    const start = performance.now();
    expect((await vgg(['train', ...options, '--run', whole])).code).toBe(0);
    duration = performance.now() - start;
  });

  test('killed at random moments and resumed, it ends with the same bytes', {
    timeout: 240_000,
  }, async () => {
    const dice = random(Date.now(), 1);
    const rest = ['--no-report', '--checkpoint-every', '6'];
    const expectSame = async (run: string): Promise<void> => {
      expect(await digests(run)).toEqual(await digests(whole));
      expect(await metricsOf(run)).toEqual(await metricsOf(whole));
      expect((await readRun(run)).state).toBe('finished');
    };
    let kills = 0;
    // A run that ends between two kills is compared, and the next one started.
    for (let begun = 0; kills < 10; begun++) {
      expect(begun, 'runs that it takes').toBeLessThan(30);
      const run = join(folder, `killed-${begun}`);
      let way: 'killed' | 'finished' = 'killed';
      while (way === 'killed' && kills < 10) {
        const goesOn = existsSync(join(run, 'config.json'));
        const args = goesOn ? ['train', '--resume', run] : ['train', ...options, '--run', run];
        way = await killed([...args, ...rest], duration * (0.15 + dice.integer(751) / 1000));
        const begunAtAll = existsSync(join(run, 'config.json'));
        const state = begunAtAll ? (await readRun(run)).state : undefined;
        // A kill between the run's last word and the process's end interrupts nothing: it does not count.
        if (state === 'finished') way = 'finished';
        if (way === 'finished') break;
        kills++;
        if (begunAtAll) expect(state).toBe('interrupted');
        else await rm(run, { recursive: true, force: true });
      }
      if (way === 'killed' && existsSync(join(run, 'config.json'))) {
        const { code, stderr } = await vgg(['train', '--resume', run, ...rest]);
        expect(code, stderr).toBe(0);
        way = 'finished';
      }
      if (way === 'finished') await expectSame(run);
    }
  });

  test('interrupted by SIGTERM, it writes a checkpoint, says so, and resumes', {
    timeout: 60_000,
  }, async () => {
    const run = join(folder, 'interrupted');
    const first = await vgg(['train', ...options, '--run', run], {
      interrupt: { signal: 'SIGTERM', after: 'Epoch [2/3], step [14' },
    });
    expect(first.code).toBe(143);
    expect(first.stderr).toMatch(
      /The checkpoint after epoch 2, step \d+ is in .*interrupted\. Resume with:\n {2}npx vgg train --resume \S+interrupted\n/,
    );
    expect((await readRun(run)).state).toBe('interrupted');
    const second = await vgg(['train', '--resume', run, '--no-report']);
    expect(second.stderr).toMatch(/, resumed after epoch 2, step \d+/);
    expect(second.code).toBe(0);
    expect(await digests(run)).toEqual(await digests(whole));
  });

  test.each(['SIGTERM', 'SIGKILL'] as const)(
    'after %s the time of the part before still counts',
    {
      timeout: 60_000,
    },
    async (signal) => {
      const run = join(folder, `timed-${signal}`);
      const rest = ['--no-report', '--checkpoint-every', '6'];
      await vgg(['train', ...options, ...rest, '--run', run], {
        interrupt: { signal, after: 'Epoch [2/3], step [21' },
      });
      const { epoch, step } = (await readCheckpoint(join(run, 'last.safetensors'))).loop;
      const state = JSON.parse(await readFile(join(run, 'state.json'), 'utf8')) as RunStatus;
      const own = state.parts!.find((part) => part.epoch === epoch && part.step === step)!;
      expect(own).toMatchObject({ epoch: 2, images: 250 * step });
      expect(own.seconds).toBeGreaterThan(0);
      // A time that no other part of the training takes.
      const parts = state.parts!.map((part) => (part === own ? { ...part, seconds: 1e6 } : part));
      await writeFile(join(run, 'state.json'), JSON.stringify({ ...state, seconds: 2e6, parts }));

      const { stdout } = await vgg(['train', '--resume', run, ...rest, '--json']);
      const resumed = stdout.split('\n').find((line) => line.includes('"event":"epoch"'))!;
      expect(JSON.parse(resumed)).toMatchObject({ epoch: 2 });
      const { epochs, status } = await readRun(run);
      expect(epochs.map(({ trainSeconds }) => trainSeconds > 1e6)).toEqual([false, true, false]);
      expect(status!.seconds).toBeGreaterThan(2e6);
      expect(await digests(run)).toEqual(await digests(whole));
      const log = await readFile(join(run, 'log.txt'), 'utf8');
      expect(log).toMatch(
        new RegExp(`Z resuming after epoch 2, step ${step}, on (native|wasm) .*, 2 threads\n`),
      );
    },
  );

  test('with another number of threads, it ends with the same bytes', { timeout: 60_000 }, async () => {
    const run = join(folder, 'threads');
    await vgg(['train', ...options, '--run', run], {
      interrupt: { signal: 'SIGINT', after: 'Epoch [1/3], step [21' },
    });
    await vgg(['train', '--resume', run, '--threads', '3', '--no-report']);
    expect(await digests(run)).toEqual(await digests(whole));
  });

  test('2n epochs are n and n more', { timeout: 60_000 }, async () => {
    const constant = ['train', '--schedule', 'constant', '--batch-size', '500', '--no-report', '--epochs'];
    const [one, two] = [join(folder, 'once'), join(folder, 'twice')];
    await vgg([...constant, '2', '--run', one]);
    await vgg([...constant, '1', '--run', two]);
    const { code, stderr } = await vgg(['train', '--resume', two, '--epochs', '2', '--no-report']);
    expect(stderr).not.toContain('another curve');
    expect(code).toBe(0);
    expect(await digests(two)).toEqual(await digests(one));
    expect((await readRun(two)).config.epochs).toBe(2);
  });

  test('with more epochs and a schedule that depends on them, the jump of the rate is reported and stored', {
    timeout: 60_000,
  }, async () => {
    const run = join(folder, 'bent');
    const args = ['train', '--schedule', 'cosine', '--batch-size', '2500', '--no-report', '--epochs'];
    await vgg([...args, '1', '--run', run]);
    const jump = await vgg(['train', '--resume', run, '--epochs', '2', '--no-report']);
    // After 4 steps of 4 and 4 of 8: cos² of 3/8 π and of π/4, of the rate 0.001.
    const said =
      'With 8 steps instead of 4, cosine follows another curve: the learning rate was 0.000146 in the last step and is ' +
      '0.000500 in the next one.';
    expect(jump.stderr).toContain(said);
    expect(await readFile(join(run, 'log.txt'), 'utf8')).toContain(said);
    const { env } = await readRun(run);
    expect(env!.resumed![0]!.rates!.before).toBeCloseTo(0.001 * Math.cos((3 / 8) * Math.PI) ** 2, 12);
    expect(env!.resumed![0]!.rates!.now).toBeCloseTo(0.0005, 12);
    // The run is one of 2 epochs from now on.
    const again = await vgg(['train', '--resume', run, '--epochs', '2', '--no-report']);
    expect(again.stderr).not.toContain('another curve');
  });

  test('a damaged checkpoint is detected, and the previous one is used', { timeout: 60_000 }, async () => {
    const interrupted = join(folder, 'undamaged');
    await vgg(['train', ...options, '--run', interrupted, '--checkpoint-every', '4'], {
      interrupt: { signal: 'SIGTERM', after: 'Epoch [2/3], step [21' },
    });
    for (const [name, damage] of [
      ['truncated', (path: string) => truncate(path, 100_000)],
      ['empty', (path: string) => writeFile(path, '')],
      [
        'flipped',
        async (path: string) => {
          const bytes = await readFile(path);
          bytes[50_000]! ^= 4;
          await writeFile(path, bytes);
        },
      ],
    ] as const) {
      const run = join(folder, name);
      await cp(interrupted, run, { recursive: true });
      await damage(join(run, 'last.safetensors'));
      const { code, stderr } = await vgg(['train', '--resume', run, '--no-report']);
      expect(code, stderr).toBe(0);
      expect(stderr).toMatch(/last\.safetensors.*; resuming from .*last\.previous\.safetensors/);
      expect(await digests(run)).toEqual(await digests(whole));
      expect(await metricsOf(run)).toEqual(await metricsOf(whole));
    }
  });

  test('a run that stopped mid-epoch stays unchanged if no steps are added', async () => {
    const run = join(folder, 'inside');
    const args = ['--batch-size', '500', '--no-report', '--device', 'wasm'];
    await vgg(['train', '--steps', '25', ...args, '--run', run]);
    const contents = (): Record<string, string> =>
      Object.fromEntries(
        readdirSync(run)
          .filter((name) => name !== 'log.txt')
          .map((name) => [
            name,
            createHash('sha256')
              .update(readFileSync(join(run, name)))
              .digest('hex'),
          ]),
      );
    const before = contents();
    const { code, stderr } = await vgg(['train', '--resume', run, '--no-report']);
    expect(code, stderr).toBe(0);
    expect(stderr).toContain('is a finished run. Raise --steps to train it further');
    expect(contents()).toEqual(before);

    for (const [limit, reason] of [
      [
        ['--steps', '7'],
        '--steps 7 ends the run after 7 steps, but it has already done 25; use a larger value, or leave out --steps',
      ],
      [
        ['--epochs', '1'],
        '--epochs 1 ends the run after 20 steps, but it has already done 25; use a larger value, or leave out --epochs',
      ],
    ] as const) {
      const less = await vgg(['train', '--resume', run, ...limit]);
      expect(less.code).toBe(2);
      expect(less.stderr).toContain(reason);
      expect(contents()).toEqual(before);
    }

    await vgg(['train', '--resume', run, '--steps', '30', '--no-report']);
    const { epochs } = await readMetrics(join(run, 'metrics.csv'));
    expect(epochs.map(({ epoch, step }) => [epoch, step])).toEqual([
      [1, 20],
      [2, 30],
    ]);
  });

  test('a finished run says so', async () => {
    const { code, stderr } = await vgg(['train', '--resume', whole, '--no-report']);
    expect(stderr).toContain('is a finished run. Raise --epochs to train it further.');
    expect(code).toBe(0);
  });

  test('a finished run without a report gets it', { timeout: 120_000 }, async () => {
    const run = join(folder, 'unreported');
    await cp(whole, run, { recursive: true });
    const { code, stderr } = await vgg(['train', '--resume', run]);
    expect(stderr).toContain(`Report: ${join(run, 'report.html')}`);
    expect(code).toBe(0);
    expect((await vgg(['train', '--resume', run])).stderr).not.toContain('Report:');
  });

  test('other kernels resume it, say so and are recorded', { timeout: 240_000 }, async () => {
    const run = join(folder, 'kernels');
    // A network that the reference, too, tests in seconds.
    const model = ['--model', 'vgg7', '--model-option', 'channels=1,1', '--model-option', 'hidden=4'];
    const small = [...model, '--batch-size', '500', '--schedule', 'constant', '--no-report'];
    await vgg(['train', ...small, '--device', 'wasm', '--epochs', '1', '--run', run], {
      env: { VGGNET_REVECTORIZE: '0' },
    });
    const more = ['--epochs', '2', '--steps', '21', '--device', 'reference', '--no-report'];
    const { code, stderr } = await vgg(['train', '--resume', run, ...more]);
    expect(code, stderr).toBe(0);
    expect(stderr).toContain('The run started with other kernels');
    const { env } = await readRun(run);
    expect(env!.resumed![0]!.differs).toContain('kernels wasm');
  });

  test('the kernels that trained it are named in order', { timeout: 120_000 }, async () => {
    const run = join(folder, 'named');
    const one = ['--device', 'wasm', '--threads', '1', '--no-report'];
    await vgg(['train', '--batch-size', '100', '--steps', '2', ...one, '--run', run]);
    // As another machine would have left it.
    const path = join(run, 'env.json');
    const before = JSON.parse(await readFile(path, 'utf8')) as RunEnvironment;
    expect(before.kernels).toEqual([{ after: 0, name: expect.stringMatching(/^wasm[^,]*$/) }]);
    const name = 'native (AVX2)';
    await writeFile(
      path,
      JSON.stringify({ ...before, description: `${name}, 4 threads`, kernels: [{ after: 0, name }] }),
    );
    const described = async (): Promise<unknown> =>
      jsonLines(await quickVgg(['runs', folder, '--json'])).find((run) => run.name === 'named')!.description;
    const left = await readFile(path, 'utf8');
    await vgg(['train', '--resume', run, ...one]);
    expect(await readFile(path, 'utf8'), 'where nothing was left to do').toBe(left);
    expect(await readFile(join(run, 'log.txt'), 'utf8')).not.toContain('resuming');
    expect(await described()).toBe(`${name}, 4 threads`);

    await vgg(['train', '--resume', run, ...one, '--steps', '3']);
    const both = `${name}, then ${before.kernels![0]!.name}`;
    expect(await described()).toBe(both);
    await vgg(['report', run, '--brief']);
    const report = await readFile(join(run, 'report.html'), 'utf8');
    expect(report).toContain(`on ${both}. It classifies `);

    // As an older version would have left it: the description is that of the last resumption alone.
    const { kernels: _, ...older } = JSON.parse(await readFile(path, 'utf8')) as RunEnvironment;
    await writeFile(path, JSON.stringify({ ...older, description: `${name}, 4 threads` }));
    await vgg(['train', '--resume', run, ...one, '--steps', '4']);
    const after = JSON.parse(await readFile(path, 'utf8')) as RunEnvironment;
    expect(after).not.toHaveProperty('kernels');
    expect(after.resumed).toHaveLength(2);
    expect(await described()).toBe(before.description);
  });
});

test.skipIf(!canMountSmallDisk)(
  'a full disk stops a run, says so, and leaves the last checkpoint whole',
  { timeout: 60_000 },
  async () => {
    const disk = join(folder, 'disk');
    await mkdir(disk);
    const unmount = mountSmallDisk(disk, '900k');
    try {
      const run = join(disk, 'run');
      const { code, stderr } = await vgg(['train', ...options, '--run', run, '--checkpoint-every', '6']);
      expect(stderr).toMatch(/^error: .*no space left/m);
      expect(code).toBe(1);
      const { loop } = await readCheckpoint(join(run, 'last.safetensors'));
      expect(loop.totalSteps).toBeGreaterThan(0);
    } finally {
      unmount();
    }
  },
);

describe('wrong use', () => {
  test('a run has one writer', { timeout: 60_000 }, async () => {
    const run = join(folder, 'writer');
    const child = spawn(process.execPath, [bin, 'train', '--run', run, '--log-every', '1'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    try {
      const { code, stderr } = await vgg(['train', '--resume', run]);
      expect(stderr).toContain(`process ${child.pid}`);
      expect(code).toBe(1);
    } finally {
      child.kill('SIGKILL');
    }
  });

  test.for([
    [['--lr', '0.1'], "--resume keeps the run's lr"],
    [['--seeds', '2'], '--seeds has no effect with --resume'],
    [['--recipe', 'lecture'], '--recipe has no effect with --resume'],
  ] as const)('--resume RUN %j', async ([args, message]) => {
    const run = join(folder, 'wrong');
    if (!existsSync(run)) await vgg(['train', '--steps', '1', '--no-report', '--run', run]);
    const { code, stderr } = await vgg(['train', '--resume', run, ...args]);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });

  test('a folder that holds a run is not used for another run', async () => {
    const run = join(folder, 'used');
    await vgg(['train', '--steps', '1', '--no-report', '--run', run]);
    const { code, stderr } = await vgg(['train', '--steps', '1', '--run', run]);
    expect(stderr).toContain('--resume');
    expect(code).toBe(2);
  });

  test('a training that never started leaves no folder', async () => {
    const run = join(folder, 'never');
    await vgg(['train', '--init', '/nowhere.safetensors', '--run', run]);
    expect(existsSync(run)).toBe(false);
  });
});
