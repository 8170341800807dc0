/** Named sets of options: `vgg train --recipe cifar100-vgg7`. Options that a user gives override them. */
import type { TrainConfigInput } from './config-table.ts';

export interface Recipe {
  readonly description: string;
  readonly config: TrainConfigInput;
  /** Options that it cannot do without. */
  readonly needs?: readonly (keyof TrainConfigInput)[];
}

export const recipes: Readonly<Record<string, Recipe>> = {
  lecture: {
    description: "the lecture's program on CIFAR-10",
    config: { model: 'simplified', dataset: 'cifar10' },
  },
  'cifar100-vgg7': {
    description: 'the third exercise: vgg7 on CIFAR-100',
    config: {
      model: 'vgg7',
      modelOptions: { channels: [64, 128], hidden: 512, dropout: 0.5 },
      dataset: 'cifar100',
      normalize: true,
      // With PyTorch's initialization, plain layers hardly learn under SGD with momentum; with Adam they do.
      optimizer: 'adamw',
      lr: 0.001,
      weightDecay: 0.05,
      schedule: 'oneCycle',
      labelSmoothing: 0.1,
      epochs: 30,
    },
  },
  'cifar100-vgg7-bn': {
    description: 'the third exercise with batch normalization',
    config: {
      model: 'vgg7-bn',
      modelOptions: { channels: [64, 128], hidden: 512, dropout: 0.5 },
      dataset: 'cifar100',
      normalize: true,
      optimizer: 'sgd',
      lr: 0.05,
      nesterov: true,
      weightDecay: 5e-4,
      schedule: 'oneCycle',
      labelSmoothing: 0.1,
      epochs: 30,
    },
  },
  paper: {
    description: "the paper's training (sections 3.1 and 3.2), in batches of 8 × 32 images",
    needs: ['dataset'],
    config: {
      model: 'vgg16',
      // Dropout of ½ is the networks' own. Deep ones start from Glorot's weights instead of those of configuration A
      // (section 3.1).
      modelOptions: { initialization: 'glorot' },
      batchSize: 32,
      accumulate: 8,
      optimizer: 'sgd',
      lr: 0.01,
      momentum: 0.9,
      weightDecay: 5e-4,
      schedule: 'plateau',
      lrGamma: 0.1,
      patience: 3,
      // Three plateaus: 0.01 / 10³.
      minLr: 1e-5,
      normalize: true,
      crop: 'jitter',
      colorShift: 0.1,
      epochs: 74,
    },
  },
  'fine-tune': {
    description:
      'published weights (--init) on other images: first the head, then all layers at a lower rate',
    needs: ['init'],
    config: {
      freshHead: true,
      freeze: ['features'],
      unfreezeAfter: 4,
      unfreezeLr: 0.1,
      batchSize: 16,
      optimizer: 'sgd',
      lr: 0.005,
      momentum: 0.9,
      weightDecay: 1e-4,
      schedule: 'cosine',
      labelSmoothing: 0.1,
      epochs: 12,
    },
  },
  'cifar10-vgg16-bn': {
    description: 'vgg16-bn of half the width on CIFAR-10, with Muon',
    config: {
      model: 'vgg16-bn',
      modelOptions: { head: 'linear', width: 0.5 },
      dataset: 'cifar10',
      normalize: true,
      // Large enough that chunks of small maps have 32 images.
      batchSize: 512,
      optimizer: 'muon',
      lr: 0.1,
      momentum: 0.9,
      weightDecay: 0.02,
      schedule: 'oneCycle',
      labelSmoothing: 0.1,
      epochs: 40,
    },
  },
};
