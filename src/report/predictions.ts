/** A network's predictions for all test images, with accuracy, confusions and most confident mistakes. */
import type { Dataset } from '../data/dataset.ts';
import { dataLoader } from '../data/loader.ts';
import type { AnyDataset } from '../data/stored.ts';
import type { Transform } from '../data/transforms.ts';
import { crossEntropy, topClasses } from '../model/loss.ts';
import type { Model } from '../train/model.ts';

/** Images that are predicted at once. */
const batch = 500;
/** Number of most probable classes kept per image. */
export const kept = 5;

export interface Predictions {
  readonly dataset: AnyDataset;
  /** The most probable classes of each image in descending order, [N][kept]; −1 if there are fewer classes. */
  readonly classes: Int32Array;
  /** Their probabilities. */
  readonly probabilities: Float32Array;
  readonly correct: number;
  /** Images whose label is among the five most probable classes. */
  readonly topFive: number;
  /** Mean cross-entropy. */
  readonly loss: number;
  readonly seconds: number;
}

/** Predicts every image of `dataset`. */
export async function predictAll(
  model: Model,
  dataset: AnyDataset,
  transform: Transform,
): Promise<Predictions> {
  const started = performance.now();
  const classes = new Int32Array(dataset.length * kept).fill(-1);
  const probabilities = new Float32Array(dataset.length * kept);
  let correct = 0;
  let topFive = 0;
  let loss = 0;
  for await (const { images, labels, indices } of dataLoader(dataset as Dataset, {
    batchSize: Math.min(batch, dataset.length),
    transform,
  })) {
    const answer = await model.predict(images);
    const count = answer.logits.length / labels.length;
    for (const [i, index] of indices.entries()) {
      // By logits, because probabilities in float32 become 0 where logits lie far apart.
      const best = topClasses(answer.logits.subarray(i * count, (i + 1) * count), kept);
      for (const [rank, label] of best.entries()) {
        classes[index * kept + rank] = label;
        probabilities[index * kept + rank] = answer.probabilities[i * count + label]!;
      }
    }
    const logits = { shape: [labels.length, count], data: Float64Array.from(answer.logits) };
    const scored = crossEntropy(logits, labels);
    correct += scored.correct;
    topFive += scored.topFive;
    loss += scored.loss * labels.length;
  }
  const seconds = (performance.now() - started) / 1000;
  return { dataset, classes, probabilities, correct, topFive, loss: loss / dataset.length, seconds };
}

/** Images by true class (row) and answer (column), [classes][classes]. */
export function confusionMatrix({ dataset, classes }: Predictions): Uint32Array {
  const count = dataset.classes.length;
  const matrix = new Uint32Array(count * count);
  for (let i = 0; i < dataset.length; i++) matrix[dataset.labels[i]! * count + classes[i * kept]!]!++;
  return matrix;
}

export interface Confusion {
  readonly label: number;
  readonly answer: number;
  readonly count: number;
}

/** The wrong answers that were given most often. */
export function mostConfused(matrix: Uint32Array, classes: number, count: number): readonly Confusion[] {
  return Array.from(matrix, (n, at) => ({ label: Math.floor(at / classes), answer: at % classes, count: n }))
    .filter(({ label, answer, count: n }) => label !== answer && n > 0)
    .sort((a, b) => b.count - a.count || a.label - b.label || a.answer - b.answer)
    .slice(0, count);
}

/** Correct or wrong answers in descending order of probability. */
export function mostConfident(
  { dataset, classes, probabilities }: Predictions,
  right: boolean,
): readonly number[] {
  return Array.from({ length: dataset.length }, (_, i) => i)
    .filter((i) => (classes[i * kept] === dataset.labels[i]) === right)
    .sort((a, b) => probabilities[b * kept]! - probabilities[a * kept]! || a - b);
}

export interface Groups {
  readonly names: readonly string[];
  /** Each class's group. */
  readonly of: readonly number[];
}

/** How many classes one matrix shows. */
const readable = 25;

/**
 * The groups in which classes are shown: the data set's own superclasses, none where all classes fit one matrix, and
 * otherwise tens of neighbors.
 */
export function groupsOf({ classes, superclasses }: AnyDataset): Groups | undefined {
  if (superclasses) return superclasses;
  if (classes.length <= readable) return undefined;
  const of = classes.map((_, label) => Math.floor(label / 10));
  const names = Array.from({ length: of.at(-1)! + 1 }, (_, group) => {
    const members = classes.filter((_, label) => of[label] === group);
    return `${members[0]} … ${members.at(-1)}`;
  });
  return { names, of };
}

/** A matrix of classes summed to one of groups. */
export function groupMatrix(matrix: Uint32Array, { names, of }: Groups): Uint32Array {
  const sums = new Uint32Array(names.length ** 2);
  for (const [at, count] of matrix.entries()) {
    sums[of[Math.floor(at / of.length)]! * names.length + of[at % of.length]!]! += count;
  }
  return sums;
}
