/** Writes a model as an ONNX file (Node only). */
import { UsageError } from '../errors.ts';
import { writeParts } from '../files/files.ts';
import type { OnnxValue } from '../model/onnx/encode.ts';
import { type OnnxModel, type OnnxOptions, onnxFile } from '../model/onnx/onnx.ts';
import { isObject, shown } from '../options.ts';
import { checkPath } from '../paths.ts';
import { Model } from '../train/model.ts';
import { OpenedModel } from './open-model.ts';

/** What an exported model takes and returns. */
export interface OnnxExport {
  /** The file's length. */
  readonly bytes: number;
  readonly input: OnnxValue;
  readonly output: OnnxValue;
}

/**
 * Writes a model, or a network with its weights, as an ONNX file: completely or not at all. Weights are read by parts.
 * @throws DataError if the weights do not fit the network; UsageError for a wrong option, a file above 2 GiB, or weights
 * that half precision cannot hold; VggError if `path` cannot be written.
 */
export async function exportOnnx(
  model: Model | OpenedModel | OnnxModel,
  path: string,
  options: OnnxOptions = {},
): Promise<OnnxExport> {
  checkPath('exportOnnx: the file', path);
  const compiled = model instanceof OpenedModel ? model.compiled : model;
  if (compiled instanceof Model) {
    const { info } = compiled;
    return compiled.readWeights((weights) => write({ ...info, weights }, path, options));
  }
  if (!isObject(model)) {
    throw new UsageError(
      `exportOnnx: ${shown(model)} is not a model; pass what compile or openModel returned, or { ...info, weights }`,
    );
  }
  return write(compiled as OnnxModel, path, options);
}

async function write(model: OnnxModel, path: string, options: OnnxOptions): Promise<OnnxExport> {
  const { byteLength, input, output, write: writeTo } = onnxFile('exportOnnx', model, options);
  await writeParts(path, ({ append }) => writeTo(append));
  return { bytes: byteLength, input, output };
}
