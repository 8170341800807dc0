/** Waiting for a training from code that is no component. */
import { effect } from '@preact/signals';
import type { Phase } from '../worker/protocol.ts';
import type { Trainer } from './trainer.ts';

/** Settles when the training's phase is one of these. */
export function reached(trainer: Trainer, phases: readonly Phase[]): Promise<Phase> {
  return new Promise((resolve) => {
    const stop = effect(() => {
      const phase = trainer.phase.value;
      if (!phases.includes(phase)) return;
      resolve(phase);
      queueMicrotask(() => stop());
    });
  });
}
