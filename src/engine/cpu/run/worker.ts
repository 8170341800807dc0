/** A worker of a session: builds its own view of the plans and runs commands. Works in Node and in browsers. */

import { loadUniformKernel } from '../../../data/random.ts';
import { VggError } from '../../../errors.ts';
import { worthKernel } from '../../../model/initialize.ts';
import type { Network } from '../../../model/layer.ts';
import { type KernelSource, openLibrary, panelColumnsOf } from '../kernels/library.ts';
import { ParameterLayout } from '../plan/parameters.ts';
import { plannedFor } from '../plan/planned.ts';
import { Executor, type SharedState, type WorkerRequest } from './executor.ts';

/** The first message to a worker. */
export interface WorkerStart {
  readonly network: Network;
  readonly predictsOnly: boolean;
  readonly largestBatch: number;
  readonly cacheBytes: number;
  readonly reservedBytes: number;
  readonly kernels: KernelSource;
  readonly shared: SharedState;
  readonly threads: number;
  readonly worker: number;
}

export type WorkerMessage =
  /** The worker's program has started. */
  | { readonly kind: 'started' }
  | { readonly kind: 'ready' }
  | { readonly kind: 'progress'; readonly steps: number }
  | { readonly kind: 'done'; readonly steps: number }
  | { readonly kind: 'failed'; readonly message: string; readonly code?: string };

/** Milliseconds between two reports of progress. */
const progressInterval = 50;

/** Returns the handler of a worker's messages. */
export function serve(
  post: (message: WorkerMessage) => void,
): (message: WorkerStart | WorkerRequest) => Promise<void> {
  post({ kind: 'started' });
  let executor: Executor | undefined;
  let reports = false;
  let isLarge = false;
  return async (message) => {
    try {
      if ('network' in message) {
        const {
          network,
          predictsOnly,
          largestBatch,
          cacheBytes,
          reservedBytes,
          kernels,
          shared,
          threads,
          worker,
        } = message;
        const layout = new ParameterLayout(
          plannedFor(network, {
            ...{ batch: largestBatch, cacheBytes, predictsOnly },
            panelColumns: panelColumnsOf(kernels),
          }),
          largestBatch,
          threads,
          [],
          reservedBytes,
        );
        const library = await openLibrary(kernels, shared.memory);
        executor = new Executor(layout, library, shared, worker);
        reports = worker === 0;
        isLarge = network.parameterCount >= worthKernel;
        post({ kind: 'ready' });
        return;
      }
      if (message.command.kind === 'initialize' && isLarge) await loadUniformKernel();
      const steps = executor!.run(message);
      let reported = performance.now();
      for (;;) {
        const { value, done } = steps.next();
        if (done) {
          post({ kind: 'done', steps: value });
          return;
        }
        const now = performance.now();
        if (reports && now - reported >= progressInterval) {
          reported = now;
          post({ kind: 'progress', steps: value });
        }
      }
    } catch (error) {
      const { stack, message } = error as Error;
      post({ kind: 'failed', message: error instanceof VggError ? message : (stack ?? message) });
    }
  };
}
