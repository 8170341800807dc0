import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { Md5 } from './md5.ts';

const expected = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');

test('the sums of RFC 1321', () => {
  const of = (text: string): string => new Md5().update(new TextEncoder().encode(text)).digest();
  expect(of('')).toBe('d41d8cd98f00b204e9800998ecf8427e');
  expect(of('message digest')).toBe('f96b697d7cb7938d525a2f31aaf161d0');
});

test('is that of Node at all lengths, however the bytes are cut', () => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * i * 7 + i) & 255);
  for (let length = 0; length < 200; length++) {
    const part = bytes.subarray(0, length);
    expect(new Md5().update(part).digest(), `${length}`).toBe(expected(part));
  }
  const sum = new Md5();
  for (let at = 0, step = 1; at < bytes.length; at += step, step = (step * 5) % 131)
    sum.update(bytes.subarray(at, at + step));
  expect(sum.digest()).toBe(expected(bytes));
});
