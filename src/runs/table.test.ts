import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { canMountSmallDisk, mountSmallDisk } from '../../test/small-disk.ts';
import { DataError } from '../errors.ts';
import type { EpochRecord, StepRecord } from '../train/records.ts';
import { metricsColumns } from './records.ts';
import type { MetricsRow } from './table.ts';
import { openMetrics, readMetrics, truncateAfter } from './table-files.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-table-'));
  path = join(folder, 'metrics.csv');
});
afterEach(() => rm(folder, { recursive: true }));

const step = (number: number, trainLoss = 0.1 + 0.2): StepRecord => ({
  epoch: Math.ceil(number / 2),
  step: number,
  lr: 1e-3 / 3,
  trainLoss,
});
const epoch = (number: number): EpochRecord => ({
  epoch: number,
  step: 2 * number,
  lr: 1e-7,
  trainLoss: 2 / 3,
  trainAccuracy: 1,
  testLoss: Number.MIN_VALUE,
  testAccuracy: 0,
  testTopFive: 0.99999999999999989,
  trainSeconds: 1.5,
  testSeconds: 1e21,
  imagesPerSecond: 12345.678901234567,
});
const stepRow = (number: number): MetricsRow => ({ kind: 'step', ...step(number) });
const epochRow = (number: number): MetricsRow => ({ kind: 'epoch', ...epoch(number) });

async function write(rows: readonly MetricsRow[]): Promise<string> {
  const table = await openMetrics(path);
  await table.append(rows);
  await table.sync();
  await table.close();
  return readFile(path, 'utf8');
}

describe('metrics.csv', () => {
  test('reads the same numbers back, and empty cells as undefined', async () => {
    const validated = { ...epoch(2), validationLoss: 0.7, validationAccuracy: 0.25 };
    await write([stepRow(1), stepRow(2), epochRow(1)]);
    const text = await write([
      { kind: 'step', ...step(3, Number.NaN) },
      { kind: 'step', ...step(4, Number.POSITIVE_INFINITY) },
      { kind: 'epoch', ...validated },
    ]);
    expect(text.split('\n').slice(0, 2)).toEqual([
      metricsColumns.join(','),
      'step,1,1,0.0003333333333333333,0.30000000000000004,,,,,,,,,',
    ]);
    expect(await readMetrics(path)).toEqual({
      steps: [step(1), step(2), step(3, Number.NaN), step(4, Number.POSITIVE_INFINITY)],
      epochs: [epoch(1), validated],
    });
  });

  test.each(['step,2,3', 'step,2,3\n', 'step,2,3,0.1,0.5,,,,,,,,,', '\0\0\0\0', 'x\n', '\n'])(
    'cuts off the torn end %j',
    async (end) => {
      const whole = await write([stepRow(1), stepRow(2)]);
      await appendFile(path, end);
      expect((await readMetrics(path)).steps).toEqual([step(1), step(2)]);
      expect(await write([])).toBe(whole);
    },
  );

  test('a torn header is written again', async () => {
    const whole = await write([stepRow(1)]);
    for (const length of [0, 5, whole.indexOf('\n')]) {
      await writeFile(path, whole.slice(0, length));
      expect(await readMetrics(path)).toEqual({ steps: [], epochs: [] });
      expect(await write([stepRow(1)])).toBe(whole);
    }
  });

  test('truncateAfter keeps the steps and the whole epochs up to a checkpoint', async () => {
    await write([stepRow(1), stepRow(2), epochRow(1), stepRow(3), stepRow(4), epochRow(2)]);
    await truncateAfter(path, 1, 4);
    expect(await readMetrics(path)).toEqual({ steps: [1, 2, 3, 4].map((n) => step(n)), epochs: [epoch(1)] });
    await truncateAfter(path, 1, 3);
    const text = await write([]);
    expect((await readMetrics(path)).steps).toHaveLength(3);
    await truncateAfter(path, 5, 100);
    expect(await readFile(path, 'utf8')).toBe(text);
    await truncateAfter(join(folder, 'none'), 1, 1);
  });

  test.each([
    ['step,1,1,0.1', '4 cells, expected 14'],
    ['total,1,1,0.1,1,,,,,,,,,', 'kind "total" is neither step nor epoch'],
    ['step,1,1,0x1,1,,,,,,,,,', 'lr "0x1" is not a number'],
    ['step,1,1,,1,,,,,,,,,', 'lr "" is not a number'],
    ['step,1.5,1,1,1,,,,,,,,,', 'epoch "1.5" is not a whole number ≥ 0'],
    ['epoch,1,1,1,1,,,,,,,,,', 'trainAccuracy "" is not a number'],
    [','.repeat(1e6), 'its 1000000 characters are above the limit of 1000'],
  ])('names the file and the line of %s', async (line, message) => {
    const whole = await write([stepRow(1)]);
    await writeFile(path, `${whole}${line}\n${whole.split('\n')[1]}\n`);
    await expect(readMetrics(path)).rejects.toThrow(DataError);
    await expect(readMetrics(path)).rejects.toThrow(`metrics.csv, line 3: ${message}`);
    await expect(openMetrics(path)).rejects.toThrow(message);
  });

  test('handles signals while it reads a large file', async () => {
    const whole = await write([stepRow(1)]);
    const [head = '', row = ''] = whole.split('\n');
    await writeFile(path, `${head}\n${`${row}\n`.repeat(200_000)}`);
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    const reading = readMetrics(path).finally(() => clearInterval(timer));
    expect((await reading).steps).toHaveLength(200_000);
    expect(turns).toBeGreaterThan(5);
  });

  test('rejects a file with other columns', async () => {
    await writeFile(path, 'a,b\n1,2\n');
    await expect(openMetrics(path)).rejects.toThrow(
      /metrics\.csv starts with "a,b", not with the columns kind,epoch/,
    );
    // A spreadsheet may save it so.
    await writeFile(path, `${metricsColumns.join(',')}\r\n`);
    await expect(openMetrics(path)).rejects.toThrow(
      /its lines end with CR and LF instead of LF; restore the file/,
    );
    await expect(readMetrics(join(folder, 'none'))).rejects.toThrow(/none cannot be read: no such file/);
  });
});

describe.skipIf(!canMountSmallDisk)('on a full disk (skipped where tmpfs cannot be mounted)', () => {
  let unmount: () => void;
  beforeEach(() => {
    unmount = mountSmallDisk(folder, '64k');
  });
  afterEach(() => unmount());

  test('existing rows stay whole', async () => {
    const table = await openMetrics(path);
    await table.append([stepRow(1), epochRow(1)]);
    const tooMany = Array.from({ length: 3000 }, (_, i) => stepRow(i + 2));
    await expect(table.append(tooMany)).rejects.toThrow(
      /metrics\.csv cannot be written: no space left on the disk/,
    );
    await table.append([stepRow(2)]);
    await table.close();
    expect(await readMetrics(path)).toEqual({ steps: [step(1), step(2)], epochs: [epoch(1)] });
  });
});
