/**
 * The library's core: `import { compile, sequential, … } from 'vggnet'`, in Node and in browsers. Only these exports are
 * public; everything else may change. They are listed in the order of their folders: data, devices, errors, explanations,
 * networks, training. What needs Node has its own entry, `vggnet/node`, and so has the search, `vggnet/tune`.
 */

export { type Dataset, type DatasetSplits, fromArrays, type ImageShape } from './data/dataset.ts';
export { imagenetClasses } from './data/imagenet.ts';
export { type Batch, type DataLoader, type DataLoaderOptions, dataLoader } from './data/loader.ts';
export { type Random, random } from './data/random.ts';
export { shapes } from './data/shapes.ts';
export { trainValidationSplit } from './data/split.ts';
export {
  type ChannelStatistics,
  channelHistograms,
  channelStatistics,
  colorComponents,
} from './data/statistics.ts';
export type { AnyDataset, StoredDataset, StoredImages } from './data/stored.ts';
export {
  type ColorComponents,
  type ColorJitterOptions,
  centerCrop,
  colorJitter,
  colorShift,
  compose,
  cutout,
  grayscale,
  type Image,
  type ImageFunction,
  type Interpolation,
  imagenetComponents,
  type Jitter,
  normalize,
  pad,
  type ResizedCropOptions,
  type RotationOptions,
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
export {
  type AdamOptions,
  type DeviceName,
  deviceNames,
  type EvaluateResult,
  type OptimizerOptions,
  type Purpose,
  type SgdOptions,
  type StepOptions,
  type StepReport,
  type TrainingState,
  type TrainResult,
} from './engine/backend.ts';
export { openerOf } from './engine/open.ts';
export type { PredictOptions } from './engine/variant.ts';
export { DataError, ShapeError, UsageError, VggError } from './errors.ts';
export {
  type EvaluateProtocolOptions,
  evaluateProtocol,
  type ProtocolModel,
} from './evaluation/evaluate.ts';
export { type LabeledImages, labeledImages, type RawImage } from './evaluation/labeled-images.ts';
export type { CropCount, Protocol } from './evaluation/protocol.ts';
export type { ClassResult, ProtocolResult } from './evaluation/scores.ts';
export { heatPixels, inferno } from './explain/colors.ts';
export {
  type ExplainableModel,
  type Explanation,
  featureLayers,
  type GradCamOptions,
  gradCam,
  type HeatMap,
  lastFeatureLayer,
  type SaliencyOptions,
  saliency,
} from './explain/explain.ts';
export type { Features, GradientOf, InputGradientOptions, LayerRef } from './explain/features.ts';
export { gramGradient, gramMatrices } from './explain/gram.ts';
export {
  type PerceptualDistance,
  type PerceptualOptions,
  perceptualDistance,
} from './explain/perceptual.ts';
export { heads, type VggName, type VggOptions, vgg, vggNames } from './model/family.ts';
export type { DataInfo, ModelInfo } from './model/info.ts';
export { type Initialization, initializationNames, withInitialization } from './model/initializations.ts';
export type { LayerSpec, Network, NetworkLayer, Shape, Weight, Weights } from './model/layer.ts';
export { layerNames } from './model/layer-names.ts';
export {
  type AdaptiveAvgPool2dOptions,
  type AvgPool2dOptions,
  adaptiveAvgPool2d,
  avgPool2d,
  type BatchNormOptions,
  batchNorm1d,
  batchNorm2d,
  type Conv2dOptions,
  conv2d,
  type DropoutOptions,
  dropout,
  flatten,
  type LinearOptions,
  type LocalResponseNormOptions,
  linear,
  localResponseNorm,
  type MaxPool2dOptions,
  maxPool2d,
  relu,
} from './model/layers/index.ts';
export { createModel, models, type NetworkDescription, networkOf } from './model/models.ts';
export { buildNetwork, type Sequential, sequential } from './model/network.ts';
export { normalizationPresets, type PresetName } from './model/normalization-presets.ts';
export type { OnnxValue } from './model/onnx/encode.ts';
export { type OnnxModel, type OnnxOptions, writeOnnx } from './model/onnx/onnx.ts';
export { readSafetensors, writeSafetensors } from './model/safetensors.ts';
export { configurations, simplified, vgg7, vggFeatures } from './model/vgg.ts';
export type { WeightSource } from './model/weight-streams.ts';
export type { Change, LiveSettings } from './train/changes.ts';
export { parseGivenConfig as parseConfig } from './train/config.ts';
export { type TrainConfig, type TrainConfigInput, trainOptions } from './train/config-table.ts';
export { TrainingControl } from './train/control.ts';
export {
  type Callback,
  type FitOptions,
  type FitResult,
  fit,
} from './train/fit.ts';
export type { LoopState, Snapshot, Timed } from './train/loop-state.ts';
export { type FindOptions, type FoundRates, findLearningRate, type RatePoint } from './train/lr-find.ts';
export { type CompileOptions, compile, Model, type Prediction, type TrainOptions } from './train/model.ts';
export { type AdamSettings, adam, adamw, type SgdSettings, sgd } from './train/optimizers.ts';
export { type Recipe, recipes } from './train/recipes.ts';
export type { EpochRecord, StepRecord } from './train/records.ts';
export {
  accuracyLine,
  type EpochEvent,
  type LineOptions,
  lectureLines,
  type Reporter,
  type StepEvent,
} from './train/reporters.ts';
export {
  constantSchedule,
  cosineSchedule,
  multiStepSchedule,
  oneCycleSchedule,
  plateauSchedule,
  type Schedule,
  type SchedulePlace,
  stepSchedule,
  withWarmup,
} from './train/schedules.ts';
export { type EpochResult, type Trainer, type TrainerOptions, trainer } from './train/trainer.ts';
