/**
 * Optimizers as a user makes them. The state (moments, step count) lives in the session on the device; what a user
 * holds are the settings, and `lr` may be changed between epochs, as the lecture's `update_lr` does.
 */
import type { AdamOptions } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';

/**
 * Adam (Kingma & Ba, ICLR 2015) with PyTorch's defaults and its order of operations.
 * @throws UsageError where a setting is out of its range.
 */
export function adam(options: Partial<Omit<AdamOptions, 'kind'>> = {}): AdamOptions {
  const { lr = 0.001, betas = [0.9, 0.999], epsilon = 1e-8 } = options;
  if (!(lr > 0 && lr < Infinity))
    throw new UsageError(`adam: learning rate lr = ${lr} is not a number above 0`);
  if (!betas.every((beta) => beta >= 0 && beta < 1)) {
    throw new UsageError(`adam: betas = [${betas.join(', ')}] are not both at least 0 and below 1`);
  }
  if (!(epsilon > 0)) throw new UsageError(`adam: epsilon = ${epsilon} is not a number above 0`);
  return { kind: 'adam', lr, betas, epsilon };
}
