/** Our side of the benchmark, with the interfaces that training uses: sessions for steps, a whole program for epochs. */

import { loadDataset } from '../src/data/load.ts';
import { batchSource, dataLoader } from '../src/data/loader.ts';
import { shapes } from '../src/data/shapes.ts';
import type { DeviceName, Session } from '../src/engine/backend.ts';
import { openerOf } from '../src/engine/open.ts';
import { initialWeights } from '../src/model/initialize.ts';
import type { Network } from '../src/model/layer.ts';
import { createModel } from '../src/model/models.ts';
import { buildNetwork } from '../src/model/network.ts';
import { simplified, vgg7 } from '../src/model/vgg.ts';
import { loadersOf } from '../src/runs/loaders.ts';
import { compile } from '../src/train/model.ts';
import { adam } from '../src/train/optimizers.ts';
import type { EpochTimes, ModelName } from './peer.ts';

export type BenchDevice = Exclude<DeviceName, 'auto' | 'webgpu'>;

const sequentials = {
  simplified,
  vgg7,
  'vgg16-bn': ({ classes }: { readonly classes: number }) =>
    createModel('vgg16-bn', { classes, options: { head: 'linear' }, input: [3, 32, 32] }),
};

export function networkOf(model: ModelName): Network {
  return buildNetwork(sequentials[model]({ classes: 10 }), [3, 32, 32]);
}

/**
 * Floating-point operations per image, counted as direct convolution with two per multiply-add: the forward pass, and in
 * training also the gradients of weights and inputs, except the input of the first layer.
 */
export function operationsOf(network: Network, training: boolean): number {
  const layers = network.layers.filter(({ parameters }) => parameters.length > 0);
  return layers.reduce((sum, { multiplyAdds }, index) => {
    return sum + 2 * multiplyAdds * (training ? (index === 0 ? 2 : 3) : 1);
  }, 0);
}

export interface Ours {
  readonly session: Session;
  /** Seconds per training step, averaged over `steps`, including reading and scaling the batch's bytes. */
  step(steps: number): Promise<number>;
  /** Seconds per forward pass of a batch, averaged over `passes`. */
  predict(passes: number): Promise<number>;
}

export async function openOurs(
  model: ModelName,
  options: { readonly device: BenchDevice; readonly threads: number; readonly batchSize: number },
): Promise<Ours> {
  const { device, threads, batchSize } = options;
  const network = networkOf(model);
  const session = await (await openerOf(device))(network, { batchSize, threads });
  await session.setWeights(initialWeights(network, 0));
  const source = batchSource(dataLoader(shapes().train, { batchSize, shuffle: true }), 1);
  const optimizer = adam({ lr: 0.001 });
  const images = new Float32Array(batchSize * 3 * 32 * 32).fill(0.5);
  const timed = async (count: number, work: () => Promise<unknown>): Promise<number> => {
    const start = performance.now();
    await work();
    return (performance.now() - start) / 1000 / count;
  };
  return {
    session,
    step: (steps) => timed(steps, () => session.train({ source, optimizer, from: 0, to: steps })),
    predict: (passes) =>
      timed(passes, async () => {
        for (let pass = 0; pass < passes; pass++) await session.predict(images, batchSize);
      }),
  };
}

/**
 * Runs the lecture's program for one epoch, from reading the files to the end of the test. The device opens while the
 * files are read, as in `vgg train`.
 */
export async function lectureEpoch(data: string, device: BenchDevice, threads: number): Promise<EpochTimes> {
  const start = performance.now();
  const loading = loadDataset({ dataset: 'cifar10', data });
  await using model = await compile(simplified({ classes: 10 }), {
    input: [3, 32, 32],
    batchSize: 100,
    device,
    threads,
  });
  const { trainLoader, testLoader } = loadersOf(await loading, {
    batchSize: 100,
    normalize: false,
    augment: true,
    crop: 'resized',
    rotation: 0,
    colorJitter: 0,
    colorShift: 0,
    cutout: 0,
    validation: 0,
    shuffle: true,
    seed: 0,
  });
  const { seconds: trainSeconds } = await model.train(trainLoader, {
    epoch: 1,
    optimizer: adam({ lr: 0.001 }),
  });
  const { seconds: testSeconds, accuracy } = await model.evaluate(testLoader);
  return { seconds: (performance.now() - start) / 1000, trainSeconds, testSeconds, testAccuracy: accuracy };
}
