/** Weights as files to download and to open: safetensors in and out, ONNX out. */
import { DataError } from '../errors.ts';
import { formatInfo, infoKey } from '../model/info-text.ts';
import { buildNetwork } from '../model/network.ts';
import { type OnnxOptions, onnxFile } from '../model/onnx/onnx.ts';
import { openWeightsIn } from '../model/open-weights.ts';
import { headerOf } from '../model/safetensors.ts';
import { appendTensors } from '../model/tensor-files.ts';
import { checkOptions } from '../options.ts';
import { type CompileOptions, compile, type Model } from '../train/model.ts';
import { blobParts } from './opfs.ts';

/** A model's weights as safetensors, with what is needed to use them. */
export async function modelBlob(model: Model, options: { readonly half?: boolean } = {}): Promise<Blob> {
  checkOptions<{ readonly half?: boolean }>('modelBlob', options, { half: 'optional' });
  const { half = false } = options;
  const { info } = model;
  return model.readWeights(async (source) => {
    const header = headerOf(source.shapes, { [infoKey]: formatInfo(info) }, half ? 'F16' : 'F32');
    return blobOf('application/octet-stream', (append) =>
      appendTensors({ append, overwrite: async () => undefined }, header, source, half),
    );
  });
}

/**
 * A model from a file of weights or a checkpoint that has metadata of vggnet, as `vgg` and `modelBlob` write them.
 * @throws DataError if the file is damaged or does not describe its network.
 */
export async function openModelBlob(
  file: Blob,
  options: Pick<CompileOptions, 'device' | 'threads' | 'batchSize' | 'purpose' | 'onNotice' | 'signal'> = {},
): Promise<Model> {
  const name = file instanceof File ? file.name : 'the file';
  const opening = async () => blobParts(name, file);
  await using weights = await openWeightsIn(
    opening,
    (info) => {
      if (info) return buildNetwork(info.network, info.input);
      throw new DataError('it does not describe its network; open a file that vgg or this page saved');
    },
    { signal: options.signal },
  );
  const { network, input } = weights.info!;
  return compile(network, { ...options, input, weights });
}

/** A model as ONNX. @throws as `writeOnnx` */
export async function onnxBlob(model: Model, options: OnnxOptions = {}): Promise<Blob> {
  const { info } = model;
  return model.readWeights(async (weights) => {
    const onnx = onnxFile('onnxBlob', { ...info, weights }, options);
    return blobOf('application/octet-stream', (append) => onnx.write(append));
  });
}

/** A blob of pieces. */
async function blobOf(
  type: string,
  write: (append: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<Blob> {
  const parts: Blob[] = [];
  await write(async (bytes) => {
    parts.push(new Blob([bytes as Uint8Array<ArrayBuffer>]));
  });
  return new Blob(parts, { type });
}
