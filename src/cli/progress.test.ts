import { expect, test } from 'vitest';
import { bar, clock, type StartEvent } from './progress.ts';

test('times are short', () => {
  expect([0, 7.4, 754, 3723, -1].map(clock)).toEqual(['0:00', '0:07', '12:34', '1:02:03', '0:00']);
});

/** A bar on a made-up terminal with a clock of our own, in milliseconds. */
function onTerminal(columns: number) {
  let written = '';
  let time = 0;
  const progress = bar({ columns, write: (text) => (written += text) }, () => time);
  // 1,000 batches in all.
  progress.start({
    model: { network: { name: 'small', parameterCount: 1 }, description: 'made up' },
    splits: { train: { name: 'none' }, test: { length: 1 } },
    trainLoader: { length: 100, dataset: { length: 10_000 } },
    config: { epochs: 10, accumulate: 1, batchSize: 100, seed: 0 },
    run: undefined,
    from: undefined,
  } as unknown as StartEvent);
  return {
    progress,
    take: (): string => {
      const taken = written;
      written = '';
      return taken;
    },
    advance: (milliseconds: number): void => {
      time += milliseconds;
    },
  };
}

test('the bar shows epoch, step, loss, speed and time left', () => {
  const { progress, take, advance } = onTerminal(120);
  advance(1000);
  progress.step({ epoch: 1, epochs: 10, step: 50, steps: 100, loss: 1.23456, lr: 0.1 });
  const drawn = `\r\x1b[2KEpoch [1/10] ${'█'.repeat(12)}${'░'.repeat(12)} step [50/100]  Loss: 1.2346  `;
  // Within the first two seconds, the rate says little about the time left.
  expect(take()).toBe(`${drawn}5,000 images/s`);
  advance(1000);
  progress.step({ epoch: 1, epochs: 10, step: 50, steps: 100, loss: 1.23456, lr: 0.1 });
  expect(take()).toBe(`${drawn}2,500 images/s  0:38 left`);
});

test('two slow steps are no rate', () => {
  const { progress, take, advance } = onTerminal(120);
  for (let step = 1; step <= 5; step++) {
    advance(10_000);
    progress.step({ epoch: 1, epochs: 10, step, steps: 100, loss: 1, lr: 0.1 });
    expect(take().includes('left'), `step ${step}`).toBe(step === 5);
  }
});

test('it is drawn a few times a second, and always for the last step', () => {
  const { progress, take, advance } = onTerminal(120);
  const at = (step: number): string => {
    advance(10);
    progress.step({ epoch: 1, epochs: 1, step, steps: 100, loss: 1, lr: 0.1 });
    return take();
  };
  expect(at(1)).toContain('step [1/100]');
  expect(at(2)).toBe('');
  expect(at(100)).toContain('step [100/100]');
});

test('it never wraps', () => {
  const { progress, take } = onTerminal(40);
  progress.step({ epoch: 1, epochs: 1, step: 1, steps: 100, loss: 1, lr: 0.1 });
  // What has no room is left out, and nothing is cut.
  expect(take().replace('\r\x1b[2K', '')).toBe('Epoch [1/1]  step [1/100]  Loss: 1.0000');
});

test('a finished epoch takes the place of the bar', () => {
  const { progress, take } = onTerminal(120);
  progress.epoch({
    epoch: 1,
    epochs: 3,
    step: 100,
    lr: 0.1,
    trainAccuracy: 0.5,
    testTopFive: 0.9,
    trainLoss: 1,
    testLoss: 1,
    testAccuracy: 0.5,
    trainSeconds: 1,
    testSeconds: 1,
    imagesPerSecond: 1,
  });
  expect(take()).toBe(
    '\r\x1b[2KEpoch [1/3] Train loss: 1.0000, Test loss: 1.0000, Test accuracy: 50.00 %, 2.0 s\n',
  );
});

test('a pause is told, and is no time of training', () => {
  const { progress, take, advance } = onTerminal(120);
  advance(2000);
  progress.step({ epoch: 1, epochs: 10, step: 50, steps: 100, loss: 1, lr: 0.1 });
  expect(take()).toContain('2,500 images/s  0:38 left');
  progress.pause({ paused: true, step: 50 });
  expect(take()).toBe('\r\x1b[2K');
  advance(60_000);
  progress.pause({ paused: false, step: 50 });
  advance(2000);
  progress.step({ epoch: 1, epochs: 10, step: 100, steps: 100, loss: 1, lr: 0.1 });
  expect(take()).toContain('2,500 images/s  0:36 left');
});
