/** Selects the engine of a device. */
import { UsageError } from '../errors.ts';
import { inNode } from '../platform.ts';
import { unknownName } from '../suggest.ts';
import { type DeviceName, deviceNames, type OpenSession } from './backend.ts';

/** A GPU, in Node one that was measured to be faster; otherwise the processor, with its fastest kernels. */
const openAuto: OpenSession = async (network, options) => {
  const { openFaster, openInPage } = await import('./webgpu/auto.ts');
  const session = await (inNode() ? openFaster : openInPage)(network, options);
  return session ?? (await import('./cpu/driver.ts')).openCpu(network, options);
};

/** @throws UsageError for an unknown device. */
export async function openerOf(device: DeviceName): Promise<OpenSession> {
  switch (device) {
    case 'auto':
      return openAuto;
    case 'native':
      return (await import('./cpu/driver.ts')).openNative;
    case 'wasm':
      return (await import('./cpu/driver.ts')).openWasm;
    case 'webgpu':
      return (await import('./webgpu/driver.ts')).openWebgpu;
    case 'reference':
      return (await import('./reference.ts')).openReference;
    default:
      throw new UsageError(unknownName('device', String(device satisfies never), deviceNames));
  }
}
