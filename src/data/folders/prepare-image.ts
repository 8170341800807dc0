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
      const sums = resizer(plan, image.pixels, pixels);
      return { height, width, pixels, checksum: crc32(pixels), sums };
    } catch (error) {
      if (isProblem(error)) return { problem: error.message };
      throw error;
    }
  };
}
