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

/** The optimizer's settings; its state (moments, step count) belongs to the session. PyTorch's Adam and defaults. */
export interface AdamOptions {
  readonly kind: 'adam';
  /** Learning rate; may be changed between calls. */
  lr: number;
  readonly betas: readonly [number, number];
  readonly epsilon: number;
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

export interface TrainRequest {
  readonly source: BatchSource;
  readonly optimizer: AdamOptions;
  /** First step (0-based) and the step to end before; the last batch may be smaller. */
  readonly from: number;
  readonly to: number;
  /** Called for each finished step, in order, in batches at least a few times a second. */
  readonly onSteps?: (reports: readonly StepReport[]) => void;
  /** Stops after the running step. */
  readonly signal?: AbortSignal;
}

export interface TrainResult {
  /** Steps done: fewer than asked for when aborted or when a loss was not finite. */
  readonly steps: number;
  /** Loss of each step done. */
  readonly losses: Float64Array;
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
  readonly correct: number;
  readonly images: number;
  readonly seconds: number;
}

export interface Session {
  /** What runs, in words: for instance `native (AVX-512), 2 threads`. */
  readonly description: string;
  readonly device: Exclude<DeviceName, 'auto'>;
  readonly threads: number;
  setWeights(weights: Weights): Promise<void>;
  weights(): Promise<Weights>;
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
}
