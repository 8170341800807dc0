/**
 * Notices a training that does not start to learn: after 200 steps, the loss is still that of guessing, ln(classes). Deep
 * networks without normalization do that with a learning rate or initial weights that do not suit them.
 */
import type { OptimizerOptions } from '../engine/backend.ts';
import type { Network } from '../model/layer.ts';
import { models } from '../model/models.ts';
import type { Callback } from './fit.ts';

/** The step after which the loss is judged, and how many of the last losses. */
const judgedStep = 200;
const judgedLosses = 50;
/** Largest distance from ln(classes), as a share of it. */
const tolerance = 0.01;

/**
 * A callback of `fit` that calls `onNotice` at most once. `from` is the number of steps that were done before; it judges
 * only what it saw from the first step on.
 */
export function guessingNotice(
  network: Network,
  optimizer: OptimizerOptions,
  onNotice: (line: string) => void,
  from = 0,
): Callback {
  const [classes = 1] = network.output;
  const guessing = Math.log(classes);
  let sum = 0;
  return from > 0 || classes < 2
    ? {}
    : {
        step({ epoch, step, steps, loss, lr }) {
          const total = (epoch - 1) * steps + step;
          if (total > judgedStep) return;
          if (total > judgedStep - judgedLosses) sum += loss;
          if (total < judgedStep) return;
          const mean = sum / judgedLosses;
          if (Math.abs(mean - guessing) <= tolerance * guessing)
            onNotice(guessingLine(network, optimizer, mean, lr));
        },
      };
}

function guessingLine(
  { name, layers, output }: Network,
  { kind }: OptimizerOptions,
  loss: number,
  lr: number,
): string {
  const isNormalized = layers.some(({ spec }) => spec.kind === 'batchNorm');
  const rate = Number(lr.toPrecision(2));
  // A network of the user's own has neither a sibling nor options.
  const sibling = Object.hasOwn(models, `${name}-bn`) ? ` (--model ${name}-bn)` : '';
  const initializes = Object.hasOwn(models, name) && Object.hasOwn(models[name]!.options, 'initialization');
  const ways = [
    ...(isNormalized ? [] : [`batch normalization${sibling}`]),
    kind === 'sgd'
      ? `another learning rate (--lr, now ${rate}; vgg lr-find measures one) or --optimizer adam`
      : `a lower learning rate (--lr, now ${rate})`,
    ...(isNormalized || !initializes
      ? []
      : ['other initial weights (--model-option initialization=glorot or initialization=torchvision)']),
  ];
  return (
    `After ${judgedStep} steps the loss is ${loss.toFixed(3)}, that of guessing among ${output[0]} classes: ${name} is not ` +
    `learning yet. What helps: ${ways.join('; ')}.`
  );
}
