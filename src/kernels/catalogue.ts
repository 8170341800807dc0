/** All kernels, in the order in which a training step runs them. To add one, write it and list it here. */
import { directForward, directWeightGradient } from './direct.ts';
import { gemmNN, gemmNNRelu, gemmNT, gemmTN } from './gemm.ts';
import type { Kernel, KernelDefinition, ParameterTypes, Target, Width } from './language.ts';
import { localResponse, localResponseBackward } from './local-response.ts';
import {
  addBias,
  col2im,
  fill,
  im2col,
  loadImage,
  multiply,
  peak,
  prefetchRows,
  relu,
  reluBackward,
  sumPixels,
  transpose,
} from './maps.ts';
import { muonBias, muonDirection, newtonSchulz, normalizeGram, scaleRows } from './muon.ts';
import { channelMoments, normalize, normalizeBackward, normalizeSums } from './normalization.ts';
import { adam, moveAverage, reduceSlots, sgd, sumSquares } from './optimizer.ts';
import {
  adaptivePool,
  adaptivePoolBackward,
  averagePool,
  averagePoolBackward,
  maxPool,
  maxPoolBackward,
  maxPoolLarge,
  maxPoolLargeBackward,
  unpool2,
  unpool4,
} from './pooling.ts';
import { sparseCollect, sparseGradients, sparseWeightGradient } from './sparse.ts';
import { winogradKernels } from './winograd.ts';

export const kernelNames = [
  'loadImage',
  'prefetchRows',
  'directForward',
  'im2col',
  'gemmNN',
  'gemmNNRelu',
  'gemmTN',
  'gemmNT',
  'winograd4Input',
  'winograd2Input',
  'winograd4Output',
  'winograd2Output',
  'winograd4OutputPool2',
  'winograd2OutputPool2',
  'winograd4OutputPool4',
  'maxPool',
  'maxPoolLarge',
  'averagePool',
  'adaptivePool',
  'localResponse',
  'relu',
  'addBias',
  'channelMoments',
  'normalize',
  'multiply',
  'normalizeSums',
  'normalizeBackward',
  'reluBackward',
  'maxPoolBackward',
  'maxPoolLargeBackward',
  'averagePoolBackward',
  'adaptivePoolBackward',
  'localResponseBackward',
  'unpool2',
  'unpool4',
  'directWeightGradient',
  'sparseCollect',
  'sparseWeightGradient',
  'sparseGradients',
  'winograd4Gradient',
  'winograd2Gradient',
  'winograd4OutputMasked',
  'winograd2OutputMasked',
  'winograd4WeightGradient',
  'winograd2WeightGradient',
  'col2im',
  'sumPixels',
  'fill',
  'reduceSlots',
  'sumSquares',
  'adam',
  'sgd',
  'muonDirection',
  'muonBias',
  'normalizeGram',
  'newtonSchulz',
  'scaleRows',
  'moveAverage',
  'transpose',
  'winograd4Weights',
  'winograd2Weights',
  'winograd4WeightsBackward',
  'winograd2WeightsBackward',
  'peak',
] as const;

export type KernelName = (typeof kernelNames)[number];

const definitions: Readonly<Record<KernelName, KernelDefinition>> = {
  loadImage,
  prefetchRows,
  directForward,
  directWeightGradient,
  im2col,
  gemmNN,
  gemmNNRelu,
  gemmTN,
  gemmNT,
  maxPool,
  maxPoolLarge,
  averagePool,
  adaptivePool,
  localResponse,
  relu,
  addBias,
  channelMoments,
  normalize,
  multiply,
  normalizeSums,
  normalizeBackward,
  reluBackward,
  maxPoolBackward,
  maxPoolLargeBackward,
  averagePoolBackward,
  adaptivePoolBackward,
  localResponseBackward,
  unpool2,
  unpool4,
  sparseCollect,
  sparseWeightGradient,
  sparseGradients,
  col2im,
  sumPixels,
  fill,
  reduceSlots,
  sumSquares,
  adam,
  sgd,
  muonDirection,
  muonBias,
  normalizeGram,
  newtonSchulz,
  scaleRows,
  moveAverage,
  transpose,
  ...winogradKernels,
  peak,
};

/** Tiles whose sums fit few registers, with a row of the right matrix. */
const smallTiles: Width['tiles'] = [
  [4, 2],
  [4, 1],
];

/** As many sums as sixteen registers hold; V8's general registers suffice for one pointer, not for one per row. */
const transposedTiles: Width['tiles'] = [
  [6, 2],
  [6, 1],
];

/** WebAssembly's vectors; at least sixteen registers are available. */
export const wasmTarget: Target = { widths: [{ lanes: 4, tiles: smallTiles, transposedTiles }] };

/** The same for an engine that pairs adjacent vectors. Pairing starts at stores, which dot products do not end in. */
export const wasmPairsTarget: Target = {
  widths: [{ lanes: 8, tiles: smallTiles, transposedTiles }, ...wasmTarget.widths],
  dotWidths: wasmTarget.widths,
};

/**
 * The vectors of C compilers; register tiles for 32 registers (AVX-512, NEON) or 16 (AVX, SSE). Tiles that are nearly
 * square need the fewest loads per product; with AVX-512, four vectors are also rows of the right matrix that its cache
 * prefetches. A tile of one vector has enough rows to keep both multipliers busy: a sum waits four cycles for itself.
 */
export const nativeTargets: Readonly<Record<'avx512' | 'avx2' | 'sse' | 'neon', Target>> = {
  avx512: {
    prefetches: true,
    widths: [
      {
        lanes: 16,
        tiles: [
          [6, 4],
          [8, 2],
          [12, 1],
        ],
      },
      { lanes: 8, tiles: [[8, 1]] },
      { lanes: 4, tiles: [[8, 1]] },
    ],
  },
  avx2: {
    prefetches: true,
    widths: [
      {
        lanes: 8,
        tiles: [
          [6, 2],
          [6, 1],
        ],
      },
      { lanes: 4, tiles: [[6, 1]] },
    ],
  },
  sse: { prefetches: true, widths: [{ lanes: 4, tiles: smallTiles }] },
  neon: {
    prefetches: true,
    widths: [
      {
        lanes: 4,
        tiles: [
          [8, 2],
          [8, 1],
        ],
      },
    ],
  },
};

/** Records every kernel for a target. */
export const recordKernels = (target: Target): Kernel[] =>
  kernelNames.map((name) => definitions[name].record(target));

/** Records one kernel. */
export const recordKernel = (name: KernelName, target: Target): Kernel => definitions[name].record(target);

/** Names and types of each kernel's parameters, in order. */
export const kernelParameters: Readonly<Record<KernelName, ParameterTypes>> = Object.fromEntries(
  kernelNames.map((name) => [name, definitions[name].parameters]),
) as Record<KernelName, ParameterTypes>;
