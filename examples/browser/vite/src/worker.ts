/** Trains in a dedicated worker, into a run that the browser keeps: after a reload it continues. */
import { exportRun, openDataset, openStore, resumeRun, trainRun } from 'vggnet/browser';

export interface Report {
  readonly text: string;
  /** The run, at its end: `vgg train --resume run.zip` continues it. */
  readonly zip?: Blob;
}

const report = (message: Report): void => postMessage(message);
const callbacks = [
  {
    step: ({ step, loss }: { readonly step: number; readonly loss: number }): void =>
      report({ text: `Step ${step}: loss ${loss.toFixed(3)}` }),
  },
];

async function train(files?: readonly File[]): Promise<void> {
  const store = await openStore();
  const dataset = files && (await openDataset(files));
  const name = dataset ? `photos-${Date.now()}` : 'shapes';
  const known = (await store.runs()).some((run) => run.name === name);
  const { training, testAccuracy = 0 } = known
    ? await resumeRun(store, name, { callbacks })
    : await trainRun(
        {
          ...{ model: 'simplified', dataset: dataset?.dataset ?? 'shapes', steps: 20 },
          ...{ checkpointEvery: 10, logEvery: 1, ...(dataset && { batchSize: 10 }) },
        },
        { store, name, callbacks, ...(dataset && { dataset }) },
      );
  const { description } = training.model;
  await training.model.close();
  const accuracy = `Accuracy ${(100 * testAccuracy).toFixed(1)} % on ${description}`;
  report({ text: `${accuracy}${known ? ', from the store' : ''}`, zip: await exportRun(store, name) });
}

const start = (files?: readonly File[]): void =>
  void train(files).catch((error: Error) => report({ text: error.message }));
addEventListener('message', ({ data }: MessageEvent<readonly File[]>) => start(data));
start();
