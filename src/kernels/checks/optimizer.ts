import { range } from '../language.ts';
import { adamSettings, adamValues, mostSlots, sgdSettings, sgdValues } from '../optimizer.ts';
import type { Arguments, KernelCheck } from './check.ts';

/** The sum of slots `from` … `to` − 1 at a position, in float32: the order of additions decides the bits. */
function slotSum(m: ArrayLike<number>, a: Arguments, from: number, to: number, i: number): number {
  if (to - from === 1) return m[a.slots! + from * a.slotStride! + i]!;
  let half = 1;
  while (2 * half < to - from) half *= 2;
  return Math.fround(slotSum(m, a, from, from + half, i) + slotSum(m, a, from + half, to, i));
}

const slotCounts = [...range(33).map((i) => i + 1), mostSlots];

// Into memory of its own, and as in the engine into the first slot.
export const reduceSlots: readonly KernelCheck[] = slotCounts.flatMap((slotCount) =>
  (slotCount === 1 ? [1000] : [1000, 2000]).map(
    (gradient): KernelCheck => ({
      title: `${slotCount} slots${gradient === 2000 ? ' in place' : ''}`,
      arguments: { gradient, slots: 2000, slotStride: 65, slotCount, length: 60 },
      prepare({ floats }, a) {
        // The sum of zeros is −0 only if all are.
        for (const slot of range(slotCount)) floats[a.slots! + slot * a.slotStride! + 1] = -0;
      },
      plain(m, a) {
        const sums = range(a.length!).map((i) => slotSum(m, a, 0, slotCount, i));
        m.set(sums, a.gradient!);
      },
      inspect({ floats }, a, before) {
        const wrong = range(a.length!).find(
          (i) => !Object.is(floats[a.gradient! + i], slotSum(before.floats, a, 0, slotCount, i)),
        );
        return wrong === undefined ? undefined : `the sum at ${wrong} differs in its bits`;
      },
    }),
  ),
);

export const sumSquares: readonly KernelCheck[] = [4, 8, 60].map((length) => ({
  title: `${length} values`,
  arguments: { out: 1000, values: 1100, length },
  plain(m, a) {
    let sum = 0;
    for (let i = 0; i < length; i++) sum += m[a.values! + i]! ** 2;
    m[a.out!] = sum;
  },
}));

const [lr, beta1, beta2, epsilon, step, weightDecay, scale] = [0.001, 0.9, 0.999, 1e-8, 3, 0.1, 0.5];

const adamRules = [
  { kind: 'adam', weightDecay: 0, scale: 1 },
  { kind: 'adam', weightDecay, scale },
  { kind: 'adamw', weightDecay, scale },
] as const;

export const adam: readonly KernelCheck[] = adamRules.flatMap((rule) =>
  [4, 60].map((length): KernelCheck => {
    const settings = adamValues({ ...rule, lr, betas: [beta1, beta2], epsilon }, step, rule.scale);
    return {
      title: `${length} parameters, ${rule.kind}, weight decay ${rule.weightDecay}`,
      arguments: {
        parameters: 1000,
        firstMoment: 1100,
        secondMoment: 1200,
        gradient: 1300,
        length,
        settings: 1400,
      },
      prepare({ floats }, a) {
        for (let i = 0; i < length; i++) floats[a.secondMoment! + i]! **= 2;
        // A parameter of 0 that never had a gradient stays 0: 0 / (√0 + ε).
        for (const at of [a.parameters!, a.firstMoment!, a.secondMoment!, a.gradient!]) floats[at + 1] = 0;
        adamSettings.forEach((name, i) => {
          floats[a.settings! + i] = settings[name];
        });
      },
      plain(m, a) {
        for (let i = 0; i < length; i++) {
          const parameter = m[a.parameters! + i]!;
          const penalty = rule.kind === 'adam' ? rule.weightDecay * parameter : 0;
          const gradient = rule.scale * m[a.gradient! + i]! + penalty;
          const first = beta1 * m[a.firstMoment! + i]! + (1 - beta1) * gradient;
          const second = beta2 * m[a.secondMoment! + i]! + (1 - beta2) * gradient ** 2;
          m[a.firstMoment! + i] = first;
          m[a.secondMoment! + i] = second;
          const corrected = Math.sqrt(second) / settings.rootCorrection2 + epsilon;
          const kept = rule.kind === 'adamw' ? parameter * (1 - lr * rule.weightDecay) : parameter;
          m[a.parameters! + i] = kept - (settings.stepSize * first) / corrected;
        }
      },
    };
  }),
);

export const sgd: readonly KernelCheck[] = [false, true].flatMap((nesterov) =>
  [4, 60].map((length): KernelCheck => {
    const momentum = 0.9;
    const settings = sgdValues({ lr: 0.1, momentum, nesterov, weightDecay }, scale);
    return {
      title: `${length} parameters${nesterov ? ", Nesterov's momentum" : ''}`,
      arguments: { parameters: 1000, momentum: 1100, gradient: 1200, length, settings: 1300 },
      prepare({ floats }, a) {
        sgdSettings.forEach((name, i) => {
          floats[a.settings! + i] = settings[name];
        });
      },
      plain(m, a) {
        for (let i = 0; i < length; i++) {
          const gradient = scale * m[a.gradient! + i]! + weightDecay * m[a.parameters! + i]!;
          const moved = momentum * m[a.momentum! + i]! + gradient;
          m[a.momentum! + i] = moved;
          m[a.parameters! + i]! -= 0.1 * (nesterov ? gradient + momentum * moved : moved);
        }
      },
    };
  }),
);

export const moveAverage: readonly KernelCheck[] = [4, 60].map((length) => ({
  title: `${length} parameters`,
  arguments: { average: 1000, parameters: 1100, length, settings: 1200 },
  prepare({ floats }, a) {
    floats[a.settings!] = 0.25;
  },
  plain(m, a) {
    for (let i = 0; i < length; i++) {
      m[a.average! + i] = 0.75 * m[a.average! + i]! + 0.25 * m[a.parameters! + i]!;
    }
  },
}));
