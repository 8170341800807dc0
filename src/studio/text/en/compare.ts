/** The view that compares two trainings. */
export const compare = {
  title: 'Compare two trainings',
  lead: 'Two trainings run side by side and differ in one thing only. So what you see is its effect.',
  choose: 'What differs',
  what: 'The one difference',
  equal: 'Everything else is equal: the same images in the same order, the same first weights.',
  difference: {
    nothing: 'Nothing: the same twice',
    lr: 'Learning rate',
    momentum: 'Momentum',
    optimizer: 'Optimizer',
    batchSize: 'Batch size',
    model: 'Network',
    augment: 'Augmentation',
    weightDecay: 'Weight decay',
    seed: 'Seed',
  },
  same: 'the same',
  on: 'on',
  off: 'off',
  startBoth: 'Start both',
  after: (epoch: number) => `Weights after epoch ${epoch}:`,
  bitsLater: 'After each epoch, the fingerprints of both networks’ weights are compared here.',
  sameBits: 'The same bits.',
  otherBits: 'Different weights.',
  sameWhy:
    'The seed decides all that is random, and sums are computed in a fixed order, with any number of threads.',
  otherWhy: 'The difference has led them to other weights.',
  divergedAt: (step: number) =>
    `At step ${step} the loss was no number any more (NaN), and the training stopped.`,
  dead: 'Dead ReLUs',
  deadOf: (layer: string, dead: number, units: number) => `${layer}: ${dead} of ${units} are dead`,
};
