/** The table of layer kinds. To add a layer, write its file, its spec in `layer.ts`, and a line here. */
import { UsageError } from '../../errors.ts';
import { isObject, shown } from '../../options.ts';
import type { BatchNormSpec, LayerKind, LayerSpec } from '../layer.ts';
import { adaptiveAvgPool2d, adaptiveAvgPool2dKind } from './adaptive-avg-pool2d.ts';
import { avgPool2d, avgPool2dKind } from './avg-pool2d.ts';
import { batchNorm1d, batchNorm2d, batchNormKind } from './batch-norm.ts';
import { conv2d, conv2dKind } from './conv2d.ts';
import { dropout, dropoutKind } from './dropout.ts';
import { flatten, flattenKind } from './flatten.ts';
import { linear, linearKind } from './linear.ts';
import { localResponseNorm, localResponseNormKind } from './local-response-norm.ts';
import { maxPool2d, maxPool2dKind } from './max-pool2d.ts';
import { relu, reluKind } from './relu.ts';

export { type AdaptiveAvgPool2dOptions, adaptiveAvgPool2d } from './adaptive-avg-pool2d.ts';
export { type AvgPool2dOptions, avgPool2d } from './avg-pool2d.ts';
export { type BatchNormOptions, batchNorm1d, batchNorm2d } from './batch-norm.ts';
export { type Conv2dOptions, conv2d } from './conv2d.ts';
export { type DropoutOptions, dropout } from './dropout.ts';
export { flatten } from './flatten.ts';
export { type LinearOptions, linear } from './linear.ts';
export { type LocalResponseNormOptions, localResponseNorm } from './local-response-norm.ts';
export { type MaxPool2dOptions, maxPool2d } from './max-pool2d.ts';
export { relu } from './relu.ts';

const layerKinds: { readonly [Kind in LayerSpec['kind']]: LayerKind<Extract<LayerSpec, { kind: Kind }>> } = {
  conv2d: conv2dKind,
  relu: reluKind,
  maxPool2d: maxPool2dKind,
  avgPool2d: avgPool2dKind,
  adaptiveAvgPool2d: adaptiveAvgPool2dKind,
  localResponseNorm: localResponseNormKind,
  flatten: flattenKind,
  linear: linearKind,
  batchNorm: batchNormKind,
  dropout: dropoutKind,
};

const constructors: Readonly<Record<LayerSpec['kind'], (options: never) => LayerSpec>> = {
  conv2d,
  relu,
  maxPool2d,
  avgPool2d,
  adaptiveAvgPool2d,
  localResponseNorm,
  flatten,
  linear,
  batchNorm: ({ dimensions, ...options }: BatchNormSpec) =>
    dimensions === 1 ? batchNorm1d(options) : batchNorm2d(options),
  dropout,
};

/** Creates a spec from untrusted data, with the checks of its constructor. @throws UsageError */
export function checkedSpec(spec: unknown): LayerSpec {
  if (!isObject(spec) || !Object.hasOwn(constructors, String(spec.kind))) {
    throw new UsageError(
      `sequential: ${isObject(spec) ? `kind ${shown(spec.kind)}` : shown(spec)} is not a layer; ` +
        'create layers with conv2d, relu, maxPool2d, avgPool2d, adaptiveAvgPool2d, localResponseNorm, batchNorm2d, ' +
        'dropout, flatten or linear',
    );
  }
  const { kind, ...options } = spec;
  return constructors[kind as LayerSpec['kind']](options as never);
}

/** The kind of a spec. */
export function kindOf(spec: LayerSpec): LayerKind<LayerSpec> {
  // TypeScript cannot track through a lookup that each kind matches its own spec.
  return layerKinds[spec.kind] as LayerKind<LayerSpec>;
}
