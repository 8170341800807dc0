/**
 * A session on the CPU: kernels (`kernels.ts`) on worker threads that share one memory, or, if memory cannot be shared (a
 * page without cross-origin isolation), on the calling thread. Workers run whole passes; this side sends commands, reads
 * parameters and receives progress.
 */
import type { Dataset } from '../../data/dataset.ts';
import { fuseTransform } from '../../data/fuse.ts';
import { random, streams } from '../../data/random.ts';
import { applyTransform, imageFromBytes, transformedShape } from '../../data/transforms.ts';
import { DataError, UsageError, VggError } from '../../errors.ts';
import type { Network, ParameterSpec, Weights } from '../../model/layer.ts';
import { checkMoments } from '../../model/layers/batch-norm.ts';
import { parametersOf, sizeOf, tensorsOf } from '../../model/network.ts';
import { counted } from '../../words.ts';
import { updatesIn } from '../accumulation.ts';
import type {
  BatchSource,
  EvaluateResult,
  MomentName,
  OpenSession,
  OptimizerOptions,
  Session,
  SessionOptions,
  StepReport,
  TrainingState,
  TrainRequest,
  TrainResult,
} from '../backend.ts';
import { describeKernels, type KernelSource, openLibrary } from './kernels/library.ts';
import { anyKernels, type KernelProvider, nativeKernels, wasmKernels } from './kernels/provider.ts';
import { type WasmMemory, webAssembly } from './kernels/webassembly.ts';
import {
  type MatrixLayout,
  matrixOf,
  type Operations,
  planOperations,
  readMatrix,
  storeMatrix,
} from './plan/operations.ts';
import { planFloats, SessionMemory } from './plan/plan.ts';
import {
  controlWords,
  Executor,
  type ImageSource,
  imageBytes,
  type SharedState,
  setAbort,
} from './run/executor.ts';
import { cacheSize, processorCount, startThread, type Thread, wishHugePages } from './run/threads.ts';
import { type Crew, callingThread, workerCrew } from './run/worker-pool.ts';

const pageBytes = 65_536;
/** The limit of 32-bit addresses. */
const largestPages = 65_536;
/** Bytes that a session may use. */
export const largestMemory: number = largestPages * pageBytes;
/** Batch size of an evaluation. */
const evaluationBatch = 100;

export interface CpuOptions extends SessionOptions {
  /** Whether to use shared memory and workers; by default if the platform supports it. */
  readonly shared?: boolean;
  readonly kernels: KernelProvider;
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

/** Opens a session on the CPU. @throws VggError if the network needs more than 4 GiB. */
export async function openCpuSession(network: Network, options: CpuOptions): Promise<Session> {
  const { onNotice = () => {}, signal } = options;
  const shared = options.shared ?? typeof SharedArrayBuffer !== 'undefined';
  const threads = shared ? (options.threads ?? (await processorCount())) : 1;
  const cacheBytes = await cacheSize();
  const operations = planOperations(network, cacheBytes);
  const session = new SessionMemory(operations, options.batchSize, threads);
  const needed = memoryNeeded(session, options.batchSize, threads);
  const initial = Math.ceil((needed * 4) / pageBytes);
  if (initial > largestPages) {
    throw new VggError(
      `${network.name}: training with batches of ${options.batchSize} on ${threads} threads needs ` +
        `${(needed / 2 ** 28).toFixed(1)} GiB, above WebAssembly's limit of 4 GiB; ` +
        'use a smaller batch, fewer channels or hidden units, or smaller images',
    );
  }
  let memory: WasmMemory;
  try {
    memory = new webAssembly.Memory({ initial, maximum: largestPages, shared });
  } catch (cause) {
    throw new VggError(
      `${network.name}: this machine cannot provide the ${(needed / 2 ** 28).toFixed(1)} GiB that training with ` +
        `batches of ${options.batchSize} needs; use a smaller batch or free some memory`,
      // The search tells a machine without memory from a trial that fails.
      { cause },
    );
  }
  const buffer = (bytes: number): ArrayBuffer | SharedArrayBuffer =>
    shared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes);
  const largest = Math.max(options.batchSize, evaluationBatch);
  const state: SharedState = {
    memory,
    control: new Int32Array(buffer(controlWords * 4)),
    losses: new Float64Array(buffer(largest * 8)),
    ranks: new Int32Array(buffer(largest * 4)),
  };
  // Workers start while the kernels are compiled.
  const starting = shared ? Array.from({ length: threads }, () => startThread()) : [];
  const failed = new AbortController();
  const either = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const finding = options.kernels(shared, onNotice, either);
  let kernels: KernelSource;
  let crew: Crew;
  try {
    let workers: readonly Thread[];
    [kernels, workers] = await Promise.all([finding, Promise.all(starting), wishHugePages(memory)]);
    crew = shared
      ? await workerCrew(workers, {
          network,
          largestBatch: options.batchSize,
          cacheBytes,
          kernels,
          shared: state,
          threads,
        })
      : callingThread(new Executor(session, await openLibrary(kernels, memory), state, 1, 0));
  } catch (error) {
    // Leave no running compiler and no worker behind.
    failed.abort(error);
    await Promise.allSettled([finding]);
    for (const thread of await Promise.allSettled(starting))
      if (thread.status === 'fulfilled') await thread.value.stop();
    throw error;
  }
  return new CpuSession(
    network,
    operations,
    session,
    state,
    crew,
    kernels,
    threads,
    options.batchSize,
    buffer,
  );
}

/** The most floats that a session's plans need for a batch size. */
function memoryNeeded(session: SessionMemory, batch: number, threads: number): number {
  return Math.max(
    planFloats(session, batch, 'train', threads),
    planFloats(session, evaluationBatch, 'evaluate', threads),
  );
}

/** Bytes of memory that training with this batch size needs. */
export async function trainingMemory(network: Network, batchSize: number, threads: number): Promise<number> {
  const operations = planOperations(network, await cacheSize());
  return 4 * memoryNeeded(new SessionMemory(operations, batchSize, threads), batchSize, threads);
}

class CpuSession implements Session {
  readonly description: string;
  readonly device: Session['device'];
  readonly threads: number;
  readonly #network: Network;
  readonly #operations: Operations;
  readonly #memory: SessionMemory;
  readonly #state: SharedState;
  readonly #crew: Crew;
  readonly #largestBatch: number;
  readonly #buffer: (bytes: number) => ArrayBuffer | SharedArrayBuffer;
  /** Memory of each plan, by mode and batch. */
  readonly #planFloats = new Map<string, number>();
  /** Shared memory for a caller's images. */
  #images: Float32Array = new Float32Array(0);
  #optimizerSteps = 0;
  /** Which moments are in use. */
  #moments: ReadonlySet<MomentName> = new Set();
  #closed = false;

  constructor(
    network: Network,
    operations: Operations,
    memory: SessionMemory,
    state: SharedState,
    crew: Crew,
    kernels: KernelSource,
    threads: number,
    largestBatch: number,
    buffer: (bytes: number) => ArrayBuffer | SharedArrayBuffer,
  ) {
    this.#network = network;
    this.#operations = operations;
    this.#memory = memory;
    this.#state = state;
    this.#crew = crew;
    this.#largestBatch = largestBatch;
    this.#buffer = buffer;
    this.threads = threads;
    this.device = kernels.kind;
    this.description = `${describeKernels(kernels)}, ${counted(threads, 'thread')}`;
  }

  /** Also resets the optimizer. */
  async setWeights(weights: Weights): Promise<void> {
    await this.setState({ weights, optimizerSteps: 0, moments: {} });
  }

  async weights(): Promise<Weights> {
    this.#assertOpen();
    const values = this.#read(() => this.#memory.parameters.at);
    for (const { name, moments, places } of this.#buffers()) {
      values.set(
        name,
        Float32Array.from(places, (place) => moments[place]!),
      );
    }
    return named(tensorsOf(this.#network), values);
  }

  async state(): Promise<TrainingState> {
    const moments: Partial<Record<MomentName, Weights>> = {};
    for (const name of this.#moments) {
      moments[name] = named(
        parametersOf(this.#network),
        this.#read(() => this.#placeOf(name)),
      );
    }
    return { weights: await this.weights(), optimizerSteps: this.#optimizerSteps, moments };
  }

  async setState({ weights, optimizerSteps, moments }: TrainingState): Promise<void> {
    this.#assertOpen();
    this.#store(this.#memory.parameters.at, weights);
    for (const { name, moments, places } of this.#buffers()) {
      valuesOf(weights, name, places.length).forEach((value, channel) => {
        moments[places[channel]!] = value;
      });
    }
    const { parameterLength } = this.#operations;
    for (const { at } of [this.#memory.firstMoments, this.#memory.secondMoments]) {
      this.#floats(at, parameterLength).fill(0);
    }
    const names = Object.keys(moments) as MomentName[];
    for (const name of names) this.#store(this.#placeOf(name), moments[name]!);
    this.#moments = new Set(names);
    this.#optimizerSteps = optimizerSteps;
    await this.#crew.run({ kind: 'derive' });
  }

  async swapAverage(): Promise<void> {
    this.#assertOpen();
    if (this.#moments.has('average')) await this.#crew.run({ kind: 'swap' });
  }

  /** Records which moments a training uses, and clears another optimizer's. */
  #useMoments(optimizer: OptimizerOptions, average: boolean): void {
    const { parameterLength } = this.#operations;
    const names: MomentName[] = optimizer.kind === 'sgd' ? ['momentum'] : ['firstMoment', 'secondMoment'];
    if (this.#moments.size > 0 && !this.#moments.has(names[0]!)) {
      for (const { at } of [this.#memory.firstMoments, this.#memory.secondMoments]) {
        this.#floats(at, parameterLength).fill(0);
      }
      this.#optimizerSteps = 0;
    }
    // An average starts from the current weights.
    if (average && !this.#moments.has('average')) {
      const { averages, parameters } = this.#memory;
      this.#floats(averages.at, parameterLength).set(this.#floats(parameters.at, parameterLength));
    }
    this.#moments = new Set(average ? [...names, 'average'] : names);
  }

  #placeOf(name: MomentName): number {
    const { firstMoments, secondMoments, averages } = this.#memory;
    return {
      firstMoment: firstMoments,
      momentum: firstMoments,
      secondMoment: secondMoments,
      average: averages,
    }[name].at;
  }

  /** Writes a tensor for each parameter into memory with the parameters' layout. */
  #store(at: number, weights: Weights): void {
    const view = this.#floats(at, this.#operations.parameterLength);
    for (const layout of this.#layouts()) {
      storeMatrix(
        view,
        layout,
        valuesOf(weights, layout.weightName, layout.out * layout.channels * layout.taps),
        layout.biasName === undefined ? undefined : valuesOf(weights, layout.biasName, layout.out),
      );
    }
  }

  async train(request: TrainRequest): Promise<TrainResult> {
    this.#assertOpen();
    const { source, optimizer, from, to, onSteps, signal, rates } = request;
    const { accumulate = 1, labelSmoothing = 0, clipNorm = 0, averageDecay = 0, mixup = 0 } = request;
    const options = { accumulate, labelSmoothing, clipNorm, averageDecay, mixup };
    this.#checkBatch(source.batchSize);
    this.#checkDataset(source.dataset);
    this.#useMoments(optimizer, averageDecay > 0);
    for (const count of batchSizes(source.order.length, source.batchSize, from, to)) {
      checkMoments(this.#network, count);
    }
    const fused = fuseTransform(source.transform, source.dataset.shape);
    const count = Math.max(1, to - from);
    const losses = new Float64Array(this.#buffer(count * 8));
    const correct = new Uint32Array(this.#buffer(count * 4));
    const allRates = new Float64Array(this.#buffer(count * 8));
    allRates.fill(optimizer.lr);
    if (rates) allRates.set(rates.subarray(0, count));
    const epochSteps = Math.ceil(source.order.length / source.batchSize);
    /** Optimizer steps among steps `a` … `b` of the epoch. */
    const updates = (a: number, b: number): number =>
      updatesIn(b, epochSteps, accumulate) - updatesIn(a, epochSteps, accumulate);
    const start = performance.now();
    let reported = 0;
    const report = (steps: number): void => {
      if (steps <= reported) return;
      const reports: StepReport[] = [];
      for (; reported < steps; reported++) {
        reports.push({ step: from + reported + 1, loss: losses[reported]! });
      }
      onSteps?.(reports);
    };
    const command = {
      kind: 'train',
      optimizer: { ...optimizer },
      options,
      epochImages: source.order.length,
      epochBatch: source.batchSize,
    } as const;
    const done = await this.#abortable(signal, async () => {
      if (signal?.aborted) return 0;
      if (fused) {
        const input = this.#fusedSource(source, fused);
        this.#reserve('train', source.order.length, source.batchSize, input);
        return await this.#crew.run(
          {
            ...command,
            source: input,
            batchSize: source.batchSize,
            from,
            to,
            rates: allRates,
            optimizerSteps: this.#optimizerSteps,
            stepOffset: 0,
            losses,
            correct,
          },
          report,
        );
      }
      let steps = 0;
      // An abort takes effect after an optimizer step, as in the workers.
      const mayStop = (step: number): boolean => step % accumulate === 0;
      for (let step = from; step < to && !(signal?.aborted && mayStop(step)); step++) {
        const values = this.#transformed(source, step * source.batchSize, source.batchSize);
        this.#reserve('train', values.labels.length, values.labels.length, values);
        await this.#crew.run({
          ...command,
          source: values,
          batchSize: values.labels.length,
          from: 0,
          to: 1,
          rates: allRates.subarray(steps, steps + 1),
          optimizerSteps: this.#optimizerSteps + updates(from, step),
          stepOffset: step,
          losses: losses.subarray(steps, steps + 1),
          correct: correct.subarray(steps, steps + 1),
        });
        report(++steps);
        if (!Number.isFinite(losses[steps - 1])) break;
      }
      return steps;
    });
    report(done);
    const finite = done === 0 || Number.isFinite(losses[done - 1]);
    this.#optimizerSteps += updates(from, finite ? from + done : from + done - 1);
    const total = source.order.length;
    return {
      steps: done,
      losses: losses.slice(0, done),
      correct: correct.slice(0, done),
      images: Math.min(total, (from + done) * source.batchSize) - Math.min(total, from * source.batchSize),
      seconds: (performance.now() - start) / 1000,
    };
  }

  async evaluate(source: BatchSource, signal?: AbortSignal): Promise<EvaluateResult> {
    this.#assertOpen();
    this.#checkDataset(source.dataset);
    const fused = fuseTransform(source.transform, source.dataset.shape);
    const totals = new Float64Array(this.#buffer(24));
    const logits = new Float32Array(this.#buffer(0));
    const start = performance.now();
    const total = source.order.length;
    const part = fused ? Math.max(1, total) : evaluationBatch;
    let images = 0;
    await this.#abortable(signal, async () => {
      for (let first = 0; first < total && !signal?.aborted; first += part) {
        const input = fused ? this.#fusedSource(source, fused) : this.#transformed(source, first, part);
        const count = Math.min(part, total - first);
        this.#reserve('evaluate', count, evaluationBatch, input);
        const batches = await this.#crew.run({
          kind: 'evaluate',
          source: input,
          batchSize: evaluationBatch,
          images: count,
          totals,
          logits,
        });
        images += Math.min(count, batches * evaluationBatch);
      }
    });
    const [lossSum = 0, correct = 0, topFive = 0] = totals;
    return {
      loss: lossSum / images,
      accuracy: correct / images,
      topFive: topFive / images,
      correct,
      images,
      seconds: (performance.now() - start) / 1000,
    };
  }

  async gradients(
    images: Float32Array,
    labels: ArrayLike<number>,
  ): Promise<{ loss: number; gradients: Weights }> {
    this.#assertOpen();
    this.#checkBatch(labels.length);
    checkMoments(this.#network, labels.length);
    this.#checkLabels(labels);
    const totals = new Float64Array(this.#buffer(24));
    const source = this.#values(images, labels.length, labels);
    this.#reserve('train', labels.length, labels.length, source);
    await this.#crew.run({ kind: 'gradients', source, batchSize: labels.length, totals });
    const memory = this.#memory;
    const values = this.#read((index) => memory.gradientOf(this.#operations.list[index]!));
    return { loss: totals[0]! / labels.length, gradients: named(parametersOf(this.#network), values) };
  }

  async predict(images: Float32Array, count: number): Promise<Float32Array> {
    this.#assertOpen();
    const classes = this.#network.output[0]!;
    const logits = new Float32Array(this.#buffer(count * classes * 4));
    const source = this.#values(images, count);
    this.#reserve('evaluate', count, evaluationBatch, source);
    await this.#crew.run({
      kind: 'evaluate',
      source,
      batchSize: evaluationBatch,
      images: count,
      totals: new Float64Array(this.#buffer(24)),
      logits,
    });
    return logits.slice();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#crew.stop();
  }

  #assertOpen(): void {
    if (this.#closed) throw new VggError('this session is closed; open a new one');
  }

  #checkBatch(batch: number): void {
    if (batch <= this.#largestBatch) return;
    throw new UsageError(
      `a batch of ${batch} images is larger than this session's limit of ${this.#largestBatch}; ` +
        `open it with batchSize ${batch}`,
    );
  }

  #checkLabels(labels: ArrayLike<number>): void {
    const classes = this.#network.output[0]!;
    const wrong = Array.from(labels).findIndex(
      (label) => !(Number.isInteger(label) && label >= 0 && label < classes),
    );
    if (wrong < 0) return;
    throw new DataError(
      `label ${labels[wrong]} of image ${wrong} of the batch is not one of the network's ${classes} classes`,
    );
  }

  #checkDataset({ name, classes }: Dataset): void {
    const outputs = this.#network.output[0]!;
    if (classes.length <= outputs) return;
    throw new UsageError(
      `${this.#network.name} ends in ${outputs} classes, but ${name} has ${classes.length}; ` +
        `build the network with ${classes.length} classes`,
    );
  }

  #floats(from: number, length: number): Float32Array {
    return new Float32Array(this.#state.memory.buffer, from * 4, length);
  }

  #layouts(): MatrixLayout[] {
    return this.#operations.list.flatMap((operation) => matrixOf(operation) ?? []);
  }

  /** Reads all parameters, or other memory with their layout: `at` returns its start for an operation. */
  #read(at: (operation: number) => number): Map<string, Float32Array> {
    const values = new Map<string, Float32Array>();
    this.#operations.list.forEach((operation, index) => {
      const matrix = matrixOf(operation);
      if (!matrix) return;
      const view = this.#floats(0, this.#state.memory.buffer.byteLength / 4).subarray(at(index));
      const [weights, biases] = readMatrix(view, matrix);
      values.set(matrix.weightName, weights);
      if (matrix.biasName !== undefined) values.set(matrix.biasName, biases);
    });
    return values;
  }

  /** The running moments of batch normalizations, and the place of each channel in them. */
  #buffers(): { readonly name: string; readonly moments: Float32Array; readonly places: Int32Array }[] {
    return [...this.#memory.normalizations].flatMap(([operation, { running }]) => {
      if (operation.kind !== 'batchNorm') return [];
      const { places, view } = operation;
      return operation.running.map((name, i) => ({
        name,
        moments: this.#floats(running.at + i * view.stored, view.stored),
        places,
      }));
    });
  }

  #fusedSource(source: BatchSource, fused: NonNullable<ReturnType<typeof fuseTransform>>): ImageSource {
    const { dataset, order, seed, epoch } = source;
    this.#checkShape(fused.output, source);
    return {
      kind: 'dataset',
      pixels: this.#shareable(dataset.pixels),
      labels: this.#shareable(dataset.labels),
      fused,
      order: this.#shareable(order),
      seed,
      epoch,
    };
  }

  /** Grows memory to hold the plans of these batches, followed by one image's bytes for each worker. */
  #reserve(mode: 'train' | 'evaluate', images: number, batchSize: number, source: ImageSource): void {
    const workerBytes =
      source.kind === 'dataset' ? this.threads * imageBytes(sizeOf(source.fused.source)) : 0;
    for (const batch of new Set([Math.min(batchSize, images), images % batchSize])) {
      if (batch === 0) continue;
      const key = `${mode} ${batch}`;
      let floats = this.#planFloats.get(key);
      if (floats === undefined) {
        floats = planFloats(this.#memory, batch, mode, this.threads);
        this.#planFloats.set(key, floats);
      }
      const bytes = floats * 4 + workerBytes;
      const missing = Math.ceil((bytes - this.#state.memory.buffer.byteLength) / pageBytes);
      if (missing <= 0) continue;
      try {
        this.#state.memory.grow(missing);
      } catch {
        throw new VggError(
          `${this.#network.name}: batches of ${batch} need ${(bytes / 2 ** 30).toFixed(1)} GiB, more than this ` +
            'machine provides to WebAssembly; use a smaller batch',
        );
      }
    }
  }

  #checkShape(shape: readonly number[], source: BatchSource): void {
    const { input, name } = this.#network;
    if (shape.join() === input.join()) return;
    throw new UsageError(
      `${name} takes images of ${input.join('×')}, but the transforms turn ${source.dataset.name}'s ` +
        `${source.dataset.shape.join('×')} into ${shape.join('×')}; change the transforms or the input`,
    );
  }

  /** A batch through transforms that the kernels cannot compute. */
  #transformed(source: BatchSource, first: number, most: number): ImageSource {
    const { dataset, transform, order, seed, epoch } = source;
    const size = sizeOf(dataset.shape);
    const indices = order.subarray(first, first + most);
    this.#checkShape(transformedShape(transform, dataset.shape), source);
    const values = new Float32Array(this.#buffer(indices.length * sizeOf(this.#network.input) * 4));
    indices.forEach((index, i) => {
      const image = imageFromBytes(dataset.pixels.subarray(index * size, (index + 1) * size), dataset.shape);
      const result = applyTransform(transform, image, random(seed, streams.transform, epoch, index));
      values.set(result.values, i * sizeOf(this.#network.input));
    });
    const labels = new Uint16Array(this.#buffer(indices.length * 2));
    labels.set(Array.from(indices, (index) => dataset.labels[index]!));
    return { kind: 'values', values, labels, samples: indices.slice(), seed, epoch };
  }

  #values(images: Float32Array, count: number, labels?: ArrayLike<number>): ImageSource {
    const size = sizeOf(this.#network.input);
    if (images.length !== count * size) {
      throw new UsageError(
        `${this.#network.name}: ${images.length} values are not ${count} images of ` +
          `${this.#network.input.join('×')} = ${size} values`,
      );
    }
    const shared = new Uint16Array(this.#buffer(count * 2));
    if (labels) shared.set(Array.from(labels));
    const samples = Uint32Array.from({ length: count }, (_, i) => i);
    const source = { kind: 'values', labels: shared, samples, seed: 0, epoch: 0 } as const;
    if (this.#crewIsHere) return { ...source, values: images };
    // Copied each time, because the caller may have refilled the same array; into memory that is kept, because fresh
    // pages cost more than the copy.
    if (this.#images.length < images.length) {
      this.#images = new Float32Array(this.#buffer(images.byteLength));
    }
    const values = this.#images.subarray(0, images.length);
    values.set(images);
    return { ...source, values };
  }

  /** The same values in shared memory, so that workers need no copies. */
  #shareable<T extends Uint8Array | Uint16Array | Uint32Array | Float32Array>(values: T): T {
    if (this.threads === 1 && this.#crewIsHere) return values;
    if (typeof SharedArrayBuffer !== 'undefined' && values.buffer instanceof SharedArrayBuffer) return values;
    let copy = copies.get(values);
    if (!copy) {
      copy = new (values.constructor as new (buffer: ArrayBufferLike) => T)(this.#buffer(values.byteLength));
      (copy as Uint8Array).set(values as Uint8Array);
      copies.set(values, copy);
    }
    return copy as T;
  }

  get #crewIsHere(): boolean {
    return !(
      typeof SharedArrayBuffer !== 'undefined' && this.#state.control.buffer instanceof SharedArrayBuffer
    );
  }

  async #abortable<T>(signal: AbortSignal | undefined, body: () => Promise<T>): Promise<T> {
    setAbort(this.#state.control, false);
    const abort = (): void => setAbort(this.#state.control, true);
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await body();
    } finally {
      signal?.removeEventListener('abort', abort);
      setAbort(this.#state.control, false);
    }
  }
}

/** A tensor's values. @throws UsageError if their number is wrong. */
function valuesOf(weights: Weights, name: string, length: number): Float32Array {
  const weight = weights.get(name);
  if (weight?.data.length !== length) {
    throw new UsageError(
      `${name} has ${weight?.data.length ?? 'no'} values, but the network needs ${length}`,
    );
  }
  return weight.data;
}

/** The values of tensors with their shapes, in the tensors' order. */
const named = (tensors: readonly ParameterSpec[], values: ReadonlyMap<string, Float32Array>): Weights =>
  new Map(tensors.map(({ name, shape }) => [name, { shape, data: values.get(name)! }]));

/** The different sizes of batches `from` … `to` of a pass; only the last of all may be smaller. */
function batchSizes(images: number, batchSize: number, from: number, to: number): Set<number> {
  return new Set(
    [from, to - 1].map((step) => Math.min(batchSize, images - step * batchSize)).filter((count) => count > 0),
  );
}

/** Shared copies of data sets and orders, which callers are expected not to change. */
const copies = new WeakMap<object, Uint8Array | Uint16Array | Uint32Array | Float32Array>();
