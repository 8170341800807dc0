/** A model's weights in files (Node only). */
import { UsageError } from '../errors.ts';
import type { ModelInfo } from '../model/info.ts';
import { redFirst } from '../model/red-first.ts';
import {
  type OpenWeightsOptions,
  openWeights,
  type SaveOptions,
  writeWeights,
} from '../model/weight-files.ts';
import { cancelable } from '../model/weight-streams.ts';
import { checkArgument, checkOptions, shown } from '../options.ts';
import type { Model } from '../train/model.ts';

/**
 * Writes a model's weights as safetensors, with `model.info` in the metadata.
 * @throws UsageError if `path` cannot be written, or half precision cannot hold a value.
 */
export async function saveWeights(model: Model, path: string, options: SaveOptions = {}): Promise<void> {
  checkModel('saveWeights', model);
  checkOptions<SaveOptions>('saveWeights', options, { half: 'optional' });
  const { half = false } = options;
  if (typeof half !== 'boolean')
    throw new UsageError(`saveWeights: half ${shown(half)} is not true or false`);
  const { info } = model;
  await model.readWeights((weights) => writeWeights(path, weights, info, { half }));
}

export interface LoadWeightsOptions extends OpenWeightsOptions {
  /** The file's network reads blue first, as Caffe's do, and the model reads red first. */
  readonly blueFirst?: boolean | undefined;
}

/**
 * Reads a model's weights from a safetensors file, a checkpoint, or a file of PyTorch's `torch.save`. Returns the
 * information stored in the file, if any.
 * @throws DataError if the file cannot be read or does not fit the network, UsageError if it contradicts the model.
 */
export async function loadWeights(
  model: Model,
  path: string,
  { blueFirst = false, ...options }: LoadWeightsOptions = {},
): Promise<ModelInfo | undefined> {
  checkModel('loadWeights', model);
  await using file = await openWeights(path, model.network, options);
  const { info } = file;
  // Whatever says its normalization was turned before.
  const isTurned = blueFirst && info?.normalization === undefined;
  const source = isTurned ? { ...file, ...redFirst(file, model.network) } : file;
  await model.adopt(cancelable(source, options.signal), info, path);
  return info;
}

function checkModel(where: string, model: Model): void {
  checkArgument(where, 'model', model, ['network', 'weights'], 'a model; make one with compile');
}
