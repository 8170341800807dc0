/** The options of a training step: their names, defaults and ranges. */
import type { StepOptions } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import { checkWhole, type KnownKeys } from '../options.ts';

/** Their names, for `checkOptions`. */
export const stepKeys: KnownKeys<StepOptions> = {
  accumulate: 'optional',
  labelSmoothing: 'optional',
  clipNorm: 'optional',
  averageDecay: 'optional',
  mixup: 'optional',
};

/** The options of a step among others, with their defaults. */
export function stepOptionsOf({
  accumulate = 1,
  labelSmoothing = 0,
  clipNorm = 0,
  averageDecay = 0,
  mixup = 0,
}: StepOptions): Required<StepOptions> {
  return { accumulate, labelSmoothing, clipNorm, averageDecay, mixup };
}

/** @throws UsageError if one is out of range. */
export function checkStepOptions(where: string, options: Required<StepOptions>): void {
  const { accumulate, labelSmoothing, clipNorm, averageDecay, mixup } = options;
  checkWhole(where, 'accumulate', accumulate, 1);
  checkRange(where, { labelSmoothing, averageDecay }, 1);
  checkRange(where, { clipNorm, mixup }, Infinity);
}

function checkRange(where: string, options: Readonly<Record<string, number>>, below: number): void {
  for (const [name, value] of Object.entries(options)) {
    if (value >= 0 && value < below) continue;
    const upper = below === Infinity ? '' : ` and below ${below}`;
    throw new UsageError(`${where}: ${name} ${value} is not a number of at least 0${upper}`);
  }
}
