/**
 * Explanations as images: a heat map over its image, feature maps and filters as grids. Rasters are runtime-neutral;
 * `encodePng` makes files of them.
 */

import type { ChannelStatistics } from '../data/statistics.ts';
import { UsageError } from '../errors.ts';
import { heatPixels, inferno } from '../explain/colors.ts';
import type { HeatMap } from '../explain/explain.ts';
import type { Features } from '../explain/features.ts';
import type { Shape, Weight } from '../model/layer.ts';
import { checkArgument, checkOptions, checkWhole, shown } from '../options.ts';
import type { Raster } from './png.ts';
import { featureRaster, filterRaster, strongestChannels } from './rasters.ts';

/** Sides of small images and sheets are enlarged to at least this many pixels where they fit. */
const comfortable = 448;

const checkRaster = (where: string, image: Raster): void =>
  checkArgument(where, 'image', image, ['width', 'height', 'channels', 'bytes'], 'a raster');

/**
 * An image as a network sees it, [C, H, W], back as a raster: its normalization is undone. Unless it has three channels,
 * only the first is shown.
 */
export function inputRaster(
  image: Float32Array,
  shape: Shape,
  normalization?: ChannelStatistics | null,
): Raster {
  const [channels = 0, height = 0, width = 0] = Array.isArray(shape) ? shape : [];
  const area = height * width;
  if (area === 0 || image?.length !== channels * area) {
    throw new UsageError(
      `inputRaster: ${image?.length ?? 'no'} values are not an image of ${Array.isArray(shape) ? shape.join('×') : shown(shape)}`,
    );
  }
  const drawn = channels === 3 ? 3 : 1;
  const bytes = new Uint8Array(drawn * area);
  for (let c = 0; c < drawn; c++) {
    const [mean, std] = [normalization?.mean[c] ?? 0, normalization?.std[c] ?? 1];
    for (let i = 0; i < area; i++) {
      bytes[i * drawn + c] = Math.min(
        255,
        Math.max(0, Math.round(255 * (image[c * area + i]! * std + mean))),
      );
    }
  }
  return { width, height, channels: drawn, bytes };
}

/** Each pixel as a square of `factor` × `factor` pixels. */
export function enlarged(image: Raster, factor: number): Raster {
  checkRaster('enlarged', image);
  checkWhole('enlarged', 'factor', factor, 1, 10_000);
  const { width, height, channels, bytes } = image;
  const large = new Uint8Array(bytes.length * factor ** 2);
  const row = width * factor * channels;
  for (let y = 0; y < height; y++) {
    const top = y * factor * row;
    for (let x = 0; x < width * factor; x++) {
      const from = (y * width + Math.floor(x / factor)) * channels;
      for (let c = 0; c < channels; c++) large[top + x * channels + c] = bytes[from + c]!;
    }
    for (let copy = 1; copy < factor; copy++) large.copyWithin(top + copy * row, top, top + row);
  }
  return { width: width * factor, height: height * factor, channels, bytes: large };
}

/** How much an image is enlarged to be seen well. */
const factorOf = ({ width, height }: Pick<Raster, 'width' | 'height'>): number =>
  Math.max(1, Math.floor(comfortable / Math.max(width, height)));

/** A heat map's value at a place of an image, bilinear between the centers of its cells. */
function heatAt({ width, height, values }: HeatMap, x: number, y: number): number {
  const clamp = (at: number, side: number): number => Math.min(Math.max(at, 0), side - 1);
  const [column, row] = [clamp(x * width - 0.5, width), clamp(y * height - 0.5, height)];
  const [left, top] = [Math.floor(column), Math.floor(row)];
  const [right, bottom] = [Math.min(left + 1, width - 1), Math.min(top + 1, height - 1)];
  const [dx, dy] = [column - left, row - top];
  const between = (line: number): number =>
    values[line * width + left]! * (1 - dx) + values[line * width + right]! * dx;
  return between(top) * (1 - dy) + between(bottom) * dy;
}

/** A heat map over its image: high values are bright and opaque, low ones dark and transparent. */
export function heatOverlay(image: Raster, heat: HeatMap): Raster {
  checkRaster('heatOverlay', image);
  checkArgument('heatOverlay', 'heat', heat, ['width', 'height', 'values'], 'a heat map, such as of gradCam');
  const { width, height, channels, bytes } = image;
  const values = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      values[y * width + x] = heatAt(heat, (x + 0.5) / width, (y + 0.5) / height);
    }
  }
  const pixels = heatPixels({ width, height, values });
  const mixed = new Uint8Array(3 * values.length);
  for (let i = 0; i < values.length; i++) {
    const opacity = pixels[4 * i + 3]! / 255;
    for (let c = 0; c < 3; c++) {
      const below = bytes[i * channels + (channels === 1 ? 0 : c)]!;
      mixed[3 * i + c] = Math.round(below + (pixels[4 * i + c]! - below) * opacity);
    }
  }
  return { width, height, channels: 3, bytes: mixed };
}

/** Grad-CAM over its image. Small images are enlarged, so that the heat map stays smooth. */
export function camImage(image: Raster, heat: HeatMap): Raster {
  checkRaster('camImage', image);
  return heatOverlay(enlarged(image, factorOf(image)), heat);
}

/** A heat map on its own, for instance a saliency map: one pixel per value, enlarged if it is small. */
export function heatImage(heat: HeatMap): Raster {
  checkArgument('heatImage', 'heat', heat, ['width', 'height', 'values'], 'a heat map, such as of saliency');
  const { width, height, values } = heat;
  const bytes = Uint8Array.from([...values].flatMap((value) => inferno(value)));
  return enlarged({ width, height, channels: 3, bytes }, factorOf(heat));
}

export interface GridOptions {
  /** Columns of the grid; as many as rows by default. */
  readonly columns?: number;
  /** The most channels, the strongest first; 64 by default. */
  readonly channels?: number;
}

/** The feature maps of the first image after a layer as a grid, each scaled from its least to its largest value. */
export function featureImage(features: Features, options: GridOptions = {}): Raster {
  checkArgument('featureImage', 'features', features, ['shape', 'data'], 'the values of model.features');
  checkOptions<GridOptions>('featureImage', options, { columns: 'optional', channels: 'optional' });
  if (features.shape.length !== 4) {
    throw new UsageError(
      `featureImage: values [${features.shape.join(', ')}] are not maps [N, C, H, W]; choose a layer before flatten`,
    );
  }
  const channels = strongestChannels(features, options.channels ?? 64);
  const sheet = featureRaster(features, channels, options.columns ?? Math.ceil(Math.sqrt(channels.length)));
  return enlarged(sheet, factorOf(sheet));
}

/** The filters of a first convolution as a grid, in color for three channels; middle gray is 0. */
export function filterImage(weight: Weight, options: Pick<GridOptions, 'columns'> = {}): Raster {
  checkArgument('filterImage', 'weight', weight, ['shape', 'data'], 'the weight of a convolution');
  checkOptions<Pick<GridOptions, 'columns'>>('filterImage', options, { columns: 'optional' });
  const { shape } = weight;
  if (shape.length !== 4) {
    throw new UsageError(
      `filterImage: a weight [${shape.join(', ')}] is not of a convolution [out, C, kh, kw]`,
    );
  }
  const sheet = filterRaster(weight, options.columns ?? Math.ceil(Math.sqrt(shape[0]!)));
  return enlarged(sheet, factorOf(sheet));
}
