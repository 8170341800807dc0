/**
 * A training whose numbers are no longer finite has diverged. It stops, and these numbers are never kept as a
 * checkpoint, as the best weights or as a result.
 */
import { DivergedError } from '../errors.ts';
import type { Weights } from '../model/layer.ts';

/** The error for a `problem` such as `the loss became NaN in epoch 2, step 7`. `lr`: learning rate of the last step. */
export const diverged = (problem: string, lr: number): DivergedError =>
  new DivergedError(
    `${problem}: lower the learning rate (--lr; now ${lr < 1e6 ? lr : lr.toExponential()}), limit the gradients (for instance --clip-norm 1), or ` +
      'check the data and the initial weights',
  );

/** Value and name of the first weight that is not finite, as `NaN in conv1.weight`; undefined if all are finite. */
export function notFinite(weights: Weights): string | undefined {
  for (const [name, { data }] of weights) {
    for (let i = 0; i < data.length; i++) {
      if (!Number.isFinite(data[i])) return `${data[i]} in ${name}`;
    }
  }
  return undefined;
}

/** @throws VggError if one of these weights is not finite; `place` is for instance `after epoch 1`. */
export function requireFinite(weights: readonly (Weights | undefined)[], place: string, lr: number): void {
  for (const tensors of weights) {
    const found = tensors && notFinite(tensors);
    if (found) throw diverged(`the weights are not finite ${place} (${found})`, lr);
  }
}

/** @throws VggError if a test or validation loss is not finite. */
export function requireFiniteLoss(what: string, loss: number, place: string, lr: number): void {
  if (!Number.isFinite(loss)) throw diverged(`the ${what} loss is ${loss} ${place}`, lr);
}
