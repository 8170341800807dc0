import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { doing } from './output.ts';

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
    '\r\x1b[2KReport: looking into th',
    '\r\x1b[2K',
  ]);
});
