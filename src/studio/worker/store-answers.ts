/** Answers about the browser's store: kept runs and data sets. */
import { decodePicture, pictureFor } from '../../browser/pictures.ts';
import { exportRun, importRun } from '../../browser/run-zip.ts';
import type { Store } from '../../browser/store.ts';
import type { DatasetSpec } from '../../data/named.ts';
import { shortName } from '../../data/named.ts';
import { modelName } from '../../model/models.ts';
import type { DamagedRun, RunRecord } from '../../runs/run-folder.ts';
import type { Answers, KeptRun, StoreQuestion } from './protocol.ts';
import { theStore } from './work.ts';

/** @throws VggError if the browser has no private files, or as the store does. */
export async function answerFromStore(question: StoreQuestion): Promise<Answers[StoreQuestion['kind']]> {
  if (question.kind === 'decode') {
    return { pixels: pictureFor(await decodePicture(question.picture), question.shape) };
  }
  const store = await theStore();
  switch (question.kind) {
    case 'runs':
      return { runs: await keptRuns(store), ...(await store.usage()) };
    case 'exportRun':
      return { zip: await exportRun(store, question.run) };
    case 'importRun':
      return { run: await importRun(store, question.zip) };
    case 'removeRun':
      await store.removeRun(question.run);
      return { removed: question.run };
    case 'datasets':
      return { datasets: await store.datasets() };
    case 'addDataset': {
      const { files, name } = question;
      // Not part of the first load.
      const { openDataset } = await import('../../browser/datasets.ts');
      const dataset = await openDataset(files, name === undefined ? {} : { name });
      return { dataset: await store.addDataset(dataset), notices: dataset.notices };
    }
    case 'removeDataset':
      await store.removeDataset(question.dataset as DatasetSpec);
      return { removed: question.dataset };
    default:
      return question satisfies never;
  }
}

/** The runs that have trained at least a step. Those of a page that was closed before are removed. */
async function keptRuns(store: Store): Promise<readonly KeptRun[]> {
  const runs = await store.runs();
  const begun: KeptRun[] = [];
  for (const run of runs) {
    if (isEmpty(run)) await store.removeRun(run.name).catch(() => undefined);
    else begun.push(shown(run));
  }
  return begun;
}

const isEmpty = (run: RunRecord | DamagedRun): boolean =>
  !('problem' in run) && run.state !== 'running' && (run.status?.step ?? 0) === 0;

function shown(run: RunRecord | DamagedRun): KeptRun {
  const { name } = run;
  if ('problem' in run) {
    return { name, state: 'damaged', model: '', dataset: run.problem, epochs: 0, totalEpochs: 0 };
  }
  const { config, state, epochs } = run;
  const last = epochs.at(-1);
  return {
    name,
    state,
    model: modelName(config.model),
    dataset: shortName(config.dataset),
    epochs: last?.epoch ?? 0,
    totalEpochs: config.epochs,
    ...(last && { accuracy: last.testAccuracy }),
  };
}
