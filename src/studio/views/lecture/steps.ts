/** Each step's right answer and the states of the page that its links open. Words are in `text/`. */
import type { TrainConfigInput } from '../../../train/config-table.ts';
import { linkTo, linkToPlace } from '../../state/route.ts';
import { specToQuery, usualConfig } from '../../state/spec.ts';
import type { StepName } from '../../state/tour.ts';

export interface Step {
  /** Place of the right choice. */
  readonly right: number;
  /** Addresses, in the order of the text's links. */
  readonly links: readonly string[];
}

const training = (config: TrainConfigInput): string =>
  linkTo('learn', specToQuery({ config: { ...usualConfig, ...config } }));

/** The lecture's program, on the built-in images. */
const lecture: TrainConfigInput = {
  optimizer: 'adam',
  lr: 0.001,
  augment: true,
  schedule: 'step',
  lrStep: 20,
  lrGamma: 1 / 3,
  epochs: 10,
};

/** Exercise 3's network, so narrow that a page trains it in about a minute. */
const narrow: TrainConfigInput = { modelOptions: { channels: [16, 32], hidden: 64 }, epochs: 5 };

export const steps: Readonly<Record<StepName, Step>> = {
  table: { right: 2, links: [linkToPlace('build', 'vgg16/imagenet')] },
  filters: { right: 1, links: [linkToPlace('build', 'three-3x3'), linkToPlace('build', 'one-7x7')] },
  transforms: { right: 1, links: [linkToPlace('break', 'augmentation')] },
  model: { right: 0, links: [linkToPlace('build', 'simplified')] },
  training: { right: 1, links: [training(lecture)] },
  schedule: {
    right: 1,
    links: [
      training({ lr: 0.06, batchSize: 50, schedule: 'step', lrStep: 2, lrGamma: 1 / 3, epochs: 8 }),
      linkTo('compare'),
    ],
  },
  test: { right: 0, links: [linkToPlace('see', 'confusion-title')] },
  exercise1: { right: 0, links: [training({ ...lecture, epochs: 9 })] },
  exercise2: {
    right: 1,
    links: [training({ ...lecture, epochs: 4 }), training({ ...lecture, epochs: 4, normalize: true })],
  },
  exercise3: {
    right: 1,
    links: [
      linkToPlace('build', 'vgg7'),
      training({ ...narrow, model: 'vgg7-bn' }),
      training({ ...narrow, model: 'vgg7' }),
    ],
  },
  exercise4: { right: 1, links: [linkToPlace('build', 'winner')] },
  own: { right: 1, links: [linkTo('try'), linkToPlace('try', 'collect'), linkTo('share')] },
};
