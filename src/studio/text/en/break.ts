/** The view with experiments that go wrong. */
export const breaking = {
  title: 'Break it',
  lead: 'You understand a machine when you know how to break it. Each experiment trains a healthy network (A) beside one in which a single thing is wrong (B).',
  choose: 'Experiment',
  look: 'What to look at:',
  why: 'Why this happens',
  experiments: {
    labels: {
      name: 'Shuffled labels',
      what: 'In B, each training image gets the label of another one. The images are the same, but they no longer say what they are.',
      healthy: 'true labels',
      broken: 'shuffled labels',
      look: 'A falls quickly. B stays at a loss of 2.30, and its accuracy at 10 %: it guesses.',
      why: '2.30 is ln 10, the cross-entropy of saying “each of ten classes with 10 %”. If labels tell nothing about images, no better answer exists. A larger network trained much longer would learn the training images by heart, and still guess on others: this is how to test whether a network learns or memorizes.',
    },
    rate: {
      name: 'Too high a learning rate',
      what: 'B takes steps that are 500 times as long as those of A: a learning rate of 10 instead of 0.02.',
      healthy: 'learning rate 0.02',
      broken: 'learning rate 10',
      look: 'B explodes within a few steps. Then its loss is NaN, “not a number”, and the training stops.',
      why: 'A step follows the slope at one point. If it is too long, it overshoots the valley and lands higher up, where the slope is steeper; the next step is longer still. The weights grow until their products exceed the largest float32, about 3·10³⁸, and become infinite; infinity minus infinity is NaN. From then on every weight would be NaN, so the training stops before it keeps one. Lower the rate, or limit the gradient.',
    },
    augmentation: {
      name: 'No augmentation',
      what: 'Both networks get only 400 training images. A sees them flipped and shifted differently in each epoch, B always sees the same pixels.',
      healthy: 'with augmentation',
      broken: 'without augmentation',
      look: 'B soon is perfect on its training images, but not on test images. The gap between its two accuracies is overfitting.',
      why: 'The network has some 400 parameters for each training image, enough to learn single images by heart. Random shifts and flips make that useless: only what stays the same under them helps, and that is the shape. On the full 10,000 images the gap nearly vanishes: more data is the best augmentation.',
    },
    dead: {
      name: 'Dead ReLUs',
      what: 'B has ten times the learning rate of A. It does not explode, but it loses parts of the network.',
      healthy: 'learning rate 0.02',
      broken: 'learning rate 0.2',
      look: 'The bars count ReLUs that are 0 for every pixel of 64 training images. In B, they die in the first steps and never come back.',
      why: 'A ReLU lets positive sums pass and makes negative ones 0. After too long a step, a filter’s bias may be so low that its sum is negative everywhere. Then its output is 0 and so is its gradient: no later step can change it. What is left of the network is smaller than what was planned. Lower rates, a warm-up or batch normalization prevent it.',
    },
  },
};
