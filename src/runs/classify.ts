/** Classifies image files with an opened model (Node only): read, decode, fit to the network's input, predict, rank. */
import { UsageError, VggError } from '../errors.ts';
import { type DecodeOptions, decodeKeys, decodeNamed } from '../images/decode.ts';
import { fitFor, fitImage } from '../images/fit.ts';
import { readImageFile } from '../images/read.ts';
import { checkOptions, checkWhole, shown } from '../options.ts';
import type { OpenedModel } from './open-model.ts';

/** An image file: its path or its content. */
export type ImageFile = string | Uint8Array;

export interface ClassifyOptions extends DecodeOptions {
  /** How many classes are returned; 5 by default, all of them if there are fewer. */
  readonly top?: number;
}

/** A class and its probability for an image. */
export interface ClassScore {
  readonly class: string;
  /** Its position in the model's `classes`. */
  readonly index: number;
  readonly probability: number;
}

/**
 * The most likely classes of one image file, the best first; equal ones in the order of their index. `name` begins
 * messages about the file.
 */
export async function classifyFile(
  model: OpenedModel,
  file: ImageFile,
  options: ClassifyOptions = {},
  name: string = typeof file === 'string' ? file : 'classify',
): Promise<readonly ClassScore[]> {
  checkOptions<ClassifyOptions>('classify', options, { top: 'optional', ...decodeKeys });
  const { top = 5, ...decoding } = options;
  checkWhole('classify', 'top', top, 1);
  const { probabilities } = await model.predict(await readInput(model, file, decoding, name));
  return best(model.classes, probabilities, top);
}

/** An image file as the bytes [channels, height, width] that the network takes: decoded, resized and cropped. */
export async function readInput(
  model: OpenedModel,
  file: ImageFile,
  decoding: DecodeOptions,
  name: string,
): Promise<Uint8Array> {
  const channels = channelsOf(model);
  const bytes = typeof file === 'string' ? await readImageFile(file) : file;
  const image = await decodeNamed(name, bytes, decoding);
  return fitImage(image, fitFor(model.input), channels);
}

/** @throws UsageError if the network does not take images as files have them. */
function channelsOf({ input }: OpenedModel): 1 | 3 {
  const [channels] = input;
  if (input.length === 3 && (channels === 1 || channels === 3)) return channels;
  throw new UsageError(
    `classify: the network takes ${input.join('×')} values, and image files have 3 channels (or 1, gray); ` +
      'prepare the images yourself and use predict',
  );
}

/** The most likely classes, the best first. */
export function best(
  classes: readonly string[],
  probabilities: Float32Array,
  top: number,
): readonly ClassScore[] {
  if (!probabilities.every(Number.isFinite)) {
    throw new VggError(
      "classify: the network's outputs are not finite numbers, because its weights are too large or not finite; " +
        'open other weights',
    );
  }
  // The sort is stable.
  return Array.from(probabilities, (probability, index) => ({ class: classes[index]!, index, probability }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, top);
}

/** @throws UsageError unless `files` is a path, a file's content or a list of these. */
export function checkFiles(files: unknown): asserts files is ImageFile | readonly ImageFile[] {
  const isFile = (file: unknown): boolean => typeof file === 'string' || ArrayBuffer.isView(file);
  const wrong = Array.isArray(files) ? files.find((file) => !isFile(file)) : files;
  if (isFile(files) || (Array.isArray(files) && files.every(isFile))) return;
  throw new UsageError(
    `classify: ${shown(wrong)} is no image file; pass a path, the content of a file (a Uint8Array) or a list of these`,
  );
}
