/**
 * Softmax cross-entropy in float64, and the ranking of classes by logit. All devices and reports use `imageLoss`,
 * `argmax`, `topClasses` and `rankOf`; `crossEntropy` is the plain reference for a batch.
 */
import { DataError } from '../errors.ts';
import type { Tensor } from './layer.ts';

export interface CrossEntropy {
  /** −(1/N) Σ_n log softmax(logits[n])[label[n]]. */
  readonly loss: number;
  /** ∂loss/∂logits = (softmax(logits) − onehot(labels)) / N. */
  readonly gradient: Tensor;
  /** Number of images whose label is the most likely class. */
  readonly correct: number;
  /** Number of images whose label is among the five most likely classes. */
  readonly topFive: number;
}

/**
 * Whether a class with logit `a` ranks above one with logit `b`: the larger logit, and NaN above every number, as in
 * torch.argmax and torch.topk. Among equal logits, and among several NaN, the first class wins.
 */
const isLikelier = (a: number, b: number): boolean => a > b || (Number.isNaN(a) && !Number.isNaN(b));

/** The most likely class. */
export function argmax(logits: ArrayLike<number>): number {
  let best = 0;
  for (let c = 1; c < logits.length; c++) if (isLikelier(logits[c]!, logits[best]!)) best = c;
  return best;
}

/** The `count` most probable classes in descending order; all if there are fewer. */
export function topClasses(logits: ArrayLike<number>, count: number): readonly number[] {
  const best: number[] = [];
  for (let c = 0; c < logits.length; c++) {
    const logit = logits[c]!;
    let at = best.length;
    while (at > 0 && isLikelier(logit, logits[best[at - 1]!]!)) at--;
    if (at === count) continue;
    best.splice(at, 0, c);
    if (best.length > count) best.pop();
  }
  return best;
}

/** The rank of a label whose logit is NaN: never a top-k hit, whatever k is. */
const unranked = 2 ** 31 - 1;

/** The number of classes ranked above `label`, which is a top-k hit if this is below k. */
export function rankOf(logits: ArrayLike<number>, label: number): number {
  const own = logits[label]!;
  if (Number.isNaN(own)) return unranked;
  let rank = 0;
  for (let c = 0; c < logits.length; c++) {
    const logit = logits[c]!;
    if (isLikelier(logit, own) || (logit === own && c < label)) rank++;
  }
  return rank;
}

/**
 * The loss −Σ_c target[c] · log softmax(logits)[c] of one image whose targets sum to 1. Fills `gradient` with
 * softmax(logits) − targets. `exp` must support numbers up to 0.
 *
 * Computed from differences to the largest logit, so logits of any size lose no digits. As in PyTorch, a logit of NaN or
 * +∞ gives NaN, and a logit of −∞ gives a loss of ∞ if its target is above 0.
 */
export function imageLoss(
  logits: Float64Array,
  targets: Float64Array,
  gradient: Float64Array,
  exp: (x: number) => number,
): number {
  const classes = logits.length;
  let largest = Number.NEGATIVE_INFINITY;
  for (let c = 0; c < classes; c++) if (logits[c]! > largest) largest = logits[c]!;
  let sum = 0;
  for (let c = 0; c < classes; c++) {
    const exponential = exp(logits[c]! - largest);
    gradient[c] = exponential;
    sum += exponential;
  }
  const logSum = Math.log(sum);
  let loss = 0;
  for (let c = 0; c < classes; c++) {
    const target = targets[c]!;
    if (target > 0) loss += target * (logSum - (logits[c]! - largest));
    gradient[c] = gradient[c]! / sum - target;
  }
  return loss;
}

/**
 * Fills `targets` for an image of class `label`: 1 for that class, or with mixup `ownShare` and the rest for `other`.
 * The share `smoothing` is spread evenly over all classes.
 */
export function fillTargets(
  targets: Float64Array,
  label: number,
  smoothing: number,
  other: number = label,
  ownShare = 1,
): void {
  targets.fill(smoothing / targets.length);
  targets[label]! += (1 - smoothing) * ownShare;
  targets[other]! += (1 - smoothing) * (1 - ownShare);
}

/** Settings for targets other than one class. */
export interface SoftTargets {
  /** Share spread evenly over all classes (Szegedy et al. 2016). */
  readonly smoothing?: number;
  /** For mixed images: the second label of each, and the share of the first image. */
  readonly others?: { readonly labels: ArrayLike<number>; readonly ownShare: number };
}

/** Loss, gradient and hits of a batch. @throws DataError if a label is not a class of `logits` [N, classes]. */
export function crossEntropy(
  logits: Tensor,
  labels: ArrayLike<number>,
  { smoothing = 0, others }: SoftTargets = {},
): CrossEntropy {
  const [batch = 0, classes = 0] = logits.shape;
  const gradient = new Float64Array(batch * classes);
  const targets = new Float64Array(classes);
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
    fillTargets(targets, label, smoothing, others?.labels[n], others?.ownShare);
    sum += imageLoss(scores, targets, gradient.subarray(n * classes, (n + 1) * classes), Math.exp);
    const rank = rankOf(scores, label);
    if (rank === 0) correct++;
    if (rank < 5) topFive++;
  }
  const mean = gradient.map((value) => value / batch);
  return { loss: sum / batch, gradient: { shape: logits.shape, data: mean }, correct, topFive };
}
