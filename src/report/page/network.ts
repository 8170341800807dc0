/**
 * The report's network at work in the page: the same layers, kernels and transforms as in training, on this thread,
 * with the weights that the file carries.
 */

import { random } from '../../data/random.ts';
import { applyTransform, imageFromBytes } from '../../data/transforms.ts';
import type { OpenSession } from '../../engine/backend.ts';
import { plainWasmKernels } from '../../engine/cpu/kernels.ts';
import { openCpuSession } from '../../engine/cpu/session.ts';
import {
  type FeatureMaps,
  gradCam,
  type HeatMap,
  lastFeatureLayer,
  openPrefix,
  tailBehind,
} from '../../explain/explain.ts';
import { unpackHalves } from '../../model/half.ts';
import { buildNetwork } from '../../model/network.ts';
import { Model } from '../../train/model.ts';
import { type PageData, testTransform } from '../page-data.ts';

export interface Answer {
  /** Of each class. */
  readonly probabilities: Float32Array;
  /** Where the evidence for a class lies; undefined where the network has no convolution. */
  readonly heat: (label: number) => HeatMap | undefined;
}

/** Classifies pictures: planar bytes [C, H, W] of the network's input. */
export type Classifier = (bytes: Uint8Array) => Promise<Answer>;

/** Sessions for one picture at a time; memory that cannot be shared needs no isolated page. */
const open: OpenSession = (network, options) =>
  openCpuSession(network, { ...options, kernels: plainWasmKernels, shared: false });

export async function openClassifier(data: PageData, halves: Uint8Array): Promise<Classifier> {
  const network = buildNetwork(data.network, data.input);
  const weights = unpackHalves(data.tensors, halves);
  const model = new Model(network, await open(network, { batchSize: 1 }), 1);
  await model.setWeights(weights);
  const last = lastFeatureLayer(network);
  const prefix = last === undefined ? undefined : await openPrefix(network, weights, last, open);
  const tail = last === undefined ? undefined : tailBehind(network, weights, last);
  const transform = testTransform(data.normalization);
  return async (bytes) => {
    const { values } = applyTransform(transform, imageFromBytes(bytes, data.input), random(0, 0));
    const { probabilities } = await model.predict(values);
    const maps: FeatureMaps | undefined = await prefix?.maps(values);
    return {
      probabilities,
      heat: (label) => (tail && maps ? gradCam(tail, maps, 0, label) : undefined),
    };
  };
}
