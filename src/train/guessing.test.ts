import { expect, test } from 'vitest';
import { createModel } from '../model/models.ts';
import { buildNetwork } from '../model/network.ts';
import type { Callback } from './fit.ts';
import { guessingNotice } from './guessing.ts';
import { adam, sgd } from './optimizers.ts';

const networkOf = (name: string) =>
  buildNetwork(createModel(name, { classes: 10, options: { width: 0.125, head: 'linear' } }), [3, 32, 32]);

const rule = sgd({ lr: 0.01 });

/** Notices of a training with these losses by step, 60 steps an epoch. */
function notices(
  lossOf: (step: number) => number,
  { name = 'vgg16', optimizer = rule as Parameters<typeof guessingNotice>[1], from = 0, to = 400 } = {},
): string[] {
  const lines: string[] = [];
  const callback: Callback = guessingNotice(networkOf(name), optimizer, (line) => lines.push(line), from);
  for (let total = from + 1; total <= to; total++) {
    const [epoch, step] = [Math.floor((total - 1) / 60) + 1, ((total - 1) % 60) + 1];
    callback.step?.({ epoch, step, epochs: 9, steps: 60, loss: lossOf(total), lr: 0.01 });
  }
  return lines;
}

const flat = (step: number): number => Math.log(10) + 0.01 * Math.sin(step);

test('a loss that stays at that of guessing is noticed once, with what helps', () => {
  const [line, ...others] = notices(flat);
  expect(others).toEqual([]);
  expect(line).toMatch(
    /^After 200 steps the loss is 2\.30\d, that of guessing among 10 classes: vgg16 is not/,
  );
  expect(line).toContain('--model vgg16-bn');
  expect(line).toContain('--lr, now 0.01');
  expect(line).toContain('--model-option initialization=glorot');
});

test('what is suggested exists: models with a normalized sibling, and initializations that they take', () => {
  const [plain = ''] = notices(flat, { name: 'vgg16-c' });
  expect(plain).toContain('batch normalization;');
  expect(plain).not.toContain('--model vgg');
  const network = buildNetwork(createModel('simplified', { classes: 10 }), [3, 32, 32]);
  const lines: string[] = [];
  const { step } = guessingNotice(network, rule, (line) => lines.push(line));
  for (let i = 1; i <= 200; i++)
    step?.({ epoch: 1, step: i, epochs: 9, steps: 200, loss: flat(i), lr: 0.01 });
  expect(lines).toHaveLength(1);
  expect(lines[0]).not.toContain('--model');
});

test.each([
  ['falls', (step: number) => Math.log(10) - 0.001 * step],
  ['is far above', () => 5],
  ['fell at the end', (step: number) => (step > 150 ? 2.2 : Math.log(10))],
])('a loss that %s is not noticed', (_, lossOf) => {
  expect(notices(lossOf)).toEqual([]);
});

test('fewer than 200 steps, and trainings that continue, are not judged', () => {
  expect(notices(flat, { to: 199 })).toEqual([]);
  expect(notices(flat, { from: 100 })).toEqual([]);
});

test('a normalized network, or Adam, has other ways out', () => {
  const [line = ''] = notices(flat, { name: 'vgg16-bn', optimizer: adam({ lr: 0.1 }) });
  expect(line).toContain('a lower learning rate');
  expect(line).not.toContain('batch normalization');
});
