/** What tests of ONNX models share. */
import type { Case } from './cases.ts';

/** Whether ONNX has operators for all layers: it normalizes local responses only over an odd number of channels. */
export const isOnnx = ({ model }: Case): boolean =>
  model.layers.every((spec) => {
    const { size } = spec as { readonly size?: unknown };
    return typeof size !== 'number' || size % 2 === 1;
  });
