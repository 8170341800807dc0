import { expect, test } from 'vitest';
import { flatten, linear } from '../../../model/layers/index.ts';
import { buildNetwork, sequential } from '../../../model/network.ts';
import { openWasm } from '../driver.ts';

test('after a worker has failed, a session rejects calls at once instead of waiting', async () => {
  const network = buildNetwork(sequential([flatten(), linear(2)]), [1, 2, 2]);
  const session = await openWasm(network, { batchSize: 1, threads: 2 });
  const request = {
    source: {
      dataset: {
        name: 'broken',
        shape: [1, 2, 2] as const,
        classes: ['a', 'b'],
        pixels: new Uint8Array(new SharedArrayBuffer(4)),
        labels: new Uint16Array(new SharedArrayBuffer(2)),
        length: 1,
      },
      transform: { kind: 'toTensor' } as const,
      batchSize: 1,
      order: Uint32Array.of(0),
      seed: 0,
      epoch: 1,
    },
    // No such optimizer: the workers find no betas in it.
    optimizer: { kind: 'adam', lr: 0.1, epsilon: 1e-8, weightDecay: 0 } as never,
    from: 0,
    to: 1,
  };
  await expect(session.train(request)).rejects.toThrow(/a worker failed/);
  await expect(session.predict(new Float32Array(4), 1)).rejects.toThrow(/a worker failed/);
  await session.close();
});
