/** The table of layer kinds: to add a layer, write its file, its spec in `layer.ts`, and its line here. */
import type { LayerKind, LayerSpec } from '../layer.ts';
import { batchNormKind } from './batch-norm.ts';
import { conv2dKind } from './conv2d.ts';
import { dropoutKind } from './dropout.ts';
import { flattenKind } from './flatten.ts';
import { linearKind } from './linear.ts';
import { maxPool2dKind } from './max-pool2d.ts';
import { reluKind } from './relu.ts';

export { type BatchNormOptions, batchNorm1d, batchNorm2d } from './batch-norm.ts';
export { type Conv2dOptions, conv2d } from './conv2d.ts';
export { type DropoutOptions, dropout } from './dropout.ts';
export { flatten } from './flatten.ts';
export { type LinearOptions, linear } from './linear.ts';
export { type MaxPool2dOptions, maxPool2d } from './max-pool2d.ts';
export { relu } from './relu.ts';

const layerKinds: { readonly [Kind in LayerSpec['kind']]: LayerKind<Extract<LayerSpec, { kind: Kind }>> } = {
  conv2d: conv2dKind,
  relu: reluKind,
  maxPool2d: maxPool2dKind,
  flatten: flattenKind,
  linear: linearKind,
  batchNorm: batchNormKind,
  dropout: dropoutKind,
};

/** What a spec's layer does. */
export function kindOf(spec: LayerSpec): LayerKind<LayerSpec> {
  // The table's type ties each kind to its own spec, which TypeScript cannot follow through a lookup.
  return layerKinds[spec.kind] as LayerKind<LayerSpec>;
}
