/** Loads koffi, the optional dependency that calls C (Node only). */
import { VggError } from './errors.ts';
import { codeUrl } from './package-files.ts';

// Not imported from `node:`, because workers that start from text cannot import.
const { createRequire } = process.getBuiltinModule('node:module');

export interface Koffi {
  readonly version: string;
  address(array: Uint8Array): bigint | number;
  load(file: string): { func(prototype: string): (...values: unknown[]) => void };
}

/**
 * Resolves koffi relative to the running program, because bundles cannot contain its binary. A worker that starts from
 * text has no file, so it needs the program's `url`.
 * @throws VggError if koffi is not installed or does not run on this machine.
 */
export function loadKoffi(url: string = codeUrl()): Koffi {
  try {
    return createRequire(url)('koffi') as Koffi;
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw new VggError(
      code === 'MODULE_NOT_FOUND'
        ? 'the npm package koffi is not installed'
        : `the npm package koffi does not run on this machine: ${message.split('\n')[0]}`,
    );
  }
}
