/** Sessions for the tests of the contract. */
import { afterAll } from 'vitest';
import type { AdamOptions, Session } from '../../src/engine/backend.ts';
import type { Network, Weights } from '../../src/model/layer.ts';
import type { Device } from '../devices.ts';

export const adam = (lr = 0.001): AdamOptions => ({
  kind: 'adam',
  lr,
  betas: [0.9, 0.999],
  epsilon: 1e-8,
  weightDecay: 0,
});

/**
 * Runs `use` on a session that all tests of a file's device share, since to start its workers takes longer than a small
 * network. Each begins with these weights, which also reset moments and average.
 */
export function sharedSession(
  { open, threads }: Device,
  network: Network,
  batchSize: number,
  weights: Weights,
): <T>(use: (session: Session) => Promise<T>) => Promise<T> {
  let opening: Promise<Session> | undefined;
  afterAll(async () => (await opening)?.close());
  return async (use) => {
    opening ??= open(network, { batchSize, threads });
    const session = await opening;
    await session.setWeights(weights);
    return use(session);
  };
}
