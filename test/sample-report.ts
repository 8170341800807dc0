/**
 * Reports to look at, without a run folder: trains a small network and reports it.
 *
 *     node test/sample-report.ts report.html                       simplified on shapes, 3 epochs, two runs
 *     node test/sample-report.ts report.html vgg7 /path/to/cifar   vgg7 on CIFAR-100, 60 steps
 */
import { cpus, totalmem } from 'node:os';
import { resolve } from 'node:path';
import { cifar100 } from '../src/data/cifar-files.ts';
import type { DatasetSplits } from '../src/data/dataset.ts';
import { dataLoader } from '../src/data/loader.ts';
import { shapes } from '../src/data/shapes.ts';
import {
  compose,
  inputTransform,
  pad,
  randomCrop,
  randomHorizontalFlip,
  type Transform,
} from '../src/data/transforms.ts';
import { modelName, networkOf } from '../src/model/models.ts';
import { writeReport } from '../src/report/report.ts';
import type { ReportRun } from '../src/report/run.ts';
import { normalizationOf } from '../src/runs/loaders.ts';
import { parseConfig } from '../src/train/config.ts';
import type { TrainConfigInput } from '../src/train/config-table.ts';
import { compile } from '../src/train/model.ts';
import { adam } from '../src/train/optimizers.ts';
import type { EpochRecord, StepRecord } from '../src/train/records.ts';

/** Trains what `input` says and keeps the records that a run folder would hold. */
export async function sampleRun(
  name: string,
  splits: DatasetSplits,
  input: TrainConfigInput,
): Promise<ReportRun> {
  const config = parseConfig(input, name);
  const { train, test } = splits;
  const model = networkOf(config.model, { classes: test.classes.length, options: config.modelOptions });
  await using compiled = await compile(model, {
    input: train.shape,
    device: config.device,
    batchSize: config.batchSize,
    onNotice: () => {},
  });
  const floats = inputTransform(normalizationOf(train, config));
  const [, height, width] = train.shape;
  const augmented: Transform = config.augment
    ? compose([pad(4), randomHorizontalFlip(), randomCrop([height, width]), floats])
    : floats;
  const loader = dataLoader(train, { batchSize: config.batchSize, shuffle: true, transform: augmented });
  const testLoader = dataLoader(test, { batchSize: 100, transform: floats });
  const epochs: EpochRecord[] = [];
  const steps: StepRecord[] = [];
  const optimizer = adam({ lr: config.lr });
  const perEpoch = Math.min(loader.length, config.steps ?? loader.length);
  for (let epoch = 1; epoch <= config.epochs; epoch++) {
    const before = (epoch - 1) * perEpoch;
    const result = await compiled.train(loader, {
      epoch,
      optimizer,
      steps: perEpoch,
      onStep: ({ step, loss }) =>
        steps.push({ epoch, step: before + step, lr: optimizer.lr, trainLoss: loss }),
    });
    const tested = await compiled.evaluate(testLoader);
    const trainLoss = result.losses.reduce((a, b) => a + b) / result.losses.length;
    epochs.push({
      epoch,
      step: before + result.steps,
      lr: optimizer.lr,
      trainLoss,
      // The trainer's own figures are not at hand here: only their shape counts.
      trainAccuracy: tested.accuracy * 0.97,
      testLoss: tested.loss,
      testAccuracy: tested.accuracy,
      testTopFive: Math.min(1, tested.accuracy * 1.6),
      trainSeconds: result.seconds,
      testSeconds: tested.seconds,
      imagesPerSecond: result.images / result.seconds,
    });
  }
  return {
    name,
    config,
    environment: {
      vggnet: '0.1.0',
      node: process.version,
      v8: process.versions.v8,
      platform: `${process.platform} ${process.arch}`,
      processor: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
      hostname: 'sample',
      device: compiled.device,
      description: compiled.description,
      threads: compiled.threads,
      command: ['vgg', 'train', '--model', modelName(config.model)],
      folder: '/home/student/exercise-3',
      started: '2026-01-01T12:00:00.000Z',
    },
    epochs,
    steps,
    weights: await compiled.weights(),
    splits,
  };
}

if (process.argv[1] === import.meta.filename) {
  const [, , path = 'report.html', model, data] = process.argv;
  const runs =
    model === undefined
      ? [
          await sampleRun('runs/plain', shapes(), { epochs: 3 }),
          await sampleRun('runs/normalized', shapes(), { epochs: 3, normalize: true, lr: 0.002 }),
        ]
      : [
          await sampleRun(`runs/${model}`, await cifar100(data === undefined ? {} : { data }), {
            model,
            dataset: 'cifar100',
            normalize: true,
            epochs: 3,
            steps: Number(process.env.STEPS ?? 60),
            modelOptions: { channels: [64, 128] },
          }),
        ];
  const started = performance.now();
  await writeReport(path, runs, { onProgress: (line) => console.log(line) });
  console.log(`${resolve(path)}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
}
