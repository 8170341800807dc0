import { expect, test } from 'vitest';
import { numberProblem, parseNumber, parseWhole } from './numbers.ts';

test.for([
  ['100', 100, 100],
  ['+3', 3, 3],
  ['-3', -3, -3],
  ['1e3', 1000, 1000],
  ['1E3', 1000, 1000],
  ['2.5e1', 25, 25],
  ['3.', 3, 3],
  ['.5', 0.5, undefined],
  ['1.5', 1.5, undefined],
  ['1e-3', 0.001, undefined],
  ['1/3', 1 / 3, undefined],
  ['1e-1/4', 0.025, undefined],
  ['4/2', 2, undefined],
  ['1e400', Infinity, Infinity],
] as const)('%s is %d, and as a whole number %s', ([text, number, whole]) => {
  expect(parseNumber(text)).toBe(number);
  expect(parseWhole(text)).toBe(whole);
});

test.for([
  '',
  ' ',
  ' 3',
  '0x10',
  '0b1',
  '1_000',
  '1,5',
  'Infinity',
  'NaN',
  '3s',
  '1/0',
  '1/3/3',
  '/3',
  '1/',
  '1/0x10',
  'e3',
  '.',
  '1e',
  '--3',
])('"%s" is not a number', (text) => {
  expect(parseNumber(text)).toBeUndefined();
  expect(parseWhole(text)).toBeUndefined();
});

test('a number out of range names the limit', () => {
  expect(numberProblem('300', 300, 'a number', { least: 1, most: 256 })).toBe(
    '300 is above the limit of 256',
  );
  expect(numberProblem('1e400', Infinity, 'a number', { above: 0 })).toBe(
    '1e400 is above the limit of 1.7976931348623157e+308',
  );
  expect(numberProblem('1', 1, 'a number below 1', { below: 1 })).toBe('1 is not a number below 1');
  expect(numberProblem('-1e400', -Infinity, 'a number', {})).toBe('-1e400 is not a number');
  expect(numberProblem('256', 256, 'a number', { most: 256 })).toBeUndefined();
});
