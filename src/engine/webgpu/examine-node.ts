/** What `vgg doctor` finds out about WebGPU on this machine (Node only). */
import { fromArrays } from '../../data/dataset.ts';
import { toTensor } from '../../data/transforms.ts';
import { VggError } from '../../errors.ts';
import type { Network } from '../../model/layer.ts';
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
} from '../../model/layers/index.ts';
import { createModel } from '../../model/models.ts';
import { buildNetwork, sequential, sizeOf } from '../../model/network.ts';
import { adam } from '../../train/optimizers.ts';
import type { OpenSession, Session } from '../backend.ts';
import { openNative } from '../cpu/driver.ts';
import { type CheckResult, checkGpu } from './checks.ts';
import { type Gpu, openGpu } from './device.ts';
import { listAdapters, loadVulkan, packageFacts } from './device-node.ts';
import { openWebgpu } from './driver.ts';
import { type GpuSpeed, storeGpu } from './stored-node.ts';
import { type TimedDispatch, type TimedNetwork, timeStep } from './timing.ts';
import { type Tuning, tuneTiles } from './tune.ts';

/** A part of the machine, or why it is missing. */
type Found<T> = T | { readonly missing: string };

export interface GpuKernel {
  /** The largest error of the checks that use it, relative to the largest value. */
  readonly error: number;
  readonly checks: number;
  /** Of a training step, where one uses it; bytes are those that it reads and writes, once. */
  readonly milliseconds?: number;
  readonly gflops?: number;
  readonly gigabytesPerSecond?: number;
}

export interface GpuFacts {
  readonly name: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** Whether the processor computes in its place. */
  readonly software: boolean;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  /** The name of its table of tiles. */
  readonly tiles: string;
}

export interface GpuReport {
  readonly package: Found<{ readonly version: string }>;
  /** Vulkan's loader; absent where none is needed. */
  readonly loader?: Found<{ readonly file: string }>;
  /** Names, in the order of their numbers. */
  readonly adapters: readonly string[];
  readonly adapter: Found<GpuFacts>;
  /** Absent without an adapter, as all below. */
  readonly kernels?: Readonly<Record<string, GpuKernel>>;
  readonly wrong?: readonly CheckResult[];
  /** Kernels that were compiled. */
  readonly pipelines?: number;
  readonly tuning?: Tuning;
  readonly speed?: GpuSpeed;
}

/** Limits that matter here. */
const tellingLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxStorageBuffersPerShaderStage',
] as const;

/** Examines what is there; with `tune`, measures tables of tiles and stores the best one. */
export async function examineGpu(tune: boolean, onDoing: (what: string) => void): Promise<GpuReport> {
  const found = async <T>(look: () => T | Promise<T>): Promise<Found<T>> => {
    try {
      return await look();
    } catch (error) {
      if (error instanceof VggError) return { missing: error.message };
      throw error;
    }
  };
  const own = await found(() => ({ version: packageFacts().version }));
  const loader = await found(() => ({ file: loadVulkan() }));
  const hasLoader = !('missing' in loader) && !('missing' in own);
  const adapters = hasLoader ? await found(listAdapters) : [];
  const gpu = hasLoader
    ? await found(() => openGpu())
    : { missing: 'missing' in own ? own.missing : (loader as { missing: string }).missing };
  const report: GpuReport = {
    package: own,
    ...(('missing' in loader || loader.file !== undefined) && { loader: loader as Found<{ file: string }> }),
    adapters: 'missing' in adapters ? [] : adapters,
    adapter: 'missing' in gpu ? gpu : factsOf(gpu),
  };
  if ('missing' in gpu) return report;
  onDoing('checking kernels');
  const checks = await checkGpu(gpu, onDoing);
  const tuning = tune ? await tuneTiles(gpu, tunedOn(gpu), onDoing) : undefined;
  if (tuning) await storeGpu(gpu.adapter, { tiles: tuning.table });
  onDoing('timing kernels');
  const tiles = tuning?.table ?? gpu.tiles;
  const times: TimedDispatch[] = [];
  for (const network of timedOn(gpu)) times.push(...(await timeStep(gpu, tiles, network)));
  const speed = gpu.isSoftware ? undefined : await storedSpeed(gpu, onDoing);
  return {
    ...report,
    kernels: kernelsOf(checks, times),
    wrong: checks.filter(({ error, most }) => !(error <= most)),
    pipelines: gpu.pipelines,
    ...(tuning && { tuning }),
    ...(speed && { speed }),
  };
}

function factsOf(gpu: Gpu): GpuFacts {
  const { vendor, architecture, device, description } = gpu.info;
  const { limits } = gpu.device;
  return {
    ...{ name: gpu.adapter, vendor, architecture, device, description },
    software: gpu.isSoftware,
    features: gpu.features,
    limits: Object.fromEntries(tellingLimits.map((name) => [name, limits[name]])),
    tiles: gpu.tiles.name,
  };
}

/** Kernels by name; the tile of a product is part of it. */
function kernelsOf(
  checks: readonly CheckResult[],
  times: readonly TimedDispatch[],
): Readonly<Record<string, GpuKernel>> {
  const names = new Set([...checks.flatMap(({ kernels }) => kernels), ...times.map(({ name }) => name)]);
  return Object.fromEntries(
    [...names].toSorted().map((name): [string, GpuKernel] => {
      const own = checks.filter(({ kernels }) => kernels.includes(name));
      const timed = times.filter((one) => one.name === name);
      const sum = (of: (one: TimedDispatch) => number): number =>
        timed.reduce((all, one) => all + of(one), 0);
      const milliseconds = sum((one) => one.milliseconds);
      return [
        name,
        {
          error: Math.max(0, ...own.map(({ error }) => error)),
          checks: own.length,
          ...(milliseconds > 0 && {
            milliseconds,
            gflops: sum((one) => one.operations) / milliseconds / 1e6,
            gigabytesPerSecond: sum((one) => one.bytes) / milliseconds / 1e6,
          }),
        },
      ];
    }),
  );
}

const shape = [3, 32, 32] as const;

/** A named network for images of 32×32 pixels and ten classes. */
const small = (name: string): Network =>
  buildNetwork(createModel(name, { classes: 10, input: shape }), shape);

/** A network with the layers that `vgg7` lacks. */
const others = (batch: number): TimedNetwork => ({
  network: buildNetwork(
    sequential([
      ...[conv2d({ out: 64, kernel: 3, padding: 1 }), batchNorm2d(), relu()],
      ...[maxPool2d({ kernel: 3, stride: 2, padding: 1 }), localResponseNorm(5), dropout(0.5)],
      ...[avgPool2d(2), relu(), adaptiveAvgPool2d(3), flatten(), linear(10)],
    ]),
    shape,
  ),
  batch,
  settings: { optimizer: 'sgd', averages: true, clipNorm: 1 },
});

/** A software adapter takes as long for two images as a GPU for hundreds. */
const timedOn = ({ isSoftware }: Gpu): readonly TimedNetwork[] => {
  const network = small('vgg7');
  return [
    { network, batch: isSoftware ? 2 : 100, settings: { optimizer: 'adam' } },
    others(isSoftware ? 4 : 100),
  ];
};

const tunedOn = ({ isSoftware }: Gpu): readonly TimedNetwork[] => {
  const of = (name: string, batch: number): TimedNetwork => ({
    ...{ network: small(name), batch, settings: { optimizer: 'adam' } },
  });
  return isSoftware ? [of('simplified', 8)] : [of('simplified', 100), of('vgg7', 100), of('vgg16-bn', 128)];
};

/** Rounds of steps on each device in turn. */
const rounds = 5;
const roundSteps = 4;
const batchSize = 100;

/** Trains `vgg7` on the GPU and with native kernels in turns, and stores which is faster, for `auto`. */
async function storedSpeed(gpu: Gpu, onDoing: (what: string) => void): Promise<GpuSpeed | undefined> {
  onDoing('training vgg7 on the GPU and on the processor');
  try {
    const speed = await compareSpeeds(openWebgpu, openNative);
    await storeGpu(gpu.adapter, { speed });
    return speed;
  } catch (error) {
    // Without native kernels there is nothing to compare with.
    if (error instanceof VggError) return undefined;
    throw error;
  }
}

/** Images per second in training: medians of rounds in turns. */
export async function compareSpeeds(first: OpenSession, second: OpenSession): Promise<GpuSpeed> {
  const network = small('vgg7');
  const count = roundSteps * batchSize;
  const images = new Uint8Array(count * sizeOf(shape)).map((_, i) => (i * 40_503) % 251);
  const labels = Array.from({ length: count }, (_, i) => i % 10);
  const dataset = fromArrays(images, labels, shape);
  const order = Uint32Array.from(labels, (_, i) => i);
  const source = { dataset, transform: toTensor(), batchSize, order, seed: 1, epoch: 1 };
  const sessions: Session[] = [];
  try {
    for (const open of [first, second]) {
      const session = await open(network, { batchSize, purpose: 'train' });
      sessions.push(session);
      await session.initialize(1);
    }
    const rates: number[][] = [[], []];
    // The first round is not counted.
    for (let round = 0; round <= rounds; round++) {
      for (const [i, session] of sessions.entries()) {
        const begun = performance.now();
        await session.train({ source, optimizer: adam({ lr: 1e-4 }), from: 0, to: roundSteps });
        const seconds = (performance.now() - begun) / 1000;
        if (round > 0) rates[i]!.push(count / seconds);
      }
    }
    const [gpu, native] = rates.map((own) => own.toSorted((a, b) => a - b)[rounds >> 1]!) as [number, number];
    return { gpu, native, description: sessions[1]!.description, network: 'vgg7' };
  } finally {
    for (const session of sessions) await session.close();
  }
}
