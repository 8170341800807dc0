/**
 * The compiled model: a network whose shapes are known, with its weights on one device. Users train, evaluate, predict,
 * and read and write weights through it. It uses devices only through their interface (`engine/backend.ts`); a device's
 * code is loaded when it is chosen.
 *
 * Calls may overlap: they run one after the other, in the order in which they were made.
 */
import { batchSource, type DataLoader } from '../data/loader.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import {
  type DeviceName,
  type EvaluateResult,
  type OptimizerOptions,
  type Purpose,
  purposes,
  type Session,
  type StepOptions,
  type StepReport,
  type TrainingState,
  type TrainResult,
} from '../engine/backend.ts';
import { openerOf } from '../engine/open.ts';
import { type PredictOptions, variantFor, variantOf } from '../engine/variant.ts';
import { UsageError } from '../errors.ts';
import {
  type Features,
  featuresOf,
  type GradientOf,
  type InputGradientOptions,
  imageCountOf,
  inputGradientOf,
  type LayerRef,
} from '../explain/features.ts';
import {
  checkClasses,
  checkLoaded,
  checkNormalization,
  type DataInfo,
  dataInfoOf,
  infoOf,
  type ModelInfo,
  normalizationText,
  sameNormalization,
} from '../model/info.ts';
import type { Network, Shape, Weights } from '../model/layer.ts';
import { layersMatching, rateFactorsOf } from '../model/layer-patterns.ts';
import { argmax } from '../model/loss.ts';
import { buildNetwork, type Sequential } from '../model/network.ts';
import { checkSomeParameters, checkWeightShapes, checkWeights } from '../model/safetensors.ts';
import { cancelable, sourceOf, type WeightSource } from '../model/weight-streams.ts';
import { checkOptions, checkWhole, isObject, type KnownKeys, maxThreads, shown } from '../options.ts';
import { diverged } from './finite.ts';
import { stepKeys } from './step-options.ts';

export interface CompileOptions {
  /** [channels, height, width] of one image as the network sees it, after the transforms. */
  readonly input: Shape;
  /** `auto` selects the fastest device of this machine. */
  readonly device?: DeviceName;
  /** Worker threads; one per core by default. Results do not depend on it. */
  readonly threads?: number;
  /** The largest training batch; 100 by default. */
  readonly batchSize?: number;
  /**
   * `predict`: only `evaluate`, `predict` and `features` are used, and least memory is needed. `train`: checks at once
   * that training fits. By default memory for training is allocated when training starts.
   */
  readonly purpose?: Purpose;
  /** Seed of the initial weights; 0 by default. */
  readonly seed?: number;
  /**
   * Weights to start from, in memory or read by parts, for instance from `openWeights` (close the file afterwards), and
   * what is stored with them. Then no initial ones are drawn.
   */
  readonly weights?: Weights | (WeightSource & { readonly info?: ModelInfo });
  /**
   * Layers that training leaves as they are, by patterns of their names (`features`, `conv1_*`, `classifier.0`): they take
   * no memory for gradients, and there is no backward pass below the first layer that learns. Frozen batch normalizations
   * use their running moments; dropout stays active. `model.freeze` changes this.
   */
  readonly freeze?: readonly string[];
  /** Names of the classes, stored with the weights; by default those of the training data set. */
  readonly classes?: readonly string[];
  /**
   * How images are normalized before they reach the network, stored with the weights; null: they are not. By default it
   * is read from the training loader's transform.
   */
  readonly normalization?: ChannelStatistics | null;
  /** `tiles` of an earlier model, for the same bits on the same adapter. */
  readonly tiles?: Session['tiles'];
  /** `cacheBytes` of an earlier model, for the same bits on a machine with another cache. */
  readonly cacheBytes?: number | undefined;
  /** Receives notes about the device, one line each; `console.warn` by default. */
  readonly onNotice?: (line: string) => void;
  /** Cancels; compiling kernels and reading weights take seconds. */
  readonly signal?: AbortSignal;
}

export interface TrainOptions extends StepOptions {
  readonly optimizer: OptimizerOptions;
  /**
   * Factors of the learning rate for layers, by patterns of their names: `{ features: 0.1 }`. The last pattern that
   * chooses a layer counts.
   */
  readonly lrGroups?: Readonly<Record<string, number>>;
  /** Counts from 1; decides the order of the images and their random transforms. */
  readonly epoch: number;
  /** Steps of the epoch that are already done; 0 by default. */
  readonly from?: number;
  /** Stops before this step (counted from 0); by default at the end of the epoch. */
  readonly steps?: number;
  /** Learning rates of the steps from `from` on; by default the optimizer's `lr`. */
  readonly rates?: Float64Array;
  /** Called for each finished step, in order; a device may report several steps at once. */
  readonly onStep?: (report: StepReport) => void;
  /** Stops after the current step; the result's `steps` says how many were done. */
  readonly signal?: AbortSignal;
}

export interface Prediction {
  /** Output of the last layer, [N, classes]. */
  readonly logits: Float32Array;
  /** Softmax of the logits, [N, classes]. */
  readonly probabilities: Float32Array;
  /** The most likely class of each image, [N]: the first of equal logits, and the first NaN, as torch.argmax. */
  readonly labels: Uint32Array;
}

/**
 * Prepares a network on a device, with the initialization that it names: PyTorch's default if none.
 * @throws ShapeError if a layer does not fit its input, UsageError for a wrong option.
 */
export async function compile(model: Sequential, options: CompileOptions): Promise<Model> {
  checkOptions<CompileOptions>('compile', options, {
    input: 'required',
    device: 'optional',
    threads: 'optional',
    batchSize: 'optional',
    purpose: 'optional',
    seed: 'optional',
    weights: 'optional',
    freeze: 'optional',
    classes: 'optional',
    normalization: 'optional',
    tiles: 'optional',
    cacheBytes: 'optional',
    onNotice: 'optional',
    signal: 'optional',
  });
  const {
    input,
    device = 'auto',
    threads,
    batchSize = 100,
    purpose,
    seed = 0,
    weights,
    freeze = [],
    tiles,
    cacheBytes,
    onNotice = console.warn,
    signal,
  } = options;
  signal?.throwIfAborted();
  const network = buildNetwork(model, input);
  checkWhole('compile', 'batchSize', batchSize, 1, largestBatch);
  checkWhole('compile', 'seed', seed, 0);
  checkThreads('compile', threads);
  if (cacheBytes !== undefined) checkWhole('compile', 'cacheBytes', cacheBytes, leastCache, mostCache);
  checkPurpose('compile', purpose);
  const source = weights === undefined ? undefined : cancelable(sourceOf(weights), signal);
  if (source) checkWeightShapes(network, source.shapes);
  const frozen = layersMatching('compile: freeze', network, freeze);
  if (purpose === 'predict' && frozen.length > 0)
    throw new UsageError("compile: freeze has no effect with purpose 'predict'; leave out one of them");
  const known = knownData('compile', network, options);
  const open = await openerOf(device);
  const session = await open(network, {
    batchSize,
    onNotice,
    frozen,
    ...(purpose && { purpose }),
    ...(threads !== undefined && { threads }),
    ...(tiles && { tiles }),
    ...(cacheBytes !== undefined && { cacheBytes }),
    ...(signal && { signal }),
  });
  if (signal?.aborted) {
    await session.close();
    signal.throwIfAborted();
  }
  const compiled = new Model(network, session, batchSize, known);
  try {
    if (source)
      await compiled.adopt(
        source,
        weights && 'info' in weights ? weights.info : undefined,
        'compile: weights',
      );
    else await session.initialize(seed);
    await session.freeze(frozen);
    signal?.throwIfAborted();
  } catch (error) {
    await session.close();
    throw error;
  }
  return compiled;
}

/** @throws UsageError for an unknown purpose. */
export function checkPurpose(where: string, purpose: Purpose | undefined): void {
  if (purpose === undefined || (purposes as readonly string[]).includes(purpose)) return;
  throw new UsageError(`${where}: purpose ${shown(purpose)} is not one of ${purposes.join(', ')}`);
}

/** Limits of a cache's size: a few rows of a map, and more than any second-level cache. */
const [leastCache, mostCache] = [2 ** 14, 2 ** 30];

/** The most images in a batch: more than any memory holds. */
const largestBatch = 2 ** 31 - 1;

/** @throws UsageError unless `threads` is absent or a number of threads that a machine may have. */
export function checkThreads(where: string, threads: unknown): void {
  if (threads !== undefined) checkWhole(where, 'threads', threads, 1, maxThreads);
}

/** What options say about a network's images. @throws UsageError if it does not fit the network. */
export function knownData(
  where: string,
  { input, output }: Network,
  { classes, normalization }: Pick<DataInfo, 'classes' | 'normalization'>,
): DataInfo {
  if (classes !== undefined) checkClasses(where, classes, output[0]);
  if (normalization !== undefined) checkNormalization(where, normalization, input);
  return { ...(classes && { classes }), ...(normalization !== undefined && { normalization }) };
}

/** A network with its weights on a device; made by `compile`. Close it, or declare it with `await using`. */
export class Model implements AsyncDisposable {
  readonly network: Network;
  /** The largest batch it can train with. */
  readonly batchSize: number;
  readonly #session: Session;
  /** Settles when the last call ends; the next call waits for it. */
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;
  /** What is known about the images: `#given` by the caller, `#learned` from training data or a loaded file. */
  readonly #given: DataInfo;
  #learned: DataInfo = {};
  #loader: object | undefined;

  constructor(network: Network, session: Session, batchSize: number, given: DataInfo = {}) {
    this.#given = given;
    this.network = network;
    this.batchSize = batchSize;
    this.#session = session;
  }

  get device(): Session['device'] {
    return this.#session.device;
  }

  get threads(): number {
    return this.#session.threads;
  }

  /** The device in words: for instance `native (AVX-512), 2 threads`. */
  get description(): string {
    return this.#session.description;
  }

  /** The tiles of matrix products, on devices where adapters differ in them: they decide in which order sums are computed. */
  get tiles(): Session['tiles'] {
    return this.#session.tiles;
  }

  /** Bytes of cache that blocks of the processor's kernels fit: they decide in which order sums are computed. */
  get cacheBytes(): Session['cacheBytes'] {
    return this.#session.cacheBytes;
  }

  /** What is needed to use the weights; stored with them in files. */
  get info(): ModelInfo {
    return infoOf(this.network, { ...this.#learned, ...this.#given });
  }

  /**
   * Records which images the weights learn from; `train` calls it, too.
   * @throws UsageError if the loader's transform normalizes differently from `compile`'s `normalization`.
   */
  learnsFrom(loader: DataLoader): void {
    if (loader === this.#loader) return;
    const learned = dataInfoOf(loader);
    checkClasses(`data set ${learned.dataset}`, learned.classes);
    const { normalization } = this.#given;
    if (normalization !== undefined && learned.normalization !== undefined) {
      if (!sameNormalization(normalization, learned.normalization)) {
        throw new UsageError(
          `train: the loader normalizes with ${normalizationText(learned.normalization)}, but compile got the ` +
            `normalization ${normalizationText(normalization)}; leave it out of compile`,
        );
      }
    }
    this.#loader = loader;
    // A network may have more outputs than the data set has classes.
    const { classes, ...rest } = learned;
    this.#learned = classes?.length === this.network.output[0] ? learned : rest;
  }

  /**
   * Trains one epoch, or its first `steps` steps: for each batch the mean cross-entropy, its gradients and an optimizer
   * step.
   * @throws VggError if a loss is not finite; it names epoch and step.
   */
  async train(loader: DataLoader, options: TrainOptions): Promise<TrainResult> {
    checkLoader('train', loader);
    checkOptions<TrainOptions>('train', options, trainKeys);
    this.learnsFrom(loader);
    const { epoch, from = 0, steps = loader.length, lrGroups, onStep, signal, ...request } = options;
    const rateFactors = lrGroups && rateFactorsOf('train: lrGroups', this.network, lrGroups);
    if (loader.batchSize > this.batchSize) {
      throw new UsageError(
        `train: the loader's batch size ${loader.batchSize} is larger than the model's ${this.batchSize}; ` +
          `pass batchSize: ${loader.batchSize} to compile`,
      );
    }
    return this.#inTurn(async () => {
      const result = await this.#session.train({
        ...request,
        ...(rateFactors && { rateFactors }),
        source: batchSource(loader, epoch),
        from,
        to: Math.min(steps, loader.length),
        onSteps: (reports) => {
          for (const report of reports) onStep?.(report);
        },
        ...(signal && { signal }),
      });
      const loss = result.losses.at(-1) ?? 0;
      if (!Number.isFinite(loss)) {
        throw diverged(
          `the loss became ${loss} in epoch ${epoch}, step ${from + result.steps}`,
          request.rates?.[result.steps - 1] ?? request.optimizer.lr,
        );
      }
      return result;
    });
  }

  /**
   * Freezes the layers that these patterns choose, and no others: `[]` lets all learn. If that changes which layers are
   * frozen, the optimizer starts anew.
   * @throws UsageError for a pattern that chooses no layer, with a suggestion, and if nothing would learn.
   */
  async freeze(patterns: readonly string[]): Promise<void> {
    const frozen = layersMatching('freeze', this.network, patterns);
    return this.#inTurn(() => this.#session.freeze(frozen));
  }

  /** Mean loss and accuracy over all images of the loader. */
  async evaluate(loader: DataLoader, signal?: AbortSignal): Promise<EvaluateResult> {
    checkLoader('evaluate', loader);
    return this.#inTurn(() => this.#session.evaluate(batchSource(loader, 0), signal));
  }

  /**
   * Classifies any number of images: `images` is [N, C, H, W] or one [C, H, W], transformed as in training. Other sizes
   * than the network's are possible with an adaptive pool or dense, which applies the classifier at every position of the
   * last feature map and averages the scores. Plans of the last sizes are kept.
   * @throws UsageError if the length is not that of whole images, or the network does not take them.
   */
  async predict(images: Float32Array, options: PredictOptions = {}): Promise<Prediction> {
    checkOptions<PredictOptions>('predict', options, { shape: 'optional', dense: 'optional' });
    const variant = variantFor(this.network, options);
    const { input } = variant ? variantOf(this.network, variant) : this.network;
    const count = imageCountOf('predict', { ...this.network, input }, images);
    return this.#inTurn(async () => prediction(await this.#session.predict(images, count, options), count));
  }

  /** Mean loss and gradients of one batch, `images` [N, C, H, W], without an optimizer step; none of frozen layers. */
  gradients(images: Float32Array, labels: ArrayLike<number>): Promise<{ loss: number; gradients: Weights }> {
    return this.#inTurn(() => this.#session.gradients(images, labels));
  }

  /**
   * The values after layers, as PyTorch gives them in evaluation; only as much of the network is computed as they need.
   * `images` is [N, C, H, W] or one [C, H, W]; layers have the literature's names (`relu3_3`, `pool5`) or their own.
   * @throws UsageError for an unknown layer, with a suggestion.
   */
  features<Ref extends LayerRef>(
    images: Float32Array,
    layers: readonly Ref[],
  ): Promise<ReadonlyMap<Ref, Features>> {
    return this.#inTurn(() => featuresOf(this.#session, this.network, images, layers));
  }

  /**
   * The gradient of a class's logit, of the cross-entropy, or of any function of values after layers, with respect to the
   * images or to the values after a layer, in evaluation.
   */
  async inputGradient(
    images: Float32Array,
    of: GradientOf,
    options: InputGradientOptions = {},
  ): Promise<Features> {
    checkOptions<InputGradientOptions>('inputGradient', options, { layer: 'optional' });
    return this.#inTurn(() => inputGradientOf(this.#session, this.network, images, of, options));
  }

  /** A copy of the parameters with PyTorch's names, shapes and order. */
  weights(): Promise<Weights> {
    return this.#inTurn(() => this.#session.weights());
  }

  /** Also resets the optimizer. @throws DataError if a parameter is missing, unknown or has another shape. */
  setWeights(weights: Weights | WeightSource): Promise<void> {
    return this.#inTurn(async () => {
      const source = sourceOf(weights);
      checkWeightShapes(this.network, source.shapes);
      await this.#session.setWeights(source);
    });
  }

  /**
   * Calls `body` with the weights, to be read by parts, for instance into a file; other calls wait until it ends.
   */
  readWeights<T>(body: (weights: WeightSource) => Promise<T>): Promise<T> {
    return this.#inTurn(() => body(this.#session.weightSource()));
  }

  /** Everything the next step depends on except its data: for a checkpoint. */
  state(): Promise<TrainingState> {
    return this.#inTurn(() => this.#session.state());
  }

  /** Resumes from a state. @throws DataError if a tensor is missing, unknown or has another shape. */
  setState(state: TrainingState): Promise<void> {
    return this.#inTurn(async () => {
      for (const moment of Object.values(state.moments)) checkSomeParameters(this.network, moment);
      await this.#session.setState({ ...state, weights: checkWeights(this.network, state.weights) });
    });
  }

  /** Swaps the weights with their moving average (`averageDecay`) to test it; a second call swaps them back. */
  swapAverage(): Promise<void> {
    return this.#inTurn(() => this.#session.swapAverage());
  }

  /**
   * Takes over weights from elsewhere, for instance from a file, and what is stored with them. `source` names their
   * origin in messages.
   * @throws DataError if the weights do not fit the network, UsageError if `info` names another network with the same
   * parameters, or classes or a normalization that differ from those given to `compile`.
   */
  async adopt(weights: Weights | WeightSource, info: ModelInfo | undefined, source = 'adopt'): Promise<void> {
    if (info) checkLoaded(source, info, this.info, this.#given);
    await this.setWeights(weights);
    const { network: _, input: __, ...data } = info ?? { network: undefined, input: undefined };
    this.#learned = data;
    this.#loader = undefined;
  }

  /** Stops the workers and releases the memory; may be called twice. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    await this.#session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #inTurn<T>(call: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new UsageError('the model is closed; compile it again to use it');
    const result = this.#last.then(call);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

const trainKeys: KnownKeys<TrainOptions> = {
  optimizer: 'required',
  lrGroups: 'optional',
  epoch: 'required',
  from: 'optional',
  steps: 'optional',
  rates: 'optional',
  onStep: 'optional',
  signal: 'optional',
  ...stepKeys,
};

function checkLoader(where: string, loader: unknown): void {
  if (isObject(loader) && isObject(loader.dataset)) return;
  throw new UsageError(
    `${where}: ${shown(loader)} is not a loader; make one with dataLoader(dataset, { batchSize })`,
  );
}

function prediction(logits: Float32Array, count: number): Prediction {
  const classes = logits.length / count;
  const probabilities = new Float32Array(logits.length);
  const labels = new Uint32Array(count);
  for (let n = 0; n < count; n++) {
    const row = logits.subarray(n * classes, (n + 1) * classes);
    const largest = row.reduce((a, b) => Math.max(a, b));
    const exponentials = row.map((logit) => Math.exp(logit - largest));
    const sum = exponentials.reduce((a, b) => a + b);
    probabilities.set(
      exponentials.map((e) => e / sum),
      n * classes,
    );
    labels[n] = argmax(row);
  }
  return { logits, probabilities, labels };
}
