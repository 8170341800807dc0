/** The devices that the conformance suite runs on. A new backend adds its line here and nothing else. */
import type { OpenSession, SessionOptions } from '../src/engine/backend.ts';
import { openCpuSession, openWasm } from '../src/engine/cpu/driver.ts';
import { plainWasmKernels } from '../src/engine/cpu/kernels/provider.ts';
import { openReference } from '../src/engine/reference.ts';
import type { Network } from '../src/model/layer.ts';
import { nativeOf, targetsHere } from './native.ts';
import { openSoftwareGpu, softwareGpu } from './webgpu.ts';

export interface Device {
  readonly name: string;
  readonly open: OpenSession;
  readonly threads: number;
  /** Of the small golden cases and of the networks compared with the reference it takes every so many-th. */
  readonly every: number;
  /** How many steps of each golden loss curve are affordable, at most 100 and 20. */
  readonly curveSteps: { readonly simplified: number; readonly vgg7: number };
  /** The largest golden case that is affordable, in multiply-adds of one forward pass over the batch. */
  readonly multiplyAdds: number;
  /** Whether the losses of training steps are float32; 1e-12 apart otherwise. */
  readonly singleLosses?: boolean;
}

export const devices: readonly Device[] = [
  {
    name: 'reference',
    open: openReference,
    threads: 1,
    every: 1,
    // A step of vgg7 takes it half a minute; narrower networks stand for it.
    curveSteps: { simplified: 0, vgg7: 0 },
    multiplyAdds: 2e8,
  },
  {
    // As in a page without cross-origin isolation. The kernels and plans of one thread, without starting a worker.
    name: 'wasm, unshared memory',
    open: (network, options) =>
      openCpuSession(network, { ...options, shared: false, kernels: plainWasmKernels }),
    threads: 1,
    every: 1,
    curveSteps: { simplified: 100, vgg7: 2 },
    multiplyAdds: Number.POSITIVE_INFINITY,
  },
  // Each session starts workers, which takes longer than a small network. Any number of threads yields the same bits,
  // which `src/engine/cpu/session.test.ts` shows, so that a part of the cases is enough here.
  {
    name: 'wasm, 2 threads',
    open: openWasm,
    threads: 2,
    every: 3,
    curveSteps: { simplified: 100, vgg7: 20 },
    multiplyAdds: Number.POSITIVE_INFINITY,
  },
  // Likewise with native kernels, for the many small networks.
  ...targetsHere.slice(0, 1).map((target) => ({
    name: `native, ${target}, unshared memory`,
    open: (network: Network, options: SessionOptions) =>
      openCpuSession(network, { ...options, shared: false, kernels: nativeOf(target) }),
    threads: 1,
    every: 1,
    curveSteps: { simplified: 0, vgg7: 0 },
    multiplyAdds: 2e8,
  })),
  // The narrower vectors of the same machine on fewer cases.
  ...targetsHere.map((target, i) => ({
    name: `native, ${target}, 2 threads`,
    open: (network: Network, options: SessionOptions) =>
      openCpuSession(network, { ...options, kernels: nativeOf(target) }),
    threads: 2,
    every: i === 0 ? 3 : 12,
    curveSteps: { simplified: 100, vgg7: i === 0 ? 20 : 0 },
    multiplyAdds: Number.POSITIVE_INFINITY,
  })),
  ...[1, 5].map((threads) => ({
    name: `wasm, ${threads} thread${threads === 1 ? '' : 's'}`,
    open: openWasm,
    threads,
    every: 12,
    curveSteps: { simplified: 10, vgg7: 0 },
    multiplyAdds: 5e8,
  })),
  // Compiles each kernel for a second, so it takes few cases.
  ...(softwareGpu
    ? [
        {
          name: 'webgpu, SwiftShader',
          open: openSoftwareGpu,
          threads: 1,
          every: 6,
          curveSteps: { simplified: 10, vgg7: 0 },
          multiplyAdds: 5e7,
          singleLosses: true,
        },
      ]
    : []),
];
