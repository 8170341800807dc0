import { parseHTML } from 'linkedom';
import { expect, test } from 'vitest';
import { createModel } from '../../model/models.ts';
import { buildNetwork } from '../../model/network.ts';
import type { Measured } from '../measure.ts';
import type { ReportRun } from '../run.ts';
import { networkSection } from './network.ts';

const network = buildNetwork(createModel('simplified', { classes: 10 }), [3, 32, 32]);

/** The body of the section's table, row by row, with its last column. */
function lastColumn(run: Partial<ReportRun>): readonly (readonly string[])[] {
  const { body } = networkSection({ run, network } as Measured);
  const { document } = parseHTML(`<main>${body}</main>`);
  return [...document.querySelectorAll('table tr')].map((row) => {
    const cells = [...row.querySelectorAll('th, td')];
    return [cells[0]!.textContent, cells.at(-1)!.textContent];
  });
}

test('each layer has a share of the time or is part of another, and all shares add up to 100 %', () => {
  const names = network.layers.map(({ name }) => name);
  const [conv1, relu1, conv2, relu2, pool, , fc] = names as string[];
  const timeShares = [
    { layers: [conv1!, relu1!], share: 0.2 },
    { layers: [conv2!, relu2!, pool!], share: 0.55 },
    { layers: [fc!], share: 0.15 },
  ];
  const rows = lastColumn({ timeShares });
  expect(rows).toEqual([
    ['Layer', 'Share of time'],
    [conv1, '20.0 %'],
    [relu1, `with ${conv1}`],
    [conv2, '55.0 %'],
    [relu2, `with ${conv2}`],
    [pool, `with ${conv2}`],
    [names[5], ''],
    [fc, '15.0 %'],
    ['images, loss', '10.0 %'],
    ['All', '100 %'],
  ]);
  expect(lastColumn({})).toHaveLength(rows.length - 1);
});
