import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Dataset } from './dataset.ts';
import { random, streams } from './random.ts';
import { drawShape, shapeClasses, shapes } from './shapes.ts';

const size = 3 * 32 * 32;
const { train, test: held } = shapes();
const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 16);
const image = (dataset: Dataset, index: number): Uint8Array =>
  dataset.pixels.subarray(index * size, (index + 1) * size);

/** Softmax regression on raw pixels by stochastic gradient descent; its accuracy on the test split. */
function linearAccuracy(epochs: number, rate: number): number {
  const classCount = shapeClasses.length;
  const weights = new Float64Array(classCount * size);
  const bias = new Float64Array(classCount);
  const input = new Float64Array(size);
  const logits = new Float64Array(classCount);
  const predict = (dataset: Dataset, index: number): number => {
    const bytes = image(dataset, index);
    for (let i = 0; i < size; i++) input[i] = bytes[i]! / 255 - 0.35;
    for (let k = 0; k < classCount; k++) {
      let sum = bias[k]!;
      for (let i = 0; i < size; i++) sum += weights[k * size + i]! * input[i]!;
      logits[k] = sum;
    }
    return logits.indexOf(Math.max(...logits));
  };
  for (let epoch = 0; epoch < epochs; epoch++) {
    for (let index = 0; index < train.length; index++) {
      const best = logits[predict(train, index)]!;
      const exps = logits.map((logit) => Math.exp(logit - best));
      const total = exps.reduce((a, b) => a + b);
      for (let k = 0; k < classCount; k++) {
        const step = (rate / (1 + epoch)) * (exps[k]! / total - Number(k === train.labels[index]));
        bias[k]! -= step;
        for (let i = 0; i < size; i++) weights[k * size + i]! -= step * input[i]!;
      }
    }
  }
  let correct = 0;
  for (let index = 0; index < held.length; index++) {
    correct += Number(predict(held, index) === held.labels[index]);
  }
  return correct / held.length;
}

describe('shapes', () => {
  test('is 10,000 and 2,000 color images of ten balanced classes', () => {
    for (const [dataset, length] of [
      [train, 10_000],
      [held, 2_000],
    ] as const) {
      expect(dataset.name).toBe('shapes');
      expect(dataset.shape).toEqual([3, 32, 32]);
      expect(dataset.classes).toHaveLength(10);
      expect(dataset.length).toBe(length);
      expect(dataset.pixels).toHaveLength(length * size);
      const counts = new Array<number>(10).fill(0);
      for (const label of dataset.labels) counts[label]!++;
      expect(counts).toEqual(new Array(10).fill(length / 10));
    }
  });

  test('is always the same bytes', () => {
    expect([digest(train.pixels), digest(held.pixels)]).toEqual(['ce6fa505e8e82a10', 'ea0600bad38d9af2']);
  });

  test('any image can be drawn alone', () => {
    const alone = new Uint8Array(size);
    drawShape(7, random(0, streams.shapes, 4_317, 0), alone);
    expect(alone).toEqual(new Uint8Array(image(train, 4_317)));
  });

  test('no image occurs twice, in either split', () => {
    const digests = new Set<string>();
    for (const dataset of [train, held]) {
      for (let index = 0; index < dataset.length; index++) digests.add(digest(image(dataset, index)));
    }
    expect(digests.size).toBe(12_000);
  });

  test('every class varies in position and uses the range of brightness', () => {
    for (let label = 0; label < 10; label++) {
      const lowest = new Uint8Array(size).fill(255);
      const highest = new Uint8Array(size);
      for (let index = label; index < train.length; index += 10) {
        image(train, index).forEach((value, i) => {
          if (value < lowest[i]!) lowest[i] = value;
          if (value > highest[i]!) highest[i] = value;
        });
      }
      // Over many images of a class, ground and ink both come to the middle, and nowhere is always ink.
      const middle = 16 * 32 + 16;
      expect(lowest[middle]).toBeLessThan(60);
      expect(highest[middle]).toBeGreaterThan(200);
      expect(Math.max(...lowest)).toBeLessThan(100);
    }
  });

  test('a linear classifier learns something but stays below 60 %', () => {
    const accuracy = linearAccuracy(3, 0.002);
    expect(accuracy).toBeGreaterThan(0.3);
    expect(accuracy).toBeLessThan(0.6);
  });
});
