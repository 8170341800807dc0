/** Prepares one image for a cache file (Node only): decoded, resized to a shorter side, and measured. */
import { statSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { mostPixels, openImage } from '../../images/decode.ts';
import { readBaseline } from '../../images/jpeg/baseline.ts';
import { type JpegDecoder, openJpegDecoder } from '../../images/jpeg/decoder.ts';
import { readImageFileSync } from '../../images/read-sync.ts';
import type { ResizePlan } from '../resize.ts';
import { openResizer, type Resizer } from '../resize-kernel.ts';
import type { MemoryBudget } from './memory-budget.ts';
import { rememberPlans } from './stored-sides.ts';

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

/** What is wrong with one file; other errors of the system, such as too many open files, are not the file's. */
const fileErrors = ['ENOENT', 'EACCES', 'EPERM', 'ELOOP', 'ENOTDIR', 'EISDIR', 'ENXIO', 'NOT_REGULAR'];

function isProblem(error: unknown): error is Error {
  if (!(error instanceof Error) || error.name !== 'DataError') return false;
  const { code } = (error.cause ?? {}) as { readonly code?: unknown };
  return typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code) || fileErrors.includes(code);
}

/**
 * Bytes for a pixel that sharp decodes: at most four values, as they are stored and as they are returned, and for
 * progressive JPEG coefficients of 16 bits.
 */
const sharpPixelBytes = 12;
/** Our decoder has the codes of a file twice. */
const copies = 2;
/** Memory of WebAssembly never shrinks; after larger images it is given back. */
const mostKeptBytes = 2 ** 25;

const sizeOf = (path: string): number => {
  try {
    return statSync(path).size;
  } catch {
    // Reading it says why.
    return 0;
  }
};

/**
 * Prepares images one after the other or several at once, as far as `budget` allows; keeps the kernels and the last
 * sizes' weights. Common JPEG files are decoded and resized a few rows at a time, all others by sharp.
 */
export function openPreparer(side: number, budget: MemoryBudget): (path: string) => Promise<Prepared> {
  let kernels: { readonly resizer: Resizer; readonly decoder: JpegDecoder } | undefined;
  const opened = (): { readonly resizer: Resizer; readonly decoder: JpegDecoder } => {
    kernels ??= { resizer: openResizer(), decoder: openJpegDecoder() };
    return kernels;
  };
  const planOf = rememberPlans(side);
  const prepareJpeg = (bytes: Uint8Array): Prepared | undefined => {
    const jpeg = readBaseline(bytes);
    if (jpeg === undefined || jpeg.width * jpeg.height > mostPixels) return undefined;
    const { resizer, decoder } = opened();
    const plan = planOf([jpeg.height, jpeg.width]);
    resizer.begin(plan);
    const isWhole = decoder.decode(jpeg, bytes, resizer.add);
    if (decoder.bytes() > mostKeptBytes) kernels = undefined;
    return isWhole ? finish(resizer, plan) : undefined;
  };
  return async (path) => {
    let held = copies * sizeOf(path);
    await budget.take(held);
    try {
      let bytes = readImageFileSync(path);
      const own = prepareJpeg(bytes);
      if (own) return own;
      const image = await openImage(path, bytes, {});
      const more = sharpPixelBytes * image.width * image.height;
      if (budget.takeMore(held, more)) held += more;
      else {
        // Nobody waits while holding memory.
        bytes = new Uint8Array(0);
        budget.give(held);
        held = copies * sizeOf(path) + more;
        await budget.take(held);
        bytes = readImageFileSync(path);
      }
      const { width, height, pixels } = await image.decode(bytes);
      const plan = planOf([height, width]);
      const { resizer } = opened();
      resizer.begin(plan);
      resizer.add(pixels, 0, height);
      // Gives the memory back now, not with some later collection of garbage.
      if (pixels.buffer instanceof ArrayBuffer) pixels.buffer.transfer(0);
      return finish(resizer, plan);
    } catch (error) {
      if (isProblem(error)) return { problem: error.message };
      throw error;
    } finally {
      budget.give(held);
    }
  };
}

function finish(resizer: Resizer, { window: { height, width } }: ResizePlan): Prepared {
  const pixels = new Uint8Array(3 * height * width);
  const sums = resizer.end(pixels);
  return { height, width, pixels, checksum: crc32(pixels), sums };
}
