/**
 * The values after layers of a network and gradients with respect to them, on any device: checks, and the layers at the
 * start that pass images on as they are, so that a driver's layers always compute something.
 */
import { UsageError } from '../errors.ts';
import type { Network, NetworkLayer } from '../model/layer.ts';
import { sizeOf } from '../model/network.ts';
import type { FeaturesRequest, FeaturesResult, Purpose } from './backend.ts';
import type { Driver, FeaturesBackward, ImageSource } from './driver.ts';

/** Whether a layer's values in evaluation are its input's. */
const passesOn = ({ spec }: NetworkLayer): boolean => spec.kind === 'flatten' || spec.kind === 'dropout';

/** Computes a request. `source` holds its images. @throws UsageError if the weights that it needs were not kept. */
export async function computeFeatures(
  network: Network,
  driver: Driver,
  source: ImageSource,
  { images, count, layers, backward }: FeaturesRequest,
  purpose: Purpose | undefined,
): Promise<FeaturesResult> {
  const all = network.layers;
  const first = all.findIndex((layer) => !passesOn(layer));
  const computes = (layer: number): boolean => first >= 0 && layer >= first;
  const shared = (length: number): Float32Array => new Float32Array(driver.buffer(length * 4));
  const sizeAfter = (layer: number): number => sizeOf(layer < 0 ? network.input : all[layer]!.output);
  const given = [...(backward?.given ?? [])];
  const to = backward?.to ?? -1;
  for (const [layer, { length }] of given) {
    if (layer >= to && length === count * sizeAfter(layer)) continue;
    throw new UsageError(
      `${network.name}: a gradient of ${length} values is not that of ${count} × ${sizeAfter(layer)} values after ` +
        `layer ${all[layer]!.name}, or the layer is before ${all[to]?.name}`,
    );
  }
  const last = Math.max(-1, ...given.map(([layer]) => layer));
  if (backward && purpose === 'predict') checkKept(network, to, last);
  const wanted = layers.filter(computes);
  const values = wanted.map((layer) => shared(count * sizeAfter(layer)));
  const computed = given.filter(([layer]) => computes(layer));
  const pass: FeaturesBackward | undefined =
    computed.length > 0
      ? {
          layers: computed.map(([layer]) => layer),
          given: computed.map(([, gradient]) => {
            const copy = shared(gradient.length);
            copy.set(gradient);
            return copy;
          }),
          to: computes(to) ? to : -1,
          gradient: shared(count * sizeAfter(to)),
        }
      : undefined;
  if (wanted.length > 0 || pass) {
    await driver.run({
      kind: 'features',
      source,
      batchSize: driver.evaluationBatch,
      images: count,
      layers: wanted,
      values,
      backward: pass,
    });
  }
  let next = 0;
  return {
    values: layers.map((layer) => (computes(layer) ? values[next++]! : images).slice()),
    ...(backward && { gradient: withGivenOfImages(pass?.gradient, given, computes, count * sizeAfter(to)) }),
  };
}

/** Adds gradients with respect to values that are the images. */
function withGivenOfImages(
  computed: Float32Array | undefined,
  given: readonly (readonly [layer: number, gradient: Float32Array])[],
  computes: (layer: number) => boolean,
  length: number,
): Float32Array {
  const sum = computed?.slice() ?? new Float32Array(length);
  for (const [layer, gradient] of given) {
    if (computes(layer)) continue;
    for (let i = 0; i < length; i++) sum[i]! += gradient[i]!;
  }
  return sum;
}

/** @throws UsageError if a gradient passes a convolution: a session to predict does not keep their weights. */
function checkKept({ name, layers }: Network, to: number, last: number): void {
  const convolution = layers.slice(to + 1, last + 1).find(({ spec }) => spec.kind === 'conv2d');
  if (!convolution) return;
  throw new UsageError(
    `${name} was compiled with purpose 'predict', so no gradient passes its convolution ${convolution.name}; ` +
      'compile it without',
  );
}
