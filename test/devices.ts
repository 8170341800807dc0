/** The devices that the conformance suite runs on. A new backend adds its line here and nothing else. */
import type { OpenSession } from '../src/engine/backend.ts';
import { openWasm, openWasmSession } from '../src/engine/cpu/session.ts';
import { openReference } from '../src/engine/reference.ts';

export interface Device {
  readonly name: string;
  readonly open: OpenSession;
  readonly threads: number;
  /** How many steps of each golden loss curve are affordable, at most 100 and 20. */
  readonly curveSteps: { readonly simplified: number; readonly vgg7: number };
  /** The largest golden case that is affordable, in multiply-adds of one forward pass over the batch. */
  readonly multiplyAdds: number;
}

export const devices: readonly Device[] = [
  {
    name: 'reference',
    open: openReference,
    threads: 1,
    // A step of vgg7 takes it more than a minute; narrower networks stand for it.
    curveSteps: { simplified: 3, vgg7: 0 },
    multiplyAdds: 1.5e9,
  },
  ...[1, 2].map((threads) => ({
    name: `wasm, ${threads} thread${threads === 1 ? '' : 's'}`,
    open: openWasm,
    threads,
    curveSteps: { simplified: 100, vgg7: 20 },
    multiplyAdds: Number.POSITIVE_INFINITY,
  })),
  {
    // As in a page without cross-origin isolation.
    name: 'wasm, unshared memory',
    open: (network, options) => openWasmSession(network, { ...options, shared: false }),
    threads: 1,
    curveSteps: { simplified: 20, vgg7: 2 },
    multiplyAdds: 5e9,
  },
];
