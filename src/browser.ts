/**
 * What needs a browser: `import { openStore, trainRun, … } from 'vggnet/browser'`, in a page or, better, in a dedicated
 * worker. Only these exports are public. They are listed in the order of their folders: files that users choose, data
 * sets, runs, models.
 */
export { type ChosenFiles, droppedFiles, listFiles, type PathFile } from './browser/chosen-files.ts';
export {
  type DatasetCounts,
  type LoadDatasetOptions,
  type OpenDatasetOptions,
  openDataset,
  type UserDataset,
} from './browser/datasets.ts';
export { type DecodedPicture, decodePicture, pictureFor } from './browser/pictures.ts';
export { exportRun, type ImportOptions, importRun } from './browser/run-zip.ts';
export { type KeptDataset, openStore, type Store, type StoreUsage } from './browser/store.ts';
export {
  type ResumeRunOptions,
  type RunOptions,
  type RunResult,
  resumeRun,
  type TrainRunOptions,
  trainRun,
} from './browser/training.ts';
export { modelBlob, onnxBlob, openModelBlob } from './browser/weights.ts';
