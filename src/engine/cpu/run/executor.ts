/**
 * Runs plans on one thread: alone, or as one of several workers that share a memory. Workers claim the items of a phase
 * one by one from a counter. They meet at the end of a phase, where the last to arrive does what must be done once.
 */

import { type FusedTransform, fusedValue, place } from '../../../data/fuse.ts';
import { mixupShare } from '../../../data/mixup.ts';
import { random, streams } from '../../../data/random.ts';
import { byteLevels } from '../../../kernels/maps.ts';
import {
  adamSettings,
  adamValues,
  averageShare,
  clippingScale,
  sgdSettings,
  sgdValues,
} from '../../../kernels/optimizer.ts';
import { fillTargets, imageLoss, rankOf } from '../../../model/loss.ts';
import type { OptimizerOptions, StepOptions } from '../../backend.ts';
import type { KernelLibrary } from '../kernels/library.ts';
import type { WasmMemory } from '../kernels/webassembly.ts';
import { combineBatchNorm } from '../lower/batch-norm.ts';
import { type DropoutCall, drawFactors } from '../lower/dropout.ts';
import { type Call, flattened, type HostCall, type Instruction } from '../plan/code.ts';
import {
  averageSetting,
  compilePlan,
  deriveAll,
  type Phase,
  type Plan,
  type SessionMemory,
  squareCount,
  type Update,
} from '../plan/plan.ts';
import { exponential } from './exponential.ts';

/** Words of the control block. */
const arrived = 0;
const generation = 1;
const claimed = 2;
const abortAsked = 3;
const stopped = 4;
export const controlWords = 16;

/** The source of a pass's images. */
export type ImageSource =
  | {
      readonly kind: 'dataset';
      /** Of the whole data set, [N, C, H, W] and [N]. */
      readonly pixels: Uint8Array;
      readonly labels: Uint16Array;
      readonly fused: FusedTransform;
      readonly order: Uint32Array;
      readonly seed: number;
      readonly epoch: number;
    }
  | {
      readonly kind: 'values';
      /** Transformed images [N, C, H, W] and labels [N] of this pass only. */
      readonly values: Float32Array;
      readonly labels: Uint16Array;
      /** Position of each image in the data set, for dropout's draws. */
      readonly samples: Uint32Array;
      readonly seed: number;
      readonly epoch: number;
    };

/** A command, the same for all workers. Typed arrays are in shared memory. */
export type Command =
  | { readonly kind: 'derive' }
  | {
      readonly kind: 'train';
      readonly source: ImageSource;
      readonly batchSize: number;
      readonly from: number;
      readonly to: number;
      readonly optimizer: OptimizerOptions;
      readonly options: Required<StepOptions>;
      /** Learning rate of each step, from `from` on. */
      readonly rates: Float64Array;
      /** Optimizer steps done before. */
      readonly optimizerSteps: number;
      /** Index in the epoch of the source's first step: not 0 if a source holds only one step's images. */
      readonly stepOffset: number;
      /** Images of the whole epoch, and in each of its batches but the last. */
      readonly epochImages: number;
      readonly epochBatch: number;
      /** Receive the loss and the number of correct answers of each step, from `from` on. */
      readonly losses: Float64Array;
      readonly correct: Uint32Array;
    }
  /** Swaps the weights with their moving average. */
  | { readonly kind: 'swap' }
  | {
      readonly kind: 'evaluate';
      readonly source: ImageSource;
      readonly batchSize: number;
      readonly images: number;
      /** Receives the sum of losses, the number of correct answers, and the number of top-5 hits. */
      readonly totals: Float64Array;
      /** Receives logits [images][classes]; may be empty. */
      readonly logits: Float32Array;
    }
  | {
      readonly kind: 'gradients';
      readonly source: ImageSource;
      readonly batchSize: number;
      readonly totals: Float64Array;
    };

/** Memory shared by all workers of a session. */
export interface SharedState {
  readonly memory: WasmMemory;
  readonly control: Int32Array;
  /** Loss of each image of a batch, and its label's rank (`rankOf`). */
  readonly losses: Float64Array;
  readonly ranks: Int32Array;
}

/** A plan with its kernels bound. */
interface BoundPlan {
  readonly plan: Plan;
  readonly phases: readonly BoundPhase[];
  /** By the kind of update. */
  readonly updates: Map<string, readonly (readonly (readonly Bound[])[])[]>;
  readonly reduce: readonly Bound[];
}

interface BoundPhase {
  readonly items: readonly (readonly Bound[])[];
  readonly once: readonly Bound[];
}

type Bound = (() => void) | HostCall;
type LoadImages = Extract<HostCall, { host: 'loadImages' }>;

export class Executor {
  readonly #session: SessionMemory;
  readonly #shared: SharedState;
  readonly #kernels: KernelLibrary;
  readonly #threads: number;
  readonly #worker: number;
  readonly #plans = new Map<string, BoundPlan>();
  #current: BoundPlan | undefined;
  #floats: Float32Array = new Float32Array(0);
  #bytes: Uint8Array = new Uint8Array(0);
  #source: ImageSource | undefined;
  /** Index of the current step in its source. */
  #firstImage = 0;
  #gradientScale = 1;
  #labelSmoothing = 0;
  /** Share of the first image and label in a mixed one. */
  #ownShare = 1;
  /** Of an image, for each class. */
  readonly #logits: Float64Array;
  readonly #targets: Float64Array;
  readonly #gradient: Float64Array;
  /** An image to mix with another. */
  #partner: Float32Array = new Float32Array(0);

  constructor(
    session: SessionMemory,
    kernels: KernelLibrary,
    shared: SharedState,
    threads: number,
    worker: number,
  ) {
    this.#session = session;
    this.#shared = shared;
    this.#kernels = kernels;
    this.#threads = threads;
    this.#worker = worker;
    const classes = session.operations.network.output[0]!;
    this.#logits = new Float64Array(classes);
    this.#targets = new Float64Array(classes);
    this.#gradient = new Float64Array(classes);
  }

  /** Runs a command; yields the number of steps done after each step, so that the caller can do other work. */
  *run(command: Command): Generator<number, number, void> {
    // The memory may have grown since the last command.
    this.#floats = new Float32Array(this.#shared.memory.buffer);
    this.#bytes = new Uint8Array(this.#shared.memory.buffer);
    switch (command.kind) {
      case 'derive':
        if (this.#worker === 0) this.#runAll(this.#bind(deriveAll(this.#session)));
        this.#meet();
        return 1;
      case 'swap':
        if (this.#worker === 0) this.#swapAverage();
        this.#meet();
        return 1;
      case 'train':
        return yield* this.#train(command);
      case 'evaluate':
        return yield* this.#evaluate(command);
      case 'gradients': {
        this.#begin(command.source, 'train', command.batchSize, 0);
        this.#prepareLoss(1 / command.batchSize);
        const { plan, phases, reduce } = this.#current!;
        for (const phase of phases) this.#runPhase(phase);
        if (this.#worker === 0) this.#runAll(reduce);
        this.#meet(() => this.#addTotals(command.totals, plan.batch));
        return 1;
      }
    }
  }

  *#train(command: Extract<Command, { kind: 'train' }>): Generator<number, number, void> {
    const { source, batchSize, from, to, optimizer, options, rates, losses, correct } = command;
    const { epochImages, epochBatch } = command;
    const { accumulate, labelSmoothing, averageDecay, clipNorm, mixup } = options;
    const images = source.labels.length;
    const total = source.kind === 'dataset' ? source.order.length : images;
    let { optimizerSteps } = command;
    for (let step = from; step < to; step++) {
      const first = step * batchSize;
      const count = Math.min(batchSize, total - first);
      this.#begin(source, 'train', count, first);
      // Accumulated batches, and the images in them.
      const epochStep = command.stepOffset + step;
      const position = epochStep % accumulate;
      const start = (epochStep - position) * epochBatch;
      const group = Math.min(epochImages - start, accumulate * epochBatch);
      const last = position === accumulate - 1 || (epochStep + 1) * epochBatch >= epochImages;
      this.#prepareLoss(1 / group, labelSmoothing);
      if (mixup > 0) this.#ownShare = mixupShare(mixup, source.seed, source.epoch, epochStep);
      const { phases } = this.#current!;
      phases.forEach((phase, index) => {
        const end = index === phases.length - 1;
        this.#runPhase(phase, end ? () => this.#recordStep(losses, correct, step - from, count) : undefined);
      });
      if (this.#control(stopped)) return step - from + 1;
      if (last) {
        optimizerSteps++;
        this.#writeSettings({ ...optimizer, lr: rates[step - from]! }, optimizerSteps);
        if (averageDecay > 0) this.#writeAverageShare(averageDecay, optimizerSteps);
      }
      const update = this.#update({
        rule: last ? (optimizer.kind === 'sgd' ? 'sgd' : 'adam') : undefined,
        accumulated: accumulate === 1 ? undefined : position === 0 ? 'first' : 'more',
        clip: clipNorm > 0,
        average: averageDecay > 0,
      });
      update.forEach((items, index) => {
        if (index > 0) {
          const scale = this.#clippingScale(clipNorm);
          this.#writeSettings({ ...optimizer, lr: rates[step - from]! }, optimizerSteps, scale);
        }
        this.#runItems(items);
        this.#meet(last && index === update.length - 1 ? () => this.#decideToStop() : undefined);
      });
      yield step - from + 1;
      if (this.#control(stopped)) return step - from + 1;
    }
    return to - from;
  }

  /** The current plan's update of a kind, with its kernels bound. */
  #update(update: Update): readonly (readonly (readonly Bound[])[])[] {
    const { plan, updates } = this.#current!;
    const key = Object.values(update).join();
    let bound = updates.get(key);
    if (!bound) {
      bound = plan.update(update).map(({ items }) => items.map((item) => this.#bind(item)));
      updates.set(key, bound);
    }
    return bound;
  }

  *#evaluate(command: Extract<Command, { kind: 'evaluate' }>): Generator<number, number, void> {
    const { source, batchSize, images, totals, logits } = command;
    let batches = 0;
    for (let first = 0; first < images; first += batchSize) {
      const count = Math.min(batchSize, images - first);
      this.#begin(source, 'evaluate', count, first);
      this.#prepareLoss(0);
      const { plan, phases } = this.#current!;
      phases.forEach((phase, index) => {
        if (index < phases.length - 1) this.#runPhase(phase);
        else {
          this.#runPhase(phase, () => {
            this.#addTotals(totals, count);
            this.#copyLogits(plan, logits, first, count);
            this.#decideToStop();
          });
        }
      });
      yield ++batches;
      if (this.#control(stopped)) return batches;
    }
    return batches;
  }

  /** Makes the plan for this batch the current one, and clears its part of memory. */
  #begin(source: ImageSource, mode: 'train' | 'evaluate', batch: number, firstImage: number): void {
    const key = `${mode} ${batch}`;
    let bound = this.#plans.get(key);
    if (!bound) {
      const plan = compilePlan(this.#session, batch, mode, this.#threads, this.#worker);
      const bindPhase = ({ items, once = [] }: Phase): BoundPhase => ({
        items: items.map((item) => this.#bind(item)),
        once: this.#bind(once),
      });
      bound = {
        plan,
        phases: plan.phases.map(bindPhase),
        updates: new Map(),
        reduce: this.#bind(plan.reduce),
      };
      this.#plans.set(key, bound);
    }
    if (this.#current !== bound) {
      this.#current = bound;
      if (this.#worker === 0) this.#floats.fill(0, bound.plan.workspace, bound.plan.memoryFloats);
      this.#meet();
    }
    this.#firstImage = firstImage;
    if (this.#source !== source) {
      this.#source = source;
      if (source.kind === 'dataset') this.#writeByteValues(source.fused);
    }
  }

  /** Combines consecutive kernel calls into one function. */
  #bind(instructions: readonly Instruction[]): readonly Bound[] {
    const bound: Bound[] = [];
    let calls: Call[] = [];
    const flush = (): void => {
      if (calls.length > 0) bound.push(this.#kernels.bind(calls));
      calls = [];
    };
    for (const instruction of instructions) {
      if ('host' in instruction) {
        flush();
        bound.push(instruction);
      } else calls.push(instruction);
    }
    flush();
    return bound;
  }

  #runAll(bound: readonly Bound[]): void {
    for (const instruction of bound) {
      if (typeof instruction === 'function') instruction();
      else this.#runHost(instruction);
    }
  }

  /** Runs a phase to the end, where all workers meet; the last to arrive also runs `last`. */
  #runPhase({ items, once }: BoundPhase, last?: () => void): void {
    this.#runItems(items);
    this.#meet(() => {
      this.#runAll(once);
      last?.();
    });
  }

  #runItems(items: readonly (readonly Bound[])[]): void {
    const { control } = this.#shared;
    if (this.#threads === 1) {
      for (const item of items) this.#runAll(item);
      return;
    }
    for (;;) {
      const index = Atomics.add(control, claimed, 1);
      const item = items[index];
      if (!item) return;
      this.#runAll(item);
    }
  }

  /** Waits for all workers; the last to arrive runs `last` before the others continue. */
  #meet(last?: () => void): void {
    if (this.#threads === 1) {
      last?.();
      return;
    }
    const { control } = this.#shared;
    const current = Atomics.load(control, generation);
    if (Atomics.add(control, arrived, 1) === this.#threads - 1) {
      last?.();
      Atomics.store(control, arrived, 0);
      Atomics.store(control, claimed, 0);
      Atomics.store(control, generation, current + 1);
      Atomics.notify(control, generation);
      return;
    }
    for (let spin = 0; spin < 40_000; spin++) if (Atomics.load(control, generation) !== current) return;
    while (Atomics.load(control, generation) === current) Atomics.wait(control, generation, current);
  }

  #control(word: number): number {
    return Atomics.load(this.#shared.control, word);
  }

  #decideToStop(): void {
    if (this.#control(abortAsked)) Atomics.store(this.#shared.control, stopped, 1);
  }

  /** Settings of the loss without mixing. */
  #prepareLoss(gradientScale: number, labelSmoothing = 0): void {
    this.#gradientScale = gradientScale;
    this.#labelSmoothing = labelSmoothing;
    this.#ownShare = 1;
  }

  #recordStep(losses: Float64Array, correct: Uint32Array, index: number, count: number): void {
    let sum = 0;
    let right = 0;
    for (let i = 0; i < count; i++) {
      sum += this.#shared.losses[i]!;
      if (this.#shared.ranks[i] === 0) right++;
    }
    losses[index] = sum / count;
    correct[index] = right;
    if (!Number.isFinite(sum)) Atomics.store(this.#shared.control, stopped, 1);
  }

  #addTotals(totals: Float64Array, count: number): void {
    for (let i = 0; i < count; i++) {
      const rank = this.#shared.ranks[i]!;
      totals[0]! += this.#shared.losses[i]!;
      if (rank === 0) totals[1]!++;
      if (rank < 5) totals[2]!++;
    }
  }

  #swapAverage(): void {
    const { parameters, averages, operations } = this.#session;
    const [a, b] = [parameters, averages].map(({ at }) =>
      this.#floats.subarray(at, at + operations.parameterLength),
    ) as [Float32Array, Float32Array];
    const kept = a.slice();
    a.set(b);
    b.set(kept);
    this.#runAll(this.#bind(deriveAll(this.#session)));
  }

  #copyLogits(plan: Plan, logits: Float32Array, first: number, count: number): void {
    if (logits.length === 0) return;
    const all = { first: 0, count };
    const places = flattened(plan.logits);
    let to = first * places.length;
    for (let i = 0; i < count; i++) {
      const at = plan.logits.at(all, i);
      for (const place of places) logits[to++] = this.#floats[at + place]!;
    }
  }

  /** Each worker has its own copy of the settings, so that none has to wait. */
  #writeSettings(optimizer: OptimizerOptions, step: number, gradientScale = 1): void {
    const at = this.#session.settings(this.#worker);
    if (optimizer.kind === 'sgd') {
      const values = sgdValues(optimizer, gradientScale);
      sgdSettings.forEach((name, i) => {
        this.#floats[at + i] = values[name];
      });
      return;
    }
    const values = adamValues(optimizer, step, gradientScale);
    adamSettings.forEach((name, i) => {
      this.#floats[at + i] = values[name];
    });
  }

  #writeAverageShare(decay: number, step: number): void {
    this.#floats[this.#session.settings(this.#worker) + averageSetting] = averageShare(decay, step);
  }

  /** The factor that limits the gradient's norm to `largest`, as torch's clip_grad_norm_; the same in every worker. */
  #clippingScale(largest: number): number {
    const { squares, operations } = this.#session;
    let sum = 0;
    const count = squareCount(operations);
    for (let i = 0; i < count; i++) sum += this.#floats[squares.at + i]!;
    return clippingScale(Math.sqrt(sum), largest);
  }

  /** Computes the float for each byte value in each channel. */
  #writeByteValues({ scale, offset }: FusedTransform): void {
    let at = this.#session.byteValues(this.#worker);
    for (let channel = 0; channel < scale.length; channel++) {
      for (let byte = 0; byte < byteLevels; byte++) {
        this.#floats[at++] = fusedValue(byte, scale[channel]!, offset[channel]!);
      }
    }
  }

  #runHost(call: HostCall): void {
    switch (call.host) {
      case 'loadImages':
        for (let i = 0; i < call.count; i++) {
          if (this.#ownShare === 1) this.#load(call, i, call.first + i);
          else this.#loadMixed(call, i);
        }
        return;
      case 'loss':
        this.#loss(call);
        return;
      case 'dropout':
        this.#dropout(call);
        return;
      case 'batchNorm':
        combineBatchNorm(call, this.#floats);
        return;
    }
  }

  /** Writes image `image` of the batch into the map of image `i`. */
  #load(call: LoadImages, i: number, image: number): void {
    const source = this.#source!;
    if (source.kind === 'dataset') this.#loadImage(call, source, i, image);
    else this.#loadValues(call, source, i, image);
  }

  /** The same, mixed with its partner. The halo is 0 in both. */
  #loadMixed(call: LoadImages, i: number): void {
    const { batch } = this.#current!.plan;
    const image = call.first + i;
    this.#load(call, i, batch - 1 - image);
    const { height, width, stored } = this.#session.operations.input;
    const row = width * stored;
    if (this.#partner.length < height * row) this.#partner = new Float32Array(height * row);
    const at = call.map / 4 + i * call.imageStride;
    for (let y = 0; y < height; y++) {
      const start = at + y * call.rowStride;
      this.#partner.set(this.#floats.subarray(start, start + row), y * row);
    }
    this.#load(call, i, image);
    for (let y = 0; y < height; y++) {
      const start = at + y * call.rowStride;
      for (let x = 0; x < row; x++) {
        const own = this.#floats[start + x]!;
        this.#floats[start + x] = own * this.#ownShare + this.#partner[y * row + x]! * (1 - this.#ownShare);
      }
    }
  }

  #loadImage(
    call: LoadImages,
    source: Extract<ImageSource, { kind: 'dataset' }>,
    i: number,
    image: number,
  ): void {
    const { fused, order, pixels, seed, epoch } = source;
    const [channels, height, width] = fused.source;
    const [, rows, columns] = fused.output;
    const index = order[this.#firstImage + image]!;
    const { top, left, flip, hole } = place(fused, random(seed, streams.transform, epoch, index));
    const size = channels * height * width;
    const bytes = this.#current!.plan.memoryFloats * 4 + this.#worker * imageBytes(size);
    this.#bytes.set(pixels.subarray(index * size, (index + 1) * size), bytes);
    const clamp = (value: number, most: number): number => Math.min(Math.max(value, 0), most);
    const columnFrom = clamp(flip ? left - width + 1 : -left, columns);
    const columnTo = Math.max(columnFrom, clamp(flip ? left + 1 : width - left, columns));
    const rowFrom = clamp(-top, rows);
    this.#kernels.call('loadImage', [
      call.map + i * call.imageStride * 4,
      call.rowStride,
      call.pixelStride,
      bytes,
      height * width,
      width,
      flip ? -1 : 1,
      top * width + left,
      channels,
      rows,
      columns,
      rowFrom,
      Math.max(rowFrom, clamp(height - top, rows)),
      columnFrom,
      columnTo,
      this.#session.byteValues(this.#worker) * 4,
    ]);
    if (!hole) return;
    const at = call.map / 4 + i * call.imageStride;
    const [from, to] = hole.columns;
    for (let y = hole.rows[0]; y < hole.rows[1]; y++) {
      const row = at + y * call.rowStride;
      this.#floats.fill(0, row + from * call.pixelStride, row + to * call.pixelStride);
    }
  }

  #loadValues(
    call: LoadImages,
    source: Extract<ImageSource, { kind: 'values' }>,
    i: number,
    image: number,
  ): void {
    const { channels, height, width } = this.#session.operations.input;
    const from = (this.#firstImage + image) * channels * height * width;
    const to = call.map / 4 + i * call.imageStride;
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          this.#floats[to + y * call.rowStride + x * call.pixelStride + c] =
            source.values[from + (c * height + y) * width + x]!;
        }
      }
    }
  }

  #dropout(call: DropoutCall): void {
    const source = this.#source!;
    const samples = source.kind === 'dataset' ? source.order : source.samples;
    for (let i = 0; i < call.count; i++) {
      drawFactors(call, this.#floats, i, source, samples[this.#firstImage + call.first + i]!);
    }
  }

  /** Softmax cross-entropy of each image, its label's rank, and the gradient of the batch's mean. */
  #loss(call: Extract<HostCall, { host: 'loss' }>): void {
    const { first, count, logitPlaces, gradientPlaces } = call;
    const classes = logitPlaces.length;
    const floats = this.#floats;
    const [logits, targets, gradient] = [this.#logits, this.#targets, this.#gradient];
    for (let i = 0; i < count; i++) {
      const at = call.logits / 4 + i * call.logitStride;
      const image = first + i;
      const label = this.#labelOf(image);
      const other = this.#ownShare === 1 ? label : this.#labelOf(this.#current!.plan.batch - 1 - image);
      for (let c = 0; c < classes; c++) logits[c] = floats[at + logitPlaces[c]!]!;
      fillTargets(targets, label, this.#labelSmoothing, other, this.#ownShare);
      this.#shared.losses[image] = imageLoss(logits, targets, gradient, exponential);
      this.#shared.ranks[image] = rankOf(logits, label);
      if (!call.gradient) continue;
      const to = call.gradient / 4 + i * call.gradientStride;
      for (let c = 0; c < classes; c++) {
        floats[to + gradientPlaces[c]!] = gradient[c]! * this.#gradientScale;
      }
    }
  }

  /** Of an image of the batch. */
  #labelOf(image: number): number {
    const source = this.#source!;
    const index = this.#firstImage + image;
    return source.labels[source.kind === 'dataset' ? source.order[index]! : index]!;
  }
}

/** Bytes that a worker needs for an image of `size` bytes. */
export const imageBytes = (size: number): number => Math.ceil(size / 64) * 64;

/** Asks running workers to stop after their step, or clears that request before the next command. */
export function setAbort(control: Int32Array, abort: boolean): void {
  Atomics.store(control, abortAsked, abort ? 1 : 0);
  if (!abort) Atomics.store(control, stopped, 0);
}
