import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { listRuns } from './folder.ts';
import { type SeedsOptions, type SeedsResult, trainSeeds } from './series.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'vggnet-series-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const small = { batchSize: 100, steps: 4, seed: 7, device: 'wasm', threads: 1 } as const;
const quiet = { onNotice: () => {} };

/** Digests of a series' checkpoints, by seed and name. */
async function digests(folder: string): Promise<Readonly<Record<string, string>>> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => /(last|best)\.saf/.test(name));
  const digest = async (name: string): Promise<string> =>
    createHash('sha256')
      .update(await readFile(join(folder, name)))
      .digest('hex');
  return Object.fromEntries(await Promise.all(names.sort().map(async (name) => [name, await digest(name)])));
}

const accuracies = ({ runs }: SeedsResult): readonly unknown[] =>
  runs.map(({ testAccuracy }) => testAccuracy);

test('two seeds: their accuracies, mean and deviation', async () => {
  const folder = join(root, 'two');
  const events: string[] = [];
  const result = await trainSeeds(small, {
    seeds: 2,
    folder,
    onSeed: ({ seed, folder }) => ({
      onStart: ({ config }) => void events.push(`start ${seed} ${config.seed} ${folder}`),
      callbacks: [{ epoch: ({ step }) => void events.push(`epoch at ${step}`) }],
      onEnd: async ({ training, testAccuracy }) => {
        // The model is still open.
        await training.model.weights();
        events.push(`end ${seed} ${testAccuracy! > 0}`);
      },
    }),
  });
  const folders = [join(folder, 'seed-7'), join(folder, 'seed-8')] as const;
  expect(events).toEqual([
    ...[`start 7 7 ${folders[0]}`, 'epoch at 4', 'end 7 true'],
    ...[`start 8 8 ${folders[1]}`, 'epoch at 4', 'end 8 true'],
  ]);
  expect(result.runs).toEqual([
    { seed: 7, folder: folders[0], testAccuracy: expect.any(Number) },
    { seed: 8, folder: folders[1], testAccuracy: expect.any(Number) },
  ]);
  const [first, second] = accuracies(result) as [number, number];
  expect(first).not.toBe(second);
  expect(result.mean).toBeCloseTo((first + second) / 2, 12);
  expect(result.deviation).toBeCloseTo(Math.abs(first - second) / Math.SQRT2, 12);
});

test('interrupted in its second seed, a series resumes with the same bits', async () => {
  const [whole, folder] = [join(root, 'whole'), join(root, 'interrupted')];
  const expected = await trainSeeds(small, { seeds: 2, folder: whole, ...quiet });

  const stop = new AbortController();
  const options: SeedsOptions = {
    onSeed: ({ seed }) => ({
      callbacks: [
        {
          step: ({ step }) => {
            if (seed === 8 && step === 2) stop.abort(new Error('enough'));
          },
        },
      ],
    }),
    signal: stop.signal,
    ...quiet,
  };
  await expect(trainSeeds(small, { seeds: 2, folder, ...options })).rejects.toThrow('enough');
  expect(await listRuns(folder)).toMatchObject([{ state: 'finished' }, { state: 'interrupted' }]);

  const trained: number[] = [];
  const notices: string[] = [];
  const resumed = await trainSeeds(
    {},
    {
      resume: folder,
      onSeed: ({ seed }) => void trained.push(seed) as undefined,
      onNotice: (line) => void notices.push(line),
    },
  );
  expect(trained).toEqual([8]);
  expect(notices).toEqual([expect.stringMatching(/seed-7 is finished: \d+\.\d\d %\.$/)]);
  expect({ ...resumed, runs: accuracies(resumed) }).toEqual({ ...expected, runs: accuracies(expected) });
  expect(await digests(folder)).toEqual(await digests(whole));
});

test('a finished series takes more seeds and more steps', async () => {
  const folder = join(root, 'more');
  await trainSeeds(small, { seeds: 1, folder, ...quiet });
  // The same config is no change.
  const trained: number[] = [];
  const onSeed = ({ seed }: { seed: number }) => void trained.push(seed) as undefined;
  const more = await trainSeeds(small, { seeds: 2, resume: folder, onSeed, ...quiet });
  expect(accuracies(more)).toHaveLength(2);
  expect(trained).toEqual([8]);
  const longer = await trainSeeds({ steps: 6 }, { resume: folder, ...quiet });
  // Without a folder, nothing is written.
  const whole = await trainSeeds({ ...small, steps: 6 }, { seeds: 2, ...quiet });
  expect(whole.runs).toEqual(longer.runs.map((run) => ({ ...run, folder: undefined })));
  expect(await readdir(root)).toEqual(['more']);
});

test.each<[string, () => Promise<unknown>, string]>([
  ['no number of seeds', () => trainSeeds({}, {}), 'trainSeeds: the option seeds is missing'],
  ['no seeds', () => trainSeeds({}, { seeds: 0 }), 'trainSeeds: seeds 0 is not a whole number ≥ 1'],
  ['an empty folder', () => trainSeeds({}, { seeds: 1, folder: '' }), 'trainSeeds: the folder'],
  [
    'an unknown callback',
    () => trainSeeds(small, { seeds: 1, onSeed: () => ({ onEnds: () => {} }) as never }),
    'trainSeeds: onSeed: there is no option "onEnds"',
  ],
  ['a wrong option', () => trainSeeds({ lr: -1 }, { seeds: 1 }), 'trainSeeds: config: lr: -1 is not'],
])('%s is refused', async (_, call, message) => {
  await expect(call()).rejects.toThrow(UsageError);
  await expect(call()).rejects.toThrow(message);
});

test('changes are checked for all seeds before anything is written; a series that cannot start leaves no folder', async () => {
  const folder = join(root, 'checked');
  await expect(trainSeeds({ ...small, batchSize: 1e6 }, { seeds: 2, folder, ...quiet })).rejects.toThrow(
    'batch size',
  );
  expect(existsSync(folder)).toBe(false);
  await trainSeeds(small, { seeds: 1, folder, ...quiet });
  const before = await readFile(join(folder, 'seeds.json'), 'utf8');
  for (const [changes, message] of [
    [{ lr: 0.5 }, "--resume keeps the run's lr"],
    [{ seed: 8 }, "--resume keeps the run's seed"],
    [{ steps: 2 }, 'it has already done 4'],
  ] as const) {
    await expect(trainSeeds(changes, { seeds: 3, resume: folder, ...quiet })).rejects.toThrow(message);
  }
  await expect(trainSeeds(small, { seeds: 1, folder, ...quiet })).rejects.toThrow('already holds seeds.json');
  expect(await readFile(join(folder, 'seeds.json'), 'utf8')).toBe(before);
});
