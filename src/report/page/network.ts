/**
 * Runs the report's network in the page: the same layers, kernels and transforms as in training, on this thread, with
 * the weights in the file.
 */

import { random } from '../../data/random.ts';
import { applyTransform, imageFromBytes } from '../../data/transforms/apply.ts';
import { inputTransform } from '../../data/transforms.ts';
import type { OpenSession } from '../../engine/backend.ts';
import { openCpuSession } from '../../engine/cpu/driver.ts';
import { plainWasmKernels } from '../../engine/cpu/kernels/provider.ts';
import { gradCam, type HeatMap, lastFeatureLayer } from '../../explain/explain.ts';
import { unpackHalves } from '../../model/half.ts';
import { buildNetwork } from '../../model/network.ts';
import { Model } from '../../train/model.ts';
import type { PageData } from '../page-data.ts';

export interface Answer {
  /** One per class. They give the order, because small probabilities all become 0. */
  readonly logits: Float32Array;
  /** One per class. */
  readonly probabilities: Float32Array;
  /** Evidence for a class; undefined if the network has no convolution. */
  readonly heat: (label: number) => Promise<HeatMap | undefined>;
}

/** Classifies an image: planar bytes [C, H, W] in the size of the network's input. */
export type Classifier = (bytes: Uint8Array) => Promise<Answer>;

/** Sessions for one image at a time. Their memory is not shared, so the page need not be cross-origin isolated. */
const open: OpenSession = (network, options) =>
  openCpuSession(network, { ...options, kernels: plainWasmKernels, shared: false });

export async function openClassifier(data: PageData, halves: Uint8Array): Promise<Classifier> {
  const network = buildNetwork(data.network, data.input);
  const weights = unpackHalves(data.tensors, halves);
  const model = new Model(network, await open(network, { batchSize: 1 }), 1);
  await model.setWeights(weights);
  const hasMaps = lastFeatureLayer(network) !== undefined;
  const transform = inputTransform(data.normalization);
  return async (bytes) => {
    const { values } = applyTransform(transform, imageFromBytes(bytes, data.input), random(0, 0));
    const { logits, probabilities } = await model.predict(values);
    return {
      logits,
      probabilities,
      heat: async (label) => (hasMaps ? (await gradCam(model, values, { classes: [label] }))[0] : undefined),
    };
  };
}
