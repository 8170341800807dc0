/**
 * The optimizers' kernels, over flat ranges of parameters (lengths are multiples of the granule). Their rules are
 * PyTorch's, operation by operation.
 */
import { granule, type KernelDefinition, kernel, type Value } from './language.ts';

/** The most slots that `reduceSlots` sums: blocks of 32, 16, … 1. */
export const mostSlots = 63;

/**
 * The sum of n slots is that of the first h plus that of the others, where h is the largest power of two below n. So an
 * aligned block of 2ⁱ slots has the same sum wherever it is computed. The blocks of n are its binary digits; they are
 * summed from the last, the smallest, to the first.
 */
export const reduceSlots: KernelDefinition = kernel(
  'reduceSlots',
  'gradient[length] = Σ over the slots, in a binary tree',
  { gradient: 'pointer', slots: 'pointer', slotStride: 'offset', slotCount: 'i32', length: 'i32' },
  (k, p) => {
    const blocks = [1, 2, 4, 8, 16, 32].map((size) => {
      const before = p.slotCount.div(2 * size).mul(2);
      const exists = p.slotCount.div(size).sub(before);
      return { size, exists, first: p.slots.plus(p.slotStride.scale(before.mul(size))) };
    });
    const blockSum = (size: number, first: Value): Value => {
      let place: Value | undefined;
      const sumOf = (slots: number): Value => {
        if (slots > 1) return sumOf(slots / 2).add(sumOf(slots / 2));
        place = place ? place.plus(p.slotStride) : first;
        return k.load(place);
      };
      return sumOf(size);
    };
    const each = (sum: (at: Value) => Value): void =>
      k.vectors(p.length, (vector) => {
        const at = vector.toOffset();
        k.store(p.gradient.plus(at), sum(at));
      });
    const sumAll = (at: Value): Value => {
      // x + −0 is x, also if x is −0.
      const sum = k.variable(k.vector(-0));
      for (const { size, exists, first } of blocks) {
        k.if(exists, () => sum.set(blockSum(size, first.plus(at)).add(sum)));
      }
      return sum;
    };
    const count = blocks.map(({ exists }) => exists).reduce((sum, exists) => sum.add(exists));
    k.if(
      count.greater(1),
      () => each(sumAll),
      () => {
        for (const { size, exists } of blocks)
          k.if(exists, () => each((at) => blockSum(size, p.slots.plus(at))));
      },
    );
  },
);

export const sumSquares: KernelDefinition = kernel(
  'sumSquares',
  'out[0] = Σ values[length]²',
  { out: 'pointer', values: 'pointer', length: 'i32' },
  (k, p) => {
    let folded: Value | undefined;
    k.forWidths(
      p.length,
      (vectors, from) => {
        const place = k.variable(p.values.plus(from.toOffset()));
        const sum = k.variable(folded ?? k.vector(0));
        k.loop(vectors, () => {
          const value = k.load(place);
          sum.multiplyAdd(value, value);
          place.advance(k.lanes);
        });
        if (k.lanes > granule) folded = sum.halve();
        else k.store(p.out, sum.sum());
      },
      k.dotWidths,
    );
  },
);

/**
 * Floats that `adam` reads at `settings`, in this order. Without weight decay, clipping and averaging the last four
 * are 1, 0, 1 and do not change a bit.
 */
export const adamSettings = [
  'stepSize', // lr / (1 − β₁ᵗ)
  'beta1',
  'oneMinusBeta1',
  'beta2',
  'oneMinusBeta2',
  'rootCorrection2', // √(1 − β₂ᵗ)
  'epsilon',
  'gradientScale', // of clipping
  'penalty', // weight decay that is added to the gradient
  'keep', // 1 − lr · weight decay, of AdamW
] as const;

interface AdamRule {
  readonly kind?: 'adam' | 'adamw';
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  readonly weightDecay?: number;
}

/** The settings for a step, counted from 1. */
export function adamValues(
  { kind = 'adam', lr, betas: [beta1, beta2], epsilon, weightDecay = 0 }: AdamRule,
  step: number,
  gradientScale = 1,
): Record<(typeof adamSettings)[number], number> {
  return {
    stepSize: lr / (1 - beta1 ** step),
    beta1,
    oneMinusBeta1: 1 - beta1,
    beta2,
    oneMinusBeta2: 1 - beta2,
    rootCorrection2: Math.sqrt(1 - beta2 ** step),
    epsilon,
    gradientScale,
    penalty: kind === 'adam' ? weightDecay : 0,
    keep: kind === 'adamw' ? 1 - lr * weightDecay : 1,
  };
}

export const adam: KernelDefinition = kernel(
  'adam',
  'p = keep·p; g = scale·g + penalty·p; m = β₁m + (1−β₁)g; v = β₂v + (1−β₂)g²; p −= stepSize · m / (√v / √(1−β₂ᵗ) + ε)',
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
      const gradientScale = setting('gradientScale');
      const penalty = setting('penalty');
      const keep = setting('keep');
      k.loop(vectors, (vector) => {
        const at = from.add(vector.mul(k.lanes)).toOffset();
        const place = p.parameters.plus(at);
        const parameter = k.load(place);
        const gradient = k.load(p.gradient.plus(at)).mul(gradientScale).add(parameter.mul(penalty));
        const first = k.load(p.firstMoment.plus(at)).mul(beta1).add(gradient.mul(oneMinusBeta1));
        const second = k
          .load(p.secondMoment.plus(at))
          .mul(beta2)
          .add(gradient.mul(gradient).mul(oneMinusBeta2));
        k.store(p.firstMoment.plus(at), first);
        k.store(p.secondMoment.plus(at), second);
        const denominator = second.sqrt().div(rootCorrection2).add(epsilon);
        k.store(place, parameter.mul(keep).sub(first.div(denominator).mul(stepSize)));
      });
    });
  },
);

/** Floats that `sgd` reads at `settings`, in this order. */
export const sgdSettings = [
  'lr',
  'momentum',
  'gradientShare', // of the gradient in the direction: 1 with Nesterov momentum, else 0
  'momentumShare', // of the momentum in it: μ with Nesterov momentum, else 1
  'gradientScale', // of clipping
  'penalty', // weight decay
  'keep', // 1; for Muon's other parameters 1 − lr · weight decay
] as const;

interface SgdRule {
  readonly lr: number;
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
}

/** The settings for a step. */
export function sgdValues(
  { lr, momentum, nesterov, weightDecay }: SgdRule,
  gradientScale = 1,
): Record<(typeof sgdSettings)[number], number> {
  return {
    lr,
    momentum,
    gradientShare: nesterov ? 1 : 0,
    momentumShare: nesterov ? momentum : 1,
    gradientScale,
    penalty: weightDecay,
    keep: 1,
  };
}

export const sgd: KernelDefinition = kernel(
  'sgd',
  'g = scale·g + penalty·p; m = μm + g; p = keep·p − lr · (gradientShare·g + momentumShare·m)',
  {
    parameters: 'pointer',
    momentum: 'pointer',
    gradient: 'pointer',
    length: 'i32',
    settings: 'pointer',
  },
  (k, p) => {
    const setting = (name: (typeof sgdSettings)[number]) =>
      k.loadSplat(p.settings, sgdSettings.indexOf(name));
    k.forWidths(p.length, (vectors, from) => {
      const lr = setting('lr');
      const momentum = setting('momentum');
      const gradientShare = setting('gradientShare');
      const momentumShare = setting('momentumShare');
      const gradientScale = setting('gradientScale');
      const penalty = setting('penalty');
      const keep = setting('keep');
      k.loop(vectors, (vector) => {
        const at = from.add(vector.mul(k.lanes)).toOffset();
        const place = p.parameters.plus(at);
        const parameter = k.load(place);
        const gradient = k.load(p.gradient.plus(at)).mul(gradientScale).add(parameter.mul(penalty));
        const moved = k.load(p.momentum.plus(at)).mul(momentum).add(gradient);
        k.store(p.momentum.plus(at), moved);
        const direction = gradient.mul(gradientShare).add(moved.mul(momentumShare));
        k.store(place, parameter.mul(keep).sub(direction.mul(lr)));
      });
    });
  },
);

export const moveAverage: KernelDefinition = kernel(
  'moveAverage',
  'average[length] += (parameters − average) · settings[0]',
  { average: 'pointer', parameters: 'pointer', length: 'i32', settings: 'pointer' },
  (k, p) => {
    k.forWidths(p.length, (vectors, from) => {
      const share = k.loadSplat(p.settings, 0);
      k.loop(vectors, (vector) => {
        const at = from.add(vector.mul(k.lanes)).toOffset();
        const average = k.load(p.average.plus(at));
        k.store(p.average.plus(at), average.add(k.load(p.parameters.plus(at)).sub(average).mul(share)));
      });
    });
  },
);

/** The factor that scales a gradient of this norm down to `largest`, as in torch's clip_grad_norm_. */
export const clippingScale = (norm: number, largest: number): number => Math.min(1, largest / (norm + 1e-6));

/** The share of the weights after step `step` (from 1) in their moving average. */
export const averageShare = (decay: number, step: number): number =>
  1 - Math.min(decay, (1 + step) / (10 + step));
