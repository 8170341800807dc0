/** Runs a session's commands: on worker threads, or on the calling thread if memory cannot be shared. */
import { VggError } from '../../../errors.ts';
import type { Executor } from './executor.ts';
import type { Thread, ThreadMessage } from './threads.ts';
import type { WorkerRequest, WorkerStart } from './worker.ts';

/** Milliseconds that the calling thread works before it yields to the event loop. */
const breath = 20;

export interface WorkerPool {
  run(request: WorkerRequest, onProgress?: (steps: number) => void): Promise<number>;
  stop(): Promise<void>;
}

/** Runs commands on the calling thread, yielding every `breath` milliseconds. */
export function callingThread(executor: Executor): WorkerPool {
  return {
    async run({ command, arrays }, onProgress) {
      const steps = executor.run(command, arrays);
      let rested = performance.now();
      for (;;) {
        const { value, done } = steps.next();
        if (done) return value;
        if (performance.now() - rested < breath) continue;
        onProgress?.(value);
        await new Promise((resolve) => setTimeout(resolve, 0));
        rested = performance.now();
      }
    },
    async stop() {},
  };
}

/** Runs commands on all worker threads together. */
export async function workerPool(
  workers: readonly Thread[],
  start: Omit<WorkerStart, 'worker'>,
): Promise<WorkerPool> {
  let onProgress: ((steps: number) => void) | undefined;
  let failure: VggError | undefined;
  const stop = async (): Promise<void> => {
    await Promise.all(workers.map((worker) => worker.stop()));
  };
  /** Sends a message to each worker and waits for all answers. One failure stops all, because the rest would wait. */
  const ask = async (messageFor: (worker: number) => unknown): Promise<number> => {
    // No worker is left to answer.
    if (failure) throw failure;
    for (const worker of workers) worker.hold(true);
    try {
      const steps = await Promise.all(
        workers.map(
          (worker, i) =>
            new Promise<number>((resolve, reject) => {
              worker.listen((message: ThreadMessage) => {
                switch (message.kind) {
                  case 'ready':
                    resolve(0);
                    break;
                  case 'done':
                    resolve(message.steps);
                    break;
                  case 'progress':
                    onProgress?.(message.steps);
                    break;
                  case 'failed':
                    failure = new VggError(`a worker failed: ${message.message}`);
                    reject(failure);
                    break;
                }
              });
              worker.post(messageFor(i));
            }),
        ),
      );
      return steps[0]!;
    } catch (error) {
      await stop();
      throw error;
    } finally {
      // Between commands the workers do not keep the process alive.
      for (const worker of workers) worker.hold(false);
    }
  };
  await ask((worker) => ({ ...start, worker }) satisfies WorkerStart);
  return {
    async run(request, report) {
      onProgress = report;
      return await ask(() => request);
    },
    stop,
  };
}
