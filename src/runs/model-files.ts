/** A model's weights in files (Node only). */
import type { ModelInfo } from '../model/info.ts';
import { type OpenWeightsOptions, openWeights, writeWeights } from '../model/weight-files.ts';
import { cancelable } from '../model/weight-streams.ts';
import { checkArgument } from '../options.ts';
import type { Model } from '../train/model.ts';

/**
 * Writes a model's weights as safetensors, with `model.info` in the metadata.
 * @throws UsageError if `path` cannot be written.
 */
export async function saveWeights(model: Model, path: string): Promise<void> {
  checkModel('saveWeights', model);
  const { info } = model;
  await model.readWeights((weights) => writeWeights(path, weights, info));
}

/**
 * Reads a model's weights from a safetensors file, a checkpoint, or a file of PyTorch's `torch.save`. Returns the
 * information stored in the file, if any.
 * @throws DataError if the file cannot be read or does not fit the network, UsageError if it contradicts the model.
 */
export async function loadWeights(
  model: Model,
  path: string,
  options: OpenWeightsOptions = {},
): Promise<ModelInfo | undefined> {
  checkModel('loadWeights', model);
  await using file = await openWeights(path, model.network, options);
  const { info } = file;
  await model.adopt(cancelable(file, options.signal), info, path);
  return info;
}

function checkModel(where: string, model: Model): void {
  checkArgument(where, 'model', model, ['network', 'weights'], 'a model; make one with compile');
}
