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
}

/** @throws DataError where a label is no class of `logits` [N, classes]. */
export function crossEntropy(logits: Tensor, labels: ArrayLike<number>): CrossEntropy {
  const [batch = 0, classes = 0] = logits.shape;
  const gradient = new Float64Array(batch * classes);
  let sum = 0;
  let correct = 0;
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
    sum += Math.log(normalizer) + largest - scores[label]!;
    if (scores.indexOf(largest) === label) correct++;
    for (let c = 0; c < classes; c++) {
      const probability = Math.exp(scores[c]! - largest) / normalizer;
      gradient[n * classes + c] = (probability - (c === label ? 1 : 0)) / batch;
    }
  }
  return { loss: sum / batch, gradient: { shape: logits.shape, data: gradient }, correct };
}
