/**
 * Batch normalization with the ReLU after it. Training needs the moments of the whole batch, and the backward pass two
 * sums over it, so all workers meet in both passes: each group of images gathers its part in separate memory (`gather`),
 * and one worker combines them, in order and in float64 (`combineBatchNorm`). Then each image is normalized separately.
 * Evaluation and frozen layers use the running moments.
 *
 * The output is not kept for the backward pass: it is computed again from the input, which is kept anyway.
 */
import { type Code, reluThreshold } from '../plan/code.ts';
import { type Chunk, imagesOf, type MapBuffer } from '../plan/maps.ts';
import type { Place } from '../plan/memory.ts';
import type { BatchNorm } from '../plan/operations.ts';
import type { ParameterLayout } from '../plan/parameters.ts';
import {
  applyOwnRelu,
  type BatchBarrier,
  type Lowered,
  type LoweringContext,
  type ParallelTasks,
} from './lowering.ts';

/** Vectors of a normalization, each of `stored` floats of its view, contiguous. */
const vectors = [
  /** The arguments of `normalize`: what is subtracted, multiplied and added. */
  'mean',
  'scale',
  'shift',
  /** Of the batch, divided by the number of values. */
  'variance',
  /** What the backward pass subtracts from a gradient, and times the distance from the mean. */
  'offset',
  'slope',
] as const;

/** A normalization's memory, for the whole session. */
export interface BatchNormMemory {
  readonly vectors: Place;
  /** Running mean, then running variance. */
  readonly running: Place;
}

export const vectorFloats = ({ view }: BatchNorm): number => vectors.length * view.stored;
export const runningFloats = ({ view }: BatchNorm): number => 2 * view.stored;
/** Floats that a group of images gathers: two vectors. */
export const partFloats = ({ view }: BatchNorm): number => 2 * view.stored;

/** The work of one worker for all. Addresses count floats. */
export interface BatchNormCall {
  readonly host: 'batchNorm';
  readonly step: 'moments' | 'gradients' | 'running' | 'evaluation';
  /** Of each channel in a vector of `stored` floats. */
  readonly places: Int32Array;
  readonly stored: number;
  readonly epsilon: number;
  readonly momentum: number;
  readonly vectors: number;
  readonly running: number;
  /** Weights and biases, and their gradients, [weights][biases]; absent if not affine. */
  readonly parameters: number | undefined;
  readonly gradients: number;
  /** The parts of the groups of images, `partStride` apart, and the number of values per channel in each. */
  readonly parts: number;
  readonly partStride: number;
  readonly counts: readonly number[];
}

/** `images` are the numbers of images in each group. */
export function batchNormCall(
  operation: BatchNorm,
  step: BatchNormCall['step'],
  layout: ParameterLayout,
  images: readonly number[],
): BatchNormCall {
  const { spec, view, places, matrix } = operation;
  const memory = layout.normalizationOf(operation);
  const trains = step === 'moments' || step === 'gradients';
  return {
    host: 'batchNorm',
    step,
    places,
    stored: view.stored,
    epsilon: spec.epsilon,
    momentum: spec.momentum,
    vectors: memory.vectors.at,
    running: memory.running.at,
    parameters: matrix && layout.parameters.at + matrix.offset,
    gradients: matrix && trains ? layout.gradientOf(operation) + matrix.offset : 0,
    parts: trains ? layout.parts.at : 0,
    partStride: layout.partStride,
    counts: images.map((count) => count * view.height * view.width),
  };
}

/** Runs the call on the memory. */
export function combineBatchNorm(call: BatchNormCall, floats: Float32Array): void {
  const { places, stored, epsilon, momentum, parameters, gradients, counts } = call;
  const place = (name: (typeof vectors)[number]): number => call.vectors + vectors.indexOf(name) * stored;
  const [mean, scale, shift, variance] = [place('mean'), place('scale'), place('shift'), place('variance')];
  const [offset, slope] = [place('offset'), place('slope')];
  const [runningMean, runningVariance] = [call.running, call.running + stored];
  const total = counts.reduce((sum, count) => sum + count, 0);
  const normalizeBy = (c: number, center: number, spread: number): void => {
    const weight = parameters === undefined ? 1 : floats[parameters + c]!;
    floats[mean + c] = center;
    floats[scale + c] = weight / Math.sqrt(spread + epsilon);
    floats[shift + c] = parameters === undefined ? 0 : floats[parameters + stored + c]!;
  };
  for (const c of places) {
    switch (call.step) {
      case 'moments': {
        let [center, squares, before] = [0, 0, 0];
        counts.forEach((count, group) => {
          const at = call.parts + group * call.partStride + c;
          const apart = floats[at]! - center;
          const all = before + count;
          center += (apart * count) / all;
          squares += floats[at + stored]! + (apart ** 2 * before * count) / all;
          before = all;
        });
        floats[variance + c] = squares / total;
        normalizeBy(c, center, squares / total);
        break;
      }
      case 'gradients': {
        let [sum, product] = [0, 0];
        counts.forEach((_, group) => {
          const at = call.parts + group * call.partStride + c;
          sum += floats[at]!;
          product += floats[at + stored]!;
        });
        const spread = floats[variance + c]! + epsilon;
        floats[offset + c] = sum / total;
        floats[slope + c] = product / (spread * total);
        if (parameters === undefined) break;
        floats[gradients + c] = product / Math.sqrt(spread);
        floats[gradients + stored + c] = sum;
        break;
      }
      case 'running': {
        const follow = (at: number, value: number): void => {
          floats[at] = (1 - momentum) * floats[at]! + momentum * value;
        };
        follow(runningMean + c, floats[mean + c]!);
        follow(runningVariance + c, (floats[variance + c]! * total) / (total - 1));
        break;
      }
      case 'evaluation':
        normalizeBy(c, floats[runningMean + c]!, floats[runningVariance + c]!);
        floats[offset + c] = 0;
        floats[slope + c] = 0;
        break;
    }
  }
}

/** Sizes and maps of a chunk, named as in the kernels: image by image, or all at once if an image is one pixel. */
function walkMaps(
  { view }: BatchNorm,
  chunk: Chunk,
  maps: Readonly<Record<string, MapBuffer>>,
  body: (sizes: Record<string, number>, image: number) => void,
): void {
  const together = view.height * view.width === 1;
  for (let image = 0; image < (together ? 1 : chunk.count); image++) {
    const sizes: Record<string, number> = {
      rows: view.height,
      columns: together ? chunk.count : view.width,
      channels: view.stored,
    };
    for (const [name, map] of Object.entries(maps)) {
      sizes[name] = map.at(chunk, image);
      sizes[`${name}Row`] = map.rowStride;
      sizes[`${name}Pixel`] = together ? map.imageStride : map.pixelStride;
    }
    body(sizes, image);
  }
}

/** The address of a normalization's vector. */
const vectorAt = (operation: BatchNorm, layout: ParameterLayout, name: (typeof vectors)[number]): number =>
  layout.normalizationOf(operation).vectors.at + vectors.indexOf(name) * operation.view.stored;

/** Gathers the moments and the sums of each group of images, and combines the groups. */
function batchBarrier(operation: BatchNorm, context: LoweringContext): BatchBarrier {
  const { height, width, stored } = operation.view;
  const { layout, x, dy } = context;
  const part = (group: number): number => layout.parts.at + group * layout.partStride;
  return {
    gather(code, chunk, group, before) {
      walkMaps(operation, chunk, { map: x }, (sizes, image) =>
        code.call('channelMoments', {
          ...sizes,
          mean: part(group),
          squares: part(group) + stored,
          before: (before + image) * height * width,
        }),
      );
    },
    combine: (code, images) => code.host(batchNormCall(operation, 'moments', layout, images)),
    gatherGradients(code, chunk, group, first) {
      applyOwnRelu(code, context, chunk);
      walkMaps(operation, chunk, { map: x, gradient: dy! }, (sizes, image) =>
        code.call('normalizeSums', {
          ...sizes,
          sums: part(group),
          products: part(group) + stored,
          mean: vectorAt(operation, layout, 'mean'),
          accumulate: Number(!first || image > 0),
        }),
      );
    },
    combineGradients: (code, images) => code.host(batchNormCall(operation, 'gradients', layout, images)),
  };
}

export function lowerBatchNorm(operation: BatchNorm, context: LoweringContext): Lowered {
  const { layout, x, y, dx, dy } = context;
  const vector = (name: (typeof vectors)[number]): number => vectorAt(operation, layout, name);
  const barrier = batchBarrier(operation, context);
  const forward = (code: Code, chunk: Chunk): void =>
    walkMaps(operation, chunk, { map: x, out: y }, (sizes) =>
      code.call('normalize', {
        ...sizes,
        mean: vector('mean'),
        scale: vector('scale'),
        shift: vector('shift'),
        threshold: reluThreshold(operation.relu),
      }),
    );
  const backward = (code: Code, chunk: Chunk): void => {
    // In training, this is done before the sums.
    if (context.inference) applyOwnRelu(code, context, chunk);
    if (!dx) return;
    walkMaps(operation, chunk, { map: x, gradient: dy!, out: dx }, (sizes) =>
      code.call('normalizeBackward', {
        ...sizes,
        mean: vector('mean'),
        scale: vector('scale'),
        offset: vector('offset'),
        slope: vector('slope'),
        threshold: reluThreshold(context.masksInput),
      }),
    );
  };
  /** A task for each image. */
  const byImage = (
    chunk: Chunk,
    emit: (code: Code, image: Chunk, index: number) => void,
  ): ParallelTasks[number] => imagesOf(chunk).map((image, i) => (code) => emit(code, image, i));
  const ones = (chunk: Chunk): number[] => new Array<number>(chunk.count).fill(1);
  const sums = (chunk: Chunk): ParallelTasks => [
    byImage(chunk, (code, image, i) => barrier.gatherGradients(code, image, i, true)),
    [(code) => barrier.combineGradients(code, ones(chunk))],
  ];
  return {
    barrier,
    forward,
    forwardTasks: (chunk) => [
      ...(!context.inference
        ? [
            byImage(chunk, (code, image, i) => barrier.gather(code, image, i, 0)),
            [(code: Code) => barrier.combine(code, ones(chunk))],
          ]
        : []),
      byImage(chunk, forward),
    ],
    backward,
    backwardTasks: (chunk) => ({
      tasks: [...(context.inference ? [] : sums(chunk)), ...(dx ? [byImage(chunk, backward)] : [])],
      slots: context.inference ? 0 : 1,
    }),
  };
}
