import { expect, test } from 'vitest';
import { parseConfig } from '../../train/config.ts';
import type { TrainConfigInput } from '../../train/config-table.ts';
import type { EpochRecord } from '../../train/records.ts';
import type { ReportRun } from '../run.ts';
import { comparisonSections } from './comparison.ts';

const record = {
  ...{ lr: 0.1, trainLoss: 1, trainAccuracy: 0.5, testTopFive: 0.9 },
  ...{ trainSeconds: 1, testSeconds: 1, imagesPerSecond: 1 },
};

function runOf(name: string, input: TrainConfigInput, epochs: readonly Partial<EpochRecord>[]): ReportRun {
  return {
    ...{ name, config: parseConfig(input, name), weights: new Map(), steps: [] },
    environment: { description: 'wasm' } as ReportRun['environment'],
    splits: undefined as never,
    epochs: epochs.map((own, i) => ({
      ...record,
      ...{ epoch: i + 1, step: i + 1, testLoss: 2 + i, testAccuracy: 0.4 },
      ...own,
    })),
  };
}

const held = runOf('held', { validation: 0.1 }, [
  { validationLoss: 1, validationAccuracy: 0.7, testAccuracy: 0.6 },
  { validationLoss: 1, validationAccuracy: 0.5, testAccuracy: 0.65 },
]);
const none = runOf('none', {}, []);

const bodyOf = (...runs: readonly ReportRun[]): string => comparisonSections(runs, runs[0]!)[0]!.body.text;

test('figures are those of the best epoch, with the validation accuracy that chose it; what is missing is a dash', () => {
  const body = bodyOf(held, none);
  expect(body).toContain('Validation accuracy');
  const rows = [...body.matchAll(/<tr>(?:(?!<\/tr>).)*<\/tr>/g)].map(([row]) =>
    [...row.matchAll(/<t[hd][^>]*>((?:(?!<\/t[hd]>).)*)/g)].map(([, cell]) => cell),
  );
  expect(rows[1]!.slice(1, 6)).toEqual(['1', '70.00 %', '60.00 %', '90.00 %', '2.0000']);
  expect(rows[2]!.slice(1, 6)).toEqual(['–', '–', '–', '–', '–']);
});

test('runs on different data sets give a warning', () => {
  const warning = 'These runs are on different data sets (shapes, cifar100 with coarse labels)';
  expect(bodyOf(held, runOf('other', { dataset: 'cifar100', labels: 'coarse' }, [{}]))).toContain(warning);
  expect(bodyOf(held, none)).not.toContain('different data sets');
});
