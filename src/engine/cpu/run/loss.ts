/** Softmax cross-entropy of a batch's images, their labels' ranks, and the gradient of the batch's mean. */
import { fillTargets, imageLoss, rankOf } from '../../../model/loss.ts';
import type { ImageSource } from '../../driver.ts';
import type { LossCall } from '../plan/code.ts';
import { exponential } from './exponential.ts';
import type { Batch } from './image-loader.ts';

/** Receives the loss of each image of a batch, and its label's rank (`rankOf`). */
export interface ImageResults {
  readonly losses: Float64Array;
  readonly ranks: Int32Array;
}

export interface LossOptions {
  /** Factor of each image's gradient. */
  readonly gradientScale: number;
  readonly labelSmoothing: number;
}

export class LossComputer {
  readonly #results: ImageResults;
  /** Of an image, for each class. */
  readonly #logits: Float64Array;
  readonly #targets: Float64Array;
  readonly #gradient: Float64Array;

  constructor(classes: number, results: ImageResults) {
    this.#results = results;
    this.#logits = new Float64Array(classes);
    this.#targets = new Float64Array(classes);
    this.#gradient = new Float64Array(classes);
  }

  compute(call: LossCall, floats: Float32Array, batch: Batch, options: LossOptions): void {
    const { first, count, logitPlaces, gradientPlaces } = call;
    const { source, ownShare } = batch;
    const [logits, targets, gradient] = [this.#logits, this.#targets, this.#gradient];
    const classes = logitPlaces.length;
    for (let i = 0; i < count; i++) {
      const at = call.logits + i * call.logitStride;
      const image = first + i;
      const label = labelOf(source, batch.first + image);
      const other = ownShare === 1 ? label : labelOf(source, batch.first + batch.count - 1 - image);
      for (let c = 0; c < classes; c++) logits[c] = floats[at + logitPlaces[c]!]!;
      fillTargets(targets, label, options.labelSmoothing, other, ownShare);
      this.#results.losses[image] = imageLoss(logits, targets, gradient, exponential);
      this.#results.ranks[image] = rankOf(logits, label);
      if (!call.gradient) continue;
      const to = call.gradient + i * call.gradientStride;
      for (let c = 0; c < classes; c++)
        floats[to + gradientPlaces[c]!] = gradient[c]! * options.gradientScale;
    }
  }
}

/** Of image `at` of a pass. */
const labelOf = (source: ImageSource, at: number): number =>
  source.labels[source.kind === 'dataset' ? source.order[at]! : at]!;
