/** Trained weights ready for use (Node only): from a file to a model that classifies raw images. */
import type { ImageShape } from '../data/dataset.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import { fuseTransform, inputTransform, type Transform } from '../data/transforms.ts';
import type { DeviceName } from '../engine/backend.ts';
import { openerOf } from '../engine/open.ts';
import { UsageError } from '../errors.ts';
import { checkLoaded, type ModelInfo } from '../model/info.ts';
import type { Shape } from '../model/layer.ts';
import { buildNetwork, type Sequential, sizeOf } from '../model/network.ts';
import { loadWeights } from '../model/weight-files.ts';
import { checkOptions, shown } from '../options.ts';
import { checkThreads, knownData, Model, type Prediction } from '../train/model.ts';

export interface OpenModelOptions {
  /** `auto` takes the fastest device of this machine. */
  readonly device?: DeviceName;
  /** Worker threads; all cores by default. */
  readonly threads?: number;
  /** Told what is worth knowing about the device, a line each; `console.warn` by default. */
  readonly onNotice?: (line: string) => void;
  /** Gives up; compiling kernels takes seconds. */
  readonly signal?: AbortSignal;
  /** The network, the shape of its images and their normalization, for files that do not say: PyTorch's, for instance. */
  readonly network?: Sequential;
  readonly input?: ImageShape;
  readonly normalization?: ChannelStatistics | null;
  /** Names of the classes, for files that do not say; their numbers by default. */
  readonly classes?: readonly string[];
}

/**
 * The network and weights of a file that `model.save`, `vgg train --save` or a run folder wrote.
 * @throws DataError where the file cannot be read, UsageError where it does not say what an option then must, or says
 * something else than an option.
 */
export async function openModel(path: string, options: OpenModelOptions = {}): Promise<OpenedModel> {
  if (typeof path !== 'string' || path === '') {
    throw new UsageError(`openModel: the path is ${shown(path)}; name a safetensors file`);
  }
  checkOptions<OpenModelOptions>('openModel', options, {
    device: 'optional',
    threads: 'optional',
    onNotice: 'optional',
    signal: 'optional',
    network: 'optional',
    input: 'optional',
    normalization: 'optional',
    classes: 'optional',
  });
  const { device = 'auto', threads, onNotice = console.warn, signal } = options;
  checkThreads('openModel', threads);
  const open = await openerOf(device);
  const { weights, info } = await loadWeights(path, (said) => {
    const network = options.network ?? said?.network ?? unsaid(path, 'network');
    return buildNetwork(network, options.input ?? said?.input ?? unsaid(path, 'input'));
  });
  const network = buildNetwork((options.network ?? info?.network)!, (options.input ?? info?.input)!);
  const given = knownData('openModel', network, options);
  const data = { ...info, ...given };
  if (info)
    checkLoaded(
      path,
      info,
      { ...info, network: options.network ?? info.network, input: network.input },
      given,
    );
  const normalization = data.normalization === undefined ? unsaid(path, 'normalization') : data.normalization;
  signal?.throwIfAborted();
  const session = await open(network, {
    batchSize: 1,
    onNotice,
    ...(threads !== undefined && { threads }),
    ...(signal && { signal }),
  });
  const model = new Model(network, session, 1, { ...data, normalization });
  await model.setWeights(weights);
  const [outputs = 0] = network.output;
  return new OpenedModel(
    model,
    data.classes ?? Array.from({ length: outputs }, (_, i) => String(i)),
    normalization,
  );
}

const ways = {
  network: "createModel('vgg7', { classes: 10 }), for instance",
  input: '[channels, height, width]',
  normalization: '{ mean, std }, or null where images were not normalized',
} as const;

function unsaid(path: string, option: keyof typeof ways): never {
  throw new UsageError(
    `${path} does not say its ${option}; give openModel the option ${option}: ${ways[option]}`,
  );
}

/** A trained network that takes raw images; made by `openModel`. Close it, or declare it with `await using`. */
export class OpenedModel implements AsyncDisposable {
  /** Names of the classes by label. */
  readonly classes: readonly string[];
  /** [channels, height, width] of one image. */
  readonly input: Shape;
  /** By which `predict` normalizes images; null: it does not. */
  readonly normalization: ChannelStatistics | null;
  /** The network on its device, for images that are prepared already: for `evaluate` with a loader, for instance. */
  readonly compiled: Model;
  /** What images of a data set need before `compiled` sees them: the `transform` of a loader. */
  readonly transform: Transform;

  constructor(compiled: Model, classes: readonly string[], normalization: ChannelStatistics | null) {
    this.compiled = compiled;
    this.classes = classes;
    this.input = compiled.network.input;
    this.normalization = normalization;
    this.transform = inputTransform(normalization ?? undefined);
  }

  get info(): ModelInfo {
    return this.compiled.info;
  }

  /**
   * Classes of any number of raw images, [N, channels, height, width] or one [channels, height, width]: bytes 0–255, or
   * floats 0–1. They are normalized here as they were in training.
   * @throws UsageError where the length is not that of whole images, or a float is not from 0 to 1.
   */
  async predict(images: Uint8Array | Uint8ClampedArray | Float32Array): Promise<Prediction> {
    return this.compiled.predict(this.#prepared(images));
  }

  /** As a test of the network sees them. */
  #prepared(images: Uint8Array | Uint8ClampedArray | Float32Array): Float32Array {
    // By its tag, for an array may come from another realm.
    const type = Object.prototype.toString.call(images).slice(8, -1);
    const bytes = type === 'Uint8Array' || type === 'Uint8ClampedArray';
    if (!bytes && type !== 'Float32Array') {
      throw new UsageError(
        `predict: images are a Uint8Array of values from 0 to 255, or a Float32Array of values from 0 to 1, ` +
          `not ${ArrayBuffer.isView(images) ? type : shown(images)}`,
      );
    }
    const size = sizeOf(this.input);
    if (images.length === 0 || images.length % size !== 0) {
      throw new UsageError(
        `predict: ${images.length} values are not whole images of ${this.input.join('×')} = ${size} values ` +
          '(all of the first channel, then of the next)',
      );
    }
    const [channels = 1] = this.input;
    const plane = size / channels;
    // One multiply and one add for each channel, as in training.
    const { scale, offset } = fuseTransform(this.transform, [channels, plane, 1])!;
    const prepared = new Float32Array(images.length);
    for (let i = 0; i < images.length; i++) {
      const value = images[i]!;
      if (!bytes && !(value >= 0 && value <= 1)) {
        throw new UsageError(
          `predict: value ${value} of image ${Math.floor(i / size)} is not from 0 to 1; divide bytes by 255, or pass ` +
            'them as a Uint8Array, and leave the normalization to the model',
        );
      }
      const channel = Math.floor(i / plane) % channels;
      prepared[i] = Math.fround((bytes ? value : value * 255) * scale[channel]!) + offset[channel]!;
    }
    return prepared;
  }

  /** Ends the workers and releases the memory; may be called twice. */
  close(): Promise<void> {
    return this.compiled.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
