/** Max-pools that are not fused into a convolution, and the pooling code shared with convolutions. */
import { bytePositions } from '../../../kernels/pooling.ts';
import type { MaxPool2dSpec, PoolSpec } from '../../../model/layer.ts';
import type { MapShape } from '../../map-shape.ts';
import { type Code, reluThreshold } from '../plan/code.ts';
import { type Chunk, type MapBuffer, noHalo } from '../plan/maps.ts';
import { isPoolOfTiles, type Pool } from '../plan/operations.ts';
import { imageTasks, type Lowered, type LoweringContext } from './lowering.ts';

/** Whether the winners of a pool are bytes; of larger windows they are floats. */
const hasByteWinners = ({ kernel: [height, width] }: MaxPool2dSpec): boolean =>
  height * width <= bytePositions;

/** A map of winners: bytes, four of them in a float. */
export const winnerShape = (pool: MaxPool2dSpec, pooled: MapShape): MapShape =>
  hasByteWinners(pool) ? { ...pooled, stored: pooled.stored / 4 } : pooled;

/** The kernel that pools a map with these windows. */
export const poolKernel = (pool: MaxPool2dSpec): 'maxPool' | 'maxPoolLarge' =>
  hasByteWinners(pool) ? 'maxPool' : 'maxPoolLarge';

/** The windows' arguments of all pooling kernels; `map` is the larger map, or its gradient. */
export function windowArguments(
  pool: PoolSpec,
  map: MapBuffer,
  pooled: MapShape,
  chunk: Chunk,
  image: number,
): Record<string, number> {
  return {
    map: map.at(chunk, image),
    mapRow: map.rowStride,
    mapPixel: map.pixelStride,
    height: map.shape.height,
    width: map.shape.width,
    pooledHeight: pooled.height,
    pooledWidth: pooled.width,
    channels: pooled.stored,
    kernelHeight: pool.kernel[0],
    kernelWidth: pool.kernel[1],
    strideY: pool.stride[0],
    strideX: pool.stride[1],
    paddingY: pool.padding[0],
    paddingX: pool.padding[1],
  };
}

/** The windows' arguments of the kernels of max-pools. */
export const poolWindows = (
  pool: MaxPool2dSpec,
  map: MapBuffer,
  pooled: MapShape,
  winners: MapBuffer,
  chunk: Chunk,
  image: number,
): Record<string, number> => ({
  ...windowArguments(pool, map, pooled, chunk, image),
  winners: winners.at(chunk, image),
  winnerRow: winners.rowStride,
  winnerPixel: winners.pixelStride,
});

/** The gradient of a pool's input from the windows' arguments. `stays`: zeros in the map stay (`dxStays`). */
export function poolBackward(
  code: Code,
  pool: MaxPool2dSpec,
  full: MapShape,
  windows: Record<string, number>,
  stays: boolean,
): void {
  const size = isPoolOfTiles(pool) ? pool.kernel[0] : undefined;
  const tiles = size === 2 || size === 4;
  const kernel = tiles ? (size === 2 ? 'unpool2' : 'unpool4') : (`${poolKernel(pool)}Backward` as const);
  // Positions outside all windows are never written here.
  const covered = tiles && full.height % size === 0 && full.width % size === 0;
  if (!tiles || !(stays || covered)) {
    code.call('fill', {
      out: windows.map!,
      outRow: windows.mapRow!,
      rows: full.height,
      length: full.width * full.stored,
      value: 0,
    });
  }
  code.call(kernel, windows);
}

export function lowerPool(operation: Pool, context: LoweringContext): Lowered {
  const { spec, output } = operation;
  const { x, y, dx, dy } = context;
  const winners = context.keep(winnerShape(spec, output), noHalo);
  const windows = (map: MapBuffer, chunk: Chunk, image: number): Record<string, number> => ({
    ...poolWindows(spec, map, output, winners, chunk, image),
    pooled: y.at(chunk, image),
    pooledRow: y.rowStride,
    pooledPixel: y.pixelStride,
  });
  const lowered: Pick<Lowered, 'forward' | 'backward'> = {
    forward(code, chunk) {
      for (let image = 0; image < chunk.count; image++) {
        code.call(poolKernel(spec), windows(x, chunk, image));
      }
    },
    backward(code, chunk) {
      if (!dx) return;
      for (let image = 0; image < chunk.count; image++) {
        const gradient = {
          ...windows(dx, chunk, image),
          gradient: dy!.at(chunk, image),
          gradientRow: dy!.rowStride,
          gradientPixel: dy!.pixelStride,
          // A winner's value is the pooled value, which shows whether a ReLU before the pool was on.
          threshold: reluThreshold(context.masksInput),
        };
        poolBackward(code, spec, operation.input, gradient, context.dxStays);
      }
    },
  };
  return { ...lowered, ...imageTasks(lowered) };
}
