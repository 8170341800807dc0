/**
 * Plans for values after layers and for gradients with respect to values, in inference: which operations have them. The
 * host copies them as soon as an operation has run, so that no map must be kept for them.
 */
import type { FeaturesCommand } from '../../driver.ts';
import { inferenceOperations, type Operation, type Operations } from './operations.ts';

/** Layers are indices. */
export interface FeaturesPlan {
  /** Those whose values are wanted. */
  readonly layers: readonly number[];
  /** Those with a given gradient; empty without a backward pass. */
  readonly given: readonly number[];
  /** The layer after which the gradient is wanted; −1 for the images. */
  readonly to: number;
}

/** What the host does with an operation's output and its gradient. Indices are those of a command's arrays. */
export interface Taps {
  readonly values: readonly number[];
  readonly given: readonly number[];
  /** Whether the gradient of its output is the one that is wanted. */
  readonly isTarget: boolean;
}

/** The request for a plan that computes a command. */
export const featuresRequest = ({
  layers,
  backward,
}: Pick<FeaturesCommand, 'layers' | 'backward'>): {
  readonly mode: 'features';
  readonly features: FeaturesPlan;
} => ({
  mode: 'features',
  features: { layers, given: backward?.layers ?? [], to: backward?.to ?? -1 },
});

/** The operations of a plan, and what happens after each of them. */
export interface FeaturesOperations {
  readonly operations: Operations;
  readonly taps: readonly Taps[];
  /** The first operation that has a backward pass. */
  readonly backwardFrom: number;
}

export function featuresOperations(
  whole: Operations,
  { layers, given, to }: FeaturesPlan,
): FeaturesOperations {
  const wanted = [...layers, ...given, ...(given.length > 0 && to >= 0 ? [to] : [])];
  const operations = inferenceOperations(whole, wanted);
  const { list } = operations;
  /** The operation whose output has a layer's values: behind it are only views. */
  const operationOf = (layer: number): number => list.findLastIndex(({ last }) => last <= layer);
  const target = given.length > 0 && to >= 0 ? operationOf(to) : -1;
  const at = (of: readonly number[], operation: number): number[] =>
    of.flatMap((layer, i) => (operationOf(layer) === operation ? [i] : []));
  const taps = list.map(
    (_, i): Taps => ({ values: at(layers, i), given: at(given, i), isTarget: i === target }),
  );
  return { operations, taps, backwardFrom: target + 1 };
}

export const isTapped = (taps: Taps | undefined): boolean =>
  taps !== undefined && (taps.values.length > 0 || taps.given.length > 0 || taps.isTarget);

/** Whether a backward pass needs matrices derived from weights. */
export function passesWinograd(
  whole: Operations,
  { features }: { readonly features: FeaturesPlan },
): boolean {
  if (features.given.length === 0) return false;
  const { operations, backwardFrom } = featuresOperations(whole, features);
  return operations.list
    .slice(backwardFrom)
    .some((operation: Operation) => operation.kind === 'convolution' && operation.backward === 'winograd');
}
