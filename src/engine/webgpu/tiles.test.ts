/** Which tiles products get. */
import { expect, test } from 'vitest';
import { chooseTile, tileTables } from './tiles.ts';

const { gpu, software } = tileTables;
const plenty = 2 ** 24;

/** `128×64, 4 slices` of a product [m][n] with sums of k values. */
function choice(m: number, n: number, k: number, mostFloats = plenty): string {
  const { tile, slices } = chooseTile(gpu, m, n, k, mostFloats);
  return `${tile.bm}×${tile.bn}, ${slices}`;
}

test('large products take the largest tile', () => {
  expect(choice(64 * 112 * 112, 128, 576)).toBe('128×128, 1');
});

test('narrow products take no tile that is wider', () => {
  expect(choice(100 * 30 * 30, 16, 36)).toBe('32×32, 1');
  expect(choice(64 * 224 * 224, 64, 576)).toBe('128×64, 1');
});

test('small products with long sums are cut into slices', () => {
  // The weights' gradient of a convolution of 128 channels.
  const { tile, slices } = chooseTile(gpu, 128, 1156, 25_600, plenty);
  expect(slices).toBeGreaterThan(8);
  expect(tile.bm * tile.bn).toBeGreaterThan(32 * 32);
  // Each slice has enough values, and all fit.
  expect(chooseTile(gpu, 128, 1156, 512, plenty).slices).toBeLessThanOrEqual(2);
  expect(chooseTile(gpu, 128, 1156, 25_600, 128 * 1156 * 3).slices).toBeLessThanOrEqual(3);
  expect(chooseTile(gpu, 128, 1156, 25_600, 0).slices).toBe(1);
});

test('software adapters have one tile', () => {
  expect(chooseTile(software, 1000, 1000, 1000, plenty).tile).toBe(software.tiles[0]);
});
