/**
 * Exercise 1 of the lecture: training and test in one loop. `trainer` provides the two functions.
 *
 *     node examples/02-train-and-test.ts
 *
 * `--small` runs the same program on the built-in shapes for 2 epochs.
 */
import {
  adam,
  compile,
  compose,
  createModel,
  dataLoader,
  lectureLines,
  pad,
  randomCrop,
  randomHorizontalFlip,
  shapes,
  toTensor,
  trainer,
} from '../src/index.ts';
import { cifar10 } from '../src/node.ts';

const small = process.argv.includes('--small');
const epochs = small ? 2 : 9;
const data = small ? shapes() : await cifar10();

const trainLoader = dataLoader(data.train, {
  batchSize: 100,
  shuffle: true,
  transform: compose([pad(4), randomHorizontalFlip(), randomCrop(32), toTensor()]),
});
const testLoader = dataLoader(data.test, { batchSize: 100 });

await using model = await compile(createModel('simplified', { classes: 10 }), { input: data.train.shape });
const optimizer = adam({ lr: 0.001 });
const { train, test } = trainer({
  model,
  trainLoader,
  testLoader,
  optimizer,
  epochs,
  reporter: lectureLines(),
});

for (let epoch = 1; epoch <= epochs; epoch++) {
  await train(epoch);
  await test();
}
