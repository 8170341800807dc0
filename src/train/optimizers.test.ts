import { expect, test } from 'vitest';
import { adam, muon, type SgdSettings, sgd } from './optimizers.ts';

test("the defaults are PyTorch's", () => {
  expect(adam()).toEqual({ kind: 'adam', lr: 0.001, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 });
});

test.each([
  [{ lr: 0 }, 'lr = 0'],
  [{ lr: Number.NaN }, 'lr = NaN'],
  [{ lr: Infinity }, 'lr = Infinity'],
  [{ betas: [0.9, 1] as const }, 'betas = [0.9, 1]'],
  [{ betas: [-0.1, 0.9] as const }, 'betas = [-0.1, 0.9]'],
  [{ epsilon: 0 }, 'epsilon = 0'],
])('%j is rejected by name and value', (options, message) => {
  expect(() => adam(options)).toThrow(message);
});

test.each([
  [{ otherLr: 0 }, 'muon: otherLr = 0 is not a finite number above 0'],
  [{ momentum: 1 }, 'muon: momentum = 1 is not at least 0 and below 1'],
  [{ weightDecay: -1 }, 'muon: weightDecay = -1'],
])('%j is rejected by muon', (options, message) => {
  expect(() => muon(options)).toThrow(message);
});

test('unknown settings are rejected', () => {
  expect(adam({ ...adam(), lr: 0.1 }).lr).toBe(0.1);
  const settings: object = { learningRate: 1 };
  expect(() => adam(settings)).toThrow('adam: there is no setting "learningRate"');
  expect(() => sgd(settings as SgdSettings)).toThrow('Available: lr, momentum, nesterov, weightDecay');
});
