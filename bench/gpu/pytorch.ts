/** Starts PyTorch, where it is installed and finds the device. */
import { fileURLToPath } from 'node:url';
import { VggError } from '../../src/errors.ts';
import { type LineProcess, openProcess } from '../process.ts';

export const python: string = process.env.PYTHON ?? 'python3';

export interface Torch {
  /** As in `PyTorch 2.11.0 on NVIDIA H200`. */
  readonly name: string;
  /** @throws VggError with PyTorch's message. */
  ask<T>(request: object): Promise<T>;
  close(): Promise<void>;
  kill(): void;
}

/** PyTorch, or why it is not there. */
export async function openTorch(device: string): Promise<Torch | string> {
  const script = fileURLToPath(new URL('pytorch.py', import.meta.url));
  let child: LineProcess;
  try {
    child = await openProcess(python, [script, device]);
  } catch (error) {
    const { message } = error as Error;
    return /No module named '?torch'?|ENOENT/.test(message)
      ? `${python} has no PyTorch`
      : `PyTorch: ${message}`;
  }
  const hello = child.hello as
    | { readonly torch: string; readonly device: string }
    | { readonly refused: string };
  if ('refused' in hello) {
    await child.close();
    return hello.refused;
  }
  return {
    name: `PyTorch ${hello.torch} on ${hello.device}`,
    async ask<T>(request: object): Promise<T> {
      const reply = (await child.ask(request)) as T | { readonly error: string };
      if (typeof reply === 'object' && reply !== null && 'error' in reply)
        throw new VggError(`PyTorch: ${reply.error}`);
      return reply as T;
    },
    close: child.close,
    kill: child.kill,
  };
}
