/**
 * Runs long computations on a separate thread, so that the main thread can react to signals and end the process
 * (Node only).
 */
import { Worker } from 'node:worker_threads';
import { VggError } from './errors.ts';
import { moduleFile } from './package-files.ts';

type Answer = { readonly value: unknown } | { readonly message: string; readonly isOurs: boolean };

const program = `
const { parentPort, workerData: { module, name, args } } = require('node:worker_threads');
import(module)
  .then((functions) => functions[name](...args))
  .then(
    (value) => parentPort.postMessage({ value }),
    (error) => parentPort.postMessage({ message: error.exitCode ? error.message : error.stack, isOurs: !error.exitCode }),
  );`;

/**
 * Calls `here` on a separate thread. `path` is the module that exports it, relative to `src`. Arguments and result are
 * copied. In a bundled program the module does not exist as a file, so `here` runs on the calling thread.
 */
export async function aside<Args extends readonly unknown[], Result>(
  path: string,
  here: (...args: Args) => Promise<Result>,
  ...args: Args
): Promise<Result> {
  const module = moduleFile(path)?.href;
  if (module === undefined) return here(...args);
  const workerData = { module, name: here.name, args };
  const worker = new Worker(program, { eval: true, workerData, execArgv: [] });
  try {
    const answer = await new Promise<Answer>((resolve, reject) => {
      worker.on('message', resolve).on('error', reject);
      worker.on('exit', (code) =>
        reject(new VggError(`a worker thread exited with code ${code}; try again`)),
      );
    });
    if ('value' in answer) return answer.value as Result;
    throw answer.isOurs ? new Error(answer.message) : new VggError(answer.message);
  } finally {
    await worker.terminate();
  }
}
