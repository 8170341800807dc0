/** All weights of a file at once, which the library never needs. */
import type { ModelInfo } from '../src/model/info.ts';
import type { Weights } from '../src/model/layer.ts';
import { type OpenWeightsOptions, openWeights, type WantedNetwork } from '../src/model/weight-files.ts';
import { readAll } from '../src/model/weight-streams.ts';

export async function readWeights(
  path: string,
  wanted: WantedNetwork,
  options: OpenWeightsOptions = {},
): Promise<{ readonly weights: Weights; readonly info?: ModelInfo }> {
  await using file = await openWeights(path, wanted, options);
  const weights = await readAll(file, options.signal);
  return { weights, ...(file.info && { info: file.info }) };
}
