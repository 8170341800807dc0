import { expect, test } from 'vitest';
import { shapes } from '../data/shapes.ts';
import { subset } from '../data/split.ts';
import { initialWeights } from '../model/initialize.ts';
import type { Weights } from '../model/layer.ts';
import { createModel } from '../model/models.ts';
import { buildNetwork } from '../model/network.ts';
import { loadersOf } from '../runs/loaders.ts';
import { parseConfig } from '../train/config.ts';
import type { TrainConfigInput } from '../train/config-table.ts';
import { compile } from '../train/model.ts';
import { type Measured, measure } from './measure.ts';
import type { ReportRun } from './run.ts';

const all = shapes();
const some = (count: number): Uint32Array => Uint32Array.from({ length: count }, (_, i) => i);
const splits = { train: subset(all.train, some(200)), test: subset(all.test, some(60)) };
const network = createModel('simplified', { classes: 10 });

/** A run with untrained weights, `scale` times as large as usual. */
function untrained(input: TrainConfigInput, scale: number): ReportRun {
  const initial = initialWeights(buildNetwork(network, splits.test.shape), 1);
  const weights: Weights = new Map(
    [...initial].map(([name, { shape, data }]) => [
      name,
      { shape, data: data.map((value) => scale * value) },
    ]),
  );
  const config = parseConfig(input, 'test');
  return { name: 'run', config, weights, splits, epochs: [], steps: [], environment: {} as never };
}

/** What a report measures, and what `vgg evaluate` and the training's own test say of the same weights. */
async function threeTests(
  run: ReportRun,
): Promise<readonly [Measured, ...Readonly<Record<string, number>>[]]> {
  const measured = await measure(run, { device: 'wasm', threads: 1, brief: true });
  await using model = await compile(network, { input: splits.test.shape, device: 'wasm', threads: 1 });
  await model.setWeights(run.weights);
  const loaders = [
    loadersOf(splits, run.config).testLoader,
    loadersOf(splits, { ...run.config, batchSize: 10 }).testLoader,
  ];
  const results = [];
  for (const loader of loaders) {
    const { loss, correct, topFive, images } = await model.evaluate(loader);
    results.push({ loss, correct, topFive: Math.round(topFive * images) });
  }
  return [measured, ...results];
}

test('a report normalizes as the training does, by all training images', async () => {
  const run = untrained({ normalize: true, validation: 0.5 }, 1);
  const [{ full, normalization }, ...others] = await threeTests(run);
  expect(normalization).toBeDefined();
  for (const { loss, correct } of others) {
    expect(full.loss).toBeCloseTo(loss!, 5);
    expect(full.correct).toBe(correct);
  }
});

test('loss and top-5 accuracy are those of the test, however large the logits', async () => {
  for (const scale of [30, 1000]) {
    const [{ full }, ...others] = await threeTests(untrained({}, scale));
    for (const { loss, correct, topFive } of others) {
      // Beyond what the logarithm of a float32 probability can be.
      expect(loss).toBeGreaterThan(104);
      expect(full.loss / loss!).toBeCloseTo(1, 6);
      expect([full.correct, full.topFive]).toEqual([correct, topFive]);
    }
  }
});
