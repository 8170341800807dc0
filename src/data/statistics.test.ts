import { expect, test } from 'vitest';
import { cifar100 } from './cifar-files.ts';
import { fromArrays } from './dataset.ts';
import { random } from './random.ts';
import { channelHistograms, channelStatistics, colorComponents } from './statistics.ts';

const twoImages = fromArrays(Uint8Array.of(0, 255, 51, 51, 255, 255, 51, 153), [0, 0], [2, 1, 2]);

test('histograms count each channel of every image', () => {
  const [red, green] = channelHistograms(twoImages);
  expect([red![0], red![255], red!.reduce((a, b) => a + b)]).toEqual([1, 3, 4]);
  expect([green![51], green![153], green!.reduce((a, b) => a + b)]).toEqual([3, 1, 4]);
});

test('mean and population deviation of pixels scaled to 0–1', () => {
  const { mean, std } = channelStatistics(twoImages);
  expect(mean[0]).toBeCloseTo(0.75, 12);
  expect(mean[1]).toBeCloseTo(0.3, 12);
  expect(std[0]).toBeCloseTo(Math.sqrt(3) / 4, 12);
  expect(std[1]).toBeCloseTo((Math.sqrt(3) / 4) * 0.4, 12);
});

test.skipIf(!process.env.VGGNET_TEST_CIFAR)('CIFAR-100 has the known statistics', async () => {
  const { train } = await cifar100({ data: process.env.VGGNET_TEST_CIFAR! });
  const { mean, std } = channelStatistics(train);
  const expected = {
    mean: [0.5070751592, 0.4865488733, 0.4409178434],
    std: [0.2673342859, 0.2564384629, 0.2761504713],
  };
  for (let c = 0; c < 3; c++) {
    expect(Math.abs(mean[c]! - expected.mean[c]!)).toBeLessThan(1e-8);
    expect(Math.abs(std[c]! - expected.std[c]!)).toBeLessThan(1e-8);
  }
});

test('color components are the eigenvalues and eigenvectors of the covariance', () => {
  const dice = random(3, 1);
  const count = 400;
  const pixels = Uint8Array.from({ length: 3 * count }, () => 0);
  for (let i = 0; i < count; i++) {
    const [gray, tint] = [60 + dice.integer(120), dice.integer(40)];
    pixels.set([gray + tint, gray, gray - tint], 3 * i);
  }
  const { values, vectors } = colorComponents(fromArrays(pixels, new Uint16Array(count), [3, 1, 1]));
  const channel = (c: number): number[] => Array.from({ length: count }, (_, i) => pixels[3 * i + c]! / 255);
  const mean = (list: readonly number[]): number => list.reduce((sum, value) => sum + value, 0) / count;
  const covariance = [0, 1, 2].map((a) =>
    [0, 1, 2].map((b) => {
      const [x, y] = [channel(a), channel(b)];
      return mean(x.map((value, i) => value * y[i]!)) - mean(x) * mean(y);
    }),
  );
  expect(values[0]).toBeGreaterThan(values[1]!);
  expect(values[1]).toBeGreaterThanOrEqual(values[2]!);
  for (const [i, vector] of vectors.entries()) {
    expect(Math.hypot(...vector)).toBeCloseTo(1, 12);
    for (const row of [0, 1, 2]) {
      const product = covariance[row]!.reduce((sum, value, c) => sum + value * vector[c]!, 0);
      expect(product).toBeCloseTo(values[i]! * vector[row]!, 12);
    }
  }
  expect(() => colorComponents(fromArrays(new Uint8Array(4), [0], [1, 2, 2]))).toThrow('it takes 3');
});
