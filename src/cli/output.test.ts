import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { doing, note, print, printTable, shorten, tableText, widthOf, wrap } from './output.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test('elsewhere than on a terminal longer work is a line for each part', () => {
  const lines: string[] = [];
  const work = doing('Report', { write: (text) => lines.push(text) });
  work.now('timing the layers');
  vi.advanceTimersByTime(5000);
  work.now('testing');
  work.end();
  expect(lines).toEqual(['Report: timing the layers\n', 'Report: testing\n']);
});

test('on a terminal it is one line, with the time, that leaves nothing behind', () => {
  const written: string[] = [];
  const work = doing('Report', { isTTY: true, columns: 24, write: (text) => written.push(text) });
  work.now('testing');
  vi.advanceTimersByTime(2000);
  work.now('looking into the network');
  work.end();
  vi.advanceTimersByTime(5000);
  expect(written).toEqual([
    '\r\x1b[2KReport: testing … 0 s',
    '\r\x1b[2KReport: testing … 1 s',
    '\r\x1b[2KReport: testing … 2 s',
    '\r\x1b[2KReport: looking … 2 s',
    '\r\x1b[2K',
  ]);
});

test('lines are broken between words, with their indentation', () => {
  expect(wrap('one two three', 9)).toBe('one two\nthree');
  expect(wrap('  one two three', 9)).toBe('  one two\n  three');
  expect(wrap('one  two three', 8)).toBe('one  two\nthree');
  expect(wrap('extraordinary word', 8)).toBe('extraordinary\nword');
  expect(wrap('one two\nthree four', 8)).toBe('one two\nthree\nfour');
  expect(wrap('in 2.6 s, or 98 % of 1.5 GiB', 9)).toBe('in 2.6 s,\nor 98 %\nof\n1.5 GiB');
  expect(wrap('take 2 seconds', 7)).toBe('take 2\nseconds');
  expect(wrap('one two three', Infinity)).toBe('one two three');
});

test('a command that is broken still works when it is copied', () => {
  const command = '  npx vgg train --resume runs/a --epochs 20';
  const wrapped = wrap(command, 30);
  expect(wrapped).toBe('  npx vgg train --resume \\\n      runs/a --epochs 20');
  expect(Math.max(...wrapped.split('\n').map((line) => line.length))).toBeLessThanOrEqual(30);
});

test('columns that do not fit follow below, with the first one again', () => {
  const cells = [
    ['run', 'state', 'accuracy', 'time'],
    ['a', 'finished', '97.12 %', '1:02'],
  ];
  expect(tableText(cells, 2, Infinity)).toBe(
    'run  state     accuracy  time\n─────────────────────────────\na    finished   97.12 %  1:02',
  );
  const narrow = tableText(cells, 2, 24);
  expect(narrow).toBe(
    [
      'run  state     accuracy\n───────────────────────\na    finished   97.12 %',
      'run  time\n─────────\na    1:02',
    ].join('\n\n'),
  );
});

test('the width is the terminal’s, else $COLUMNS', () => {
  vi.stubEnv('COLUMNS', '70');
  expect(widthOf({ isTTY: true, columns: 100 })).toBe(100);
  expect(widthOf({})).toBe(70);
  vi.stubEnv('COLUMNS', 'wide');
  expect(widthOf({})).toBe(Infinity);
  expect(widthOf({ isTTY: true, columns: 0 })).toBe(80);
  vi.unstubAllEnvs();
});

test('what is cut ends with a whole word', () => {
  expect(shorten('one two three', 20)).toBe('one two three');
  expect(shorten('one two three', 10)).toBe('one two …');
  expect(shorten('extraordinary', 8)).toBe('extrao …');
});

// A lock's host name or a class name comes from someone else's file.
test('what is printed commands no terminal', () => {
  const written: string[] = [];
  const write = (text: unknown): boolean => written.push(String(text)) > 0;
  vi.spyOn(process.stdout, 'write').mockImplementation(write);
  vi.spyOn(process.stderr, 'write').mockImplementation(write);
  try {
    const hostile = 'a\x1b[31m\x07\r\x9b2Jb\tc';
    print(hostile);
    note(hostile);
    printTable([['name'], [hostile]], 1);
  } finally {
    vi.restoreAllMocks();
  }
  expect(written).toHaveLength(3);
  for (const text of written) {
    expect(text).toContain('a\ufffd[31m');
    expect(text).toContain('b\tc');
    expect(text.replaceAll(/[\n\t]/g, '')).not.toMatch(/\p{Cc}/u);
  }
});
