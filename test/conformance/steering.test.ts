/** A training that is paused, stepped and changed while it runs, on every device: the same bits as one that is not. */
import { describe, expect, test } from 'vitest';
import { dataLoader } from '../../src/data/loader.ts';
import type { Weights } from '../../src/model/layer.ts';
import type { Change } from '../../src/train/changes.ts';
import { TrainingControl } from '../../src/train/control.ts';
import { type FitOptions, fit as train } from '../../src/train/fit.ts';
import { Model } from '../../src/train/model.ts';
import { sgd } from '../../src/train/optimizers.ts';
import { devices } from '../devices.ts';
import { augment, dataset, network, weights } from './small.ts';

const batchSize = 3;
const loader = dataLoader(dataset, { batchSize, shuffle: true, seed: 3, transform: augment });

describe.each(devices)('$name', ({ open, threads }) => {
  async function trained(options: Partial<FitOptions>): Promise<Weights> {
    await using model = new Model(network, await open(network, { batchSize, threads }), batchSize);
    await model.setWeights(weights);
    const optimizer = sgd({ lr: 0.02, momentum: 0.5 });
    await train({ model, trainLoader: loader, testLoader: loader, optimizer, epochs: 3, ...options });
    return model.weights();
  }

  test('live changes, pauses and single steps', async () => {
    const control = new TrainingControl();
    const changes: Change[] = [];
    let rested = Promise.withResolvers<void>();
    control.pause();
    const live = trained({
      control,
      callbacks: [
        {
          change: (change) => void changes.push(change),
          pause: (paused) => {
            if (paused) rested.resolve();
          },
          step: ({ epoch, step }) => {
            if (epoch === 2 && step === 3) control.change({ lr: 0.03 });
          },
        },
      ],
    });
    const rest = async (): Promise<void> => {
      await rested.promise;
      rested = Promise.withResolvers();
    };
    await rest();
    control.step(3);
    await rest();
    control.change({ momentum: 0.8, weightDecay: 0.01 });
    control.step();
    await rest();
    control.resume();
    const steered = await live;
    expect(changes[0]).toEqual({ step: 3, momentum: 0.8, weightDecay: 0.01 });
    expect(changes[1]).toMatchObject({ lr: 0.03 });
    expect(await trained({ changes })).toEqual(steered);
    expect(await trained({ changes: changes.slice(0, 1) })).not.toEqual(steered);
  });
});
