/**
 * The core as a file for pages without a bundler: `import { compile, … } from './vggnet.js'` in a
 * `<script type="module">`. It has what defines, trains, evaluates and explains networks, without the parts of `vggnet` that
 * check configs and metadata and would double its size: `vggnet/browser` has these. Devices are loaded on demand, from
 * the folder `vggnet/` beside it.
 */
export { type Dataset, type DatasetSplits, fromArrays, type ImageShape } from './data/dataset.ts';
export { type Batch, type DataLoader, type DataLoaderOptions, dataLoader } from './data/loader.ts';
export { type Random, random } from './data/random.ts';
export { shapes } from './data/shapes.ts';
export { trainValidationSplit } from './data/split.ts';
export { channelHistograms, channelStatistics, colorComponents } from './data/statistics.ts';
export {
  centerCrop,
  colorJitter,
  colorShift,
  compose,
  cutout,
  grayscale,
  imagenetComponents,
  normalize,
  pad,
  randomCrop,
  randomGrayscale,
  randomHorizontalFlip,
  randomResizedCrop,
  randomRotation,
  resize,
  scaleJitter,
  type Transform,
  toTensor,
} from './data/transforms.ts';
export { type DeviceName, deviceNames } from './engine/backend.ts';
export { DataError, ShapeError, UsageError, VggError } from './errors.ts';
export { heatPixels, inferno } from './explain/colors.ts';
export { featureLayers, gradCam, type HeatMap, lastFeatureLayer, saliency } from './explain/explain.ts';
export { heads, vgg, vggNames } from './model/family.ts';
export { initializationNames, withInitialization } from './model/initializations.ts';
export type { Network, Weights } from './model/layer.ts';
export { layerNames } from './model/layer-names.ts';
export {
  adaptiveAvgPool2d,
  avgPool2d,
  batchNorm1d,
  batchNorm2d,
  conv2d,
  dropout,
  flatten,
  linear,
  localResponseNorm,
  maxPool2d,
  relu,
} from './model/layers/index.ts';
export { createModel, models } from './model/models.ts';
export { buildNetwork, type Sequential, sequential } from './model/network.ts';
export { normalizationPresets } from './model/normalization-presets.ts';
export { readSafetensors, writeSafetensors } from './model/safetensors.ts';
export { configurations, simplified, vgg7, vggFeatures } from './model/vgg.ts';
export { TrainingControl } from './train/control.ts';
export { type Callback, type FitOptions, type FitResult, fit } from './train/fit.ts';
export { type CompileOptions, compile, Model, type Prediction } from './train/model.ts';
export { adam, adamw, muon, sgd } from './train/optimizers.ts';
export {
  constantSchedule,
  cosineSchedule,
  multiStepSchedule,
  oneCycleSchedule,
  plateauSchedule,
  stepSchedule,
  withWarmup,
} from './train/schedules.ts';
export { trainer } from './train/trainer.ts';
