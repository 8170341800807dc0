/** Runs plans on one thread: alone, or as one of several workers that share a memory (`barrier.ts`). */
import { muonSettings, muonValues } from '../../../kernels/muon.ts';
import {
  adamSettings,
  adamValues,
  averageShare,
  clippingScale,
  sgdSettings,
  sgdValues,
} from '../../../kernels/optimizer.ts';
import { fillInitial, initialTensors } from '../../../model/initialize.ts';
import { sizeOf } from '../../../model/network.ts';
import { Recent } from '../../../recent.ts';
import type { OptimizerOptions } from '../../backend.ts';
import type { Command, FeaturesCommand, ImageSource } from '../../driver.ts';
import { storePart, wholeRows } from '../../matrix.ts';
import { type Step, stepOf, type TrainPass } from '../../step.ts';
import type { KernelLibrary } from '../kernels/library.ts';
import type { EngineMemory } from '../kernels/memory.ts';
import { combineBatchNorm } from '../lower/batch-norm.ts';
import { type DropoutCall, drawFactors } from '../lower/dropout.ts';
import type { Call, HostCall, Instruction } from '../plan/code.ts';
import { featuresRequest } from '../plan/features.ts';
import { flattened } from '../plan/maps.ts';
import { matrixOf, storedTensors } from '../plan/operations.ts';
import { type ArrayName, averageSetting, type ParameterLayout } from '../plan/parameters.ts';
import { compilePlan, type Plan, type PlanRequest } from '../plan/plan.ts';
import { rateGroups } from '../plan/rates.ts';
import { cut } from '../plan/timeline.ts';
import { deriveItems, type Phase, ruleInPlace, ruleOf, squareCount, type Update } from '../plan/update.ts';
import { Barrier } from './barrier.ts';
import { type Batch, ImageLoader, imageBytes } from './image-loader.ts';
import { type ImageResults, LossComputer, type LossOptions } from './loss.ts';
import { runTap } from './taps.ts';

/** A command, the same for all workers. Typed arrays are in shared memory. */
export type WorkerCommand =
  | Command
  /** Draws the initial parameters. */
  | { readonly kind: 'initialize'; readonly seed: number }
  /** Computes all matrices that are derived from weights. */
  | {
      readonly kind: 'derive';
      /** Of one operation, whose weights are at an address; of all by default. */
      readonly only?: { readonly operation: number; readonly weights: number };
    }
  /** Swaps the weights with their moving average. */
  | { readonly kind: 'swap' };

/** A command, and the state of the session's memory: the arrays that it has allocated, and the frozen layers. */
export interface WorkerRequest {
  readonly command: WorkerCommand;
  readonly arrays: readonly ArrayName[];
  readonly frozen: readonly number[];
}

/** Memory shared by all workers of a session. */
export interface SharedState extends ImageResults {
  readonly memory: EngineMemory;
  readonly control: Int32Array;
}

/** A plan with its kernels bound. */
interface BoundPlan {
  readonly plan: Plan;
  readonly phases: readonly BoundPhase[];
  /** By the kind of update. */
  readonly updates: Map<string, readonly BoundPhase[]>;
  readonly reduce: readonly Bound[];
}

interface BoundPhase {
  readonly items: readonly (readonly Bound[])[];
  readonly once: readonly Bound[];
  readonly computesLoss: boolean;
}

type Bound = (() => void) | HostCall;

const plainLoss: LossOptions = { gradientScale: 0, labelSmoothing: 0 };

/** Initial values that are drawn at a time. */
const drawnValues = 2 ** 16;

/** Plans that are kept: of batches, sets of features and sizes of images. */
export const mostPlans = 8;

/** Floats that are swapped at a time. */
const swapFloats = 2 ** 20;

export class Executor {
  #layout: ParameterLayout;
  readonly #shared: SharedState;
  readonly #kernels: KernelLibrary;
  readonly #worker: number;
  readonly #barrier: Barrier;
  readonly #loader: ImageLoader;
  readonly #loss: LossComputer;
  readonly #plans = new Recent<BoundPlan>(mostPlans);
  #current: BoundPlan | undefined;
  #floats: Float32Array = new Float32Array(0);
  #batch!: Batch;
  #lossOptions: LossOptions = plainLoss;
  /** While it runs. */
  #featuresCommand: FeaturesCommand | undefined;

  constructor(
    layout: ParameterLayout,
    kernels: KernelLibrary,
    shared: SharedState,
    worker: number,
    barrier: Barrier = new Barrier(shared.control, layout.threads),
  ) {
    const { network } = layout.operations;
    this.#layout = layout;
    this.#shared = shared;
    this.#kernels = kernels;
    this.#worker = worker;
    this.#barrier = barrier;
    this.#loader = new ImageLoader(kernels, layout.byteValues(worker));
    this.#loss = new LossComputer(network.output[0]!, shared);
  }

  /** Runs a command; yields the number of steps done after each step, so that the caller can do other work. */
  *run({ command, arrays, frozen }: WorkerRequest): Generator<number, number, void> {
    // The memory may have grown since the last command, and plans lie behind the arrays.
    this.#floats = new Float32Array(this.#shared.memory.buffer);
    this.#loader.use(this.#floats, new Uint8Array(this.#shared.memory.buffer));
    const before = this.#layout;
    // Not only their number: after freezing and unfreezing, as many others may lie there.
    if (arrays.join() !== before.arrays.join() || frozen.join() !== before.trained.frozen.join()) {
      this.#layout = this.#layout.freezing(frozen).with(arrays);
      this.#plans.clear();
      this.#current = undefined;
    }
    switch (command.kind) {
      case 'initialize':
        this.#initialize(command.seed);
        return 1;
      case 'derive':
        // Weights of the moment were in the plan's memory.
        if (command.only) this.#current = undefined;
        this.#derive(command.only);
        return 1;
      case 'swap':
        if (this.#worker === 0) this.#swapAverage();
        this.#barrier.meet();
        this.#derive();
        return 1;
      case 'train':
        return yield* this.#train(command);
      case 'evaluate':
        return yield* this.#evaluate(command);
      case 'features':
        return yield* this.#features(command);
      case 'gradients': {
        const { source, batchSize, totals } = command;
        this.#begin({ mode: 'train' }, { source, first: 0, count: batchSize, ownShare: 1 });
        this.#lossOptions = { gradientScale: 1 / batchSize, labelSmoothing: 0 };
        const { phases, reduce } = this.#current!;
        for (const phase of phases) this.#runPhase(phase);
        if (this.#worker === 0) this.#runAll(reduce);
        this.#barrier.meet(() => this.#addTotals(totals, batchSize));
        return 1;
      }
      default:
        return command satisfies never;
    }
  }

  *#train(pass: TrainPass): Generator<number, number, void> {
    const { source, from, to, options, losses, correct } = pass;
    for (let index = from; index < to; index++) {
      const step = stepOf(pass, index);
      const done = index - from + 1;
      const update = updateOf(pass, step);
      this.#begin({ mode: 'train', inPlace: ruleInPlace(update) }, { source, ...step });
      this.#lossOptions = { gradientScale: step.gradientScale, labelSmoothing: options.labelSmoothing };
      // Split layers are updated in the backward pass.
      this.#writeStepSettings(pass, step);
      for (const phase of this.#current!.phases) {
        this.#runPhase(
          phase,
          phase.computesLoss ? () => this.#recordStep(losses, correct, done - 1, step.count) : undefined,
        );
        if (this.#barrier.stopped) return done;
      }
      this.#updateParameters(pass, step, update);
      yield done;
      if (this.#barrier.stopped) return done;
    }
    return to - from;
  }

  /** The settings of each learning rate. */
  #writeStepSettings({ optimizer, options, rateFactors }: TrainPass, step: Step, scale = 1): void {
    if (!step.updates) return;
    rateGroups(rateFactors).factors.forEach((factor, rate) => {
      const at = this.#layout.settings(this.#worker, rate);
      this.#writeSettings(at, { ...optimizer, lr: step.rate * factor }, step.optimizerSteps, scale);
      if (options.averageDecay === 0) return;
      this.#floats[at + averageSetting] = averageShare(options.averageDecay, step.optimizerSteps);
    });
  }

  #updateParameters(pass: TrainPass, step: Step, update: Update): void {
    const phases = this.#update(update);
    phases.forEach(({ items }, index) => {
      if (index === 1 && update.clip)
        this.#writeStepSettings(pass, step, this.#clippingScale(pass.options.clipNorm));
      this.#barrier.claim(items, (item) => this.#runAll(item));
      const isLast = step.updates && index === phases.length - 1;
      this.#barrier.meet(isLast ? () => this.#barrier.stopIfAsked() : undefined);
    });
  }

  /** The current plan's update of a kind, with its kernels bound. */
  #update(update: Update): readonly BoundPhase[] {
    const { plan, updates } = this.#current!;
    const key = JSON.stringify(update);
    let bound = updates.get(key);
    if (!bound) {
      bound = plan.update(update).map((phase) => this.#bindPhase(phase));
      updates.set(key, bound);
    }
    return bound;
  }

  *#evaluate(command: Extract<Command, { kind: 'evaluate' }>): Generator<number, number, void> {
    const { source, batchSize, images, totals, logits, variant } = command;
    let batches = 0;
    this.#lossOptions = plainLoss;
    for (let first = 0; first < images; first += batchSize) {
      const count = Math.min(batchSize, images - first);
      this.#begin({ mode: 'evaluate', variant }, { source, first, count, ownShare: 1 });
      const { plan, phases } = this.#current!;
      for (const phase of phases) {
        this.#runPhase(
          phase,
          phase.computesLoss
            ? () => {
                this.#addTotals(totals, count);
                this.#copyLogits(plan, logits, first, count);
                this.#barrier.stopIfAsked();
              }
            : undefined,
        );
      }
      yield ++batches;
      if (this.#barrier.stopped) return batches;
    }
    return batches;
  }

  *#features(command: FeaturesCommand): Generator<number, number, void> {
    const { source, batchSize, images } = command;
    const request = featuresRequest(command);
    this.#featuresCommand = command;
    let batches = 0;
    for (let first = 0; first < images; first += batchSize) {
      const count = Math.min(batchSize, images - first);
      this.#begin(request, { source, first, count, ownShare: 1 });
      const { phases } = this.#current!;
      phases.forEach((phase, i) => {
        this.#runPhase(phase, i === phases.length - 1 ? () => this.#barrier.stopIfAsked() : undefined);
      });
      yield ++batches;
      if (this.#barrier.stopped) break;
    }
    this.#featuresCommand = undefined;
    return batches;
  }

  /** Makes the plan for this batch the current one, and clears its part of memory. */
  #begin(request: Omit<PlanRequest, 'batch'>, batch: Omit<Batch, 'bytesAt'>): void {
    const { count } = batch;
    const key = JSON.stringify([count, request]);
    const bound = this.#plans.get(key, () => {
      const plan = compilePlan(this.#layout, { ...request, batch: count }, this.#worker);
      return {
        plan,
        phases: plan.phases.map((phase) => this.#bindPhase(phase)),
        updates: new Map(),
        reduce: this.#bind(plan.reduce),
      };
    });
    if (this.#current !== bound) {
      this.#current = bound;
      if (this.#worker === 0) this.#floats.fill(0, bound.plan.workspace, bound.plan.memoryFloats);
      this.#barrier.meet();
    }
    this.#batch = { ...batch, bytesAt: bound.plan.memoryFloats + (this.#worker * bytesOf(batch.source)) / 4 };
  }

  #bindPhase({ items, once = [], computesLoss = false }: Phase): BoundPhase {
    return { items: items.map((item) => this.#bind(item)), once: this.#bind(once), computesLoss };
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
    this.#barrier.claim(items, (item) => this.#runAll(item));
    this.#barrier.meet(() => {
      this.#runAll(once);
      last?.();
    });
  }

  /** Draws the initial parameters, by parts of tensors. */
  #initialize(seed: number): void {
    const { operations, parameters } = this.#layout;
    const initial = initialTensors(operations.network);
    const memory = this.#floats.subarray(parameters.at);
    const values = new Float32Array(drawnValues);
    const items = [...storedTensors(operations)].flatMap(([name, tensor]) =>
      cut(0, sizeOf(initial.get(name)!.shape), wholeRows(tensor, drawnValues)).map((range) => ({
        name,
        tensor,
        ...range,
      })),
    );
    this.#barrier.claim(items, ({ name, tensor, first, count }) => {
      const part = values.subarray(0, count);
      fillInitial(initial.get(name)!, seed, first, part);
      storePart(memory, tensor, first, part);
    });
    this.#barrier.meet();
  }

  #derive(only?: Parameters<typeof deriveItems>[1]): void {
    this.#barrier.claim(deriveItems(this.#layout, only), (item) => this.#runAll(this.#bind(item)));
    this.#barrier.meet();
  }

  #recordStep(losses: Float64Array, correct: Uint32Array, index: number, count: number): void {
    const totals = new Float64Array(3);
    this.#addTotals(totals, count);
    losses[index] = totals[0]! / count;
    correct[index] = totals[1]!;
    if (!Number.isFinite(totals[0])) this.#barrier.stop();
  }

  /** Adds the losses, the correct answers and the top-5 hits of a batch. */
  #addTotals(totals: Float64Array, count: number): void {
    for (let i = 0; i < count; i++) {
      const rank = this.#shared.ranks[i]!;
      totals[0]! += this.#shared.losses[i]!;
      if (rank === 0) totals[1]!++;
      if (rank < 5) totals[2]!++;
    }
  }

  #swapAverage(): void {
    const { parameters, operations, trained } = this.#layout;
    for (const operation of operations.list) {
      if (!trained.learns(operation)) continue;
      const { offset, length } = matrixOf(operation)!;
      const [a, b] = [parameters.at, this.#layout.arrayOf('averages', operation)];
      for (const { first, count } of cut(offset, length, swapFloats)) {
        const kept = this.#floats.slice(a + first, a + first + count);
        this.#floats.copyWithin(a + first, b + first, b + first + count);
        this.#floats.set(kept, b + first);
      }
    }
  }

  #copyLogits(plan: Plan, logits: Float32Array, first: number, count: number): void {
    if (logits.length === 0) return;
    const all = { first: 0, count, starts: [] };
    const places = flattened(plan.logits);
    let to = first * places.length;
    for (let i = 0; i < count; i++) {
      const at = plan.logits.at(all, i);
      for (const place of places) logits[to++] = this.#floats[at + place]!;
    }
  }

  /** Each worker has its own copy of the settings, so that none has to wait. */
  #writeSettings(at: number, optimizer: OptimizerOptions, step: number, gradientScale: number): void {
    const write = <Name extends string>(
      names: readonly Name[],
      values: Readonly<Record<Name, number>>,
    ): void =>
      names.forEach((name, i) => {
        this.#floats[at + i] = values[name];
      });
    switch (optimizer.kind) {
      case 'sgd':
        write(sgdSettings, sgdValues(optimizer, gradientScale));
        break;
      case 'muon':
        write(muonSettings, muonValues(optimizer, gradientScale));
        break;
      case 'adam':
      case 'adamw':
        write(adamSettings, adamValues(optimizer, step, gradientScale));
        break;
      default:
        optimizer satisfies never;
    }
  }

  /** The factor that limits the gradient's norm to `largest`, as torch's clip_grad_norm_; the same in every worker. */
  #clippingScale(largest: number): number {
    const squares = this.#layout.array('squares');
    const count = squareCount(this.#layout);
    let sum = 0;
    for (let i = 0; i < count; i++) sum += this.#floats[squares + i]!;
    return clippingScale(Math.sqrt(sum), largest);
  }

  #runHost(call: HostCall): void {
    switch (call.host) {
      case 'loadImages':
        this.#loader.load(call, this.#batch);
        return;
      case 'loss':
        this.#loss.compute(call, this.#floats, this.#batch, this.#lossOptions);
        return;
      case 'dropout':
        this.#dropout(call);
        return;
      case 'batchNorm':
        combineBatchNorm(call, this.#floats);
        return;
      case 'tap':
        runTap(call, this.#floats, this.#featuresCommand!, this.#batch.first);
        return;
      default:
        call satisfies never;
    }
  }

  #dropout(call: DropoutCall): void {
    const { source, first } = this.#batch;
    const samples = source.kind === 'dataset' ? source.order : source.samples;
    for (let i = 0; i < call.count; i++) {
      drawFactors(call, this.#floats, i, source, samples[first + call.first + i]!);
    }
  }
}

/** Bytes that a worker needs to read a source's images. */
export const bytesOf = (source: ImageSource): number =>
  source.kind === 'values' ? 0 : imageBytes(sizeOf(source.fused.source));

/** The update that ends a step. */
const updateOf = ({ optimizer, options, rateFactors }: TrainPass, step: Step): Update => ({
  rule: step.updates ? ruleOf(optimizer, options, rateFactors) : undefined,
  accumulated: step.accumulated,
  clip: options.clipNorm > 0,
});
