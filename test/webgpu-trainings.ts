/**
 * Trainings on WebGPU whose bits must be the same in Node and in a browser, for the same adapter. A page, a worker and
 * Node run this module.
 */
import {
  adam,
  batchNorm2d,
  compile,
  compose,
  conv2d,
  dataLoader,
  dropout,
  flatten,
  fromArrays,
  linear,
  maxPool2d,
  pad,
  random,
  randomCrop,
  randomHorizontalFlip,
  relu,
  type Sequential,
  sequential,
  toTensor,
} from '../src/index.ts';

const conv = (out: number) => conv2d({ out, kernel: 3, padding: 1 });

const networks: Readonly<Record<string, Sequential>> = {
  plain: sequential([
    ...[conv(6), relu(), maxPool2d(2), conv(9), relu(), maxPool2d(3), flatten()],
    ...[linear(12), relu(), linear(4)],
  ]),
  'with normalization and dropout': sequential([
    ...[conv(6), batchNorm2d(), relu(), conv(6), batchNorm2d(), relu(), maxPool2d(2), dropout(0.3)],
    ...[flatten(), linear(12), relu(), dropout(0.5), linear(4)],
  ]),
};

const shape = [3, 12, 12] as const;
const count = 46;

export interface TrainingResult {
  readonly device: string;
  readonly losses: readonly number[];
  /** SHA-256 of each tensor's bytes. */
  readonly weights: Readonly<Record<string, string>>;
  readonly testLoss: number;
}

/** Trains each network for two epochs of augmented images, the last batch of which is smaller. */
export async function trainings(): Promise<Readonly<Record<string, TrainingResult>>> {
  const source = random(5, 2000);
  const pixels = Uint8Array.from({ length: count * 3 * 12 * 12 }, () => source.integer(256));
  const labels = Array.from({ length: count }, (_, i) => (i * i) % 4);
  const data = fromArrays(pixels, labels, shape, { classes: ['a', 'b', 'c', 'd'] });
  const transform = compose([pad(2), randomHorizontalFlip(), randomCrop(12), toTensor()]);
  const results: Record<string, TrainingResult> = {};
  for (const [name, network] of Object.entries(networks)) {
    await using model = await compile(network, { input: shape, device: 'webgpu', batchSize: 8, seed: 3 });
    const losses: number[] = [];
    const optimizer = adam({ lr: 0.01 });
    for (const epoch of [1, 2]) {
      const loader = dataLoader(data, { batchSize: 8, shuffle: true, seed: 4, transform });
      losses.push(...(await model.train(loader, { epoch, optimizer })).losses);
    }
    const weights: Record<string, string> = {};
    for (const [tensor, { data: values }] of await model.weights()) {
      const digest = await crypto.subtle.digest('SHA-256', values.slice());
      weights[tensor] = [...new Uint8Array(digest)].map((byte) => byte.toString(16)).join();
    }
    const { loss: testLoss } = await model.evaluate(dataLoader(data, { batchSize: 8 }));
    results[name] = { device: model.description, losses, weights, testLoss };
  }
  return results;
}
