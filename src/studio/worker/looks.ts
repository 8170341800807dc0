/** Looks at a network between two steps: what live views show, and answers to the page's questions. */
import { applyFused, type FusedTransform, fuseTransform, place } from '../../data/fuse.ts';
import { type DataLoader, openImages } from '../../data/loader.ts';
import { random } from '../../data/random.ts';
import { type AnyDataset, isStored } from '../../data/stored.ts';
import { UsageError } from '../../errors.ts';
import { featureLayers, gradCam } from '../../explain/explain.ts';
import { layerNames } from '../../model/layer-names.ts';
import { sizeOf } from '../../model/network.ts';
import type { Training } from '../../runs/prepare.ts';
import type { Model } from '../../train/model.ts';
import { fingerprintOf } from './fingerprint.ts';
import type {
  Answers,
  Confusion,
  DeadUnits,
  Filters,
  Heat,
  ImageChoice,
  ImageMaps,
  LiveView,
  Probe,
  Question,
  StoreQuestion,
  Watch,
} from './protocol.ts';
import { sumBehind } from './sums.ts';

/** Images that are classified at once. */
const chunk = 100;

/** Training images that a ReLU must leave at 0 to be called dead. */
const deadImages = 64;

/** Values of all images of the probe, at most: 64 MiB. */
const mostProbed = 2 ** 24;
const probeSize = 200;

/** Reads an image: planar bytes in the network's size. */
type ReadImage = (index: number) => Uint8Array;

/** A split's images as the network sees them in tests. */
class Images {
  readonly dataset: AnyDataset;
  readonly #fused: FusedTransform;
  readonly #read: ReadImage;

  private constructor(dataset: AnyDataset, fused: FusedTransform, read: ReadImage) {
    this.dataset = dataset;
    this.#fused = fused;
    this.#read = read;
  }

  /** The images of a loader, prepared as for tests. */
  static async open({ dataset }: DataLoader, { transform }: DataLoader): Promise<Images> {
    const images = await openImages(dataset);
    const fused = isStored(dataset) ? undefined : fuseTransform(transform, dataset.shape);
    if (fused) return new Images(dataset, fused, (index) => Uint8Array.from(images.read(index).values));
    // Photos have different sizes; what resizes them is loaded with them.
    const [{ planSamples }, { applyChain }] = await Promise.all([
      import('../../data/sampling.ts'),
      import('../../data/transforms/apply.ts'),
    ]);
    const { first, fused: last } = planSamples(dataset, transform);
    if (!last) throw new UsageError(`${dataset.name}: images with transforms of its own cannot be shown`);
    const read: ReadImage = (index) =>
      Uint8Array.from(applyChain(first, images.read(index), random(0, 0)).values);
    return new Images(dataset, last, read);
  }

  /** Planar bytes of an image in the network's size. */
  bytes(index: number): Uint8Array {
    const { name, length } = this.dataset;
    if (!(Number.isInteger(index) && index >= 0 && index < length))
      throw new UsageError(`${name} has ${length} images, but no image ${index}`);
    return this.#read(index);
  }

  /** The network's input for bytes in its size. */
  input(bytes: Uint8Array): Float32Array {
    const { source, output } = this.#fused;
    if (bytes.length !== sizeOf(source))
      throw new UsageError(`${bytes.length} bytes are not an image of ${source.join('×')}`);
    const values = new Float32Array(sizeOf(output));
    applyFused(this.#fused, bytes, place(this.#fused, random(0, 0)), values);
    return values;
  }

  /** The network's inputs for images of the split, one after the other. */
  inputs(indices: readonly number[]): Float32Array {
    const size = sizeOf(this.#fused.output);
    const all = new Float32Array(indices.length * size);
    for (const [i, index] of indices.entries()) all.set(this.input(this.bytes(index)), i * size);
    return all;
  }
}

export class Looks {
  /** Test images whose answers are followed: their places. */
  readonly probe: readonly number[];
  readonly #model: Model;
  readonly #train: Images;
  readonly #test: Images;
  readonly #probeInputs: Float32Array;
  readonly #probeLabels: Uint16Array;
  readonly #layers: readonly number[];
  #deadInputs: Float32Array | undefined;

  private constructor(model: Model, train: Images, test: Images) {
    this.#model = model;
    this.#train = train;
    this.#test = test;
    const { length, labels } = test.dataset;
    const count = Math.min(
      probeSize,
      length,
      Math.max(16, Math.floor(mostProbed / sizeOf(model.network.input))),
    );
    this.probe = spread(length, count);
    this.#probeInputs = test.inputs(this.probe);
    this.#probeLabels = Uint16Array.from(this.probe, (index) => labels[index]!);
    this.#layers = featureLayers(model.network);
  }

  static async open({ model, trainLoader, testLoader }: Training): Promise<Looks> {
    const [train, test] = await Promise.all([
      Images.open(trainLoader, testLoader),
      Images.open(testLoader, testLoader),
    ]);
    return new Looks(model, train, test);
  }

  async view(step: number, watch: Watch): Promise<LiveView> {
    return {
      step,
      ...(watch.probe && { probe: await this.#probe() }),
      ...(watch.filters && (await this.#filters())),
      ...(watch.maps && { maps: await this.#maps(watch.maps) }),
      ...(watch.dead && { dead: await this.#dead() }),
    };
  }

  async answer(question: Exclude<Question, StoreQuestion>, step: number): Promise<Answers[Question['kind']]> {
    switch (question.kind) {
      case 'maps':
        return this.#maps(question.image);
      case 'sum':
        return sumBehind(this.#model, this.#choice(question.image).input, question);
      case 'heat':
        return this.#heat(question.image, question.label);
      case 'confusion':
        return this.#confusion(step);
      case 'images':
        return this.#images(question.split, question.indices);
      case 'classify':
        return {
          probabilities: (await this.#model.predict(this.#test.input(question.pixels))).probabilities,
        };
      case 'fingerprint':
        return { step, hash: await this.#model.readWeights(fingerprintOf) };
      case 'weights':
        return this.#weights(question.format);
      default:
        return question satisfies never;
    }
  }

  /** An image's bytes, the network's input, and its label if it is known. */
  #choice(image: ImageChoice): {
    readonly bytes: Uint8Array;
    readonly input: Float32Array;
    readonly label: number | undefined;
  } {
    if ('pixels' in image) {
      return { bytes: image.pixels, input: this.#test.input(image.pixels), label: undefined };
    }
    const split = image.split === 'train' ? this.#train : this.#test;
    const bytes = split.bytes(image.index);
    return { bytes, input: split.input(bytes), label: split.dataset.labels[image.index] };
  }

  async #probe(): Promise<Probe> {
    const answers = await this.#predictions(this.#probeInputs, this.probe.length);
    const right = this.#probeLabels.filter((label, i) => answers.predicted[i] === label).length;
    return { ...answers, labels: this.#probeLabels, accuracy: right / this.probe.length };
  }

  /** The most likely class of each image, and its probability. */
  async #predictions(
    inputs: Float32Array,
    count: number,
  ): Promise<{ readonly predicted: Uint16Array; readonly confidence: Float32Array }> {
    const { labels, probabilities } = await this.#model.predict(inputs);
    const classes = probabilities.length / count;
    return {
      predicted: Uint16Array.from(labels),
      confidence: Float32Array.from(labels, (label, i) => probabilities[i * classes + label]!),
    };
  }

  async #filters(): Promise<{ readonly filters?: Filters }> {
    const { network } = this.#model;
    const first = network.layers.findIndex(({ spec }) => spec.kind === 'conv2d');
    const layer = network.layers[first];
    const parameter = layer?.parameters[0];
    if (!layer || !parameter) return {};
    const values = new Float32Array(parameter.shape.reduce((a, b) => a * b, 1));
    await this.#model.readWeights((weights) => weights.read(parameter.name, 0, values));
    const name = [...layerNames(network)].find(([, index]) => index === first)?.[0] ?? layer.name;
    return { filters: { layer: name, shape: parameter.shape, values } };
  }

  async #maps(image: ImageChoice): Promise<ImageMaps> {
    const { bytes, input, label } = this.#choice(image);
    const features = await this.#model.features(input, this.#layers);
    const { probabilities } = await this.#model.predict(input);
    return {
      pixels: bytes,
      label,
      maps: this.#layers.map((layer) => {
        const { shape, data } = features.get(layer)!;
        return { layer, shape: shape.slice(1), values: data };
      }),
      probabilities,
    };
  }

  /** Counts channels and units whose ReLU is 0 for all of some training images. */
  async #dead(): Promise<readonly DeadUnits[]> {
    const { network } = this.#model;
    const relus = network.layers.flatMap(({ spec }, index) => (spec.kind === 'relu' ? [index] : []));
    if (relus.length === 0) return [];
    const count = Math.min(deadImages, this.#train.dataset.length);
    this.#deadInputs ??= this.#train.inputs(spread(this.#train.dataset.length, count));
    const features = await this.#model.features(this.#deadInputs, relus);
    const named = new Map([...layerNames(network)].map(([name, index]) => [index, name]));
    return relus.map((index) => {
      const { shape, data } = features.get(index)!;
      const [, units = 0, height = 1, width = 1] = shape;
      const area = height * width;
      const alive = new Uint8Array(units);
      for (let i = 0; i < data.length; i++) if (data[i]! > 0) alive[Math.floor(i / area) % units] = 1;
      const dead = units - alive.reduce((sum, one) => sum + one, 0);
      return { layer: named.get(index) ?? network.layers[index]!.name, dead, units };
    });
  }

  async #heat(image: ImageChoice, label: number | undefined): Promise<Heat> {
    const { input } = this.#choice(image);
    const [map] = await gradCam(this.#model, input, label === undefined ? {} : { classes: [label] });
    return map!;
  }

  async #confusion(step: number): Promise<Confusion> {
    const { length, labels } = this.#test.dataset;
    const predicted = new Uint16Array(length);
    const confidence = new Float32Array(length);
    for (let from = 0; from < length; from += chunk) {
      const indices = Array.from({ length: Math.min(chunk, length - from) }, (_, i) => from + i);
      const answers = await this.#predictions(this.#test.inputs(indices), indices.length);
      predicted.set(answers.predicted, from);
      confidence.set(answers.confidence, from);
    }
    return { step, labels: labels.slice(), predicted, confidence };
  }

  #images(split: 'train' | 'test', indices: readonly number[]): Answers['images'] {
    const images = split === 'train' ? this.#train : this.#test;
    const bytes = indices.map((index) => images.bytes(index));
    const size = bytes[0]?.length ?? 0;
    const pixels = new Uint8Array(size * bytes.length);
    for (const [i, one] of bytes.entries()) pixels.set(one, i * size);
    return { pixels, labels: indices.map((index) => images.dataset.labels[index]!) };
  }

  async #weights(format: 'safetensors' | 'onnx'): Promise<Answers['weights']> {
    const { modelBlob, onnxBlob } = await import('../../browser/weights.ts');
    const blob = await (format === 'onnx' ? onnxBlob : modelBlob)(this.#model);
    return { blob, name: `${this.#model.network.name}.${format}` };
  }
}

/** So many places of a list, evenly spread. */
function spread(length: number, count: number): readonly number[] {
  // An odd stride visits all classes of a list that repeats them in turn.
  const stride = Math.max(1, Math.floor(length / count)) | 1;
  return Array.from({ length: count }, (_, i) => (i * stride) % length);
}
