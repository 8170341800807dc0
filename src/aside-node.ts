/**
 * Long computations on a thread of their own, so that the main one hears signals meanwhile and can end the process. Node
 * only.
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
 * Calls the function `name` of a module of this package, by its path in `src`, elsewhere. Arguments and result are copied.
 * A bundled program has no such module: there `here` computes on this thread.
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
      worker.on('exit', (code) => reject(new VggError(`a thread of vgg ended with code ${code}`)));
    });
    if ('value' in answer) return answer.value as Result;
    throw answer.isOurs ? new Error(answer.message) : new VggError(answer.message);
  } finally {
    await worker.terminate();
  }
}
