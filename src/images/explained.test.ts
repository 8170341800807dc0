import { expect, test } from 'vitest';
import { inferno } from '../explain/colors.ts';
import {
  camImage,
  enlarged,
  featureImage,
  filterImage,
  heatImage,
  heatOverlay,
  inputRaster,
} from './explained.ts';
import { encodePng, type Raster } from './png.ts';

const pixel = ({ width, channels, bytes }: Raster, x: number, y: number): number[] => [
  ...bytes.subarray((y * width + x) * channels, (y * width + x + 1) * channels),
];

test("a network's input becomes the image again", () => {
  const normalization = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.5] };
  const planes = [0, 255, 10, 20, 30, 40];
  const input = Float32Array.from(planes, (byte, i) => {
    const c = Math.floor(i / 2);
    return (byte / 255 - normalization.mean[c]!) / normalization.std[c]!;
  });
  const image = inputRaster(input, [3, 1, 2], normalization);
  expect(image).toMatchObject({ width: 2, height: 1, channels: 3 });
  expect([...image.bytes]).toEqual([0, 10, 30, 255, 20, 40]);
  expect([...inputRaster(Float32Array.of(-1, 2), [1, 1, 2], null).bytes]).toEqual([0, 255]);
});

test('values that are no image of the shape are refused', () => {
  expect(() => inputRaster(new Float32Array(5), [1, 2, 2])).toThrow('5 values are not an image of 1×2×2');
});

test('pixels are enlarged to squares', () => {
  const image: Raster = { width: 2, height: 2, channels: 1, bytes: Uint8Array.of(1, 2, 3, 4) };
  expect([...enlarged(image, 2).bytes]).toEqual([1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4]);
});

test('a heat map lies over its image, smoothly', () => {
  const bytes = new Uint8Array(3 * 16).fill(200);
  const heat = { width: 2, height: 1, values: Float32Array.of(0, 1) };
  const image = heatOverlay({ width: 4, height: 4, channels: 3, bytes }, heat);
  const mixed = (value: number): number[] =>
    inferno(value).map((color) => Math.round(200 + ((color - 200) * Math.round(70 + 130 * value)) / 255));
  expect(pixel(image, 0, 2)).toEqual(mixed(0));
  expect(pixel(image, 3, 0)).toEqual(mixed(1));
  for (const c of [0, 1, 2]) {
    expect(Math.abs(pixel(image, 1, 1)[c]! - mixed(0.25)[c]!)).toBeLessThanOrEqual(1);
  }
  // Gray images become colored ones.
  const gray = heatOverlay({ width: 4, height: 4, channels: 1, bytes: bytes.slice(0, 16) }, heat);
  expect(gray).toEqual(image);
  expect(camImage({ width: 4, height: 4, channels: 3, bytes }, heat)).toMatchObject({
    width: 448,
    height: 448,
  });
  expect(
    encodePng(camImage({ width: 300, height: 500, channels: 3, bytes: new Uint8Array(450_000) }, heat))
      .length,
  ).toBeGreaterThan(100);
});

test('grids of maps, filters and heat', () => {
  const data = Float32Array.from({ length: 2 * 5 * 6 }, (_, i) => i % 7);
  const maps = featureImage({ shape: [2, 5, 2, 3], data }, { channels: 4 });
  // Two columns of 3 pixels and two rows of 2, with a gap of one, 64 times as large.
  expect([maps.width, maps.height, maps.channels]).toEqual([7 * 64, 5 * 64, 4]);
  const filters = filterImage({
    shape: [4, 3, 3, 3],
    data: Float32Array.from({ length: 108 }, (_, i) => i - 50),
  });
  expect([filters.width, filters.height]).toEqual([7 * 64, 7 * 64]);
  expect(filters.bytes[3]).toBe(255);
  const heat = heatImage({ width: 2, height: 1, values: Float32Array.of(0, 1) });
  expect(pixel(heat, 0, 0)).toEqual([...inferno(0)]);
  expect(pixel(heat, 447, 223)).toEqual([...inferno(1)]);
  expect(() => featureImage({ shape: [1, 10], data })).toThrow('choose a layer before flatten');
  expect(() => filterImage({ shape: [10, 5], data })).toThrow('not of a convolution');
  expect(() => camImage(undefined as never, undefined as never)).toThrow(
    'camImage: image is undefined, not a raster',
  );
});
