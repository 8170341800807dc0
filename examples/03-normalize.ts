/**
 * Exercise 2 of the lecture: normalize each color channel by its mean and standard deviation over all training pixels
 * (equation 5.9). Test images use the statistics of the training images.
 *
 *     node examples/03-normalize.ts
 *
 * `--small` runs the same program on the built-in shapes for 2 epochs.
 */
import {
  accuracyLine,
  adam,
  channelStatistics,
  compile,
  compose,
  createModel,
  dataLoader,
  lectureLines,
  normalize,
  pad,
  randomCrop,
  randomHorizontalFlip,
  shapes,
  toTensor,
  trainer,
} from '../src/index.ts';
import { cifar10 } from '../src/node.ts';

const small = process.argv.includes('--small');
const epochs = small ? 2 : 80;
const data = small ? shapes() : await cifar10();

const { mean, std } = channelStatistics(data.train);
console.log('Mean of R, G, B:              ', mean.map((value) => value.toFixed(4)).join('  '));
console.log('Standard deviation of R, G, B:', std.map((value) => value.toFixed(4)).join('  '));

const trainLoader = dataLoader(data.train, {
  batchSize: 100,
  shuffle: true,
  transform: compose([pad(4), randomHorizontalFlip(), randomCrop(32), toTensor(), normalize(mean, std)]),
});
const testLoader = dataLoader(data.test, {
  batchSize: 100,
  transform: compose([toTensor(), normalize(mean, std)]),
});

await using model = await compile(createModel('simplified', { classes: 10 }), { input: data.train.shape });
const { train, test } = trainer({
  model,
  trainLoader,
  testLoader,
  optimizer: adam({ lr: 0.001 }),
  epochs,
  reporter: lectureLines(),
});

let accuracy = 0;
for (let epoch = 1; epoch <= epochs; epoch++) {
  await train(epoch);
  ({ accuracy } = await test());
}
console.log(accuracyLine(accuracy));
