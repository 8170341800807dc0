/** Sizes of maps in memory, and strides. All count floats. */
import { granule } from '../kernels/language.ts';
import type { Shape } from '../model/layer.ts';

/** Size of a map; `stored` channels are in memory, of which the first `channels` are used. */
export interface MapShape {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly stored: number;
}

export const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/** Strides of a multiple of eight cache lines use few sets of the cache, so these strides get one more line. */
export const unevenStride = (floats: number): number => (floats % 128 === 0 ? floats + 16 : floats);

/** A map of a shape [C, H, W] or [F], with padded channels. */
export const mapOf = ([channels = 1, height = 1, width = 1]: Shape): MapShape => ({
  channels,
  height,
  width,
  stored: roundUp(channels, granule),
});

/** Offsets of an image's values from the first one, in the order of torch.flatten. */
export function flattenedPlaces(
  { channels, height, width, stored }: MapShape,
  rowStride: number = width * stored,
): Int32Array {
  const places = new Int32Array(channels * height * width);
  let i = 0;
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) places[i++] = y * rowStride + x * stored + c;
    }
  }
  return places;
}
