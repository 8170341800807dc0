/** The program of a worker that prepares images (Node only): answers each path with the prepared image. */
import { parentPort, workerData } from 'node:worker_threads';
import { openBudget, type SharedBudget } from './memory-budget.ts';
import { openPreparer, type Prepared } from './prepare-image.ts';

/** What a worker starts with. */
export interface PrepareSettings {
  readonly side: number;
  readonly budget: SharedBudget;
}

export interface PrepareRequest {
  readonly id: number;
  readonly path: string;
}

export type PrepareAnswer = {
  readonly id: number;
} & (
  | { readonly prepared: Prepared }
  /** An error that is not the image's; `isOurs` if its message is for users. */
  | { readonly message: string; readonly isOurs: boolean }
);

const { side, budget } = workerData as PrepareSettings;
const prepare = openPreparer(side, openBudget(budget));
const port = parentPort!;

port.on('message', ({ id, path }: PrepareRequest) => {
  prepare(path).then(
    (prepared) => {
      const answer: PrepareAnswer = { id, prepared };
      port.postMessage(answer, 'pixels' in prepared ? [prepared.pixels.buffer] : []);
    },
    (error: Error & { readonly exitCode?: number }) => {
      const isOurs = error.exitCode !== undefined;
      const answer: PrepareAnswer = { id, message: isOurs ? error.message : String(error.stack), isOurs };
      port.postMessage(answer);
    },
  );
});
