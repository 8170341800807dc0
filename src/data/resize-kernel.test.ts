/** The kernel against the plain resize, which is compared with Pillow, in every byte. */
import { expect, test } from 'vitest';
import { random, streams } from './random.ts';
import { centerWindow, planResize, type ResizeWindow, resizePixels, type Sides } from './resize.ts';
import { openResizer } from './resize-kernel.ts';

const resizer = openResizer();

function check(source: Sides, output: Sides, window?: ResizeWindow, value?: number): void {
  const draws = random(source[0] * 7 + source[1], streams.transform);
  const pixels = Uint8Array.from(
    { length: 3 * source[0] * source[1] },
    () => value ?? Math.floor(draws.uniform() * 256),
  );
  const plan = planResize(source, output, window);
  const length = 3 * plan.window.height * plan.window.width;
  const [expected, found] = [new Uint8Array(length), new Uint8Array(length)];
  resizePixels(plan, pixels, 3, expected);
  const sums = resizer.resize(plan, pixels, found);
  expect(found).toEqual(expected);
  const plane = (c: number): Uint8Array => expected.subarray((c * length) / 3, ((c + 1) * length) / 3);
  const sum = (power: number, c: number): number => plane(c).reduce((all, byte) => all + byte ** power, 0);
  expect(sums).toEqual([0, 1, 2, 3, 4, 5].map((i) => sum(i < 3 ? 1 : 2, i % 3)));
}

test.for<[string, Sides, Sides]>([
  ['smaller', [375, 500], [256, 341]],
  ['larger', [24, 32], [256, 341]],
  ['one pixel', [1, 1], [5, 3]],
  ['to one pixel', [33, 17], [1, 1]],
  ['the same size', [19, 31], [19, 31]],
  ['one row', [1, 200], [16, 3]],
  ['far smaller', [2000, 3], [5, 2]],
  ['more rows than a band', [3000, 700], [97, 33]],
])('%s', ([, source, output]) => check(source, output));

test('sums of many bright pixels', () => check([8, 8], [600, 640], undefined, 255));

test('sums of rounded weights above 255 do not wrap', () => check([375, 500], [256, 341], undefined, 255));

test('only the window', () => {
  check([375, 500], [256, 341], centerWindow([256, 341], [224, 224]));
  check([50, 40], [100, 80], { top: 99, left: 3, height: 1, width: 7 });
});

test('random sizes', () => {
  const draws = random(1, streams.transform);
  const side = (): number => 1 + Math.floor(draws.uniform() * 90);
  for (let i = 0; i < 60; i++) check([side(), side()], [side(), side()]);
});
