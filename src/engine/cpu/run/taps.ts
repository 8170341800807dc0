/** Copies maps to and from a caller's arrays (`lower/taps.ts`). */
import type { FeaturesCommand } from '../../driver.ts';
import type { TapCall } from '../lower/taps.ts';

/** Runs a call. `first` is the first image of the batch. */
export function runTap(
  call: TapCall,
  floats: Float32Array,
  { values, backward }: FeaturesCommand,
  first: number,
): void {
  const arrays = { values, given: backward?.given ?? [], gradient: backward ? [backward.gradient] : [] };
  const array = arrays[call.array][call.index]!;
  const { channels, height, width, imageStride, rowStride, pixelStride } = call;
  const size = channels * height * width;
  const span = (height - 1) * rowStride + (width - 1) * pixelStride + channels;
  for (let i = 0; i < call.count; i++) {
    const at = call.map + i * imageStride;
    const outer = (first + call.first + i) * size;
    // Copied as a whole: V8 is slow with single values of memory that can grow.
    const map = floats.slice(at, at + span);
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        const from = outer + (c * height + y) * width;
        let place = y * rowStride + c;
        for (let x = 0; x < width; x++, place += pixelStride) {
          if (call.array !== 'given') array[from + x] = map[place]!;
          else map[place] = (call.replace ? 0 : map[place]!) + array[from + x]!;
        }
      }
    }
    if (call.array === 'given') floats.set(map, at);
  }
}
