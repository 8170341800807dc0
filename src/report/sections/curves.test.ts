import { expect, test } from 'vitest';
import { parseConfig } from '../../train/config.ts';
import type { EpochRecord } from '../../train/records.ts';
import type { ReportRun } from '../run.ts';
import { curvesSection } from './curves.ts';
import { showValue } from './setup.ts';

const epochs = Array.from(
  { length: 4 },
  (_, i): EpochRecord => ({
    ...{
      epoch: i + 1,
      step: 100 * (i + 1),
      lr: 0.1,
      trainLoss: 1,
      trainAccuracy: 0.5,
      testLoss: 1,
      testAccuracy: 0.5,
    },
    ...{ testTopFive: 1, trainSeconds: 1, testSeconds: 1, imagesPerSecond: 100 },
  }),
);
const steps = epochs.map(({ epoch, step, lr }) => ({ epoch, step, lr, trainLoss: 1 }));

/** The section of a run, of which only what it reads is here. */
const bodyOf = (changes?: ReportRun['config']['changes']): string =>
  String(curvesSection({ config: parseConfig({ changes }), epochs, steps } as unknown as ReportRun).body);

test('changes are marked in the charts and told below them', () => {
  const body = bodyOf([
    { step: 50, momentum: 0.8 },
    { step: 250, lr: 0.01 },
  ]);
  // Charts by epoch begin at the end of the first one.
  expect(body).toContain('Marked at 2.5: lr 0.01.');
  expect(body).toContain('Marked at 250: lr 0.01.');
  expect(body).not.toContain('Marked at 0.5');
  expect(body.match(/stroke-dasharray="1 3"/g)).toHaveLength(5);
  expect(body).toContain('after step 50, momentum 0.8; after step 250, lr 0.01.');
});

test('a run without changes has no marks', () => {
  expect(bodyOf()).not.toMatch(/Marked|Dotted|stroke-dasharray="1 3"/);
});

test('changes are shown in the table of options', () => {
  expect(
    showValue([
      { step: 50, lr: 0.1 },
      { step: 60, momentum: 0 },
    ]),
  ).toBe('step=50 lr=0.1, step=60 momentum=0');
});
