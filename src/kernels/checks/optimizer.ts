import { adamSettings, adamValues } from '../optimizer.ts';
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
  // As the engine uses it, the first slot takes the sum; the order of the additions decides the bits.
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

const [lr, beta1, beta2, epsilon, step] = [0.001, 0.9, 0.999, 1e-8, 3];
const settings = adamValues({ lr, betas: [beta1, beta2], epsilon }, step);

export const adam: readonly KernelCheck[] = [4, 60].map((length) => ({
  title: `${length} parameters`,
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
    // A parameter that never had a gradient stays: 0 / (√0 + ε).
    for (const at of [a.firstMoment!, a.secondMoment!, a.gradient!]) floats[at + 1] = 0;
    adamSettings.forEach((name, i) => {
      floats[a.settings! + i] = settings[name];
    });
  },
  plain(m, a) {
    for (let i = 0; i < length; i++) {
      const gradient = m[a.gradient! + i]!;
      const first = beta1 * m[a.firstMoment! + i]! + (1 - beta1) * gradient;
      const second = beta2 * m[a.secondMoment! + i]! + (1 - beta2) * gradient ** 2;
      m[a.firstMoment! + i] = first;
      m[a.secondMoment! + i] = second;
      const corrected = Math.sqrt(second) / settings.rootCorrection2 + epsilon;
      m[a.parameters! + i]! -= (settings.stepSize * first) / corrected;
    }
  },
}));
