/**
 * Style transfer (Gatys et al., "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016): an image whose
 * features after relu4_2 are those of one image, and whose Gram matrices after relu1_1 … relu5_1 are those of another.
 * Adam changes the image's pixels by the gradient that the network sends back to them.
 *
 *     node examples/08-style-transfer.ts --weights vgg16-397923af.pth --content photo.jpg --style painting.jpg
 *
 * `vgg download vgg16` gets the weights. Without them the network is random, which transfers colors and fine texture
 * only; without images, a disc on a gradient and stripes are drawn. `--small` uses a quarter of the channels for a few
 * steps, and writes no file.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import {
  centerCrop,
  compile,
  compose,
  createModel,
  dataLoader,
  type Features,
  fromArrays,
  gramGradient,
  gramMatrices,
  normalizationPresets,
  resize,
  toTensor,
} from '../src/index.ts';
import { decodeImage, encodePng, openModel } from '../src/node.ts';

const { values: options } = parseArgs({
  options: {
    weights: { type: 'string' },
    content: { type: 'string' },
    style: { type: 'string' },
    size: { type: 'string', default: '128' },
    steps: { type: 'string', default: '200' },
    out: { type: 'string', default: 'styled.png' },
    small: { type: 'boolean', default: false },
  },
});
const size = options.small ? 32 : Number(options.size);
const steps = options.small ? 20 : Number(options.steps);
const contentLayer = 'relu4_2';
const styleLayers = ['relu1_1', 'relu2_1', 'relu3_1', 'relu4_1', 'relu5_1'];
/** How much the style counts against the content; both losses start near 1. */
const styleWeight = 20;
const learningRate = 0.02;

const area = size * size;

/** An image [3, size, size] with values from 0 to 1. */
const draw = (color: (x: number, y: number) => readonly number[]): Float32Array =>
  Float32Array.from({ length: 3 * area }, (_, i) => {
    const place = i % area;
    return color((place % size) / size, Math.floor(place / size) / size)[Math.floor(i / area)]!;
  });
/** The center of an image file, [3, size, size] with values from 0 to 1. */
async function read(file: string): Promise<Float32Array> {
  const { width, height, pixels } = await decodeImage(await readFile(file));
  // Files hold pixels, data sets hold planes.
  const planes = pixels.map((_, i) => pixels[(i % (width * height)) * 3 + Math.floor(i / (width * height))]!);
  const transform = compose([resize(size), centerCrop(size), toTensor()]);
  const loader = dataLoader(fromArrays(planes, [0], [3, height, width]), { batchSize: 1, transform });
  for await (const { images } of loader) return images;
  throw new Error(`${file} is empty`);
}

const content = options.content
  ? await read(options.content)
  : draw((x, y) => (Math.hypot(x - 0.5, y - 0.5) < 0.3 ? [0.9, 0.8, 0.3] : [0.2, 0.3 + 0.4 * y, 0.8]));
const style = options.style
  ? await read(options.style)
  : draw((x, y) => (Math.sin(25 * (x + y)) > 0 ? [0.8, 0.2, 0.1] : [0.1, 0.1, 0.3]));

// Only the convolutions are computed, which take images of any size.
const input = [3, size, size];
const network = createModel('vgg16', { classes: 2, input, options: { width: options.small ? 0.25 : 1 } });
const opened = options.weights ? await openModel(options.weights, { input }) : undefined;
await using model = opened?.compiled ?? (await compile(network, { input, batchSize: 1 }));
// The network sees images as its weights were trained.
const { mean, std } = opened?.normalization ?? normalizationPresets.torchvision;

const normalized = (image: Float32Array): Float32Array =>
  image.map((value, i) => (value - mean[Math.floor(i / area)]!) / std[Math.floor(i / area)]!);

/** The mean squared difference to a target over the target's mean square, and its gradient. */
function difference(values: Float32Array, target: Float32Array): { loss: number; gradient: Float32Array } {
  const squares = target.reduce((sum, value) => sum + value * value, 0) || 1;
  let loss = 0;
  const gradient = values.map((value, i) => {
    loss += (value - target[i]!) ** 2 / squares;
    return (2 * (value - target[i]!)) / squares;
  });
  return { loss, gradient };
}

const contentTarget = (await model.features(normalized(content), [contentLayer])).get(contentLayer)!.data;
const styleMaps = await model.features(normalized(style), styleLayers);
const styleTargets = new Map(styleLayers.map((layer) => [layer, gramMatrices(styleMaps.get(layer)!).data]));

/** Both losses of an image, and the gradient with respect to its features. */
function losses(maps: ReadonlyMap<string, Features>) {
  const own = difference(maps.get(contentLayer)!.data, contentTarget);
  const gradients = new Map([[contentLayer, own.gradient]]);
  let styleLoss = 0;
  for (const layer of styleLayers) {
    const values = maps.get(layer)!;
    const { loss, gradient } = difference(gramMatrices(values).data, styleTargets.get(layer)!);
    styleLoss += loss / styleLayers.length;
    const scale = styleWeight / styleLayers.length;
    gradients.set(
      layer,
      gramGradient(
        values,
        gradient.map((value) => scale * value),
      ),
    );
  }
  return { contentLoss: own.loss, styleLoss, gradients };
}

const image = content.slice();
const firstMoment = new Float64Array(image.length);
const secondMoment = new Float64Array(image.length);
for (let step = 1; step <= steps; step++) {
  const seen = normalized(image);
  const { contentLoss, styleLoss, gradients } = losses(
    await model.features(seen, [contentLayer, ...styleLayers]),
  );
  if (step === 1 || step % 10 === 0) {
    const total = contentLoss + styleWeight * styleLoss;
    console.log(
      `Step [${step}/${steps}] loss: ${total.toFixed(4)} (content ${contentLoss.toFixed(4)}, style ${styleLoss.toFixed(4)})`,
    );
  }
  const { data: gradient } = await model.inputGradient(seen, { features: gradients });
  for (let i = 0; i < image.length; i++) {
    const slope = gradient[i]! / std[Math.floor(i / area)]!;
    firstMoment[i] = 0.9 * firstMoment[i]! + 0.1 * slope;
    secondMoment[i] = 0.999 * secondMoment[i]! + 0.001 * slope * slope;
    const move =
      firstMoment[i]! / (1 - 0.9 ** step) / (Math.sqrt(secondMoment[i]! / (1 - 0.999 ** step)) + 1e-8);
    image[i] = Math.min(1, Math.max(0, image[i]! - learningRate * move));
  }
}

// Files hold pixels, networks take planes.
const bytes = Uint8Array.from({ length: 3 * area }, (_, i) =>
  Math.round(255 * image[(i % 3) * area + Math.floor(i / 3)]!),
);
const png = encodePng({ width: size, height: size, channels: 3, bytes });
if (!options.small) await writeFile(options.out, png);
console.log(options.small ? `A PNG of ${png.length} bytes` : options.out);
