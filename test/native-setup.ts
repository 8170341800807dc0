/** Compiles the native kernels before the tests start, lest several of them do it side by side. */
import { nativeKernels } from '../src/engine/cpu/kernels/native-node.ts';
import { noNative, targetsHere } from './native.ts';

export default async function setup(): Promise<void> {
  if (noNative !== undefined) console.warn(`native kernels are not tested: ${noNative}`);
  for (const target of targetsHere) await nativeKernels({ target, onNotice: console.warn });
}
