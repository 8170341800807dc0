/** Examines a set of kernels on this machine: whether each is correct, and how fast it is. */
import type { ImageShape } from '../../../data/dataset.ts';
import { type KernelName, kernelNames, kernelParameters } from '../../../kernels/catalogue.ts';
import { checksOf } from '../../../kernels/checks/all.ts';
import { runCheck, viewsOf } from '../../../kernels/checks/check.ts';
import {
  adaptiveAvgPool2d,
  avgPool2d,
  batchNorm2d,
  conv2d,
  dropout,
  flatten,
  linear,
  localResponseNorm,
  maxPool2d,
  relu,
} from '../../../model/layers/index.ts';
import { buildNetwork, type Sequential, sequential } from '../../../model/network.ts';
import { simplified, vgg7 } from '../../../model/vgg.ts';
import { sgd } from '../../../train/optimizers.ts';
import { type KernelSource, openLibrary } from '../kernels/library.ts';
import { checkMemory } from '../kernels/self-test.ts';
import { usualCacheBytes } from '../plan/cache-bytes.ts';
import { measurePeak } from './peak.ts';
import { type ProfileOptions, profileTraining } from './profile.ts';

export interface KernelReport {
  /** Largest difference from float64, relative to the largest value, over all checks. */
  readonly error: number;
  readonly checks: number;
  /** What is wrong, if anything. */
  readonly complaint?: string;
  /** On one core, in training steps of some networks; absent if a kernel only moves data. */
  readonly gflops?: number;
  /** Fraction of the measured peak. */
  readonly share?: number;
}

export interface KernelsReport {
  /** Multiply-adds on registers only, on one core, counted as two operations. */
  readonly peakGflops: number;
  readonly kernels: Readonly<Record<KernelName, KernelReport>>;
}

interface Training extends Pick<ProfileOptions, 'optimizer' | 'stepOptions'> {
  readonly network: Sequential;
  readonly input: ImageShape;
  readonly batchSize: number;
}

/**
 * Trainings that together use every kernel, with blocks for a common cache size: the lecture's network, a deep one, one
 * with odd windows, one with small maps and enough image channels for sparse gradients, one with too many channels for
 * those, and one with a large window.
 */
export const trainings: readonly Training[] = [
  { network: simplified({ classes: 10 }), input: [3, 32, 32], batchSize: 16 },
  { network: vgg7({ classes: 10 }), input: [3, 32, 32], batchSize: 8 },
  {
    network: sequential([
      conv2d({ out: 16, kernel: 5, stride: 2, padding: 2 }),
      relu(),
      conv2d({ out: 72, kernel: 5, padding: 2 }),
      relu(),
      maxPool2d(4),
      conv2d({ out: 16, kernel: 2 }),
      maxPool2d({ kernel: 3, stride: 1, padding: 1 }),
      batchNorm2d(),
      relu(),
      dropout(0.5),
      avgPool2d(2),
      localResponseNorm(5),
      adaptiveAvgPool2d(3),
      flatten(),
      linear(10),
    ]),
    input: [3, 32, 32],
    batchSize: 8,
  },
  {
    network: sequential([
      conv2d({ out: 64, kernel: 3, padding: 1 }),
      relu(),
      maxPool2d(4),
      ...[1, 2].flatMap(() => [conv2d({ out: 64, kernel: 3, padding: 1 }), relu()]),
      maxPool2d(2),
      relu(),
      flatten(),
      linear(10),
    ]),
    input: [4, 32, 32],
    batchSize: 8,
    optimizer: sgd({ lr: 0.01, momentum: 0.9 }),
    stepOptions: { clipNorm: 1, averageDecay: 0.99 },
  },
  {
    network: sequential([
      conv2d({ out: 72, kernel: 3, padding: 1 }),
      relu(),
      conv2d({ out: 16, kernel: 3, padding: 1 }),
      relu(),
      maxPool2d(4),
      flatten(),
      linear(10),
    ]),
    input: [3, 32, 32],
    batchSize: 8,
  },
  {
    network: sequential([
      conv2d({ out: 16, kernel: 3, padding: 1 }),
      maxPool2d({ kernel: 17, stride: 3 }),
      flatten(),
      linear(10),
    ]),
    input: [3, 32, 32],
    batchSize: 8,
  },
];

/** Checks and times every kernel. Takes a few seconds. */
export async function examineKernels(source: KernelSource): Promise<KernelsReport> {
  const memory = checkMemory(false);
  const library = await openLibrary(source, memory);
  const checked = new Map<KernelName, { error: number; checks: number; complaint?: string }>();
  for (const name of kernelNames) {
    let error = 0;
    let complaint: string | undefined;
    const checks = checksOf(name, source.lanes);
    for (const check of checks) {
      const call = (values: readonly number[]): void => library.call(name, values);
      const result = runCheck(check, kernelParameters[name], viewsOf(memory.buffer), source.lanes, call);
      error = Math.max(error, result.error);
      complaint ??= result.complaint;
    }
    checked.set(name, { error, checks: checks.length, ...(complaint !== undefined && { complaint }) });
  }

  const peakGflops = await measurePeak(source);
  const work = new Map<KernelName, { flops: number; milliseconds: number }>();
  for (const { network, input, ...options } of trainings) {
    const { calls } = await profileTraining(buildNetwork(network, input), source, {
      ...options,
      steps: 8,
      count: true,
      cacheBytes: usualCacheBytes,
    });
    for (const { kernel, flops, milliseconds } of calls) {
      const sum = work.get(kernel) ?? { flops: 0, milliseconds: 0 };
      work.set(kernel, { flops: sum.flops + flops, milliseconds: sum.milliseconds + milliseconds });
    }
  }
  work.set('peak', { flops: peakGflops * 1e6, milliseconds: 1 });
  const kernels = Object.fromEntries(
    kernelNames.map((name): [KernelName, KernelReport] => {
      const { flops = 0, milliseconds = 0 } = work.get(name) ?? {};
      const gflops = flops / milliseconds / 1e6;
      return [
        name,
        {
          ...checked.get(name)!,
          ...(flops > 0 && milliseconds > 0 && { gflops, share: gflops / peakGflops }),
        },
      ];
    }),
  ) as Record<KernelName, KernelReport>;
  return { peakGflops, kernels };
}
