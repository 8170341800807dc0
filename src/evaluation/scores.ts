/** Counts of an evaluation: hits, losses and confusions, from averaged class probabilities. */
import { rankOf } from '../model/loss.ts';

/** The results of one class of the data set. */
export interface ClassResult {
  readonly name: string;
  readonly images: number;
  readonly correct: number;
  /** Fraction of its images that are classified correctly, 0–1; NaN without images. */
  readonly accuracy: number;
  /** The class that its images are most often taken for; absent without a mistake, or if that is none of the data set. */
  readonly confusedWith?: { readonly name: string; readonly images: number };
}

export interface ProtocolResult {
  /** Mean of −ln of the averaged probability of the right class. */
  readonly loss: number;
  /** Fraction of correctly classified images, 0–1. */
  readonly accuracy: number;
  /** Fraction of images whose class is among the five most likely ones, 0–1; undefined with at most five classes. */
  readonly topFive: number | undefined;
  readonly correct: number;
  readonly images: number;
  readonly seconds: number;
  readonly classes: readonly ClassResult[];
  /** Images by class (row) and answer (column), both classes of the data set. */
  readonly confusion: readonly (readonly number[])[];
  /** Images of each class that were taken for a class that only the network has. */
  readonly others: readonly number[];
}

/** Class probabilities of images, collected view by view. */
export class Posterior {
  readonly probabilities: Float64Array;
  /** Natural logarithm of the label's probability: far below what a float holds, it still counts. */
  #logLikelihood = Number.NEGATIVE_INFINITY;
  readonly #label: number;

  constructor(classes: number, label: number) {
    this.probabilities = new Float64Array(classes);
    this.#label = label;
  }

  /** Adds the softmax of a view's logits with a weight. */
  add(logits: Float32Array, weight: number): void {
    let largest = Number.NEGATIVE_INFINITY;
    for (const logit of logits) if (logit > largest) largest = logit;
    let sum = 0;
    for (const logit of logits) sum += Math.exp(logit - largest);
    const { probabilities } = this;
    for (let c = 0; c < logits.length; c++)
      probabilities[c]! += (weight * Math.exp(logits[c]! - largest)) / sum;
    const own = Math.log(weight) + logits[this.#label]! - largest - Math.log(sum);
    const [low, high] = own < this.#logLikelihood ? [own, this.#logLikelihood] : [this.#logLikelihood, own];
    this.#logLikelihood = high === Number.NEGATIVE_INFINITY ? high : high + Math.log1p(Math.exp(low - high));
  }

  get loss(): number {
    return -this.#logLikelihood;
  }
}

export class Scores {
  readonly #classes: readonly string[];
  readonly #outputs: readonly number[];
  /** The class of each output; −1 for those that only the network has. */
  readonly #classOf: Int32Array;
  readonly #confusion: Uint32Array;
  readonly #others: Uint32Array;
  #loss = 0;
  #topFive = 0;
  #images = 0;

  /** `outputs` has the network's output for each class. */
  constructor(classes: readonly string[], outputs: readonly number[], count: number) {
    this.#classes = classes;
    this.#outputs = outputs;
    this.#classOf = new Int32Array(count).fill(-1);
    outputs.forEach((output, label) => {
      this.#classOf[output] = label;
    });
    this.#confusion = new Uint32Array(classes.length ** 2);
    this.#others = new Uint32Array(classes.length);
  }

  add(label: number, posterior: Posterior): void {
    const { probabilities, loss } = posterior;
    this.#images++;
    this.#loss += loss;
    if (rankOf(probabilities, this.#outputs[label]!) < 5) this.#topFive++;
    let best = 0;
    for (let c = 1; c < probabilities.length; c++) if (probabilities[c]! > probabilities[best]!) best = c;
    const answer = this.#classOf[best]!;
    if (answer < 0) this.#others[label]!++;
    else this.#confusion[label * this.#classes.length + answer]!++;
  }

  result(seconds: number): ProtocolResult {
    const size = this.#classes.length;
    const confusion = this.#classes.map((_, row) => [
      ...this.#confusion.subarray(row * size, (row + 1) * size),
    ]);
    const classes = this.#classes.map((name, label): ClassResult => {
      const row = confusion[label]!;
      const images = row.reduce((sum, count) => sum + count, this.#others[label]!);
      const correct = row[label]!;
      let worst = -1;
      row.forEach((count, answer) => {
        if (answer !== label && count > (worst < 0 ? 0 : row[worst]!)) worst = answer;
      });
      const confusedWith =
        worst >= 0 && row[worst]! >= this.#others[label]!
          ? { name: this.#classes[worst]!, images: row[worst]! }
          : undefined;
      return { name, images, correct, accuracy: correct / images, ...(confusedWith && { confusedWith }) };
    });
    const correct = classes.reduce((sum, own) => sum + own.correct, 0);
    return {
      loss: this.#loss / this.#images,
      accuracy: correct / this.#images,
      topFive: this.#classOf.length > 5 ? this.#topFive / this.#images : undefined,
      correct,
      images: this.#images,
      seconds,
      classes,
      confusion,
      others: [...this.#others],
    };
  }
}
