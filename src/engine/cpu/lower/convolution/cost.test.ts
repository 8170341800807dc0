import { expect, test } from 'vitest';
import { conv2d } from '../../../../model/layers/index.ts';
import { cheapestScheme } from './cost.ts';

/** 2 MiB. */
const cacheFloats = 1 << 19;

test.each([
  [64, 1, undefined],
  [64, 2, undefined],
  [64, 4, 2],
  [64, 8, 2],
  [64, 12, 4],
  [128, 3, undefined],
  [128, 8, 2],
  [128, 16, 4],
  [256, 1, 2],
  [256, 2, 2],
  [256, 4, 2],
  [512, 1, 2],
  [512, 2, 2],
  [512, 4, 2],
  [512, 16, 4],
])('%i channels on a map of side %i: the tile', (channels, side, tile) => {
  const map = { height: side, width: side, channels, stored: channels };
  const spec = conv2d({ out: channels, kernel: 3, padding: 1 });
  expect(cheapestScheme(spec, map, map, cacheFloats)?.tile).toBe(tile);
});

test.each([
  [128, 4, 32, 4],
  [128, 8, 16, 4],
  [256, 2, 32, 2],
  [256, 4, 16, 2],
  [256, 4, 32, 4],
])('%i channels on a map of side %i in chunks of %i images: the tile', (channels, side, images, tile) => {
  const map = { height: side, width: side, channels, stored: channels };
  const spec = conv2d({ out: channels, kernel: 3, padding: 1 });
  expect(cheapestScheme(spec, map, map, cacheFloats, images)?.tile).toBe(tile);
});

test('Winograd is for 3×3, stride 1 and whole vectors of channels', () => {
  const map = { height: 16, width: 16, channels: 16, stored: 16 };
  const tileOf = (spec: ReturnType<typeof conv2d>, stored = 16) =>
    cheapestScheme(spec, { ...map, stored }, map, cacheFloats)?.tile;
  expect(tileOf(conv2d({ out: 16, kernel: 3, padding: 1 }))).toBe(4);
  expect(tileOf(conv2d({ out: 16, kernel: 3, padding: 1 }), 3)).toBeUndefined();
  expect(tileOf(conv2d({ out: 16, kernel: [3, 1], padding: 1 }))).toBeUndefined();
  expect(tileOf(conv2d({ out: 16, kernel: 3, padding: 1, stride: 2 }))).toBeUndefined();
  expect(tileOf(conv2d({ out: 16, kernel: 3, padding: 3 }))).toBeUndefined();
});
