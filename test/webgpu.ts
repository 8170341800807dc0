/** WebGPU on SwiftShader, the software adapter that comes with Debian's Chromium; tests of WebGPU run on it. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { OpenSession } from '../src/engine/backend.ts';
import { openWebgpuSession } from '../src/engine/webgpu/driver.ts';

const driver = '/usr/lib/chromium/vk_swiftshader_icd.json';

const hasPackage = ((): boolean => {
  try {
    createRequire(import.meta.url).resolve('webgpu');
    return true;
  } catch {
    return false;
  }
})();

/** Whether the adapter and npm's package are there; `test/webgpu.test.ts` says so where they are not. */
export const softwareGpu: boolean = hasPackage && existsSync(driver);

/** The environment in which a program finds this adapter and no other. */
export const softwareEnvironment: Readonly<Record<string, string>> = { VK_ICD_FILENAMES: driver };

if (softwareGpu) Object.assign(process.env, softwareEnvironment);

export const openSoftwareGpu: OpenSession = (network, options) => openWebgpuSession(network, options);
