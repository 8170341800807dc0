/** From a training's description to its parts: images, network, loaders, optimizer. */
import type { DatasetSplits } from '../../data/dataset.ts';
import type { OptimizerOptions } from '../../engine/backend.ts';
import { networkOf } from '../../model/models.ts';
import { type Loaders, loadersOf } from '../../runs/loaders.ts';
import { parseConfig } from '../../train/config.ts';
import type { TrainConfig } from '../../train/config-table.ts';
import { compile, type Model } from '../../train/model.ts';
import { adam, adamw, sgd } from '../../train/optimizers.ts';
import type { RunSpec } from '../state/spec.ts';
import { loadSplits, withFewImages, withShuffledLabels } from './data.ts';

export interface Parts extends Loaders {
  readonly config: TrainConfig;
  readonly model: Model;
  readonly splits: DatasetSplits;
  readonly optimizer: OptimizerOptions;
}

export async function prepare(
  { config: given, shuffledLabels = false, trainImages }: RunSpec,
  threads: number | undefined,
  onNotice: (line: string) => void,
  signal: AbortSignal,
): Promise<Parts> {
  const config = parseConfig(given, 'the training');
  const all = await loadSplits(config.dataset);
  const loaded = trainImages === undefined ? all : withFewImages(all, trainImages);
  const splits = shuffledLabels ? withShuffledLabels(loaded, config.seed) : loaded;
  const loaders = loadersOf(splits, config);
  const { shape, classes } = splits.train;
  const network = networkOf(config.model, {
    classes: classes.length,
    options: config.modelOptions,
    input: shape,
  });
  const model = await compile(network, {
    input: shape,
    purpose: 'train',
    batchSize: config.batchSize,
    seed: config.seed,
    device: config.device,
    onNotice,
    signal,
    ...(threads !== undefined && { threads }),
  });
  model.learnsFrom(loaders.trainLoader);
  return { config, model, splits, ...loaders, optimizer: optimizerOf(config) };
}

function optimizerOf(config: TrainConfig): OptimizerOptions {
  const { optimizer, lr, beta1, beta2, epsilon, momentum, nesterov, weightDecay } = config;
  if (optimizer === 'sgd') return sgd({ lr, momentum, nesterov, weightDecay });
  return (optimizer === 'adam' ? adam : adamw)({ lr, betas: [beta1, beta2], epsilon, weightDecay });
}
