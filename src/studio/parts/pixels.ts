/** Values as colored pixels, RGBA: images, maps and filters. */
import { inferno } from '../../explain/colors.ts';

export type Pixels = Uint8ClampedArray<ArrayBuffer>;

/** Colors of 256 values from 0 to 1, which repeat often. */
const heatTable: Uint8Array = Uint8Array.from(Array.from({ length: 256 }, (_, i) => inferno(i / 255)).flat());

/** Planar bytes [C, H, W] at `offset`. Unless there are three channels, only the first is shown, in gray. */
export function imagePixels(bytes: Uint8Array, shape: readonly number[], offset = 0): Pixels {
  const [channels = 1, height = 1, width = 1] = shape;
  const area = height * width;
  const pixels = new Uint8ClampedArray(4 * area);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = bytes[offset + (channels === 3 ? c : 0) * area + i]!;
    pixels[4 * i + 3] = 255;
  }
  return pixels;
}

/** A map at `offset`: its least value is dark, its largest bright. A map of equal values is dark. */
export function mapPixels(values: Float32Array, area: number, offset = 0): Pixels {
  let low = Infinity;
  let high = -Infinity;
  for (let i = offset; i < offset + area; i++) {
    low = Math.min(low, values[i]!);
    high = Math.max(high, values[i]!);
  }
  const scale = high > low ? 255 / (high - low) : 0;
  const pixels = new Uint8ClampedArray(4 * area);
  for (let i = 0; i < area; i++) {
    const at = 3 * Math.round((values[offset + i]! - low) * scale);
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = heatTable[at + c] ?? 0;
    pixels[4 * i + 3] = 255;
  }
  return pixels;
}

/** Filter `index` of [out, C, kh, kw] around middle gray, which is 0: in color for three channels. */
export function filterPixels(values: Float32Array, shape: readonly number[], index: number): Pixels {
  const [, channels = 1, height = 1, width = 1] = shape;
  const area = height * width;
  const from = index * channels * area;
  let most = 0;
  for (let i = from; i < from + channels * area; i++) most = Math.max(most, Math.abs(values[i]!));
  const pixels = new Uint8ClampedArray(4 * area);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) {
      const weight = values[from + (channels === 3 ? c : 0) * area + i]!;
      pixels[4 * i + c] = Math.round(127.5 + (127.5 * weight) / (most || 1));
    }
    pixels[4 * i + 3] = 255;
  }
  return pixels;
}
