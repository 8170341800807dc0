/**
 * The space of the lecture's exercise 4: candidates for the channels of each block of `vgg7`, for the kernel and stride of
 * each max-pool, and for what depends on them: the classifier's width and dropout, and the learning rate. Everything else is
 * as in exercise 3, so the search has to beat its hand-chosen network.
 */
import { recipes } from '../train/recipes.ts';
import { parseSpace, type TuneSpace } from './space.ts';

const pool = { int: [2, 3] };
const stride = { int: [2, 4] };

/** The space as it would be written in a file. Trials are judged on validation images, not on test images. */
export const exerciseSpaceSource: Readonly<Record<string, unknown>> = {
  ...recipes['cifar100-vgg7']?.config,
  validation: 0.1,
  epochs: 4,
  modelOptions: {
    channels: [
      { int: [32, 96], step: 32 },
      { int: [64, 192], step: 64 },
    ],
    poolKernels: [pool, pool],
    poolStrides: [stride, stride],
    hidden: { choices: [256, 512, 1024] },
    dropout: { float: [0, 0.5], step: 0.1 },
  },
  lr: { float: [0.0003, 0.004], log: true },
};

export const exerciseSpace = (): TuneSpace => parseSpace(exerciseSpaceSource, "exercise 4's space");
