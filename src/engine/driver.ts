/**
 * What a device implements. The host session (`session.ts`) does everything that is the same on all devices: checks,
 * names of tensors, the optimizer's state, batches, abort, statistics. A driver keeps tensors and runs commands on them.
 * Calls never overlap.
 */
import type { FusedTransform } from '../data/fuse.ts';
import type { Network } from '../model/layer.ts';
import type { WeightSource } from '../model/weight-streams.ts';
import type { DeviceName, MomentName, Session, SessionOptions } from './backend.ts';
import type { TrainPass } from './step.ts';
import type { Variant } from './variant.ts';

/** Where a pass's images come from. */
export type ImageSource =
  | {
      readonly kind: 'dataset';
      /** Of the whole data set, [N, C, H, W] and [N]. */
      readonly pixels: Uint8Array;
      readonly labels: Uint16Array;
      readonly fused: FusedTransform;
      readonly order: Uint32Array;
      readonly seed: number;
      readonly epoch: number;
    }
  | {
      readonly kind: 'bytes';
      /** Images of this pass only, [N, …fused.source], and labels [N]. */
      readonly pixels: Uint8Array;
      readonly labels: Uint16Array;
      readonly fused: FusedTransform;
      /** Of each image, as `writePlacement` writes it. */
      readonly placements: Float64Array;
      /** As in `values`. */
      readonly samples: Uint32Array;
      readonly seed: number;
      readonly epoch: number;
    }
  | {
      readonly kind: 'values';
      /** Transformed images [N, C, H, W] and labels [N] of this pass only. */
      readonly values: Float32Array;
      readonly labels: Uint16Array;
      /** Position of each image in the data set, for dropout's draws. */
      readonly samples: Uint32Array;
      readonly seed: number;
      readonly epoch: number;
    };

/** Images of a pass. */
export const imageCount = (source: ImageSource): number =>
  source.kind === 'dataset' ? source.order.length : source.labels.length;

/** A command that computes. It writes its results to arrays from `Driver.buffer`. */
export type Command =
  /** Trains steps `from` … `to`. Stops after a step whose loss is not finite, or after an optimizer step if aborted. */
  | ({ readonly kind: 'train' } & TrainPass)
  | {
      readonly kind: 'evaluate';
      readonly source: ImageSource;
      readonly batchSize: number;
      readonly images: number;
      /** Receives the sum of losses, the number of correct answers, and the number of top-5 hits. */
      readonly totals: Float64Array;
      /** Receives logits [images][classes]; may be empty. */
      readonly logits: Float32Array;
      /** The network for images of another size; a driver may then take fewer images at a time. Absent: as it is. */
      readonly variant?: Variant | undefined;
    }
  | FeaturesCommand
  /** Gradients of one batch, which `tensors('gradients')` then returns. */
  | {
      readonly kind: 'gradients';
      readonly source: ImageSource;
      readonly batchSize: number;
      /** As in `evaluate`. */
      readonly totals: Float64Array;
    };

/**
 * Values after layers (indices) in evaluation, and a gradient with respect to values. Each layer or one before it
 * computes: only flatten and dropout pass the images on as they are.
 */
export interface FeaturesCommand {
  readonly kind: 'features';
  readonly source: ImageSource;
  /** Images at a time; a driver may take fewer. */
  readonly batchSize: number;
  readonly images: number;
  readonly layers: readonly number[];
  /** Receives the values after each layer, [images, …]. */
  readonly values: readonly Float32Array[];
  readonly backward: FeaturesBackward | undefined;
}

export interface FeaturesBackward {
  /** Gradients with respect to the values after each of these layers, [images, …]. */
  readonly layers: readonly number[];
  readonly given: readonly Float32Array[];
  /** The layer after which the gradient is wanted; −1 for the images. */
  readonly to: number;
  /** Receives the gradient, [images, …]. */
  readonly gradient: Float32Array;
}

/**
 * Tensors that a driver keeps: `weights` are parameters and buffers; the others have a tensor for each parameter that is
 * not frozen.
 */
export type TensorGroup = 'weights' | MomentName;

export interface Driver {
  /** In words: for instance `native (AVX-512), 2 threads`. */
  readonly description: string;
  readonly device: Exclude<DeviceName, 'auto'>;
  readonly threads: number;
  readonly tiles?: Session['tiles'];
  readonly cacheBytes?: Session['cacheBytes'];
  /** Images of an evaluation batch. */
  readonly evaluationBatch: number;
  /** Whether it transforms images itself; if not, sources are always `values`. */
  readonly loadsImages: boolean;
  /** Memory of a size in bytes that the device can read and write directly. */
  buffer(bytes: number): ArrayBuffer | SharedArrayBuffer;
  /** Draws the initial weights, as `sourceOfInitial` does. */
  initialize(seed: number): Promise<void>;
  /** Freezes these layers (ascending indices), and no others. Ends all moments. */
  freeze(layers: readonly number[]): Promise<void>;
  /** Reads all tensors of a group from a source that has them with the network's shapes. */
  write(group: TensorGroup, source: WeightSource): Promise<void>;
  /** The tensors of a group, as they are when they are read. */
  tensors(group: TensorGroup | 'gradients'): WeightSource;
  /** Starts moments at 0, and an average at the weights. */
  start(moments: readonly MomentName[]): Promise<void>;
  /** Swaps the weights with their moving average. */
  swapAverage(): Promise<void>;
  /** Returns the number of steps or batches done; `onProgress` receives it in between. */
  run(command: Command, onProgress?: (done: number) => void): Promise<number>;
  /** Asks the running command to stop, or clears that request. */
  abort(asked: boolean): void;
  close(): Promise<void>;
}

export type OpenDriver = (network: Network, options: SessionOptions) => Promise<Driver>;
