/**
 * The optimizer's kernels, over flat ranges of parameters (lengths are multiples of the granule). Adam is PyTorch's
 * (Kingma & Ba, ICLR 2015), operation by operation.
 */
import { type KernelRecipe, kernel } from './language.ts';

export const reduceSlots: KernelRecipe = kernel(
  'reduceSlots',
  'gradient[length] = Σ over the slots, in their order',
  { gradient: 'pointer', slots: 'pointer', slotStride: 'offset', slotCount: 'i32', length: 'i32' },
  (k, p) => {
    k.vectors(p.length, (first) => {
      const at = first.toOffset();
      const place = k.variable(p.slots.plus(at));
      const sum = k.variable(k.load(place));
      k.loop(p.slotCount.sub(1), () => {
        place.advance(p.slotStride);
        sum.set(sum.add(k.load(place)));
      });
      k.store(p.gradient.plus(at), sum);
    });
  },
);

/** Floats that `adam` reads at `settings`, in this order. */
export const adamSettings = [
  'stepSize', // lr / (1 − β₁ᵗ)
  'beta1',
  'oneMinusBeta1',
  'beta2',
  'oneMinusBeta2',
  'rootCorrection2', // √(1 − β₂ᵗ)
  'epsilon',
] as const;

/** These settings for a step, counted from 1. */
export function adamValues(
  {
    lr,
    betas: [beta1, beta2],
    epsilon,
  }: { readonly lr: number; readonly betas: readonly [number, number]; readonly epsilon: number },
  step: number,
): Record<(typeof adamSettings)[number], number> {
  return {
    stepSize: lr / (1 - beta1 ** step),
    beta1,
    oneMinusBeta1: 1 - beta1,
    beta2,
    oneMinusBeta2: 1 - beta2,
    rootCorrection2: Math.sqrt(1 - beta2 ** step),
    epsilon,
  };
}

export const adam: KernelRecipe = kernel(
  'adam',
  'm = β₁m + (1−β₁)g; v = β₂v + (1−β₂)g²; parameters −= stepSize · m / (√v / √(1−β₂ᵗ) + ε)',
  {
    parameters: 'pointer',
    firstMoment: 'pointer',
    secondMoment: 'pointer',
    gradient: 'pointer',
    length: 'i32',
    settings: 'pointer',
  },
  (k, p) => {
    const setting = (name: (typeof adamSettings)[number]) =>
      k.loadSplat(p.settings, adamSettings.indexOf(name));
    k.forWidths(p.length, (vectors, from) => {
      const stepSize = setting('stepSize');
      const beta1 = setting('beta1');
      const oneMinusBeta1 = setting('oneMinusBeta1');
      const beta2 = setting('beta2');
      const oneMinusBeta2 = setting('oneMinusBeta2');
      const rootCorrection2 = setting('rootCorrection2');
      const epsilon = setting('epsilon');
      k.loop(vectors, (vector) => {
        const at = from.add(vector.mul(k.lanes)).toOffset();
        const gradient = k.load(p.gradient.plus(at));
        const first = k.load(p.firstMoment.plus(at)).mul(beta1).add(gradient.mul(oneMinusBeta1));
        const second = k
          .load(p.secondMoment.plus(at))
          .mul(beta2)
          .add(gradient.mul(gradient).mul(oneMinusBeta2));
        k.store(p.firstMoment.plus(at), first);
        k.store(p.secondMoment.plus(at), second);
        const denominator = second.sqrt().div(rootCorrection2).add(epsilon);
        const place = p.parameters.plus(at);
        k.store(place, k.load(place).sub(first.div(denominator).mul(stepSize)));
      });
    });
  },
);
