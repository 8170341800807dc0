/**
 * The space of the lecture's exercise 4: candidates for the channels of each block and for kernel and stride of each
 * max-pool of `vgg7`, and with them what depends on these: the width of the classifier, its dropout and the learning rate.
 * All else is as in exercise 3, so that its hand-chosen network is what the search has to beat.
 */
import { recipes } from '../train/recipes.ts';
import { parseSpace, type TuneSpace } from './space.ts';

const pool = { int: [2, 3] };
const stride = { int: [2, 4] };

/** As it would stand in a file. Trials are judged by pictures kept apart, not by the test's. */
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
