/**
 * What needs Node: `import { cifar10, runTraining, … } from 'vggnet/node'`. Only these exports are public. They are listed
 * in the order of their folders: data sets from files, images, reports, run folders. Charts and reports load on first use.
 */

export { cifar10, cifar100 } from './data/cifar-files.ts';
export {
  type BrokenImage,
  BrokenImagesError,
  type ImageFolderOptions,
  type ImageSplits,
  type ImageTableOptions,
  imageFolder,
  imageTable,
} from './data/folders/image-folder.ts';
export type { PrepareProgress } from './data/folders/prepare.ts';
export {
  type ImageFiles,
  type ImageFilesOptions,
  labeledImageFiles,
} from './evaluation/labeled-image-files.ts';
export { type DecodedImage, type DecodeOptions, decodeImage } from './images/decode.ts';
export {
  camImage,
  enlarged,
  featureImage,
  filterImage,
  type GridOptions,
  heatImage,
  heatOverlay,
  inputRaster,
} from './images/explained.ts';
export { encodePng, type Raster } from './images/png.ts';
export {
  type DownloadedWeights,
  type DownloadWeightsOptions,
  downloadWeights,
} from './model/download-weights.ts';
export {
  type OpenWeightsOptions,
  openWeights,
  type SaveOptions,
  type WeightFile,
} from './model/weight-files.ts';
export { buildReport, reportRuns, writeReport } from './report/lazy.ts';
export type { ReportOptions, ReportRun, ReportRunsOptions } from './report/run.ts';
export type { Checkpoint } from './runs/checkpoint.ts';
export { readCheckpoint, writeCheckpoint } from './runs/checkpoint-files.ts';
export type { ClassifyOptions, ClassScore, ImageFile } from './runs/classify.ts';
export { captureEnvironment, type EnvironmentOptions } from './runs/environment.ts';
export { type ExaminedWeights, type ExamineOptions, examineWeights } from './runs/examine-weights.ts';
export { exportOnnx, type OnnxExport } from './runs/export-onnx.ts';
export {
  type DamagedRun,
  listRuns,
  type RunRecord,
  type RunStatus,
  readRun,
  runFiles,
  runsRoot,
} from './runs/folder.ts';
export { type LoadWeightsOptions, loadWeights, saveWeights } from './runs/model-files.ts';
export { OpenedModel, type OpenModelOptions, openModel } from './runs/open-model.ts';
export { prepareTraining } from './runs/place-node.ts';
export { fitOptionsOf, type Training } from './runs/prepare.ts';
export { type Recorder, type RecorderOptions, recordRun } from './runs/recorder.ts';
export type { RunEnvironment, RunState } from './runs/records.ts';
export { createRun, newRunFolder, openRun, type Run } from './runs/run.ts';
export {
  type SeedCallbacks,
  type SeedRun,
  type SeedsOptions,
  type SeedsResult,
  trainSeeds,
} from './runs/series.ts';
export { fromCheckpoint, readSnapshot, toCheckpoint } from './runs/snapshots.ts';
export type { Metrics } from './runs/table.ts';
export { readMetrics } from './runs/table-files.ts';
export { runTraining, type TrainingOptions, type TrainingResult } from './runs/training.ts';
