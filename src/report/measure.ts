/** What a report measures: the network's answers to all test images, with full and half-precision weights. */

import { inputShape } from '../data/facts.ts';
import { random } from '../data/random.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import { isStored } from '../data/stored.ts';
import { applyTransform, imageFromBytes } from '../data/transforms/apply.ts';
import { featureLayers, gradCam, type HeatMap, lastFeatureLayer } from '../explain/explain.ts';
import type { Features } from '../explain/features.ts';
import { roundedToHalf } from '../model/half.ts';
import type { Network } from '../model/layer.ts';
import { networkOf } from '../model/models.ts';
import type { Sequential } from '../model/network.ts';
import { checkWeights } from '../model/safetensors.ts';
import { normalizationOf, testTransform } from '../runs/loaders.ts';
import { compile } from '../train/model.ts';
import { grouped } from '../words.ts';
import { kept, mostConfident, type Predictions, predictAll } from './predictions.ts';
import type { ReportOptions, ReportRun } from './run.ts';

/** Feature maps of the sample behind one layer. */
export interface LayerMaps {
  readonly name: string;
  readonly maps: Features;
}

/** Heat maps of the evidence in an image. */
export interface Explained {
  /** Position in the test set. */
  readonly index: number;
  readonly label: number;
  readonly answer: number;
  readonly heatOfAnswer: HeatMap;
  /** Only for wrong answers. */
  readonly heatOfLabel?: HeatMap;
}

export interface Measured {
  readonly run: ReportRun;
  readonly model: Sequential;
  readonly network: Network;
  readonly normalization: ChannelStatistics | undefined;
  readonly full: Predictions;
  /** Absent in a brief report. */
  readonly insight?: Insight;
}

/** For the network in the page: the answers of its half-precision weights, and explanations. */
export interface Insight {
  readonly half: Predictions;
  /** Position of the image whose feature maps are shown. */
  readonly sample: number;
  readonly layers: readonly LayerMaps[];
  readonly right: readonly Explained[];
  readonly wrong: readonly Explained[];
}

/** Explained images, answered correctly and wrongly. */
const explainedEach = 6;

/** Evaluates a run's network and explains some of its answers. */
export async function measure(run: ReportRun, options: ReportOptions): Promise<Measured> {
  const { config, splits } = run;
  const { device = 'auto', threads, brief = false, onProgress = () => {} } = options;
  const { test } = splits;
  const input = inputShape(config, test);
  const model = networkOf(config.model, {
    classes: test.classes.length,
    options: config.modelOptions,
    input,
  });
  const normalization = normalizationOf(splits.train, config);
  const transform = testTransform(test, normalization, input);
  await using compiled = await compile(model, {
    input,
    device,
    purpose: 'predict',
    weights: run.weights,
    onNotice: onProgress,
    ...(threads !== undefined && { threads }),
  });
  const { network } = compiled;
  const weights = checkWeights(network, run.weights);
  onProgress(
    `testing ${run.name} on ${grouped(test.length)} images${brief || isStored(test) ? '' : ' with full and half-precision weights'}`,
  );
  const full = await predictAll(compiled, test, transform);
  const measured = { run, model, network, normalization, full };
  // Photos and the networks for them are too large for one page.
  if (brief || isStored(test)) return measured;
  await compiled.setWeights(roundedToHalf(weights));
  const half = await predictAll(compiled, test, transform);

  onProgress('explaining answers');
  const right = ofDifferentClasses(full, mostConfident(full, true), explainedEach);
  const wrong = ofDifferentClasses(full, mostConfident(full, false), explainedEach);
  const sample = right[0] ?? wrong[0] ?? 0;
  const values = (index: number): Float32Array => {
    const size = test.shape.reduce((product, side) => product * side, 1);
    const bytes = test.pixels.subarray(index * size, (index + 1) * size);
    return applyTransform(transform, imageFromBytes(bytes, test.shape), random(0, 0)).values;
  };
  const shown = featureLayers(network);
  const maps = shown.length > 0 ? await compiled.features(values(sample), shown) : undefined;
  const layers = shown.map(
    (index): LayerMaps => ({ name: network.layers[index]!.name, maps: maps!.get(index)! }),
  );
  const explain = async (indices: readonly number[]): Promise<readonly Explained[]> => {
    if (lastFeatureLayer(network) === undefined) return [];
    const explained: Explained[] = [];
    for (const index of indices) {
      const label = test.labels[index]!;
      const answer = full.classes[index * kept]!;
      const heat = async (of: number): Promise<HeatMap> =>
        (await gradCam(compiled, values(index), { classes: [of] }))[0]!;
      explained.push({
        index,
        label,
        answer,
        heatOfAnswer: await heat(answer),
        ...(label !== answer && { heatOfLabel: await heat(label) }),
      });
    }
    return explained;
  };
  return {
    ...measured,
    insight: { half, sample, layers, right: await explain(right), wrong: await explain(wrong) },
  };
}

/** The first `count` images with different labels; fewer if there are fewer classes. */
export function ofDifferentClasses(
  { dataset }: Predictions,
  indices: readonly number[],
  count: number,
): readonly number[] {
  const seen = new Set<number>();
  const chosen: number[] = [];
  for (const index of indices) {
    const label = dataset.labels[index]!;
    if (chosen.length === count) break;
    if (seen.has(label)) continue;
    seen.add(label);
    chosen.push(index);
  }
  return chosen;
}
