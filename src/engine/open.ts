/** Selects the engine of a device. */
import { UsageError } from '../errors.ts';
import { unknownName } from '../suggest.ts';
import { type DeviceName, deviceNames, type OpenSession } from './backend.ts';

/** @throws UsageError for an unknown device. */
export async function openerOf(device: DeviceName): Promise<OpenSession> {
  switch (device) {
    case 'auto':
      return (await import('./cpu/driver.ts')).openCpu;
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
