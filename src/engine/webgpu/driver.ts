/**
 * The WebGPU driver. A training pass stays on the device: images, order, random draws, parameters, losses and the number
 * of the step. The host encodes the dispatches of many steps, submits them in parts of about 50 milliseconds, two in
 * flight, and reads back losses. Where parts end changes no bit.
 */
import { sourceOfInitial } from '../../model/initialize.ts';
import type { Network } from '../../model/layer.ts';
import { imageLoss, rankOf } from '../../model/loss.ts';
import type { WeightSource } from '../../model/weight-streams.ts';
import type { MomentName, OpenSession, SessionOptions } from '../backend.ts';
import {
  type Command,
  type Driver,
  type FeaturesCommand,
  type ImageSource,
  imageCount,
  type TensorGroup,
} from '../driver.ts';
import { flattenedPlaces, type MapShape } from '../map-shape.ts';
import { largestEvaluation, momentsOf, sessionsOf } from '../session.ts';
import { stepOf, type TrainPass } from '../step.ts';
import { type Variant, variantOf } from '../variant.ts';
import { type BoundDispatch, type Gpu, type GpuOptions, openGpu } from './device.ts';
import type { Dispatch, Piece } from './dispatch.ts';
import { Feed } from './feed.ts';
import { type Generation, type Maps, type Memory, Scratch } from './memory.ts';
import type { Shared } from './operations.ts';
import { Parameters } from './parameters.ts';
import { Submitter } from './submitter.ts';
import type { TileTable } from './tiles.ts';
import {
  gradientRow,
  orthogonalizationOf,
  type StepKind,
  type TrainingBuffers,
  tableOf,
  trainingStep,
} from './training-step.ts';
import { startMoment, swapAverage, tensorsOn, writeTensors } from './transfer.ts';
import { runWords } from './wgsl.ts';
import { imageBytes, type Mode, Workspace } from './workspace.ts';

export interface WebgpuOptions extends SessionOptions, GpuOptions {
  /** The most bytes of a buffer, to test devices with low limits. */
  readonly mostBytes?: number;
  /** Floating-point operations of a submit, to test that they change no bit; by time if absent. */
  readonly submitOperations?: number;
}

/** Opens a session on a GPU. @throws VggError if there is none, or the network does not fit it. */
export const openWebgpu: OpenSession = (network, options) => openWebgpuSession(network, options);

export const openWebgpuSession = (network: Network, options: WebgpuOptions): ReturnType<OpenSession> =>
  sessionsOf(async () => {
    const { adapter, constants, tiles, onNotice } = options;
    const gpu = await openGpu({ adapter, constants });
    if (gpu.isSoftware) noticeSoftware(gpu, onNotice);
    const isOwn = tiles && (tiles.adapter ?? gpu.adapter) === gpu.adapter;
    return openDriver(gpu, isOwn ? tiles : gpu.tiles, network, options);
  })(network, options);

/** A session on an open device, with these tiles. */
export const openSessionOn = (
  gpu: Gpu,
  tiles: TileTable,
  network: Network,
  options: WebgpuOptions,
): ReturnType<OpenSession> => sessionsOf(() => openDriver(gpu, tiles, network, options))(network, options);

async function openDriver(
  gpu: Gpu,
  tiles: TileTable,
  network: Network,
  options: WebgpuOptions,
): Promise<Driver> {
  const { mostBytes = Number.POSITIVE_INFINITY } = options;
  const memory: Memory = {
    ...{ mostBytes: Math.min(mostBytes, gpu.mostBytes), tiles },
    buffer: (bytes, label) => gpu.buffer(bytes, label),
  };
  const parameters = await gpu.allocating(network.name, () => new Parameters(memory, network));
  return new WebgpuDriver(network, gpu, memory, parameters, options);
}

let isNoticed = false;

/** Says once what a software adapter means. */
function noticeSoftware({ adapter }: Gpu, onNotice: SessionOptions['onNotice']): void {
  if (isNoticed || !onNotice) return;
  isNoticed = true;
  onNotice(
    `webgpu uses a software adapter (${adapter}), which is far slower than the processor's own kernels: --device native or wasm`,
  );
}

/** Bytes of maps that an evaluation takes at a time. */
const evaluationBytes = 2 ** 28;

/** A list of dispatches that is bound anew when a buffer was replaced. */
interface Plan {
  readonly list: readonly Dispatch[];
  bound: readonly BoundDispatch[];
  generation: number;
}

class WebgpuDriver implements Driver {
  readonly description: string;
  readonly device = 'webgpu';
  readonly threads = 1;
  readonly tiles: TileTable;
  readonly loadsImages = true;
  readonly evaluationBatch: number;
  readonly #network: Network;
  readonly #gpu: Gpu;
  readonly #parameters: Parameters;
  readonly #feed: Feed;
  readonly #shared: Shared;
  readonly #generation: Generation = { count: 0 };
  readonly #training: TrainingBuffers;
  /** For each layer that a caller gives gradients of. */
  readonly #given: Scratch[] = [];
  readonly #submitter: Submitter;
  /** By network, mode and capacity; the one used last at the end. */
  readonly #workspaces = new Map<string, { workspace: Workspace; plans: Map<string, Plan> }>();
  readonly #batchSize: number;
  #aborted = false;

  constructor(
    network: Network,
    gpu: Gpu,
    memory: Memory,
    parameters: Parameters,
    { batchSize, submitOperations }: WebgpuOptions,
  ) {
    this.#network = network;
    this.#gpu = gpu;
    this.#parameters = parameters;
    this.#batchSize = batchSize;
    this.description = `webgpu (${gpu.adapter})`;
    this.tiles = { ...memory.tiles, adapter: gpu.adapter };
    this.evaluationBatch = evaluationBatchOf(network, { kind: 'evaluate' });
    const scratch = (label: string): Scratch => new Scratch(gpu, this.#generation, label);
    this.#feed = new Feed(gpu, memory.mostBytes, this.#generation);
    this.#training = {
      ...{ labels: this.#feed.labels, table: scratch('numbers of steps'), ring: scratch('losses') },
      ...{
        results: scratch('losses of images'),
        sums: scratch('sums of squares'),
        clipping: scratch('clipping'),
        orthogonalization: orthogonalizationOf(scratch),
      },
    };
    this.#shared = {
      ...{ memory, parameters, run: gpu.buffer(4 * runWords, 'run'), samples: this.#feed.samples },
      ...{ slots: scratch('slots'), partial: scratch('partial sums'), stretches: scratch('stretches') },
    };
    this.#submitter = new Submitter(gpu, submitOperations);
  }

  buffer(bytes: number): ArrayBuffer {
    return new ArrayBuffer(bytes);
  }

  async initialize(seed: number): Promise<void> {
    await this.write('weights', sourceOfInitial(this.#network, seed));
  }

  async freeze(layers: readonly number[]): Promise<void> {
    this.#parameters.freeze(layers);
    this.#drop();
  }

  async write(group: TensorGroup, source: WeightSource): Promise<void> {
    await this.#allocating(async () => writeTensors(this.#gpu, this.#parameters, group, source));
  }

  tensors(group: TensorGroup | 'gradients'): WeightSource {
    return tensorsOn(this.#gpu, this.#network, this.#parameters, group);
  }

  async start(moments: readonly MomentName[]): Promise<void> {
    await this.#allocating(() => {
      for (const name of moments) startMoment(this.#gpu, this.#parameters, name);
    });
  }

  async swapAverage(): Promise<void> {
    swapAverage(this.#gpu, this.#parameters);
  }

  abort(asked: boolean): void {
    this.#aborted = asked;
  }

  async close(): Promise<void> {
    this.#drop();
    this.#parameters.destroy();
    this.#feed.destroy();
    const { run, slots, partial, stretches } = this.#shared;
    const training = Object.values(this.#training).flat() as Scratch[];
    for (const own of [slots, partial, stretches, ...this.#given, ...training]) own.destroy();
    run.destroy();
  }

  async run(command: Command, onProgress?: (done: number) => void): Promise<number> {
    this.#gpu.assertWorks();
    // What an error left.
    this.#submitter.discard();
    switch (command.kind) {
      case 'train':
        return this.#train(command, onProgress);
      case 'evaluate':
        return this.#evaluate(command, onProgress);
      case 'features':
        return this.#features(command, onProgress);
      case 'gradients':
        return this.#gradients(command);
      default:
        return command satisfies never;
    }
  }

  #allocating<T>(allocate: () => T | Promise<T>): Promise<T> {
    return this.#gpu.allocating(this.#network.name, allocate);
  }

  /** Frees all maps. */
  #drop(): void {
    for (const { workspace } of this.#workspaces.values()) workspace.destroy();
    this.#workspaces.clear();
  }

  async #workspace(mode: Mode, count: number, variant?: Variant) {
    const capacity = mode.kind === 'train' ? this.#batchSize : count;
    const key = JSON.stringify([mode, variant, capacity]);
    let own = this.#workspaces.get(key);
    if (!own) {
      const network = variant ? variantOf(this.#network, variant) : this.#network;
      for (const [oldest, { workspace }] of this.#workspaces) {
        if (this.#workspaces.size < mostWorkspaces) break;
        workspace.destroy();
        this.#workspaces.delete(oldest);
      }
      own = await this.#allocating(() => ({
        workspace: new Workspace(this.#shared, network, mode, capacity),
        plans: new Map<string, Plan>(),
      }));
    }
    this.#workspaces.delete(key);
    this.#workspaces.set(key, own);
    return own;
  }

  /** A plan of a workspace, ready to encode. */
  async #bound(
    plans: Map<string, Plan>,
    key: string,
    make: () => readonly Dispatch[],
  ): Promise<readonly BoundDispatch[]> {
    let plan = plans.get(key);
    if (!plan) {
      const list = await this.#allocating(make);
      plan = { list, bound: [], generation: -1 };
      plans.set(key, plan);
    }
    while (plan.generation !== this.#generation.count) {
      plan.generation = this.#generation.count;
      plan.bound = await Promise.all(plan.list.map((dispatch) => this.#gpu.bind(dispatch)));
    }
    return plan.bound;
  }

  #writeRun(step: number, base: number, { seed, epoch }: ImageSource, batch: number, total: number): void {
    const key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
    const words = Uint32Array.of(step, 0, base, epoch, ...key, batch, total);
    this.#gpu.device.queue.writeBuffer(this.#shared.run, 0, words);
  }

  async #train(pass: TrainPass, onProgress?: (done: number) => void): Promise<number> {
    const { source, from, to, optimizer, options } = pass;
    this.#feed.open(source);
    await this.#allocating(() => {
      for (const name of momentsOf(optimizer.kind)) this.#parameters.ensure(name);
      if (options.averageDecay > 0) this.#parameters.ensure('average');
    });
    let known = from;
    // In parts, since the numbers of their steps are in one buffer.
    for (let begin = from; begin < to && known === begin; begin += mostSteps)
      known = await this.#trainPart(pass, begin, Math.min(to, begin + mostSteps), onProgress);
    return known - from;
  }

  /** Trains steps `begin` … `end`; returns the first that was not done. */
  async #trainPart(
    pass: TrainPass,
    begin: number,
    end: number,
    onProgress?: (done: number) => void,
  ): Promise<number> {
    const { source, batchSize, from, losses, correct, optimizer, options } = pass;
    this.#writeRun(begin, begin, source, batchSize, imageCount(source));
    const factors = [...new Set([1, ...pass.rateFactors])];
    this.#writeTable(tableOf(pass, begin, end, factors));
    this.#training.ring.require(8 * (end - begin));
    const { workspace, plans } = await this.#workspace({ kind: 'train' }, batchSize);
    const common = {
      ...{ optimizer: optimizer.kind, labelSmoothing: options.labelSmoothing, clipNorm: options.clipNorm },
      ...{ averages: options.averageDecay > 0, mixes: options.mixup > 0, onlyGradients: false },
      ...{ rateOf: pass.rateFactors.map((factor) => factors.indexOf(factor)), rates: factors.length },
    };
    const passKey = JSON.stringify([common, this.#feed.key]);
    const flights: Promise<void>[] = [];
    let [sent, flown, known, isStopped] = [begin, begin, begin, false];
    /** Submits what was encoded, and reads the losses of steps up to `sent`. */
    const fly = (): void => {
      const [first, last] = [flown, sent];
      flown = sent;
      const ranges = [
        { buffer: this.#shared.run, offset: 0, bytes: 4 * runWords },
        { buffer: this.#training.ring.buffer, offset: 8 * (first - begin), bytes: 8 * (last - first) },
      ];
      const received = this.#submitter.read(ranges).then((bytes) => {
        const [words, floats] = [new Uint32Array(bytes), new Float32Array(bytes)];
        isStopped = words[1]! > 0;
        const done = isStopped ? words[1]! : last;
        for (let step = first; step < done; step++) {
          const at = runWords + 2 * (step - first);
          losses[step - from] = floats[at]!;
          correct[step - from] = words[at + 1]!;
        }
        known = Math.max(known, done);
        onProgress?.(known - from);
      });
      flights.push(watched(received));
    };
    let isAborted = false;
    while (sent < end && !isStopped && !isAborted) {
      const step = stepOf(pass, sent);
      const { accumulated, updates, first, count } = step;
      if (this.#feed.writesSteps) {
        this.#submitter.submit();
        this.#feed.writeStep(first, count);
      }
      const make = (): Dispatch[] => this.#step(workspace, count, { ...common, accumulated, updates });
      this.#submitter.add(await this.#bound(plans, `${count} ${accumulated} ${updates} ${passKey}`, make));
      sent++;
      if (this.#submitter.isFull) {
        if (flights.length === mostInFlight) await flights.shift();
        fly();
        // An abort arrives between two tasks.
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
      isAborted = updates && this.#aborted;
    }
    if (flown < sent) fly();
    await Promise.all(flights);
    return known;
  }

  #writeTable(table: Float32Array<ArrayBuffer>): void {
    this.#training.table.require(table.byteLength);
    this.#gpu.device.queue.writeBuffer(this.#training.table.buffer, 0, table);
  }

  /** The dispatches of a step of `count` images. */
  #step(workspace: Workspace, count: number, kind: StepKind): Dispatch[] {
    const { mixes, rates } = kind;
    return [
      ...this.#load(workspace, count, { mixes, rates }),
      ...trainingStep(this.#shared, this.#training, workspace, count, kind),
    ];
  }

  #load(
    workspace: Workspace,
    count: number,
    { mixes, rates }: Pick<StepKind, 'mixes' | 'rates'>,
  ): Dispatch[] {
    const numbers = { run: this.#shared.run, table: this.#training.table, mixes, rates };
    return this.#feed.load(numbers, workspace.pieces(count), workspace.input, workspace.inputShape);
  }

  async #gradients({ source, batchSize, totals }: Extract<Command, { kind: 'gradients' }>): Promise<number> {
    this.#feed.open(source);
    this.#writeRun(0, 0, source, batchSize, batchSize);
    this.#writeTable(gradientRow(batchSize));
    this.#training.ring.require(8);
    this.#submitter.submit();
    this.#feed.writeStep(0, batchSize);
    const { workspace, plans } = await this.#workspace({ kind: 'train' }, batchSize);
    const kind: StepKind = {
      ...{
        optimizer: 'sgd',
        labelSmoothing: 0,
        clipNorm: 0,
        averages: false,
        mixes: false,
        accumulated: undefined,
      },
      ...{ updates: false, rateOf: [], rates: 1, onlyGradients: true },
    };
    const key = JSON.stringify([batchSize, kind, this.#feed.key]);
    this.#submitter.add(await this.#bound(plans, key, () => this.#step(workspace, batchSize, kind)));
    await this.#readLogits(workspace, batchSize).then((read) => this.#addLosses(read, source, 0, totals));
    return 1;
  }

  /** Submits, and reads the logits [count][classes] of a batch. */
  async #readLogits(workspace: Workspace, count: number): Promise<Float32Array> {
    return this.#readMaps(workspace.output, workspace.outputShape, workspace.pieces(count));
  }

  /** Reads maps in PyTorch's order [N][C][H][W]. */
  async #readMaps(maps: Maps, shape: MapShape, pieces: readonly Piece[]): Promise<Float32Array> {
    const size = shape.height * shape.width * shape.stored;
    const ranges = pieces.map(({ index, count }) => ({
      buffer: maps[index]!,
      offset: 0,
      bytes: 4 * size * count,
    }));
    const stored = new Float32Array(await this.#submitter.read(ranges));
    const places = flattenedPlaces(shape);
    const values = new Float32Array((stored.length / size) * places.length);
    let at = 0;
    for (let first = 0; first < stored.length; first += size)
      for (const place of places) values[at++] = stored[first + place]!;
    return values;
  }

  /** Losses and ranks in float64, as on all devices. */
  #addLosses(
    logits: Float32Array,
    { labels, ...source }: ImageSource,
    first: number,
    totals: Float64Array,
  ): void {
    const classes = this.#network.output[0]!;
    const [own, targets, gradient] = [0, 1, 2].map(() => new Float64Array(classes)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    for (let i = 0; i * classes < logits.length; i++) {
      const label = labels[source.kind === 'dataset' ? source.order[first + i]! : first + i]!;
      own.set(logits.subarray(i * classes, (i + 1) * classes));
      targets.fill(0)[label] = 1;
      totals[0]! += imageLoss(own, targets, gradient, Math.exp);
      const rank = rankOf(own, label);
      if (rank === 0) totals[1]!++;
      if (rank < 5) totals[2]!++;
    }
  }

  /** Runs batches of at most `batchSize` images, two in flight. `encode` sends one and returns its results. */
  async #batches(
    source: ImageSource,
    images: number,
    batchSize: number,
    encode: (first: number, count: number) => Promise<{ readonly read: Promise<void> }>,
    onProgress?: (done: number) => void,
  ): Promise<number> {
    this.#feed.open(source);
    let batches = 0;
    const flights: Promise<void>[] = [];
    for (let first = 0; first < images && !this.#aborted; first += batchSize) {
      const count = Math.min(batchSize, images - first);
      this.#submitter.submit();
      this.#writeRun(first / batchSize, 0, source, batchSize, images);
      if (this.#feed.writesSteps) this.#feed.writeStep(first, count);
      const { read } = await encode(first, count);
      flights.push(watched(read));
      if (flights.length === mostInFlight) await flights.shift();
      batches++;
      onProgress?.(batches);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    await Promise.all(flights);
    return batches;
  }

  async #evaluate(
    { source, batchSize, images, totals, logits, variant }: Extract<Command, { kind: 'evaluate' }>,
    onProgress?: (done: number) => void,
  ): Promise<number> {
    const network = variant ? variantOf(this.#network, variant) : this.#network;
    const mode: Mode = { kind: 'evaluate' };
    const size = Math.min(batchSize, evaluationBatchOf(network, mode), images);
    const batches = await this.#batches(
      source,
      images,
      size,
      async (first, count) => {
        const { workspace, plans } = await this.#workspace(mode, size, variant);
        const bound = await this.#bound(plans, `${count} ${this.#feed.key}`, () =>
          this.#forward(workspace, count),
        );
        this.#submitter.add(bound);
        const read = this.#readLogits(workspace, count).then((values) => {
          this.#addLosses(values, source, first, totals);
          if (logits.length > 0) logits.set(values, first * this.#network.output[0]!);
        });
        return { read };
      },
      onProgress,
    );
    // In the caller's batches.
    return Math.ceil(Math.min(images, batches * size) / batchSize);
  }

  #forward(workspace: Workspace, count: number): Dispatch[] {
    return [
      ...this.#load(workspace, count, { mixes: false, rates: 1 }),
      ...workspace.forward(workspace.pieces(count)),
    ];
  }

  async #features(
    { source, batchSize, images, layers, values, backward }: FeaturesCommand,
    onProgress?: (done: number) => void,
  ): Promise<number> {
    const wanted = [...new Set([...layers, ...(backward ? [...backward.layers, backward.to] : [])])]
      .filter((layer) => layer >= 0)
      .toSorted((a, b) => a - b);
    const mode: Mode = { kind: 'features', wanted, backward: backward !== undefined };
    const size = Math.min(batchSize, evaluationBatchOf(this.#network, mode), images);
    return this.#batches(
      source,
      images,
      size,
      async (first, count) => {
        const { workspace, plans } = await this.#workspace(mode, size);
        const pieces = workspace.pieces(count);
        this.#submitter.add(
          await this.#bound(plans, `${count} ${this.#feed.key}`, () => this.#forward(workspace, count)),
        );
        for (const [i, layer] of layers.entries()) {
          const { maps, shape } = workspace.after(layer);
          const read = await this.#readMaps(maps, shape, pieces);
          values[i]!.set(read, first * (read.length / count));
        }
        if (backward) {
          const { list, result, shape } = workspace.backwardTo(
            pieces,
            backward.layers,
            backward.to,
            (layer, maps, own) => {
              const at = backward.layers.indexOf(layer);
              const given = backward.given[at]!;
              const each = given.length / images;
              this.#given[at] ??= new Scratch(this.#gpu, this.#generation, 'given gradients');
              const values = given.subarray(first * each, (first + count) * each);
              return this.#feed.loadGiven(values, pieces, maps, own, this.#given[at]);
            },
          );
          this.#submitter.add(await Promise.all(list.map((dispatch) => this.#gpu.bind(dispatch))));
          const read = await this.#readMaps(result, shape, pieces);
          backward.gradient.set(read, first * (read.length / count));
        }
        return { read: Promise.resolve() };
      },
      onProgress,
    );
  }
}

/** A promise whose failure is handled later. */
function watched<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** Workspaces that are kept: to train, to evaluate, and one more. */
const mostWorkspaces = 3;
const mostInFlight = 2;
/** Steps whose numbers are on the device at a time. */
const mostSteps = 4096;

/** Images of an evaluation whose maps take a bounded memory. */
const evaluationBatchOf = (network: Network, mode: Mode): number =>
  Math.max(1, Math.min(largestEvaluation, Math.floor(evaluationBytes / imageBytes(network, mode))));
