/** The notice while images are prepared: one line on a terminal, few elsewhere. */
import { expect, test } from 'vitest';
import { preparing } from './preparing.ts';

function shown(isTTY: boolean) {
  const texts: string[] = [];
  let time = 0;
  const stream = { isTTY, columns: 60, write: (text: string) => texts.push(text) };
  const made = preparing(stream, () => time);
  return {
    texts,
    ...made,
    at(seconds: number, done: number, decoded = done): void {
      time = 1000 * seconds;
      made.progress({ done, total: 10_000, decoded });
    },
  };
}

test('a terminal has one line, with rate and time left, which ends empty', () => {
  const { texts, at } = shown(true);
  at(10, 1);
  at(10.05, 5);
  at(15, 1501);
  expect(texts).toEqual([
    '\r\x1b[2KPreparing images: 1 of 10,000',
    '\r\x1b[2KPreparing images: 1,501 of 10,000, 300 images/s, 0:28 left',
  ]);
  at(40, 10_000);
  expect(texts.at(-1)).toBe('\r\x1b[2K');
});

test('elsewhere a line at the start and every 20 seconds', () => {
  const { texts, at } = shown(false);
  for (let second = 1; second <= 45; second++) at(second, 100 * second);
  at(100, 10_000);
  expect(texts).toEqual([
    'Preparing 10,000 images\n',
    'Preparing images: 2,100 of 10,000, 105 images/s, 1:15 left\n',
    'Preparing images: 4,100 of 10,000, 103 images/s, 0:58 left\n',
  ]);
});

test('copies of prepared images are not announced', () => {
  const { texts, at } = shown(false);
  for (let i = 1; i <= 10; i++) at(i / 10, 1000 * i, 0);
  expect(texts).toEqual([]);
});
