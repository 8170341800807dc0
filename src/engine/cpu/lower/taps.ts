/**
 * Copies between maps and a caller's arrays, which are in PyTorch's order: the values after an operation, gradients that
 * are added to its output's, and the gradient that is wanted.
 */
import type { Code } from '../plan/code.ts';
import type { Taps } from '../plan/features.ts';
import { type Chunk, imagesOf, type MapBuffer } from '../plan/maps.ts';
import { clearHalo, type Lowered, type LoweringContext } from './lowering.ts';

/** Copies the maps of some images. Addresses count floats. */
export interface TapCall {
  readonly host: 'tap';
  /** `values` and `gradient` are copied from the map; `given` is added to it, or replaces it. */
  readonly array: 'values' | 'given' | 'gradient';
  readonly replace: boolean;
  /** Which of the command's arrays. */
  readonly index: number;
  readonly first: number;
  readonly count: number;
  readonly map: number;
  readonly imageStride: number;
  readonly rowStride: number;
  readonly pixelStride: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

const tap = (
  code: Code,
  map: MapBuffer,
  chunk: Chunk,
  what: Pick<TapCall, 'array' | 'index' | 'replace'>,
): void => {
  const { imageStride, rowStride, pixelStride, shape } = map;
  const { channels, height, width } = shape;
  code.host({
    host: 'tap',
    ...what,
    first: chunk.first,
    count: chunk.count,
    map: map.at(chunk, 0),
    ...{ imageStride, rowStride, pixelStride, channels, height, width },
  });
};

export interface TapOptions {
  readonly taps: Taps;
  /** Whether the operation is the last, so that only given gradients make up its output's. */
  readonly isLast: boolean;
  /** Whether it has a backward pass. */
  readonly passesBack: boolean;
  /** Whether the gradient of its input is the images', which is wanted. */
  readonly toImages: boolean;
}

/** The same operation with the copies that are wanted of it, and without a backward pass if none is needed. */
export function withTaps(
  lowered: Lowered,
  { y, dx, dy }: LoweringContext,
  { taps, isLast, passesBack, toImages }: TapOptions,
): Lowered {
  const after = (code: Code, chunk: Chunk): void => {
    for (const index of taps.values) tap(code, y, chunk, { array: 'values', index, replace: false });
  };
  const before = (code: Code, chunk: Chunk): void => {
    if (isLast && taps.given.length > 0) clearHalo(code, dy, chunk);
    taps.given.forEach((index, i) => {
      tap(code, dy!, chunk, { array: 'given', index, replace: isLast && i === 0 });
    });
    if (taps.isTarget) tap(code, dy!, chunk, { array: 'gradient', index: 0, replace: false });
  };
  const hasBefore = taps.given.length > 0 || taps.isTarget;
  const end = (code: Code, chunk: Chunk): void => {
    if (toImages) tap(code, dx!, chunk, { array: 'gradient', index: 0, replace: false });
  };
  const each = (chunk: Chunk, body: (code: Code, chunk: Chunk) => void) =>
    imagesOf(chunk).map((image) => (code: Code) => body(code, image));
  return {
    forward(code, chunk) {
      lowered.forward(code, chunk);
      after(code, chunk);
    },
    forwardTasks: (chunk, parts) => [
      ...lowered.forwardTasks(chunk, parts),
      ...(taps.values.length > 0 ? [each(chunk, after)] : []),
    ],
    backward(code, chunk, slot, first) {
      before(code, chunk);
      if (passesBack) lowered.backward(code, chunk, slot, first);
      end(code, chunk);
    },
    backwardTasks(chunk, parts, slot) {
      const own = passesBack ? lowered.backwardTasks(chunk, parts, slot).tasks : [];
      return {
        tasks: [...(hasBefore ? [each(chunk, before)] : []), ...own, ...(toImages ? [each(chunk, end)] : [])],
        slots: 0,
      };
    },
  };
}
