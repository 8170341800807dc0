/** Who runs a session's commands: worker threads, or the calling thread where memory cannot be shared. */
import { VggError } from '../../errors.ts';
import type { Command, Executor } from './executor.ts';
import type { Thread } from './threads.ts';
import type { WorkerMessage, WorkerStart } from './worker.ts';

/** Milliseconds that the calling thread works before it lets others run. */
const breath = 20;

export interface Crew {
  run(command: Command, onProgress?: (steps: number) => void): Promise<number>;
  stop(): Promise<void>;
}

/** Commands on this thread, which others may use every `breath`. */
export function callingThread(executor: Executor): Crew {
  return {
    async run(command, onProgress) {
      const steps = executor.run(command);
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

/** Commands on worker threads, all at once. */
export async function workerCrew(
  workers: readonly Thread[],
  start: Omit<WorkerStart, 'worker'>,
): Promise<Crew> {
  let onProgress: ((steps: number) => void) | undefined;
  let failure: VggError | undefined;
  const stop = async (): Promise<void> => {
    await Promise.all(workers.map((worker) => worker.stop()));
  };
  /** Sends a message to each worker and waits for all answers. One failure ends them all, since the rest would wait. */
  const ask = async (messageFor: (worker: number) => unknown): Promise<number> => {
    // Nobody is there to answer any more.
    if (failure) throw failure;
    for (const worker of workers) worker.hold(true);
    try {
      const steps = await Promise.all(
        workers.map(
          (worker, i) =>
            new Promise<number>((resolve, reject) => {
              worker.listen((message: WorkerMessage) => {
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
      // Between two commands the workers keep no program alive that has ended otherwise.
      for (const worker of workers) worker.hold(false);
    }
  };
  await ask((worker) => ({ ...start, worker }) satisfies WorkerStart);
  return {
    async run(command, report) {
      onProgress = report;
      return await ask(() => command);
    },
    stop,
  };
}
