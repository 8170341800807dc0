/**
 * The CPU driver: kernels (`kernels/provider.ts`) on worker threads that share one memory, or, if memory cannot be shared
 * (a page without cross-origin isolation), on the calling thread. Workers run whole passes; this side sends commands,
 * reads and writes tensors, and receives progress.
 */

import { VggError } from '../../errors.ts';
import { fillInitial, initialTensors, sourceOfInitial } from '../../model/initialize.ts';
import type { Network } from '../../model/layer.ts';
import { parametersOf, sizeOf, tensorsOf } from '../../model/network.ts';
import { partValues, type WeightSource } from '../../model/weight-streams.ts';
import { Recent } from '../../recent.ts';
import { counted } from '../../words.ts';
import {
  type MomentName,
  momentNames,
  type OpenSession,
  type Session,
  type SessionOptions,
} from '../backend.ts';
import { type Command, type Driver, type ImageSource, imageCount, type TensorGroup } from '../driver.ts';
import { readPart, type StoredTensor, storePart, wholeRows } from '../matrix.ts';
import { largestEvaluation, sessionsOf } from '../session.ts';
import { isShared, shareable } from '../shared-arrays.ts';
import {
  describeKernels,
  type KernelLibrary,
  type KernelSource,
  openLibrary,
  panelColumnsOf,
} from './kernels/library.ts';
import {
  createMemory,
  type EngineMemory,
  type GrowableMemory,
  limitOf,
  nativeBytes,
} from './kernels/memory.ts';
import { anyKernels, type KernelProvider, nativeKernels, wasmKernels } from './kernels/provider.ts';
import { featuresRequest, passesWinograd } from './plan/features.ts';
import { evaluationBatchOf, evaluationFloats, memoryUse, tooLarge, type Work } from './plan/memory-use.ts';
import { matrixOf, storedTensors } from './plan/operations.ts';
import {
  type ArrayName,
  momentArrays,
  ParameterLayout,
  type RangeName,
  trainingArrays,
} from './plan/parameters.ts';
import { type PlanMemory, type PlanRequest, planMemory } from './plan/plan.ts';
import { plannedFor } from './plan/planned.ts';
import { cut, fewImages } from './plan/timeline.ts';
import { ruleOf } from './plan/update.ts';
import { controlWords, setAbort } from './run/barrier.ts';
import { bytesOf, Executor, mostPlans, type SharedState, type WorkerCommand } from './run/executor.ts';
import { cacheSize, processorCount, startThread, wishHugePages } from './run/threads.ts';
import { callingThread, type WorkerPool, workerPool } from './run/worker-pool.ts';

export interface CpuOptions extends SessionOptions {
  /** Whether to use shared memory and workers; by default if the platform supports it. */
  readonly shared?: boolean;
  readonly kernels: KernelProvider;
  /** Bytes to leave unused before everything else, to place it beyond 4 GiB; 0 by default. */
  readonly reservedBytes?: number;
  /** Wraps the kernels of a session on the calling thread, to observe them. */
  readonly library?: (library: KernelLibrary, memory: EngineMemory) => KernelLibrary;
}

const opener =
  (kernels: KernelProvider): OpenSession =>
  (network, options) =>
    openCpuSession(network, { ...options, kernels });

/** Opens a session with native kernels if available, otherwise with WebAssembly. */
export const openCpu: OpenSession = opener(anyKernels);
/** Opens a session with WebAssembly kernels. */
export const openWasm: OpenSession = opener(wasmKernels);
/** Opens a session with native kernels. @throws VggError if they are not available. */
export const openNative: OpenSession = opener(nativeKernels);

/** Opens a session on the CPU. @throws VggError if the network needs more memory than its kernels can address. */
export const openCpuSession = (network: Network, options: CpuOptions): Promise<Session> =>
  sessionsOf(() => openDriver(network, options))(network, options);

async function openDriver(network: Network, options: CpuOptions): Promise<Driver> {
  const { onNotice = () => {}, signal, batchSize } = options;
  const shared = options.shared ?? typeof SharedArrayBuffer !== 'undefined';
  const threads = shared ? (options.threads ?? (await processorCount())) : 1;
  const cacheBytes = options.cacheBytes ?? (await cacheSize());
  const predictsOnly = options.purpose === 'predict';
  const { reservedBytes = 0 } = options;
  const layoutFor = (kernels?: KernelSource): ParameterLayout => {
    const panelColumns = kernels && panelColumnsOf(kernels);
    const operations = plannedFor(network, { batch: batchSize, cacheBytes, predictsOnly, panelColumns });
    return new ParameterLayout(operations, batchSize, threads, [], reservedBytes);
  };
  checkMemory(network, layoutFor(), options, nativeBytes);
  const buffer = (bytes: number): ArrayBuffer | SharedArrayBuffer =>
    shared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes);
  const largest = Math.max(batchSize, largestEvaluation);
  const results = {
    control: new Int32Array(buffer(controlWords * 4)),
    losses: new Float64Array(buffer(largest * 8)),
    ranks: new Int32Array(buffer(largest * 4)),
  };
  // Workers start while the kernels are compiled.
  const starting = shared ? Array.from({ length: threads }, () => startThread()) : [];
  const failed = new AbortController();
  const either = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const finding = options.kernels(shared, onNotice, either);
  try {
    const [kernels, workers] = await Promise.all([finding, Promise.all(starting)]);
    const layout = layoutFor(kernels);
    checkMemory(network, layout, options, limitOf(kernels.kind, shared));
    const memory = allocated(network.name, () => createMemory(kernels.kind, shared, layout.length * 4));
    await wishHugePages(memory);
    const state: SharedState = { memory: memory.shared, ...results };
    const libraryOf = async (source: KernelSource): Promise<KernelLibrary> => {
      const library = await openLibrary(source, memory.shared);
      return options.library?.(library, memory.shared) ?? library;
    };
    const pool = shared
      ? await workerPool(workers, {
          ...{ network, predictsOnly, cacheBytes, reservedBytes, kernels, threads },
          largestBatch: batchSize,
          shared: state,
        })
      : callingThread(new Executor(layout, await libraryOf(kernels), state, 0));
    return new CpuDriver(network, layout, memory, state, pool, kernels, buffer);
  } catch (error) {
    // Leave no running compiler and no worker behind.
    failed.abort(error);
    await Promise.allSettled([finding]);
    for (const thread of await Promise.allSettled(starting))
      if (thread.status === 'fulfilled') await thread.value.stop();
    throw error;
  }
}

/** Memory from `create`. @throws VggError if the machine does not provide it. */
function allocated<T>(name: string, create: () => T): T {
  try {
    return create();
  } catch (cause) {
    // The search tells a machine without memory from a trial that fails.
    throw new VggError(
      `${name}: this machine cannot provide the memory that it needs; use a smaller batch or free some memory`,
      { cause },
    );
  }
}

/** @throws VggError if a session needs more than the limit of its kernels. */
function checkMemory(
  { name }: Network,
  layout: ParameterLayout,
  { purpose, batchSize, frozen = [] }: SessionOptions,
  limitBytes: number,
): void {
  const work =
    purpose === 'train'
      ? ({ kind: 'train', batch: batchSize, frozen } as const)
      : ({ kind: 'predict', batch: 1 } as const);
  const { bytes } = memoryUse(layout, work);
  if (bytes <= limitBytes) return;
  throw new VggError(tooLarge(name, layout, work, bytes, limitBytes));
}

type PlanFloats = Pick<PlanMemory, 'floats' | 'shared'>;

class CpuDriver implements Driver {
  readonly description: string;
  readonly device: Session['device'];
  readonly threads: number;
  readonly loadsImages = true;
  readonly cacheBytes: number;
  readonly evaluationBatch: number;
  readonly buffer: (bytes: number) => ArrayBuffer | SharedArrayBuffer;
  readonly #network: Network;
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  #layout: ParameterLayout;
  readonly #memory: GrowableMemory;
  readonly #state: SharedState;
  readonly #workers: WorkerPool;
  /** Memory of the plans used last. */
  readonly #plans = new Recent<PlanFloats>(mostPlans);
  /** Groups of tensors whose memory is not fresh. */
  readonly #used = new Set<TensorGroup>();
  /** Shared memory for a caller's images. */
  #images: Float32Array = new Float32Array(0);

  constructor(
    network: Network,
    layout: ParameterLayout,
    memory: GrowableMemory,
    state: SharedState,
    workers: WorkerPool,
    kernels: KernelSource,
    buffer: (bytes: number) => ArrayBuffer | SharedArrayBuffer,
  ) {
    this.#network = network;
    this.#tensors = storedTensors(layout.operations);
    this.#layout = layout;
    this.#memory = memory;
    this.#state = state;
    this.#workers = workers;
    this.buffer = buffer;
    this.threads = layout.threads;
    this.cacheBytes = layout.operations.cacheFloats * 4;
    this.evaluationBatch = evaluationBatchOf(layout);
    this.device = kernels.kind;
    this.description = `${describeKernels(kernels)}, ${counted(layout.threads, 'thread')}`;
  }

  async initialize(seed: number): Promise<void> {
    if (this.#layout.operations.predictsOnly) {
      await this.write('weights', sourceOfInitial(this.#network, seed));
      return;
    }
    if (this.#used.has('weights')) {
      this.#all('weights').fill(0);
    }
    this.#used.add('weights');
    await this.#send({ kind: 'initialize', seed });
    const initial = initialTensors(this.#network);
    for (const buffer of this.#buffers()) {
      const values = new Float32Array(buffer.places.length);
      fillInitial(initial.get(buffer.name)!, seed, 0, values);
      storeBuffer(buffer, values);
    }
    await this.#send({ kind: 'derive' });
  }

  async write(group: TensorGroup, source: WeightSource): Promise<void> {
    await this.#ensure(group === 'weights' ? [] : [momentArrays[group]]);
    const { stagingFloats, length: staging, operations } = this.#layout;
    await this.#growTo(4 * (staging + stagingFloats));
    // Training may have left NaN in padding.
    if (this.#used.has(group)) this.#all(group).fill(0);
    this.#used.add(group);
    const staged = this.#floats(staging, stagingFloats).fill(0);
    try {
      await this.#writeMatrices(source, group, staged);
    } finally {
      // Plans expect zeros here.
      staged.fill(0);
    }
    if (group !== 'weights') return;
    for (const buffer of this.#buffers()) {
      const values = new Float32Array(buffer.places.length);
      await source.read(buffer.name, 0, values);
      storeBuffer(buffer, values);
    }
    if (!operations.predictsOnly) await this.#send({ kind: 'derive' });
  }

  async #writeMatrices(source: WeightSource, group: TensorGroup, staged: Float32Array): Promise<void> {
    const part = new Float32Array(partValues);
    for (const [name, tensor] of this.#tensors) {
      if (!this.#has(group, tensor)) continue;
      const memory = this.#floatsFrom(this.#startOf(group, tensor));
      const size = sizeOf(source.shapes.get(name)!);
      for (const { first, count } of cut(0, size, wholeRows(tensor, partValues))) {
        const values = part.subarray(0, count);
        await source.read(name, first, values);
        storePart(tensor.staged ? staged : memory, tensor, first, values);
      }
      // The bias comes last.
      const { matrix, operation } = tensor;
      if (!matrix.staged || name !== (matrix.biasName ?? matrix.weightName)) continue;
      await this.#send({ kind: 'derive', only: { operation, weights: this.#layout.length } });
      staged.fill(0);
    }
  }

  tensors(group: TensorGroup | 'gradients'): WeightSource {
    const specs =
      group === 'weights'
        ? tensorsOf(this.#network)
        : parametersOf(this.#network).filter(({ name }) => this.#has(group, this.#tensors.get(name)!));
    return {
      shapes: new Map(specs.map(({ name, shape }) => [name, shape])),
      read: async (name, from, into) => {
        const tensor = this.#tensors.get(name);
        if (tensor) {
          readPart(this.#floatsFrom(this.#startOf(group, tensor)), tensor, from, into);
          return;
        }
        const { values, places } = this.#buffers().find((own) => own.name === name)!;
        for (let i = 0; i < into.length; i++) into[i] = values[places[from + i]!]!;
      },
    };
  }

  async start(moments: readonly MomentName[]): Promise<void> {
    await this.#ensure(moments.map((name) => momentArrays[name]));
    for (const name of moments) this.#used.add(name);
    for (const name of moments) {
      this.#all(name).fill(0);
      if (name === 'average') this.#startAverage();
    }
  }

  #startAverage(): void {
    const { parameters, operations, trained } = this.#layout;
    for (const operation of operations.list.filter((one) => trained.learns(one))) {
      const { offset, length } = matrixOf(operation)!;
      this.#floats(this.#layout.arrayOf('averages', operation) + offset, length).set(
        this.#floats(parameters.at + offset, length),
      );
    }
  }

  /** Plans of training get their memory anew when they are needed. */
  async freeze(layers: readonly number[]): Promise<void> {
    this.#layout = this.#layout.freezing(layers);
    this.#plans.clear();
    for (const name of momentNames) this.#used.delete(name);
  }

  async swapAverage(): Promise<void> {
    await this.#send({ kind: 'swap' });
  }

  async run(command: Command, onProgress?: (done: number) => void): Promise<number> {
    const source = this.#shared(command.source);
    const { batchSize } = command;
    switch (command.kind) {
      case 'train': {
        const { optimizer, options, rateFactors } = command;
        const arrays = trainingArrays(optimizer, options);
        const inPlace = arrays.includes('splitGradients')
          ? undefined
          : ruleOf(optimizer, options, rateFactors);
        await this.#ensure(arrays);
        await this.#reserve({ mode: 'train', inPlace }, imageCount(source), batchSize, source);
        break;
      }
      case 'evaluate': {
        const { variant } = command;
        if (variant) return this.#inference({ mode: 'evaluate', variant }, command, source, onProgress);
        await this.#reserve({ mode: 'evaluate' }, command.images, batchSize, source);
        break;
      }
      case 'features': {
        const request = featuresRequest(command);
        if (passesWinograd(this.#layout.operations, request))
          await this.#ensure(['backwardWeights', 'lowerBackwardWeights']);
        return this.#inference(request, command, source, onProgress);
      }
      case 'gradients':
        await this.#ensure(['backwardWeights', 'gradients', 'splitGradients']);
        await this.#reserve({ mode: 'train' }, batchSize, batchSize, source);
        break;
      default:
        command satisfies never;
    }
    return this.#send({ ...command, source }, onProgress);
  }

  /** Takes fewer images at a time if their maps would be large. */
  async #inference(
    request: Omit<PlanRequest, 'batch'>,
    command: Extract<Command, { kind: 'evaluate' | 'features' }>,
    source: ImageSource,
    onProgress?: (done: number) => void,
  ): Promise<number> {
    const { images } = command;
    const fits = (batch: number): boolean => {
      const { shared, floats } = this.#memoryOf({ ...request, batch });
      return (batch <= fewImages || shared <= evaluationFloats) && 4 * floats <= this.#memory.limitBytes;
    };
    let batchSize = Math.min(images, command.batchSize);
    while (batchSize > 1 && !fits(batchSize)) batchSize = Math.floor(batchSize / 2);
    await this.#reserve(request, images, batchSize, source);
    return this.#send({ ...command, source, batchSize }, onProgress);
  }

  #send(command: WorkerCommand, onProgress?: (done: number) => void): Promise<number> {
    const { arrays, trained } = this.#layout;
    return this.#workers.run({ command, arrays, frozen: trained.frozen }, onProgress);
  }

  /** Allocates those of the arrays that are missing. */
  async #ensure(arrays: readonly ArrayName[]): Promise<void> {
    const before = this.#layout;
    const layout = before.with(arrays);
    if (layout === before) return;
    await this.#growTo(layout.length * 4, { kind: 'train', batch: 1 }, layout);
    this.#layout = layout;
    this.#plans.clear();
    // Plans have used this memory.
    this.#floats(before.length, layout.length - before.length).fill(0);
    const derived = ['backwardWeights', 'lowerBackwardWeights'] as const;
    if (derived.some((name) => !before.has(name) && layout.has(name))) await this.#send({ kind: 'derive' });
  }

  abort(asked: boolean): void {
    setAbort(this.#state.control, asked);
  }

  async close(): Promise<void> {
    await this.#workers.stop();
  }

  /** Whether a group has a tensor: only parameters that learn have gradients and moments. */
  #has(group: TensorGroup | 'gradients', { operation }: StoredTensor): boolean {
    const { operations, trained } = this.#layout;
    return group === 'weights' || trained.learns(operations.list[operation]!);
  }

  /** Address of a tensor's part of a group, as if it held all parameters. */
  #startOf(group: TensorGroup | 'gradients', tensor: StoredTensor): number {
    if (group === 'weights') return this.#layout.parameters.at;
    const operation = this.#layout.operations.list[tensor.operation]!;
    return group === 'gradients'
      ? this.#layout.gradientOf(operation)
      : this.#layout.arrayOf(momentArrays[group] as RangeName, operation);
  }

  /** The floats of all of a group's parameters. */
  #all(group: TensorGroup): Float32Array {
    const { parameters, operations, trained } = this.#layout;
    return group === 'weights'
      ? this.#floats(parameters.at, operations.parameterLength)
      : this.#floats(this.#layout.array(momentArrays[group] as RangeName), trained.length);
  }

  #floats(from: number, length: number): Float32Array {
    return new Float32Array(this.#memory.buffer, from * 4, length);
  }

  #floatsFrom(from: number): Float32Array {
    return new Float32Array(this.#memory.buffer, from * 4);
  }

  #buffers(): Buffer[] {
    return this.#layout.operations.list.flatMap((operation) => {
      if (operation.kind !== 'batchNorm') return [];
      const { running } = this.#layout.normalizationOf(operation);
      const { places, view } = operation;
      return operation.running.map((name, i) => ({
        name,
        values: this.#floats(running.at + i * view.stored, view.stored),
        places,
      }));
    });
  }

  /** Grows memory to hold the plans of these batches, followed by one image's bytes for each worker. */
  async #reserve(
    request: Omit<PlanRequest, 'batch'>,
    images: number,
    batchSize: number,
    source: ImageSource,
  ): Promise<void> {
    const workerBytes = this.threads * bytesOf(source);
    for (const batch of new Set([Math.min(batchSize, images), images % batchSize])) {
      if (batch === 0) continue;
      const { floats } = this.#memoryOf({ ...request, batch });
      await this.#growTo(floats * 4 + workerBytes, {
        kind: request.mode === 'train' ? 'train' : 'predict',
        batch,
        variant: request.variant,
      });
    }
  }

  /** Floats of a plan's memory. */
  #memoryOf(request: PlanRequest): PlanFloats {
    return this.#plans.get(JSON.stringify(request), () => {
      const { floats, shared } = planMemory(this.#layout, request);
      return { floats, shared };
    });
  }

  /** @throws VggError if the kernels cannot address this much, or the machine does not provide it. */
  async #growTo(bytes: number, work?: Work, layout: ParameterLayout = this.#layout): Promise<void> {
    const { limitBytes } = this.#memory;
    const { name } = this.#network;
    if (bytes > limitBytes && work) throw new VggError(tooLarge(name, layout, work, bytes, limitBytes));
    const before = this.#memory.buffer.byteLength;
    allocated(name, () => this.#memory.growTo(bytes));
    if (this.#memory.buffer.byteLength > before) await wishHugePages(this.#memory);
  }

  /** A source whose arrays the workers can read. */
  #shared(source: ImageSource): ImageSource {
    if (this.#isHere) return source;
    if (source.kind === 'dataset') {
      const { pixels, labels, order } = source;
      return { ...source, pixels: shareable(pixels), labels: shareable(labels), order: shareable(order) };
    }
    // The session's own arrays, which are shared.
    if (source.kind === 'bytes') return source;
    const { values } = source;
    if (isShared(values)) return source;
    // Copied each time, because the caller may have refilled the same array; into memory that is kept, because fresh
    // pages cost more than the copy.
    if (this.#images.length < values.length) this.#images = new Float32Array(this.buffer(values.byteLength));
    const copy = this.#images.subarray(0, values.length);
    copy.set(values);
    return { ...source, values: copy };
  }

  /** Whether the calling thread computes. */
  get #isHere(): boolean {
    return !isShared(this.#state.control);
  }
}

/** Running means or variances of a batch normalization, and the place of each channel in them. */
interface Buffer {
  readonly name: string;
  readonly values: Float32Array;
  readonly places: Int32Array;
}

function storeBuffer({ values, places }: Buffer, given: Float32Array): void {
  given.forEach((value, channel) => {
    values[places[channel]!] = value;
  });
}
