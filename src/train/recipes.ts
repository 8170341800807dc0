/** Named sets of options: `vgg train --recipe cifar100-vgg7`. Options that a user gives override them. */
import type { TrainConfigInput } from './config-table.ts';

export interface Recipe {
  readonly description: string;
  readonly config: TrainConfigInput;
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
};
