/**
 * What the page and a training's worker say to each other. One worker holds one training. The page sends commands and
 * questions; the worker sends events and answers. Questions are answered between two training steps. Everything here is
 * plain data; arrays that a message carries are transferred where nobody else needs them.
 */
import type { ChosenFiles } from '../../browser/chosen-files.ts';
import type { KeptDataset } from '../../browser/store.ts';
import type { ImageShape } from '../../data/dataset.ts';
import type { Change, LiveSettings } from '../../train/changes.ts';
import type { TrainConfig } from '../../train/config-table.ts';
import type { EpochRecord } from '../../train/records.ts';
import type { RunSpec } from '../state/spec.ts';

/**
 * `preparing`: reads images and compiles; `ready`: before the first step; `ended`: all epochs are done; `failed`: an error
 * ended it, and `message` says which; `diverged`: its numbers are no longer finite.
 */
export type Phase = 'preparing' | 'ready' | 'training' | 'paused' | 'ended' | 'diverged' | 'failed';

export type Command =
  /** Prepares a training, in place of the last one. It starts with the first `train` or `step`, or at once (`go`). */
  | { readonly kind: 'open'; readonly opening: Opening; readonly go: boolean }
  /** Starts, or continues after a pause. */
  | { readonly kind: 'train' }
  | { readonly kind: 'pause' }
  /** Trains so many batches, then pauses. */
  | { readonly kind: 'step'; readonly count: number }
  | { readonly kind: 'change'; readonly settings: LiveSettings }
  /** What live views show from now on. */
  | { readonly kind: 'watch'; readonly watch: Watch }
  | { readonly kind: 'ask'; readonly id: number; readonly question: Question };

/** A training to prepare: a new one, or a run of the browser's store from its last checkpoint. */
export type Opening =
  | {
      readonly spec: RunSpec;
      /** Keeps it as a run in the browser's store, so that it outlives the page. */
      readonly keep: boolean;
      readonly threads?: number;
    }
  | {
      readonly run: string;
      /** Trains for so many epochs instead of those of its config. */
      readonly epochs?: number;
    };

/** An image of the data set, by its place, or the user's own: planar bytes [C, H, W] in the network's size. */
export type ImageChoice =
  | { readonly split: 'train' | 'test'; readonly index: number }
  | { readonly pixels: Uint8Array };

export interface Watch {
  /** Test images whose answers are shown. */
  readonly probe: boolean;
  /** First filters. */
  readonly filters: boolean;
  /** The maps of an image after all layers. */
  readonly maps?: ImageChoice | undefined;
  /** Counts of dead ReLUs. */
  readonly dead: boolean;
}

/** What is known once a training is prepared. */
export interface RunFacts {
  /** Its name in the browser's store, if it is kept. */
  readonly run?: string;
  readonly config: TrainConfig;
  readonly dataset: string;
  readonly classes: readonly string[];
  readonly shape: ImageShape;
  readonly trainImages: number;
  readonly testImages: number;
  readonly stepsPerEpoch: number;
  readonly epochs: number;
  readonly batchSize: number;
  /** In words: `WebAssembly, 2 threads`. */
  readonly device: string;
  /** Why this device computes: it was asked for; `auto` chose it; or memory is not shared, so it has one thread. */
  readonly reason: 'asked' | 'auto' | 'unshared';
  readonly parameters: number;
  readonly layers: readonly LayerFacts[];
  /** The places of the probe's images in the test set. */
  readonly probe: readonly number[];
  /** The settings that can be changed live, as the config has them. */
  readonly settings: LiveSettings;
}

export interface LayerFacts {
  /** The literature's name (`conv1_1`), or its own. */
  readonly name: string;
  /** `conv2d`, `maxPool2d`, … */
  readonly kind: string;
  readonly input: readonly number[];
  readonly output: readonly number[];
  readonly parameters: number;
  readonly multiplyAdds: number;
}

export interface StepPoint {
  /** Batches of the whole training, from 1. */
  readonly step: number;
  readonly loss: number;
  readonly lr: number;
}

/** The values after a layer, of one image. */
export interface LayerMaps {
  /** Index in `RunFacts.layers`. */
  readonly layer: number;
  /** [C, H, W], or [F] behind a flatten. */
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

export interface ImageMaps {
  /** The image as it was given: planar bytes [C, H, W]. */
  readonly pixels: Uint8Array;
  readonly label: number | undefined;
  readonly maps: readonly LayerMaps[];
  readonly probabilities: Float32Array;
}

/** Answers for the probe's images. */
export interface Probe {
  readonly predicted: Uint16Array;
  /** Of the predicted class. */
  readonly confidence: Float32Array;
  readonly labels: Uint16Array;
  readonly accuracy: number;
}

/** The weights of a first convolution, [out, C, kh, kw]. */
export interface Filters {
  readonly layer: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** ReLUs of a layer that are 0 at every position of every image that was tried. */
export interface DeadUnits {
  readonly layer: string;
  readonly dead: number;
  readonly units: number;
}

/** What live views show, computed between two steps. */
export interface LiveView {
  readonly step: number;
  readonly probe?: Probe;
  readonly filters?: Filters;
  readonly maps?: ImageMaps;
  readonly dead?: readonly DeadUnits[];
}

/** The sum behind one value: Σ input × weight + bias, or the window that a pool takes it from. */
export interface ValueSum {
  readonly layer: number;
  readonly kind: 'conv2d' | 'maxPool2d' | 'avgPool2d';
  readonly channel: number;
  readonly place: readonly [y: number, x: number];
  /** The upper left corner of the window in the layer's input; negative in the padding. */
  readonly corner: readonly [y: number, x: number];
  readonly kernel: readonly [height: number, width: number];
  /** One for each input channel that takes part, in the order of channels: [kh × kw]. */
  readonly terms: readonly {
    readonly channel: number;
    readonly inputs: Float32Array;
    /** Absent for pools. */
    readonly weights?: Float32Array;
    readonly sum: number;
  }[];
  readonly bias: number;
  /** Before the ReLU. */
  readonly sum: number;
  /** The value that is shown. */
  readonly value: number;
  /** Whether a ReLU follows at once. */
  readonly relu: boolean;
}

/** A run in the browser's store. */
export interface KeptRun {
  readonly name: string;
  readonly state: 'running' | 'finished' | 'interrupted' | 'failed' | 'damaged';
  readonly model: string;
  readonly dataset: string;
  /** Done, and of the whole training. */
  readonly epochs: number;
  readonly totalEpochs: number;
  readonly accuracy?: number;
}

/** Predictions for all test images. */
export interface Confusion {
  readonly step: number;
  readonly labels: Uint16Array;
  readonly predicted: Uint16Array;
  readonly confidence: Float32Array;
}

export interface Heat {
  readonly label: number;
  readonly height: number;
  readonly width: number;
  /** [H, W], 0–1. */
  readonly values: Float32Array;
}

export type Question =
  | { readonly kind: 'maps'; readonly image: ImageChoice }
  | {
      readonly kind: 'sum';
      readonly image: ImageChoice;
      /** As in `LayerMaps`. */
      readonly layer: number;
      readonly channel: number;
      readonly place: readonly [y: number, x: number];
    }
  | { readonly kind: 'heat'; readonly image: ImageChoice; readonly label?: number }
  | { readonly kind: 'confusion' }
  /** Planar bytes of images, one after the other. */
  | { readonly kind: 'images'; readonly split: 'train' | 'test'; readonly indices: readonly number[] }
  | { readonly kind: 'classify'; readonly pixels: Uint8Array }
  /** SHA-256 of the weights. */
  | { readonly kind: 'fingerprint' }
  | { readonly kind: 'weights'; readonly format: 'safetensors' | 'onnx' }
  | StoreQuestion;

/** Questions about the browser's store; they need no training. */
export type StoreQuestion =
  | { readonly kind: 'runs' }
  | { readonly kind: 'exportRun'; readonly run: string }
  | { readonly kind: 'importRun'; readonly zip: Blob }
  | { readonly kind: 'removeRun'; readonly run: string }
  | { readonly kind: 'datasets' }
  /** Keeps a data set of the user's files: archives of CIFAR, a zip, or images in a folder for each class. */
  | { readonly kind: 'addDataset'; readonly files: ChosenFiles; readonly name?: string }
  | { readonly kind: 'removeDataset'; readonly dataset: string }
  /** A picture as a network's input takes it: planar bytes. */
  | { readonly kind: 'decode'; readonly picture: Blob | ImageBitmap | ImageData; readonly shape: ImageShape };

const kinds: ReadonlySet<string> = new Set<StoreQuestion['kind']>([
  'runs',
  'exportRun',
  'importRun',
  'removeRun',
  'datasets',
  'addDataset',
  'removeDataset',
  'decode',
]);

export const isStoreQuestion = (question: { readonly kind: string }): question is StoreQuestion =>
  kinds.has(question.kind);

export interface Answers {
  readonly maps: ImageMaps;
  readonly sum: ValueSum;
  readonly heat: Heat;
  readonly confusion: Confusion;
  readonly images: { readonly pixels: Uint8Array; readonly labels: readonly number[] };
  readonly classify: { readonly probabilities: Float32Array };
  readonly fingerprint: { readonly step: number; readonly hash: string };
  readonly weights: { readonly blob: Blob; readonly name: string };
  readonly runs: { readonly runs: readonly KeptRun[]; readonly bytes: number; readonly quota: number };
  readonly exportRun: { readonly zip: Blob };
  readonly importRun: { readonly run: string };
  readonly removeRun: { readonly removed: string };
  readonly datasets: { readonly datasets: readonly KeptDataset[] };
  readonly addDataset: { readonly dataset: KeptDataset; readonly notices: readonly string[] };
  readonly removeDataset: { readonly removed: string };
  readonly decode: { readonly pixels: Uint8Array };
}

export type Event =
  | { readonly kind: 'phase'; readonly phase: Phase; readonly message?: string }
  | { readonly kind: 'opened'; readonly facts: RunFacts }
  | { readonly kind: 'steps'; readonly steps: readonly StepPoint[]; readonly imagesPerSecond: number }
  | { readonly kind: 'epoch'; readonly event: EpochRecord; readonly hash: string }
  /** What a run did before it was continued. */
  | {
      readonly kind: 'restored';
      /** Batches of the whole training. */
      readonly done: number;
      readonly steps: readonly StepPoint[];
      readonly epochs: readonly EpochRecord[];
      readonly changes: readonly Change[];
    }
  | { readonly kind: 'changed'; readonly changes: readonly Change[] }
  | { readonly kind: 'view'; readonly view: LiveView }
  | { readonly kind: 'notice'; readonly line: string }
  | { readonly kind: 'answer'; readonly id: number; readonly answer: Answers[keyof Answers] }
  | { readonly kind: 'refusal'; readonly id: number; readonly message: string };
