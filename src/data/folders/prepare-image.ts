/** Prepares one image for a cache file (Node only): decoded, resized to a shorter side, and measured. */
import { crc32 } from 'node:zlib';
import { decodeNamed } from '../../images/decode.ts';
import { readImageFileSync } from '../../images/read.ts';
import { centerWindow, planResize, type ResizePlan, resizedSides, type Sides } from '../resize.ts';
import { openResizer, type Resizer } from '../resize-kernel.ts';

/** An image as it is stored, or why its file is broken. */
export type Prepared =
  | {
      readonly height: number;
      readonly width: number;
      /** [3, height, width]. */
      readonly pixels: Uint8Array<ArrayBuffer>;
      readonly checksum: number;
      readonly sums: readonly number[];
    }
  | { readonly problem: string };

/** Sides of a stored image: of a panorama or a banner only the center is kept, this many times as long as it is short. */
const longest = 4;

/** The sides of a stored image of a photo of `sides`. */
export function storedSides(sides: Sides, side: number): Sides {
  const [height, width] = resizedSides(sides, side);
  return [Math.min(height, longest * side), Math.min(width, longest * side)];
}

/** What is wrong with one file; other errors of the system, such as too many open files, are not the file's. */
const fileErrors = ['ENOENT', 'EACCES', 'EPERM', 'ELOOP', 'ENOTDIR', 'EISDIR', 'ENXIO', 'NOT_REGULAR'];

function isProblem(error: unknown): error is Error {
  if (!(error instanceof Error) || error.name !== 'DataError') return false;
  const { code } = (error.cause ?? {}) as { readonly code?: unknown };
  return typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code) || fileErrors.includes(code);
}

/** Prepares images one after the other or several at once; keeps the kernel and the last sizes' weights. */
export function openPreparer(side: number): (path: string) => Promise<Prepared> {
  let resizer: Resizer | undefined;
  const plans = new Map<string, ResizePlan>();
  const planOf = (source: Sides): ResizePlan => {
    const key = source.join('×');
    const known = plans.get(key);
    if (known) return known;
    // Photos of one camera have one size.
    if (plans.size >= 8) plans.delete(plans.keys().next().value!);
    const whole = resizedSides(source, side);
    const plan = planResize(source, whole, centerWindow(whole, storedSides(source, side)));
    plans.set(key, plan);
    return plan;
  };
  return async (path) => {
    try {
      const image = await decodeNamed(path, readImageFileSync(path), {});
      const plan = planOf([image.height, image.width]);
      const { height, width } = plan.window;
      const pixels = new Uint8Array(3 * height * width);
      resizer ??= openResizer();
      resizer(plan, image.pixels, pixels);
      return { height, width, pixels, checksum: crc32(pixels), sums: sumsOf(pixels, height * width) };
    } catch (error) {
      if (isProblem(error)) return { problem: error.message };
      throw error;
    }
  };
}

/** Sums of the bytes of each channel, then of their squares. */
export function sumsOf(pixels: Uint8Array, area: number): readonly number[] {
  const sums = [0, 0, 0, 0, 0, 0];
  for (let c = 0; c < 3; c++) {
    const end = (c + 1) * area;
    for (let at = c * area; at < end; ) {
      // Sums of so few bytes are small integers, which are added fast.
      const pause = Math.min(end, at + 4096);
      let [sum, squares] = [0, 0];
      for (; at < pause; at++) {
        const byte = pixels[at]!;
        sum = (sum + byte) | 0;
        squares = (squares + byte * byte) | 0;
      }
      sums[c]! += sum;
      sums[3 + c]! += squares;
    }
  }
  return sums;
}
