/** Native kernels for tests: each width of vector that this machine's compiler and processor have. */

import { findCompiler, type NativeTarget } from '../src/engine/cpu/kernels/compiler-node.ts';
import { nativeKernels } from '../src/engine/cpu/kernels/native-node.ts';
import type { KernelProvider } from '../src/engine/cpu/kernels/provider.ts';

const narrower: Readonly<Record<NativeTarget, readonly NativeTarget[]>> = {
  avx512: ['avx512', 'avx2', 'sse'],
  avx2: ['avx2', 'sse'],
  sse: ['sse'],
  neon: ['neon'],
};

/** Why there are none here, if so. */
export let noNative: string | undefined;

/** From the widest on; none where there is no compiler. */
export const targetsHere: readonly NativeTarget[] = await findCompiler().then(
  ({ target }) => narrower[target],
  (error: Error) => {
    noNative = error.message;
    return [];
  },
);

const found = new Map<NativeTarget, ReturnType<KernelProvider>>();

/** The kernels for these vectors, found once in a process, although its tests open many sessions. */
export const nativeOf =
  (target: NativeTarget): KernelProvider =>
  () => {
    const kernels = found.get(target) ?? nativeKernels({ target });
    found.set(target, kernels);
    return kernels;
  };
