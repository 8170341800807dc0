/** The table of the plain passes of each layer kind; only the reference device and tests load it. */
import type { LayerPasses, LayerSpec } from '../layer.ts';
import { adaptiveAvgPool2dPasses } from './adaptive-avg-pool2d.ts';
import { avgPool2dPasses } from './avg-pool2d.ts';
import { batchNormPasses } from './batch-norm.ts';
import { conv2dPasses } from './conv2d.ts';
import { dropoutPasses } from './dropout.ts';
import { flattenPasses } from './flatten.ts';
import { linearPasses } from './linear.ts';
import { localResponseNormPasses } from './local-response-norm.ts';
import { maxPool2dPasses } from './max-pool2d.ts';
import { reluPasses } from './relu.ts';

const layerPasses: {
  readonly [Kind in LayerSpec['kind']]: LayerPasses<Extract<LayerSpec, { kind: Kind }>>;
} = {
  relu: reluPasses,
  conv2d: conv2dPasses,
  maxPool2d: maxPool2dPasses,
  avgPool2d: avgPool2dPasses,
  adaptiveAvgPool2d: adaptiveAvgPool2dPasses,
  localResponseNorm: localResponseNormPasses,
  flatten: flattenPasses,
  linear: linearPasses,
  batchNorm: batchNormPasses,
  dropout: dropoutPasses,
};

/** The plain passes of a spec's kind. */
export function passesOf(spec: LayerSpec): LayerPasses<LayerSpec> {
  // TypeScript cannot track through a lookup that each kind matches its own spec.
  return layerPasses[spec.kind] as LayerPasses<LayerSpec>;
}
