/**
 * The colors of heat maps: matplotlib's `inferno` (Smith and van der Walt, 2015) at nine stops. Its lightness rises
 * evenly, so that it works without color vision.
 */
import { UsageError } from '../errors.ts';
import { checkArgument, shown } from '../options.ts';
import type { HeatMap } from './explain.ts';

const stops = [
  [0, 0, 4],
  [31, 12, 72],
  [85, 15, 109],
  [136, 34, 106],
  [186, 54, 85],
  [227, 89, 51],
  [249, 140, 10],
  [249, 201, 50],
  [252, 255, 164],
] as const;

/** Red, green, blue (0–255) for a value from 0 to 1. */
export function inferno(value: number): readonly [red: number, green: number, blue: number] {
  if (typeof value !== 'number') throw new UsageError(`inferno: value is ${shown(value)}, not a number`);
  const at = Math.min(Math.max(value, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const mix = (channel: 0 | 1 | 2): number =>
    Math.round(stops[low]![channel] + (at - low) * (stops[low + 1]![channel] - stops[low]![channel]));
  return [mix(0), mix(1), mix(2)];
}

/** A heat map as RGBA, to lay over its image: high values are bright and opaque, low ones dark and transparent. */
export function heatPixels(map: HeatMap): Uint8ClampedArray<ArrayBuffer> {
  checkArgument('heatPixels', 'map', map, ['values'], 'a heat map, such as the result of gradCam');
  const { values } = map;
  const pixels = new Uint8ClampedArray(4 * values.length);
  for (const [i, value] of values.entries()) pixels.set([...inferno(value), 70 + 130 * value], 4 * i);
  return pixels;
}
