/**
 * The interface that every device implements. The model (`train/model.ts`) uses only this interface, and one conformance
 * suite tests all devices. A session holds one network's parameters and optimizer state on one device. Calls must not
 * overlap: await one before the next.
 */
import type { AnyDataset } from '../data/stored.ts';
import type { Transform } from '../data/transforms.ts';
import type { Network, Weights } from '../model/layer.ts';
import type { WeightSource } from '../model/weight-streams.ts';
import type { PredictOptions } from './variant.ts';
import type { TileTable } from './webgpu/tiles.ts';

/** The devices a user can ask for, and what computes there: kernels on the processor, plain loops, or a GPU. */
export const devices = {
  auto: 'fastest',
  native: 'kernels',
  wasm: 'kernels',
  webgpu: 'gpu',
  reference: 'loops',
} as const;
export type DeviceName = keyof typeof devices;
/** Their names. */
export const deviceNames: readonly DeviceName[] = Object.keys(devices) as DeviceName[];
/** Those that compute on a GPU. */
export const gpuDevices: readonly DeviceName[] = deviceNames.filter((name) => devices[name] === 'gpu');

/**
 * An optimizer's settings; its state (moments, step count) belongs to the session. PyTorch's rules and defaults.
 * `adamw` and `muon` subtract weight decay from the weights (Loshchilov & Hutter 2019); the others add it to the gradient.
 */
export type OptimizerOptions = AdamOptions | SgdOptions | MuonOptions;

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

/**
 * Muon (Jordan et al. 2024) for the weights of convolutions and hidden linear layers: Nesterov momentum whose matrices are
 * orthogonalized. Other parameters (biases, normalizations, the last layer) learn by SGD with the same momentum.
 */
export interface MuonOptions {
  readonly kind: 'muon';
  /** Learning rate; may be changed between calls. */
  lr: number;
  /** Factor of the learning rate for the other parameters. */
  readonly otherLr: number;
  readonly momentum: number;
  /** Of all parameters: subtracts `lr · weightDecay` of each. */
  readonly weightDecay: number;
}

/** Options of a step in addition to the optimizer's rule. All are off by default. */
export interface StepOptions {
  /** Batches per optimizer step, which then equals a step on one batch of all their images; 1 by default. */
  readonly accumulate?: number;
  /** Share of the target that is spread evenly over all classes (Szegedy et al. 2016), 0–1. */
  readonly labelSmoothing?: number;
  /** Largest norm of the whole gradient; larger gradients are scaled down. 0: no limit. */
  readonly clipNorm?: number;
  /**
   * Decay of the exponential moving average of the weights; after t steps at most (1 + t) / (10 + t), so that it
   * forgets the initial weights. 0: no average.
   */
  readonly averageDecay?: number;
  /** α of the Beta(α, α) distribution that mixes image i of a batch with image N − 1 − i (mixup, Zhang et al. 2018). */
  readonly mixup?: number;
}

/** Samples in the order of a pass, cut into batches. */
export interface BatchSource {
  readonly dataset: AnyDataset;
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
  /** Mean loss of this step's batch. */
  readonly loss: number;
}

export interface TrainRequest extends StepOptions {
  readonly source: BatchSource;
  readonly optimizer: OptimizerOptions;
  /** Learning rates of the steps from `from` on; `optimizer.lr` by default. */
  readonly rates?: Float64Array;
  /** For each layer, the factor of its learning rate; by default 1. At most `mostRates` different ones. */
  readonly rateFactors?: readonly number[];
  /**
   * First step (0-based) and end (exclusive); the last batch may be smaller. With `accumulate`, both are multiples of it
   * or the end of the pass.
   */
  readonly from: number;
  readonly to: number;
  /** Called for each finished step, in order, in batches at least a few times a second. */
  readonly onSteps?: (reports: readonly StepReport[]) => void;
  /** Stops after the current optimizer step. */
  readonly signal?: AbortSignal;
}

export interface TrainResult {
  /** Steps done; fewer than requested if aborted or if a loss was not finite. */
  readonly steps: number;
  /** Loss of each step done. */
  readonly losses: Float64Array;
  /** Correctly classified images of each step, with random transforms and dropout. */
  readonly correct: Uint32Array;
  /** Number of images seen. */
  readonly images: number;
  /** Seconds of training, without start-up. */
  readonly seconds: number;
  /** Of these, the seconds in which the device waited for images; 0 if it transforms them itself. */
  readonly waitSeconds: number;
}

export interface EvaluateResult {
  /** Mean cross-entropy over the images. */
  readonly loss: number;
  /** Fraction of correctly classified images, 0–1. */
  readonly accuracy: number;
  /** Top-5 accuracy: fraction of images whose label is among the five most likely classes, 0–1. */
  readonly topFive: number;
  readonly correct: number;
  readonly images: number;
  readonly seconds: number;
  /** Of these, the seconds in which the device waited for images. */
  readonly waitSeconds: number;
}

/** Everything that a training's next step depends on, except its data and settings. */
export interface TrainingState {
  readonly weights: Weights;
  /** Optimizer steps done. */
  readonly optimizerSteps: number;
  /**
   * `firstMoment` and `secondMoment` of Adam, `momentum` of SGD and Muon, `average` of the weights; only those in use, each with a
   * tensor for every parameter that is not frozen.
   */
  readonly moments: Readonly<Partial<Record<MomentName, Weights>>>;
}

/** A state whose tensors may be read by parts. */
export interface GivenState {
  readonly weights: Weights | WeightSource;
  readonly optimizerSteps: number;
  readonly moments: Readonly<Partial<Record<MomentName, Weights | WeightSource>>>;
}

/** Values after layers of a network in evaluation, and the gradient of a function of them. Layers are indices. */
export interface FeaturesRequest {
  /** [N, C, H, W]. */
  readonly images: Float32Array;
  readonly count: number;
  /** The layers whose values are wanted. */
  readonly layers: readonly number[];
  readonly backward?: {
    /** For each layer that the function depends on: the gradient with respect to the values after it, [N, …]. */
    readonly given: ReadonlyMap<number, Float32Array>;
    /** The layer after which the gradient is wanted, before or one of those; −1 (the images) by default. */
    readonly to?: number;
  };
}

export interface FeaturesResult {
  /** For each of `layers`, [N, …] in PyTorch's order. */
  readonly values: readonly Float32Array[];
  /** The gradient with respect to the images or to the values after layer `to`, [N, …]. */
  readonly gradient?: Float32Array;
}

export const momentNames = ['firstMoment', 'secondMoment', 'momentum', 'average'] as const;
export type MomentName = (typeof momentNames)[number];

export interface Session {
  /** The device in words: for instance `native (AVX-512), 2 threads`. */
  readonly description: string;
  readonly device: Exclude<DeviceName, 'auto'>;
  readonly threads: number;
  /** The tiles of matrix products, where they differ between adapters: they decide in which order sums are computed. */
  readonly tiles?: TileTable | undefined;
  /** Bytes of cache that blocks of the processor's kernels fit: they decide in which order sums are computed. */
  readonly cacheBytes?: number | undefined;
  /** Draws initial weights with a seed. Also resets the optimizer. */
  initialize(seed: number): Promise<void>;
  /** Also resets the optimizer. */
  setWeights(weights: Weights | WeightSource): Promise<void>;
  weights(): Promise<Weights>;
  /** The weights as they are when they are read; the session must not be used meanwhile. */
  weightSource(): WeightSource;
  /**
   * Freezes these layers (indices), and no others: their parameters keep their values, and have no gradients and no
   * moments; batch normalizations use and keep their running moments. If the frozen layers change, the optimizer and the
   * moving average start anew.
   */
  freeze(layers: readonly number[]): Promise<void>;
  /** Everything that `setState` needs to resume with the same bits. */
  state(): Promise<TrainingState>;
  /** Moments of frozen parameters are ignored. */
  setState(state: GivenState): Promise<void>;
  /** Swaps the weights with their moving average, for instance for a test; a second call swaps them back. */
  swapAverage(): Promise<void>;
  /** Trains on a part of a pass. Stops after a step whose loss is not finite. */
  train(request: TrainRequest): Promise<TrainResult>;
  evaluate(source: BatchSource, signal?: AbortSignal): Promise<EvaluateResult>;
  /** Mean loss and gradients of one batch, without an optimizer step; none of frozen layers. `images` [N, C, H, W]. */
  gradients(images: Float32Array, labels: ArrayLike<number>): Promise<{ loss: number; gradients: Weights }>;
  /**
   * Logits [N, classes] of `images` [N, C, H, W], also of another size, or dense.
   * @throws UsageError if the network does not take such images.
   */
  predict(images: Float32Array, count: number, options?: PredictOptions): Promise<Float32Array>;
  /** Computes no more layers than needed. Weights do not change. */
  features(request: FeaturesRequest): Promise<FeaturesResult>;
  /** Stops workers and frees memory; the session cannot be used afterwards. */
  close(): Promise<void>;
}

/** Opens a session on a device. `batchSize` is the largest training batch. */
export type OpenSession = (network: Network, options: SessionOptions) => Promise<Session>;

/**
 * What a session is for: `predict` has no gradients, except behind the last convolution, and needs least memory; `train`
 * does everything.
 */
export const purposes = ['predict', 'train'] as const;
export type Purpose = (typeof purposes)[number];

export interface SessionOptions {
  readonly batchSize: number;
  /** `train` checks at once that training fits; without a purpose, memory for training is allocated when it starts. */
  readonly purpose?: Purpose;
  /** Layers (indices) that `freeze` will freeze, for the check that training fits. */
  readonly frozen?: readonly number[];
  readonly threads?: number;
  /** `tiles` of an earlier session, for the same bits on the same adapter. */
  readonly tiles?: TileTable | undefined;
  /** `cacheBytes` of an earlier session, for the same bits on another machine; this machine's by default. */
  readonly cacheBytes?: number | undefined;
  /** Receives notes about the device, one line each: that kernels are being compiled, or why not. */
  readonly onNotice?: (line: string) => void;
  /** Cancels opening the session: compiling kernels takes seconds. */
  readonly signal?: AbortSignal;
}
