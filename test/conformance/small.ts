/** A small network without normalization and a data set for it, on which the contract of a session is tested. */
import { type Dataset, fromArrays } from '../../src/data/dataset.ts';
import {
  compose,
  normalize,
  pad,
  randomCrop,
  randomHorizontalFlip,
  type Transform,
  toTensor,
} from '../../src/data/transforms.ts';
import type { BatchSource, TrainRequest } from '../../src/engine/backend.ts';
import { initialWeights } from '../../src/model/initialize.ts';
import type { Network, Weights } from '../../src/model/layer.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from '../../src/model/layers/index.ts';
import { buildNetwork, sequential } from '../../src/model/network.ts';
import { randomImages } from '../expected.ts';
import { adam } from './sessions.ts';

export const network: Network = buildNetwork(
  sequential([
    conv2d({ out: 5, kernel: 3, padding: 1 }),
    relu(),
    maxPool2d(2),
    conv2d({ out: 6, kernel: 3 }),
    relu(),
    flatten(),
    linear(9),
  ]),
  [3, 10, 9],
);
export const images: Float32Array = randomImages([3, 10, 9], 23, 5);
export const dataset: Dataset = fromArrays(
  Uint8Array.from(randomImages([3, 12, 11], 23, 6), (value) => (value + 1) * 128),
  Array.from({ length: 23 }, (_, i) => (i * i) % 9),
  [3, 12, 11],
);
export const augment: Transform = compose([
  pad(2),
  randomHorizontalFlip(),
  randomCrop([10, 9]),
  toTensor(),
  normalize([0.5, 0.4, 0.3], [0.2, 0.25, 0.3]),
]);
export const order: Uint32Array = Uint32Array.from({ length: 23 }, (_, i) => (i * 5) % 23);
export const source: BatchSource = { dataset, transform: augment, batchSize: 7, order, seed: 3, epoch: 2 };
export const request: TrainRequest = { source, optimizer: adam(0.01), from: 0, to: 4 };
export const weights: Weights = initialWeights(network, 1);
