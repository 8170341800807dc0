/** Weights as files to download and to open: safetensors in and out, ONNX out. */
import type { CompileOptions, Model } from '../train/model.ts';

/** A model's weights as safetensors, with what is needed to use them. */
export declare function modelBlob(model: Model, options?: { readonly half?: boolean }): Promise<Blob>;

/** A model from a file of weights or a checkpoint that has metadata of vggnet. @throws DataError */
export declare function openModelBlob(
  file: Blob,
  options?: Pick<CompileOptions, 'device' | 'threads' | 'batchSize' | 'purpose' | 'onNotice' | 'signal'>,
): Promise<Model>;

/** A model as ONNX. */
export declare function onnxBlob(
  model: Model,
  options?: { readonly half?: boolean; readonly softmax?: boolean; readonly preprocess?: boolean },
): Promise<Blob>;
