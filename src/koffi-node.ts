/** koffi, which calls C; an optional dependency. Node only. */
import { VggError } from './errors.ts';
import { codeUrl } from './package-files.ts';

// Without an import of `node:`, which a worker from text does not have.
const { createRequire } = process.getBuiltinModule('node:module');

export interface Koffi {
  readonly version: string;
  address(array: Uint8Array): bigint | number;
  load(file: string): { func(prototype: string): (...values: unknown[]) => void };
}

/**
 * Looks koffi up where the program runs, since no bundle can hold its binary. A worker that was started from text has no
 * place of its own and is told the program's `url`.
 * @throws VggError where it is not installed or does not run here.
 */
export function loadKoffi(url: string = codeUrl()): Koffi {
  try {
    return createRequire(url)('koffi') as Koffi;
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw new VggError(
      code === 'MODULE_NOT_FOUND'
        ? 'the npm package koffi is not installed'
        : `the npm package koffi does not run here: ${message.split('\n')[0]}`,
    );
  }
}
