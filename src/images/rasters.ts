/** Images of a training as rasters, for reports and TensorBoard: samples, filters, feature maps, heat maps. */

import type { Batch } from '../data/loader.ts';
import { centerWindow, planResize, resizedSides, resizePixels } from '../data/resize.ts';
import { type AnyDataset, isStored, type StoredImages } from '../data/stored.ts';
import { readStored } from '../data/stored-node.ts';
import { heatPixels, inferno } from '../explain/colors.ts';
import type { HeatMap } from '../explain/explain.ts';
import type { Features } from '../explain/features.ts';
import type { Network, Weight, Weights } from '../model/layer.ts';
import type { Raster } from './png.ts';

/** Side of a photo in a report. */
const thumbnail = 96;

/**
 * Image `index` of a data set. Unless it has one or three channels, only the first is shown; of a stored image, its
 * center, reduced.
 */
export function sampleRaster(dataset: AnyDataset, index: number): Raster {
  if (isStored(dataset)) return storedRaster(dataset.images, index);
  const [channels, height, width] = dataset.shape;
  const area = height * width;
  const source = dataset.pixels.subarray(index * channels * area, (index + 1) * channels * area);
  const shown = channels === 3 ? 3 : 1;
  const bytes = new Uint8Array(shown * area);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < shown; c++) bytes[i * shown + c] = source[c * area + i]!;
  }
  return { width, height, channels: shown, bytes };
}

function storedRaster(images: StoredImages, index: number): Raster {
  const { shape, values } = readStored(images, index);
  const [, height, width] = shape;
  const side = Math.min(thumbnail, height, width);
  const sides = resizedSides([height, width], side);
  const plan = planResize([height, width], sides, centerWindow(sides, [side, side]));
  const bytes = new Uint8Array(3 * side * side);
  const plane = new Uint8Array(side * side);
  for (let c = 0; c < 3; c++) {
    resizePixels(plan, values.subarray(c * height * width, (c + 1) * height * width), 1, plane);
    for (let i = 0; i < plane.length; i++) bytes[3 * i + c] = plane[i]!;
  }
  return { width: side, height: side, channels: 3, bytes };
}

/**
 * The first images of a batch as the network sees them, at most `columns` × `rows`, side by side. Values are scaled, so
 * that a screen can show normalized images, too.
 */
export function batchRaster({ images, shape }: Batch, columns: number, rows: number): Raster {
  const [count, channels, height, width] = shape;
  const [across, down] = [Math.min(columns, count), Math.min(rows, Math.ceil(count / columns))];
  const bytes = new Uint8Array(across * width * down * height * 3);
  const size = channels * height * width;
  for (let i = 0; i < Math.min(across * down, count); i++) {
    const image = images.subarray(i * size, (i + 1) * size);
    const least = image.reduce((a, b) => Math.min(a, b));
    const most = image.reduce((a, b) => Math.max(a, b));
    for (let c = 0; c < 3; c++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const value = image[(Math.min(c, channels - 1) * height + y) * width + x]!;
          const row = Math.floor(i / across) * height + y;
          const column = (i % across) * width + x;
          bytes[(row * across * width + column) * 3 + c] = (255 * (value - least)) / (most - least || 1);
        }
      }
    }
  }
  return { width: across * width, height: down * height, channels: 3, bytes };
}

/** A heat map with transparency, one pixel per position. */
export function heatRaster(map: HeatMap): Raster {
  return { width: map.width, height: map.height, channels: 4, bytes: new Uint8Array(heatPixels(map).buffer) };
}

/** Tiles of equal size in rows, with a transparent pixel between them. */
function sheet(
  tiles: number,
  columns: number,
  width: number,
  height: number,
  paint: (tile: number, x: number, y: number) => readonly [number, number, number],
): Raster {
  const rows = Math.ceil(tiles / columns);
  const sheetWidth = columns * (width + 1) - 1;
  const sheetHeight = rows * (height + 1) - 1;
  const bytes = new Uint8Array(4 * sheetWidth * sheetHeight);
  for (let tile = 0; tile < tiles; tile++) {
    const left = (tile % columns) * (width + 1);
    const top = Math.floor(tile / columns) * (height + 1);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        bytes.set([...paint(tile, x, y), 255], 4 * ((top + y) * sheetWidth + left + x));
      }
    }
  }
  return { width: sheetWidth, height: sheetHeight, channels: 4, bytes };
}

/** The filters of a network's first convolution, and its name; undefined if it has none. */
export function firstFilters(
  network: Network,
  weights: Weights,
): { readonly layer: string; readonly weight: Weight } | undefined {
  const first = network.layers.find(({ spec }) => spec.kind === 'conv2d');
  const weight = first && weights.get(`${first.name}.weight`);
  return weight && { layer: first.name, weight };
}

/**
 * The filters of a first convolution, [out, C, kh, kw], in color (three channels) or gray. Each filter is scaled
 * around 0, which is middle gray, because filters differ in scale.
 */
export function filterRaster({ shape, data }: Weight, columns: number): Raster {
  const [out = 0, channels = 0, height = 0, width = 0] = shape;
  const size = channels * height * width;
  const largest = Array.from({ length: out }, (_, o) =>
    data.subarray(o * size, (o + 1) * size).reduce((most, value) => Math.max(most, Math.abs(value)), 0),
  );
  return sheet(out, Math.min(columns, out), width, height, (o, x, y) => {
    const value = (c: number): number => {
      const weight = data[o * size + (c * height + y) * width + x]!;
      return Math.round(127.5 + (127.5 * weight) / (largest[o]! || 1));
    };
    return channels === 3 ? [value(0), value(1), value(2)] : [value(0), value(0), value(0)];
  });
}

/** Channels of the first image's feature map, the strongest first. */
export function strongestChannels({ shape, data }: Features, count: number): readonly number[] {
  const [, channels = 0, height = 0, width = 0] = shape;
  const area = height * width;
  const strength = Array.from({ length: channels }, (_, c) =>
    data.subarray(c * area, (c + 1) * area).reduce((sum, value) => sum + value, 0),
  );
  return strength
    .map((_, c) => c)
    .sort((a, b) => strength[b]! - strength[a]! || a - b)
    .slice(0, count);
}

/** Some channels of the first image's feature map, each scaled by its largest value. */
export function featureRaster(
  { shape, data }: Features,
  channels: readonly number[],
  columns: number,
): Raster {
  const [, , height = 0, width = 0] = shape;
  const area = height * width;
  const ranges = channels.map((c) => {
    const plane = data.subarray(c * area, (c + 1) * area);
    return [plane.reduce((a, b) => Math.min(a, b)), plane.reduce((a, b) => Math.max(a, b))] as const;
  });
  return sheet(channels.length, Math.min(columns, channels.length), width, height, (tile, x, y) => {
    const [low, high] = ranges[tile]!;
    const value = data[channels[tile]! * area + y * width + x]!;
    return inferno(high > low ? (value - low) / (high - low) : 0);
  });
}
