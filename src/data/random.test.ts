import { expect, test } from 'vitest';
import { fillNormal, fillUniform, loadUniformKernel, permutation, philox, random } from './random.ts';
import { openUniformKernel } from './random-kernel.ts';

test('philox gives the known answers of its authors (Random123, kat_vectors)', () => {
  const out = new Uint32Array(4);
  philox(Uint32Array.of(0, 0, 0, 0), 0, 0, out);
  expect([...out]).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  const ones = 0xffffffff;
  philox(Uint32Array.of(ones, ones, ones, ones), ones, ones, out);
  expect([...out]).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  philox(Uint32Array.of(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344), 0xa4093822, 0x299f31d0, out);
  expect([...out]).toEqual([0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
});

test('a stream depends only on its key', () => {
  const first = random(7, 3, 1, 2);
  const again = random(7, 3, 1, 2);
  expect(Array.from({ length: 9 }, () => first.uniform())).toEqual(
    Array.from({ length: 9 }, () => again.uniform()),
  );
  expect(random(7, 3, 1, 2).uniform()).not.toBe(random(7, 3, 1, 3).uniform());
  expect(random(7, 3).uniform()).not.toBe(random(7 + 2 ** 32, 3).uniform());
});

test.each([
  [0, 1],
  [0, 8],
  [0, 1003],
  [3, 2],
  [5, 3],
  [7, 9],
  [8, 16],
  [13, 100],
  [5, 20_000],
  [2 ** 33 + 2, 29],
  [2 ** 34 - 5, 12],
])('fillUniform draws from %i on %i values as one draw after the other does', (from, length) => {
  const key = { seed: 2 ** 40 + 3 * 2 ** 31, stream: 1, index: 2 ** 31 + 7 };
  const into = new Float32Array(length + 2).fill(9);
  fillUniform(key, 0.3, from, into.subarray(1, -1));
  const block = new Uint32Array(4);
  const expected = Float32Array.from({ length }, (_, i) => {
    philox(
      Uint32Array.of((from + i) / 4, key.stream, key.index, 0),
      key.seed,
      Math.floor(key.seed / 2 ** 32),
      block,
    );
    return (2 * (block[(from + i) % 4]! / 2 ** 32) - 1) * 0.3;
  });
  expect([...into]).toEqual([9, ...expected, 9]);
  if (from > 1000) return;
  const source = random(key.seed, key.stream, key.index);
  const drawn = Float32Array.from({ length: from + length }, () => (2 * source.uniform() - 1) * 0.3);
  expect(drawn.subarray(from)).toEqual(expected);
});

test('fillUniform draws the same bits with its kernel', async () => {
  expect(openUniformKernel()).toBeDefined();
  const parts = [
    [0, 16],
    [0, 100_003],
    [3, 40],
    [8, 64],
    [16, 8],
    [2 ** 34 - 21, 90],
  ] as const;
  const draw = ([from, length]: readonly [number, number], bound: number): Float32Array => {
    const into = new Float32Array(length);
    fillUniform({ seed: 2 ** 41 + 2 ** 31 + 5, stream: 1, index: 2 ** 31 + 7 }, bound, from, into);
    return into;
  };
  const drawAll = (): Float32Array[] =>
    [0.3, 1 / Math.sqrt(25_088), 1e-30].flatMap((bound) => parts.map((part) => draw(part, bound)));
  const expected = drawAll();
  await loadUniformKernel();
  expect(drawAll()).toEqual(expected);
});

test.each([
  [0, 1],
  [0, 8],
  [1, 2],
  [5, 30],
  [7, 1],
  [2 ** 33 + 2, 29],
])('fillNormal draws from %i on %i values, two from two words', (from, length) => {
  const key = { seed: 2 ** 40 + 3 * 2 ** 31, stream: 1, index: 7 };
  const into = new Float32Array(length + 2).fill(9);
  fillNormal(key, 0.3, from, into.subarray(1, -1));
  const block = new Uint32Array(4);
  const expected = Float32Array.from({ length }, (_, i) => {
    const counter = Uint32Array.of((from + i) / 4, key.stream, key.index, 0);
    philox(counter, key.seed, Math.floor(key.seed / 2 ** 32), block);
    const second = (from + i) % 2 === 1;
    const [a, b] = ((from + i) % 4 < 2 ? block.subarray(0, 2) : block.subarray(2)) as unknown as [
      number,
      number,
    ];
    const radius = 0.3 * Math.sqrt(-2 * Math.log(1 - a / 2 ** 32));
    return radius * (second ? Math.sin : Math.cos)(2 * Math.PI * (b / 2 ** 32));
  });
  expect([...into]).toEqual([9, ...expected, 9]);
});

test('normal has mean 0 and deviation 1', () => {
  const source = random(1, 1);
  const values = Array.from({ length: 20_000 }, () => source.normal());
  const mean = values.reduce((sum, x) => sum + x) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  expect(Math.abs(mean)).toBeLessThan(0.03);
  expect(Math.abs(variance - 1)).toBeLessThan(0.05);
});

test('permutation contains every number once', () => {
  const order = permutation(1000, random(5, 2));
  expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  expect(order[0] === 0 && order[1] === 1).toBe(false);
});
