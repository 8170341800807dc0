/**
 * Softmax cross-entropy, mean over the batch, and the count of right answers: the plain reference in float64.
 * The largest logit is subtracted first, so that no exponential overflows.
 */
import { DataError } from '../errors.ts';
import type { Tensor } from './layer.ts';

export interface CrossEntropy {
  /** −(1/N) Σ_n log softmax(logits[n])[label[n]]. */
  readonly loss: number;
  /** ∂loss/∂logits = (softmax(logits) − onehot(labels)) / N. */
  readonly gradient: Tensor;
  /** Images whose largest logit is their label's; of equal logits the first counts. */
  readonly correct: number;
  /** Images whose label's logit is among the five largest. */
  readonly topFive: number;
}

/** Targets that are not one class alone. */
export interface SoftTargets {
  /** Share that is spread evenly over all classes (Szegedy et al. 2016). */
  readonly smoothing?: number;
  /** Mixed pictures: the other label of each, and how much of a picture is its own. */
  readonly others?: { readonly labels: ArrayLike<number>; readonly ownShare: number };
}

/** @throws DataError where a label is no class of `logits` [N, classes]. */
export function crossEntropy(
  logits: Tensor,
  labels: ArrayLike<number>,
  { smoothing = 0, others }: SoftTargets = {},
): CrossEntropy {
  const [batch = 0, classes = 0] = logits.shape;
  const gradient = new Float64Array(batch * classes);
  let sum = 0;
  let correct = 0;
  let topFive = 0;
  for (let n = 0; n < batch; n++) {
    const scores = logits.data.subarray(n * classes, (n + 1) * classes);
    const label = labels[n]!;
    if (!(Number.isInteger(label) && label >= 0 && label < classes)) {
      throw new DataError(
        `label ${label} of image ${n} of the batch is not one of the network's ${classes} classes`,
      );
    }
    const largest = scores.reduce((a, b) => Math.max(a, b));
    const normalizer = scores.reduce((total, score) => total + Math.exp(score - largest), 0);
    const likelier = scores.filter(
      (score, c) => score > scores[label]! || (score === scores[label] && c < label),
    );
    if (likelier.length === 0 && !Number.isNaN(scores[label])) correct++;
    if (likelier.length < 5 && !Number.isNaN(scores[label])) topFive++;
    for (let c = 0; c < classes; c++) {
      const own = (c === label ? 1 : 0) * (others?.ownShare ?? 1);
      const other = others && c === others.labels[n] ? 1 - others.ownShare : 0;
      const target = (1 - smoothing) * (own + other) + smoothing / classes;
      // Added in this order, so that large logits cancel before the logarithm is added.
      if (target > 0) sum += target * (largest - scores[c]! + Math.log(normalizer));
      gradient[n * classes + c] = (Math.exp(scores[c]! - largest) / normalizer - target) / batch;
    }
  }
  return { loss: sum / batch, gradient: { shape: logits.shape, data: gradient }, correct, topFive };
}
