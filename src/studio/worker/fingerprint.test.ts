import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { sourceOf } from '../../model/weight-streams.ts';
import { fingerprintOf, Sha256 } from './fingerprint.ts';

const bytesOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 37 + 11) & 255);

// Around the ends of blocks, whose last eight bytes hold the length.
test.each([0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000])(
  'SHA-256 of %i bytes is that of Node',
  (length) => {
    const bytes = bytesOf(length);
    const expected = createHash('sha256').update(bytes).digest('hex');
    const whole = new Sha256();
    whole.update(bytes);
    expect(whole.hex()).toBe(expected);
    const parts = new Sha256();
    for (let at = 0; at < length; at += 7) parts.update(bytes.subarray(at, at + 7));
    expect(parts.hex()).toBe(expected);
  },
);

test('a fingerprint is that of all values in their order', async () => {
  const a = Float32Array.of(1, -2, 3.5);
  const b = Float32Array.of(0, Number.NaN);
  const weights = new Map([
    ['a', { shape: [3], data: a }],
    ['b', { shape: [2], data: b }],
  ]);
  const bytes = Buffer.concat([Buffer.from(a.buffer), Buffer.from(b.buffer)]);
  const expected = createHash('sha256').update(bytes).digest('hex').slice(0, 16);
  expect(await fingerprintOf(sourceOf(weights))).toBe(expected);
  b[0] = -0;
  expect(await fingerprintOf(sourceOf(weights))).not.toBe(expected);
});
