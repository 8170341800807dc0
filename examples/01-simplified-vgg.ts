/**
 * The lecture's program: a simplified VGGNet learns CIFAR-10, step by step in the lecture's order.
 *
 *     npx vgg download cifar10
 *     node examples/01-simplified-vgg.ts
 *
 * `--small` runs the same program on the built-in shapes for 2 epochs. In your own project, import
 * from 'vggnet' and 'vggnet/node'.
 */
import {
  adam,
  compile,
  compose,
  conv2d,
  dataLoader,
  flatten,
  linear,
  maxPool2d,
  pad,
  randomCrop,
  randomHorizontalFlip,
  relu,
  sequential,
  shapes,
  toTensor,
} from '../src/index.ts';
import { cifar10 } from '../src/node.ts';

const small = process.argv.includes('--small');
const numEpochs = small ? 2 : 80;
const learningRate = 0.001;

// Transforms: random ones only for the training images
const transform = compose([pad(4), randomHorizontalFlip(), randomCrop(32), toTensor()]);

// CIFAR-10 data
const { train, test } = small ? shapes() : await cifar10();
const trainLoader = dataLoader(train, { batchSize: 100, shuffle: true, transform });
const testLoader = dataLoader(test, { batchSize: 100, transform: toTensor() });

// VGG model. Input sizes are inferred, such as the 1568 inputs of the linear layer.
const vgg = sequential([
  conv2d({ out: 16, kernel: 3, name: 'conv1' }),
  relu(),
  conv2d({ out: 32, kernel: 3, name: 'conv2' }),
  relu(),
  maxPool2d(4),
  flatten(),
  linear({ out: 10, name: 'fc' }),
]);
await using model = await compile(vgg, { input: train.shape });

// The loss is always cross-entropy; the optimizer is Adam.
const optimizer = adam({ lr: learningRate });

// Training phase
const totalStep = trainLoader.length;
for (let epoch = 0; epoch < numEpochs; epoch++) {
  await model.train(trainLoader, {
    epoch: epoch + 1,
    optimizer,
    onStep: ({ step, loss }) => {
      if (step % 100 === 0) {
        console.log(
          `Epoch [${epoch + 1}/${numEpochs}], step [${step}/${totalStep}] Loss: ${loss.toFixed(4)}`,
        );
      }
    },
  });
  if ((epoch + 1) % 20 === 0) optimizer.lr /= 3;
}

// Test phase
const { correct, images } = await model.evaluate(testLoader);
console.log(`Accuracy of the model on the test images: ${(100 * correct) / images} %`);
