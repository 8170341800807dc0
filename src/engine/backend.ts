/**
 * The one interface that every device implements, and nothing more: the model (`train/model.ts`) is written against
 * it, and one conformance suite runs over all of them. A session holds one network's parameters and optimizer state
 * on one device. Calls must not overlap: await one before the next.
 */
import type { Dataset } from '../data/dataset.ts';
import type { Transform } from '../data/transforms.ts';
import type { Network, Weights } from '../model/layer.ts';

/** Names of the devices a user can ask for. */
export const deviceNames = ['auto', 'native', 'wasm', 'reference'] as const;
export type DeviceName = (typeof deviceNames)[number];

/**
 * An optimizer's settings; its state (moments, step count) belongs to the session. PyTorch's rules and defaults.
 * `adamw` takes its weight decay off the weights (Loshchilov & Hutter 2019), the others add it to the gradient.
 */
export type OptimizerOptions = AdamOptions | SgdOptions;

/** Adam (Kingma & Ba, ICLR 2015). */
export interface AdamOptions {
  readonly kind: 'adam' | 'adamw';
  /** Learning rate; may be changed between calls. */
  lr: number;
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** Stochastic gradient descent with momentum, as torch.optim.SGD without dampening. */
export interface SgdOptions {
  readonly kind: 'sgd';
  /** Learning rate; may be changed between calls. */
  lr: number;
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
}

/** What a step does besides the optimizer's rule. Everything is off by default. */
export interface StepOptions {
  /** Batches whose gradients make one step of the optimizer, as one batch of all their images would; 1 by default. */
  readonly accumulate?: number;
  /** Share of the target that is spread evenly over all classes (Szegedy et al. 2016), 0–1. */
  readonly labelSmoothing?: number;
  /** Largest norm of the whole gradient; a longer one is scaled down to it. 0: any. */
  readonly clipNorm?: number;
  /**
   * Decay of the exponential moving average of the weights; after t steps at most (1 + t) / (10 + t), so that it
   * forgets the initial weights. 0: none is kept.
   */
  readonly averageDecay?: number;
  /** α of the Beta(α, α) distribution that mixes image i of a batch with image N − 1 − i (mixup, Zhang et al. 2018). */
  readonly mixup?: number;
}

/** Samples in the order in which they are seen, cut into batches. */
export interface BatchSource {
  readonly dataset: Dataset;
  /** Applied to each sample; must end in float values (`toTensor`). */
  readonly transform: Transform;
  readonly batchSize: number;
  /** Indices into the data set in the order of this pass. */
  readonly order: Uint32Array;
  /** Key of the transforms' random draws: `random(seed, streams.transform, epoch, position in data set)`. */
  readonly seed: number;
  readonly epoch: number;
}

export interface StepReport {
  /** 1-based, within the pass. */
  readonly step: number;
  /** Mean loss of this step's own batch. */
  readonly loss: number;
}

export interface TrainRequest extends StepOptions {
  readonly source: BatchSource;
  readonly optimizer: OptimizerOptions;
  /** Learning rates of the steps from `from` on, where they are not all `optimizer.lr`. */
  readonly rates?: Float64Array;
  /**
   * First step (0-based) and the step to end before; the last batch may be smaller. With `accumulate` both are
   * multiples of it, or the end of the pass.
   */
  readonly from: number;
  readonly to: number;
  /** Called for each finished step, in order, in batches at least a few times a second. */
  readonly onSteps?: (reports: readonly StepReport[]) => void;
  /** Stops after the running step of the optimizer. */
  readonly signal?: AbortSignal;
}

export interface TrainResult {
  /** Steps done: fewer than asked for when aborted or when a loss was not finite. */
  readonly steps: number;
  /** Loss of each step done. */
  readonly losses: Float64Array;
  /** Images of each step that were classified rightly on the way, random transforms and dropout included. */
  readonly correct: Uint32Array;
  /** Number of images seen. */
  readonly images: number;
  /** Seconds of training, without start-up. */
  readonly seconds: number;
}

export interface EvaluateResult {
  /** Mean cross-entropy over the images. */
  readonly loss: number;
  /** Share of right answers, 0–1. */
  readonly accuracy: number;
  /** Share of images whose label is among the five likeliest classes, 0–1. */
  readonly topFive: number;
  readonly correct: number;
  readonly images: number;
  readonly seconds: number;
}

/** All that a training's next step depends on, apart from its data and settings. */
export interface TrainingState {
  readonly weights: Weights;
  /** Steps of the optimizer done. */
  readonly optimizerSteps: number;
  /**
   * `firstMoment` and `secondMoment` of Adam, `momentum` of SGD, `average` of the weights: those that are in use, each
   * with a tensor for every parameter.
   */
  readonly moments: Readonly<Partial<Record<MomentName, Weights>>>;
}

export const momentNames = ['firstMoment', 'secondMoment', 'momentum', 'average'] as const;
export type MomentName = (typeof momentNames)[number];

export interface Session {
  /** What runs, in words: for instance `native (AVX-512), 2 threads`. */
  readonly description: string;
  readonly device: Exclude<DeviceName, 'auto'>;
  readonly threads: number;
  setWeights(weights: Weights): Promise<void>;
  weights(): Promise<Weights>;
  /** Everything that `setState` needs to go on with the same bits. */
  state(): Promise<TrainingState>;
  setState(state: TrainingState): Promise<void>;
  /** Exchanges the weights with their moving average, for a test for instance; a second call changes them back. */
  swapAverage(): Promise<void>;
  /** Optimizer steps over a part of a pass. Stops after a step whose loss is not finite. */
  train(request: TrainRequest): Promise<TrainResult>;
  evaluate(source: BatchSource, signal?: AbortSignal): Promise<EvaluateResult>;
  /** Mean loss and gradients of one batch, without an optimizer step. `images` [N, C, H, W]. */
  gradients(images: Float32Array, labels: ArrayLike<number>): Promise<{ loss: number; gradients: Weights }>;
  /** Logits [N, classes] of `images` [N, C, H, W]. */
  predict(images: Float32Array, count: number): Promise<Float32Array>;
  /** Ends workers and frees memory; the session cannot be used afterwards. */
  close(): Promise<void>;
}

/** Opens a session on a device. `batchSize` is the largest batch that will be asked for in training. */
export type OpenSession = (network: Network, options: SessionOptions) => Promise<Session>;

export interface SessionOptions {
  readonly batchSize: number;
  readonly threads?: number;
  /** Told what a user should know about the device, a line each: that kernels are being compiled, or why not. */
  readonly onNotice?: (line: string) => void;
  /** Gives up while the session is being opened: compiling kernels takes seconds. */
  readonly signal?: AbortSignal;
}
