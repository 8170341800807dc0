/**
 * The paper's ways to test a network (Simonyan & Zisserman, sections 3.2 and 4): at one or several scales Q, on which the
 * shorter side of an image is resized to Q pixels; dense, on whole images; and on many crops. Class probabilities of all
 * views of an image are averaged. Views are plain data: which part of an image resized to Q the network sees.
 */
import { centerOffset } from '../data/center.ts';
import type { Sides } from '../data/resize.ts';
import { UsageError } from '../errors.ts';
import { checkOptions, checkWhole, type KnownKeys, shown } from '../options.ts';

/** How a network is tested. */
export interface Protocol {
  /**
   * Lengths of the shorter side of the resized images. By default one: 256 for a network of 224×224 and in proportion
   * for others; below 64×64 the network's own side.
   */
  readonly scales?: readonly number[] | undefined;
  /** Whether the network is applied to whole images, with its linear layers as convolutions; false by default. */
  readonly dense?: boolean | undefined;
  /**
   * Crops of the network's size per scale: 1, the center; 10, the corners and the center, mirrored; 50, a grid of 5×5,
   * mirrored. Without dense, 1 by default; with dense none, and with both their probabilities are averaged.
   */
  readonly crops?: CropCount | undefined;
  /** Whether images are also seen mirrored; true by default if dense or with several crops. */
  readonly flip?: boolean | undefined;
}

export const cropCounts = [1, 10, 50] as const;
export type CropCount = (typeof cropCounts)[number];

export const protocolKeys: KnownKeys<Protocol> = {
  scales: 'optional',
  dense: 'optional',
  crops: 'optional',
  flip: 'optional',
};

/** Numbers of scales and their pixels: more than any use. */
const mostScales = 20;
const largestScale = 8192;

/** A part of an image that was resized to a scale. */
export interface View {
  /** Whether it is seen densely: the whole resized image, of any size. */
  readonly dense: boolean;
  readonly scale: number;
  /** Of a crop in the resized image. */
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
  readonly flip: boolean;
  /** Its share of an image's class probabilities. */
  readonly weight: number;
}

/** A protocol whose choices are made. */
export interface ChosenProtocol {
  readonly scales: readonly number[];
  readonly dense: boolean;
  /** 0 for none. */
  readonly crops: CropCount | 0;
  readonly flip: boolean;
}

/**
 * A protocol for a network of `input`, [channels, height, width]. `standard` is its usual scale.
 * @throws UsageError for an impossible one.
 */
export function chosenProtocol(
  where: string,
  protocol: Protocol,
  [, height = 1, width = 1]: readonly number[],
  standard: number,
): ChosenProtocol {
  checkOptions<Protocol>(where, protocol, protocolKeys);
  const { dense = false, crops = dense ? 0 : 1, scales = [standard] } = protocol;
  const { flip = dense || crops > 1 } = protocol;
  for (const [name, value] of Object.entries({ dense, flip })) {
    if (typeof value !== 'boolean')
      throw new UsageError(`${where}: ${name} ${shown(value)} is not true or false`);
  }
  if (crops !== 0 && !cropCounts.includes(crops))
    throw new UsageError(`${where}: crops ${shown(crops)} is not one of ${cropCounts.join(', ')}`);
  if (!Array.isArray(scales) || scales.length === 0 || scales.length > mostScales)
    throw new UsageError(`${where}: scales ${shown(scales)} is not a list of 1 to ${mostScales} numbers`);
  for (const scale of scales) {
    checkWhole(where, 'scale', scale, 1, largestScale);
    // The shorter side may be any of both.
    const least = Math.max(height, width);
    if (scale >= least) continue;
    throw new UsageError(
      `${where}: scale ${scale} is smaller than the network's images of ${height}×${width}; use scales from ${least} on`,
    );
  }
  const twice = scales.find((scale, i) => scales.indexOf(scale) !== i);
  if (twice !== undefined) throw new UsageError(`${where}: scale ${twice} is given twice; leave one out`);
  return { scales, dense, crops, flip };
}

/**
 * The starts of the crops of a 5×5 grid along one side: evenly spaced, and a half rounded to the even number, as
 * Python's round((side − size) · i / 4).
 */
export function gridOffsets(side: number, size: number): number[] {
  return [0, 1, 2, 3, 4].map((i) => {
    const quarters = i * (side - size);
    const low = Math.floor(quarters / 4);
    const rest = quarters % 4;
    return rest > 2 || (rest === 2 && low % 2 === 1) ? low + 1 : low;
  });
}

/** The places of crops of `size` in an image of `sides`: the corners row by row and the center last, or the grid. */
export function cropPlaces(
  crops: CropCount,
  sides: Sides,
  size: Sides,
): (readonly [top: number, left: number])[] {
  const [bottom, right] = [sides[0] - size[0], sides[1] - size[1]];
  const center = [centerOffset(sides[0], size[0]), centerOffset(sides[1], size[1])] as const;
  if (crops === 1) return [center];
  if (crops === 10) return [[0, 0], [0, right], [bottom, 0], [bottom, right], center];
  const columns = gridOffsets(sides[1], size[1]);
  return gridOffsets(sides[0], size[0]).flatMap((top) => columns.map((left) => [top, left] as const));
}

/** The views of an image whose sides at each scale are `sidesAt`. Their weights add up to 1. */
export function viewsOf(
  { scales, dense, crops, flip }: ChosenProtocol,
  [, height = 1, width = 1]: readonly number[],
  sidesAt: (scale: number) => Sides,
): View[] {
  const flips = flip ? [false, true] : [false];
  const kinds = Number(dense) + Number(crops > 0);
  return scales.flatMap((scale) => {
    const sides = sidesAt(scale);
    const whole = { dense: true, scale, top: 0, left: 0, height: sides[0], width: sides[1] };
    const places = crops === 0 ? [] : cropPlaces(crops, sides, [height, width]);
    const share = 1 / (kinds * scales.length * flips.length);
    return [
      ...(dense ? flips.map((mirrored) => ({ ...whole, flip: mirrored, weight: share })) : []),
      ...places.flatMap(([top, left]) =>
        flips.map((mirrored) => ({
          ...{ dense: false, scale, top, left, height, width },
          flip: mirrored,
          weight: share / places.length,
        })),
      ),
    ];
  });
}
