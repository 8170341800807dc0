/** Opens trained weights (Node only): from a file to a model that classifies raw images. */
import { fuseTransform } from '../data/fuse.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import { inputTransform, type Transform } from '../data/transforms.ts';
import type { DeviceName, Purpose } from '../engine/backend.ts';
import { openerOf } from '../engine/open.ts';
import { UsageError } from '../errors.ts';
import type { Features, LayerRef } from '../explain/features.ts';
import type { ModelInfo } from '../model/info.ts';
import type { Shape } from '../model/layer.ts';
import { sizeOf } from '../model/network.ts';
import { presetNames } from '../model/normalization-presets.ts';
import { cancelable } from '../model/weight-streams.ts';
import { checkOptions, shown } from '../options.ts';
import { checkPath } from '../paths.ts';
import { checkPurpose, checkThreads, Model, type Prediction } from '../train/model.ts';
import {
  type ClassifyOptions,
  type ClassScore,
  checkFiles,
  classifyFile,
  type ImageFile,
} from './classify.ts';
import { type GivenDescription, openDescribed } from './described-weights.ts';
import { weightsIn } from './folder.ts';

export interface OpenModelOptions extends GivenDescription {
  /** `auto` selects the fastest device of this machine. */
  readonly device?: DeviceName;
  /** Worker threads; one per core by default. */
  readonly threads?: number;
  /** As in `compile`: 'predict' takes less memory, but then the weights cannot be read or trained. */
  readonly purpose?: Purpose;
  /** Receives notes, about the device or what is assumed about the file, one line each; `console.warn` by default. */
  readonly onNotice?: (line: string) => void;
  /** Cancels; compiling kernels and reading weights take seconds. */
  readonly signal?: AbortSignal;
  /** Which state dict of a PyTorch checkpoint, if it has several. */
  readonly key?: string;
}

/**
 * Opens weights: a file that `saveWeights` or `vgg train` wrote, the best weights of a run folder, or a file of PyTorch.
 * Ours say their network, images and classes. Of other files the networks of the paper are recognized; with 1000 classes
 * they get ImageNet's classes and torchvision's normalization, which is reported.
 * @throws DataError if the file cannot be read, UsageError if it contradicts an option, or neither says nor implies its
 * network, input or normalization and no option gives it.
 */
export async function openModel(place: string, options: OpenModelOptions = {}): Promise<OpenedModel> {
  checkPath('openModel: the file', place);
  checkOptions<OpenModelOptions>('openModel', options, {
    device: 'optional',
    threads: 'optional',
    purpose: 'optional',
    onNotice: 'optional',
    signal: 'optional',
    key: 'optional',
    network: 'optional',
    input: 'optional',
    normalization: 'optional',
    classes: 'optional',
  });
  const { device = 'auto', threads, purpose, onNotice = console.warn, signal, key } = options;
  checkThreads('openModel', threads);
  checkPurpose('openModel', purpose);
  const path = await weightsIn(place);
  const open = await openerOf(device);
  await using file = await openDescribed(path, options, { signal, key, onNotice });
  const { network, info } = file;
  const { normalization } = info;
  if (normalization === undefined) {
    throw new UsageError(
      `${path} does not say how its images are normalized; give --normalization ` +
        `${presetNames.join(', ')} or none, or --mean and --std (in openModel: the option normalization, ` +
        'null if they are not)',
    );
  }
  signal?.throwIfAborted();
  const session = await open(network, {
    batchSize: 1,
    onNotice,
    ...(purpose && { purpose }),
    ...(threads !== undefined && { threads }),
    ...(signal && { signal }),
  });
  const { network: _, input: __, ...data } = info;
  const model = new Model(network, session, 1, data);
  try {
    await model.setWeights(cancelable(file, signal));
    signal?.throwIfAborted();
  } catch (error) {
    await model.close();
    throw error;
  }
  const [outputs = 0] = network.output;
  const classes = info.classes ?? Array.from({ length: outputs }, (_, i) => String(i));
  return new OpenedModel(model, classes, normalization);
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
    return this.compiled.predict(this.prepare(images));
  }

  /**
   * Classifies an image file (JPEG, PNG, WebP, AVIF, GIF or TIFF), given by its path or content, or a list of them.
   * Returns the most likely classes, the best first; for a list, a list of these. Images are resized and cropped as
   * torchvision does for such networks (for 224×224: `resize(256)`, `centerCrop(224)`), small networks see the whole
   * shorter side; then normalized as in training.
   * @throws DataError for a file that is no image, damaged or too large; VggError without the npm package sharp.
   */
  classify(file: ImageFile, options?: ClassifyOptions): Promise<readonly ClassScore[]>;
  classify(
    files: readonly ImageFile[],
    options?: ClassifyOptions,
  ): Promise<readonly (readonly ClassScore[])[]>;
  async classify(
    files: ImageFile | readonly ImageFile[],
    options?: ClassifyOptions,
  ): Promise<readonly ClassScore[] | readonly (readonly ClassScore[])[]> {
    checkFiles(files);
    if (typeof files === 'string' || ArrayBuffer.isView(files)) return classifyFile(this, files, options);
    const results: (readonly ClassScore[])[] = [];
    // One after the other: a decoded photo takes more memory than its file.
    for (const file of files) results.push(await classifyFile(this, file, options));
    return results;
  }

  /**
   * Raw images as `compiled` takes them, normalized as in training, for instance for `compiled.features`.
   * @throws UsageError as `predict` does.
   */
  prepare(images: Uint8Array | Uint8ClampedArray | Float32Array): Float32Array {
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

  /** Values after layers of raw images, by the literature's names or the network's own; see `Model.features`. */
  async features<Ref extends LayerRef>(
    images: Uint8Array | Uint8ClampedArray | Float32Array,
    layers: readonly Ref[],
  ): Promise<ReadonlyMap<Ref, Features>> {
    return this.compiled.features(this.prepare(images), layers);
  }

  /** Stops the workers and releases the memory; may be called twice. */
  close(): Promise<void> {
    return this.compiled.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
