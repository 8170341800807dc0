import { adamSettings, adamValues, sgdSettings, sgdValues } from '../optimizer.ts';
import type { KernelCheck } from './check.ts';

export const reduceSlots: readonly KernelCheck[] = [
  ...[1, 2, 5].map(
    (slotCount): KernelCheck => ({
      title: `${slotCount} slots`,
      arguments: { gradient: 1000, slots: 2000, slotStride: 65, slotCount, length: 60 },
      plain(m, a) {
        for (let i = 0; i < a.length!; i++) {
          let sum = 0;
          for (let slot = 0; slot < slotCount; slot++) sum += m[a.slots! + slot * a.slotStride! + i]!;
          m[a.gradient! + i] = sum;
        }
      },
    }),
  ),
  // As in the engine, the first slot receives the sum; the order of additions decides the bits.
  {
    title: 'in place, slot by slot in float32',
    arguments: { gradient: 2000, slots: 2000, slotStride: 64, slotCount: 4, length: 60 },
    plain(m, a) {
      for (let i = 0; i < a.length!; i++) {
        let sum = m[a.slots! + i]!;
        for (let slot = 1; slot < a.slotCount!; slot++)
          sum = Math.fround(sum + m[a.slots! + slot * a.slotStride! + i]!);
        m[a.gradient! + i] = sum;
      }
    },
  },
];

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
