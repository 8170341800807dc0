/**
 * The space of the lecture's exercise 4: candidates for the channels of each block and for kernel and stride of each
 * max-pool of `vgg7`, and with them what depends on these: the width of the classifier, its dropout and the learning rate.
 */
import { parseSpace, type TuneSpace } from './space.ts';

const pool = { int: [2, 3] };
const stride = { int: [2, 4] };

/** As it would stand in a file; `vgg tune` shows it. */
export const exerciseSpaceSource: Readonly<Record<string, unknown>> = {
  model: 'vgg7',
  dataset: 'cifar100',
  modelOptions: {
    channels: [
      { int: [32, 96], step: 32 },
      { int: [64, 256], step: 64 },
    ],
    poolKernels: [pool, pool],
    poolStrides: [stride, stride],
    hidden: { choices: [128, 256, 512] },
    dropout: { float: [0, 0.5], step: 0.1 },
  },
  lr: { float: [0.0002, 0.005], log: true },
};

export const exerciseSpace = (): TuneSpace => parseSpace(exerciseSpaceSource, "exercise 4's space");
