/** Opens trained weights (Node only): from a file to a model that classifies raw images. */
import { fuseTransform } from '../data/fuse.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import { inputTransform, type Transform } from '../data/transforms.ts';
import type { DeviceName, Purpose } from '../engine/backend.ts';
import { openerOf } from '../engine/open.ts';
import { UsageError } from '../errors.ts';
import { checkLoaded, type ModelInfo } from '../model/info.ts';
import type { Network, Shape } from '../model/layer.ts';
import { buildNetwork, type Sequential, sizeOf } from '../model/network.ts';
import { openWeights } from '../model/weight-files.ts';
import { cancelable } from '../model/weight-streams.ts';
import { checkOptions, shown } from '../options.ts';
import { checkPath } from '../paths.ts';
import { checkPurpose, checkThreads, knownData, Model, type Prediction } from '../train/model.ts';

export interface OpenModelOptions {
  /** `auto` selects the fastest device of this machine. */
  readonly device?: DeviceName;
  /** Worker threads; one per core by default. */
  readonly threads?: number;
  /** As in `compile`: 'predict' takes less memory, but then the weights cannot be read or trained. */
  readonly purpose?: Purpose;
  /** Receives notes about the device, one line each; `console.warn` by default. */
  readonly onNotice?: (line: string) => void;
  /** Cancels; compiling kernels and reading weights take seconds. */
  readonly signal?: AbortSignal;
  /** Network, image shape and normalization for files that do not store them, such as PyTorch's. */
  readonly network?: Sequential;
  readonly input?: Shape;
  readonly normalization?: ChannelStatistics | null;
  /** Which state dict of a PyTorch checkpoint, if it has several or an unusual key. */
  readonly key?: string;
  /** Class names for files that do not store them; the classes' numbers by default. */
  readonly classes?: readonly string[];
}

/**
 * Opens a file that `saveWeights` or `vgg train` wrote: its network, weights and normalization. For other files, such as
 * those of PyTorch's `torch.save`, options say what they do not store.
 * @throws DataError if the file cannot be read, UsageError if it contradicts an option, or stores no network, input or
 * normalization and no option gives it.
 */
export async function openModel(path: string, options: OpenModelOptions = {}): Promise<OpenedModel> {
  checkPath('openModel: the file', path);
  checkOptions<OpenModelOptions>('openModel', options, {
    device: 'optional',
    threads: 'optional',
    purpose: 'optional',
    onNotice: 'optional',
    signal: 'optional',
    network: 'optional',
    input: 'optional',
    normalization: 'optional',
    classes: 'optional',
    key: 'optional',
  });
  const { device = 'auto', threads, purpose, onNotice = console.warn, signal, key } = options;
  checkThreads('openModel', threads);
  checkPurpose('openModel', purpose);
  const open = await openerOf(device);
  const wanted = (said: ModelInfo | undefined): Network => {
    const network = options.network ?? said?.network ?? unsaid(path, 'network');
    return buildNetwork(network, options.input ?? said?.input ?? unsaid(path, 'input'));
  };
  await using file = await openWeights(path, wanted, { signal, key });
  const { info } = file;
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
    ...(purpose && { purpose }),
    ...(threads !== undefined && { threads }),
    ...(signal && { signal }),
  });
  const model = new Model(network, session, 1, { ...data, normalization });
  try {
    await model.setWeights(cancelable(file, signal));
    signal?.throwIfAborted();
  } catch (error) {
    await model.close();
    throw error;
  }
  const [outputs = 0] = network.output;
  return new OpenedModel(
    model,
    data.classes ?? Array.from({ length: outputs }, (_, i) => String(i)),
    normalization,
  );
}

const ways = {
  network: "for instance createModel('vgg7', { classes: 10 })",
  input: '[channels, height, width]',
  normalization: '{ mean, std }, or null if images were not normalized',
} as const;

function unsaid(path: string, option: keyof typeof ways): never {
  throw new UsageError(
    `${path} does not store its ${option}; pass openModel the option ${option}: ${ways[option]}`,
  );
}

/** A trained network that takes raw images; made by `openModel`. Close it, or declare it with `await using`. */
export class OpenedModel implements AsyncDisposable {
  /** Names of the classes by label. */
  readonly classes: readonly string[];
  /** [channels, height, width] of one image. */
  readonly input: Shape;
  /** How `predict` normalizes images; null: it does not. */
  readonly normalization: ChannelStatistics | null;
  /** The network on its device, for prepared images: for instance `evaluate` with a loader. */
  readonly compiled: Model;
  /** Prepares a data set's images for `compiled`: the `transform` of a loader. */
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
   * Classifies any number of raw images, [N, channels, height, width] or one [channels, height, width]: bytes 0–255 or
   * floats 0–1. Normalizes them as in training.
   * @throws UsageError if the length is not that of whole images, or a float is not from 0 to 1.
   */
  async predict(images: Uint8Array | Uint8ClampedArray | Float32Array): Promise<Prediction> {
    return this.compiled.predict(this.#prepared(images));
  }

  /** The images as the network's test sees them. */
  #prepared(images: Uint8Array | Uint8ClampedArray | Float32Array): Float32Array {
    // By its tag, because an array may come from another realm.
    const type = Object.prototype.toString.call(images).slice(8, -1);
    const bytes = type === 'Uint8Array' || type === 'Uint8ClampedArray';
    if (!bytes && type !== 'Float32Array') {
      throw new UsageError(
        `predict: images are ${ArrayBuffer.isView(images) ? `of type ${type}` : shown(images)}; ` +
          'pass a Uint8Array with values from 0 to 255, or a Float32Array with values from 0 to 1',
      );
    }
    const size = sizeOf(this.input);
    if (images.length === 0 || images.length % size !== 0) {
      throw new UsageError(
        `predict: ${images.length} values are not whole images of ${this.input.join('×')} = ${size} values ` +
          '(all of the first channel, then all of the next)',
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
          `predict: value ${value} of image ${Math.floor(i / size)} is not from 0 to 1; divide bytes by 255 or pass ` +
            'a Uint8Array, and do not normalize: the model does',
        );
      }
      const channel = Math.floor(i / plane) % channels;
      prepared[i] = Math.fround((bytes ? value : value * 255) * scale[channel]!) + offset[channel]!;
    }
    return prepared;
  }

  /** Stops the workers and releases the memory; may be called twice. */
  close(): Promise<void> {
    return this.compiled.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
