/**
 * The session of every device: it checks requests, knows the optimizer's state, cuts passes into batches, and turns
 * what the driver computes into results. Only drivers (`driver.ts`) differ between devices.
 */
import { fuseTransform } from '../data/fuse.ts';
import type { SamplePlan } from '../data/sampling.ts';
import { type AnyDataset, isStored } from '../data/stored.ts';
import { isScaled } from '../data/transforms.ts';
import { DataError, UsageError, VggError } from '../errors.ts';
import type { Network, ParameterSpec, Shape, Weights } from '../model/layer.ts';
import { checkMoments } from '../model/layers/batch-norm.ts';
import { hasState, parametersOf, sizeOf, tensorsOf } from '../model/network.ts';
import { readAll, sourceOf, type WeightSource } from '../model/weight-streams.ts';
import type {
  BatchSource,
  EvaluateResult,
  FeaturesRequest,
  FeaturesResult,
  GivenState,
  MomentName,
  OpenSession,
  OptimizerOptions,
  Session,
  SessionOptions,
  StepOptions,
  StepReport,
  TrainingState,
  TrainRequest,
  TrainResult,
} from './backend.ts';
import type { Driver, ImageSource, OpenDriver } from './driver.ts';
import type { BatchLoader } from './loading/batches.ts';
import { checkMuonNetwork } from './muon.ts';
import { mostRates, updatesIn } from './step.ts';
import { type PredictOptions, variantFor, variantOf } from './variant.ts';

/** The most images of an evaluation batch. */
export const largestEvaluation = 100;

/** Sessions on the device of a driver. */
export const sessionsOf =
  (open: OpenDriver): OpenSession =>
  async (network, options) =>
    new HostSession(network, await open(network, options), options);

/** The moments that an optimizer keeps. */
export const momentsOf = (kind: OptimizerOptions['kind']): readonly MomentName[] =>
  kind === 'adam' || kind === 'adamw' ? ['firstMoment', 'secondMoment'] : ['momentum'];

class HostSession implements Session {
  readonly description: string;
  readonly device: Session['device'];
  readonly threads: number;
  readonly tiles: Session['tiles'];
  readonly cacheBytes: Session['cacheBytes'];
  readonly #network: Network;
  readonly #driver: Driver;
  readonly #options: SessionOptions;
  /** Loaded with the first pass that needs it. */
  #loader: Promise<BatchLoader> | undefined;
  #optimizerSteps = 0;
  /** Which moments are in use. */
  #moments: ReadonlySet<MomentName> = new Set();
  /** Indices of the frozen layers, ascending. */
  #frozen: readonly number[] = [];
  #closed = false;
  /** Settles when the running pass has ended. */
  #running: Promise<unknown> = Promise.resolve();
  /** Whether all tensors were written to the end. */
  #isComplete = true;

  constructor(network: Network, driver: Driver, options: SessionOptions) {
    this.#network = network;
    this.#driver = driver;
    this.#options = options;
    this.description = driver.description;
    this.device = driver.device;
    this.threads = driver.threads;
    this.tiles = driver.tiles;
    this.cacheBytes = driver.cacheBytes;
  }

  async initialize(seed: number): Promise<void> {
    this.#assertOpen();
    this.#isComplete = false;
    await this.#driver.initialize(seed);
    this.#isComplete = true;
    this.#moments = new Set();
    this.#optimizerSteps = 0;
  }

  async setWeights(weights: Weights | WeightSource): Promise<void> {
    await this.setState({ weights, optimizerSteps: 0, moments: {} });
  }

  async weights(): Promise<Weights> {
    return readAll(this.weightSource());
  }

  weightSource(): WeightSource {
    this.#assertUsable();
    this.#assertTrains('its weights cannot be read');
    return this.#driver.tensors('weights');
  }

  async freeze(layers: readonly number[]): Promise<void> {
    this.#assertUsable();
    const { layers: all, name } = this.#network;
    const frozen = [...new Set(layers)].filter((layer) => hasState(all[layer]!)).toSorted((a, b) => a - b);
    if (frozen.join() === this.#frozen.join()) return;
    this.#assertTrains('its layers are not trained, and cannot be frozen');
    if (parametersOf(this.#network).length > 0 && learning(this.#network, frozen).length === 0) {
      throw new UsageError(
        `${name}: all of its layers with parameters would be frozen, so nothing is left to train`,
      );
    }
    await this.#driver.freeze(frozen);
    this.#frozen = frozen;
    this.#moments = new Set();
    this.#optimizerSteps = 0;
  }

  async state(): Promise<TrainingState> {
    const moments: Partial<Record<MomentName, Weights>> = {};
    const weights = await this.weights();
    for (const name of this.#moments) moments[name] = await readAll(this.#driver.tensors(name));
    return { weights, optimizerSteps: this.#optimizerSteps, moments };
  }

  async setState({ weights, optimizerSteps, moments }: GivenState): Promise<void> {
    this.#assertOpen();
    if (Object.keys(moments).length > 0) this.#assertTrains('it keeps no state of an optimizer');
    const own = checkedSource(tensorsOf(this.#network), weights);
    const given = Object.entries(moments).map(([name, tensors]) => ({
      name: name as MomentName,
      source: checkedSource(learning(this.#network, this.#frozen), tensors),
    }));
    this.#isComplete = false;
    await this.#driver.write('weights', own);
    for (const { name, source } of given) await this.#driver.write(name, source);
    this.#isComplete = true;
    this.#moments = new Set(given.map(({ name }) => name));
    this.#optimizerSteps = optimizerSteps;
  }

  async swapAverage(): Promise<void> {
    this.#assertUsable();
    if (this.#moments.has('average')) await this.#driver.swapAverage();
  }

  /** Starts the moments that a training needs and has not; drops those of another optimizer. */
  async #useMoments(optimizer: OptimizerOptions, average: boolean): Promise<void> {
    const own = momentsOf(optimizer.kind);
    const used = this.#moments;
    const kept = own.every((name) => used.has(name));
    const fresh = [...(kept ? [] : own), ...(average && !used.has('average') ? (['average'] as const) : [])];
    if (fresh.length > 0) await this.#driver.start(fresh);
    if (!kept && (used.has('momentum') || used.has('firstMoment'))) this.#optimizerSteps = 0;
    this.#moments = new Set(average ? [...own, 'average'] : own);
  }

  async train(request: TrainRequest): Promise<TrainResult> {
    this.#assertUsable();
    this.#assertTrains('it cannot be trained');
    const { source, optimizer, from, to, signal } = request;
    const { batchSize, order } = source;
    checkMuonNetwork(this.#network, optimizer);
    this.#checkBatch(batchSize);
    this.#checkDataset(source.dataset);
    for (const count of batchSizes(order.length, batchSize, from, to))
      checkMoments(this.#network, count, this.#frozen);
    const plan = await this.#planOf(source);
    const pass = this.#deviceSource(source, plan);
    const options = stepOptionsOf(request);
    const rateFactors = this.#checkedFactors(request.rateFactors);
    await this.#useMoments(optimizer, options.averageDecay > 0);
    const epochSteps = Math.ceil(order.length / batchSize);
    const updates = (step: number): number => updatesIn(step, epochSteps, options.accumulate);
    const { losses, correct, rates, report, failure } = this.#stepResults(request);
    const command = {
      kind: 'train',
      optimizer: { ...optimizer },
      options,
      rateFactors,
      epochImages: order.length,
      epochBatch: batchSize,
    } as const;
    const start = performance.now();
    let done = 0;
    let waitSeconds = 0;
    try {
      await this.#abortable(signal, async () => {
        if (signal?.aborted) return;
        if (pass) {
          const results = { rates, losses, correct, optimizerSteps: this.#optimizerSteps, stepOffset: 0 };
          done = await this.#driver.run(
            { ...command, ...results, source: pass, batchSize, from, to },
            report,
          );
          report(done);
          return;
        }
        const end = Math.min(order.length, to * batchSize);
        const batches = await (await this.#batchLoader()).open(source, plan, {
          batchSize,
          first: from * batchSize,
          end,
        });
        // An abort takes effect after an optimizer step, as on the device.
        const stops = (step: number): boolean =>
          (signal?.aborted === true || failure() !== undefined) && step % options.accumulate === 0;
        try {
          for (let step = from; step < to && !stops(step); step++) {
            this.#assertOpen();
            const batch = await batches.next();
            await this.#driver.run({
              ...command,
              source: batch,
              batchSize: batch.labels.length,
              from: 0,
              to: 1,
              rates: rates.subarray(done, done + 1),
              optimizerSteps: this.#optimizerSteps + updates(step) - updates(from),
              stepOffset: step,
              losses: losses.subarray(done, done + 1),
              correct: correct.subarray(done, done + 1),
            });
            report(++done);
            if (!Number.isFinite(losses[done - 1])) break;
          }
        } finally {
          await batches.end();
          ({ waitSeconds } = batches);
        }
      });
    } finally {
      // A step whose loss is not finite is not applied, so that the parameters before it can be inspected.
      const applied = done > 0 && !Number.isFinite(losses[done - 1]) ? done - 1 : done;
      this.#optimizerSteps += updates(from + applied) - updates(from);
    }
    const failed = failure();
    if (failed) throw failed.error;
    const total = order.length;
    return {
      steps: done,
      losses: losses.slice(0, done),
      correct: correct.slice(0, done),
      images: Math.min(total, (from + done) * batchSize) - Math.min(total, from * batchSize),
      seconds: (performance.now() - start) / 1000,
      waitSeconds,
    };
  }

  /**
   * Arrays for the results of each step and their learning rates, and a function that reports the first `steps`. If the
   * caller's function throws, training stops after the step, and `failure` returns the error.
   */
  #stepResults({ optimizer, rates: given, from, to, onSteps }: TrainRequest): {
    readonly losses: Float64Array;
    readonly correct: Uint32Array;
    readonly rates: Float64Array;
    readonly report: (steps: number) => void;
    readonly failure: () => { readonly error: unknown } | undefined;
  } {
    const count = Math.max(1, to - from);
    const losses = new Float64Array(this.#driver.buffer(count * 8));
    const rates = new Float64Array(this.#driver.buffer(count * 8)).fill(optimizer.lr);
    if (given) rates.set(given.subarray(0, count));
    let reported = 0;
    let failed: { readonly error: unknown } | undefined;
    const report = (steps: number): void => {
      if (steps <= reported) return;
      const reports: StepReport[] = [];
      for (; reported < steps; reported++) {
        reports.push({ step: from + reported + 1, loss: losses[reported]! });
      }
      try {
        onSteps?.(reports);
      } catch (error) {
        failed ??= { error };
        this.#driver.abort(true);
      }
    };
    const correct = new Uint32Array(this.#driver.buffer(count * 4));
    return { losses, correct, rates, report, failure: () => failed };
  }

  async evaluate(source: BatchSource, signal?: AbortSignal): Promise<EvaluateResult> {
    this.#assertUsable();
    this.#checkDataset(source.dataset);
    const plan = await this.#planOf(source);
    const pass = this.#deviceSource(source, plan);
    const totals = new Float64Array(this.#driver.buffer(24));
    const logits = new Float32Array(this.#driver.buffer(0));
    const start = performance.now();
    const total = source.order.length;
    const { evaluationBatch: batchSize } = this.#driver;
    const common = { kind: 'evaluate', batchSize, totals, logits } as const;
    let images = 0;
    let waitSeconds = 0;
    await this.#abortable(signal, async () => {
      if (total === 0 || signal?.aborted) return;
      if (pass) {
        const batches = await this.#driver.run({ ...common, source: pass, images: total });
        images = Math.min(total, batches * batchSize);
        return;
      }
      const batches = await (await this.#batchLoader()).open(source, plan, {
        batchSize,
        first: 0,
        end: total,
      });
      try {
        while (images < total && !signal?.aborted) {
          this.#assertOpen();
          const batch = await batches.next();
          const { length } = batch.labels;
          await this.#driver.run({ ...common, source: batch, images: length });
          images += length;
        }
      } finally {
        await batches.end();
        ({ waitSeconds } = batches);
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
      waitSeconds,
    };
  }

  async gradients(
    images: Float32Array,
    labels: ArrayLike<number>,
  ): Promise<{ loss: number; gradients: Weights }> {
    this.#assertUsable();
    this.#assertTrains('it computes no gradients');
    const batchSize = labels.length;
    this.#checkBatch(batchSize);
    checkMoments(this.#network, batchSize, this.#frozen);
    this.#checkLabels(labels);
    const totals = new Float64Array(this.#driver.buffer(24));
    const source = this.#values(images, batchSize, labels);
    await this.#driver.run({ kind: 'gradients', source, batchSize, totals });
    const gradients = await readAll(this.#driver.tensors('gradients'));
    return { loss: totals[0]! / batchSize, gradients };
  }

  async predict(images: Float32Array, count: number, options: PredictOptions = {}): Promise<Float32Array> {
    this.#assertUsable();
    const variant = variantFor(this.#network, options);
    // Checks that the network takes such images, too.
    const { input } = variant ? variantOf(this.#network, variant) : this.#network;
    const logits = new Float32Array(this.#driver.buffer(count * this.#network.output[0]! * 4));
    const source = this.#values(images, count, undefined, input);
    const totals = new Float64Array(this.#driver.buffer(24));
    await this.#driver.run({
      kind: 'evaluate',
      source,
      batchSize: this.#driver.evaluationBatch,
      images: count,
      totals,
      logits,
      variant,
    });
    return logits.slice();
  }

  async features(request: FeaturesRequest): Promise<FeaturesResult> {
    this.#assertUsable();
    const source = this.#values(request.images, request.count);
    const { computeFeatures } = await import('./features.ts');
    return computeFeatures(this.#network, this.#driver, source, request, this.#options.purpose);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#driver.abort(true);
    await (await this.#loader)?.close();
    await this.#running;
    await this.#driver.close();
  }

  #assertOpen(): void {
    if (this.#closed) throw new VggError('this session is closed; open a new one');
  }

  #assertUsable(): void {
    this.#assertOpen();
    if (this.#isComplete) return;
    throw new VggError(
      `the weights of ${this.#network.name} are incomplete, because reading them failed; set all of them again`,
    );
  }

  /** @throws UsageError if the session was opened to predict only. */
  #assertTrains(problem: string): void {
    if (this.#options.purpose !== 'predict') return;
    throw new UsageError(
      `${this.#network.name} was compiled with purpose 'predict', so ${problem}; compile it without`,
    );
  }

  #checkBatch(batch: number): void {
    const { batchSize } = this.#options;
    if (batch <= batchSize) return;
    throw new UsageError(
      `a batch of ${batch} images is larger than this session's limit of ${batchSize}; ` +
        `open it with batchSize ${batch}`,
    );
  }

  /** Factors of the layers' learning rates; none if all are 1. @throws UsageError if there are too many. */
  #checkedFactors(factors: readonly number[] = []): readonly number[] {
    if (factors.every((factor) => factor === 1)) return [];
    const { layers, name } = this.#network;
    const different = new Set(factors).size;
    if (factors.length === layers.length && different <= mostRates) return factors;
    throw new UsageError(
      `${name}: ${factors.length} factors of learning rates, ${different} of them different, do not fit its ` +
        `${layers.length} layers, which may have ${mostRates} different ones`,
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

  #checkDataset({ name, classes }: AnyDataset): void {
    const outputs = this.#network.output[0]!;
    if (classes.length <= outputs) return;
    throw new UsageError(
      `${this.#network.name} ends in ${outputs} classes, but ${name} has ${classes.length}; ` +
        `build the network with ${classes.length} classes`,
    );
  }

  /** How the images are transformed. @throws UsageError if the network does not take their shape. */
  async #planOf({ dataset, transform }: BatchSource): Promise<SamplePlan> {
    // What is usual needs no code for other chains.
    const fused =
      isStored(dataset) || !isScaled(transform) ? undefined : fuseTransform(transform, dataset.shape);
    const plan = fused
      ? { output: fused.output, first: [], fused }
      : (await import('../data/sampling.ts')).planSamples(dataset, transform);
    const { input, name } = this.#network;
    if (plan.output.join() === input.join()) return plan;
    const given = isStored(dataset) ? 'images' : dataset.shape.join('×');
    throw new UsageError(
      `${name} takes images of ${input.join('×')}, but the transforms turn ${dataset.name}'s ` +
        `${given} into ${plan.output.join('×')}; change the transforms or the input`,
    );
  }

  async #batchLoader(): Promise<BatchLoader> {
    this.#loader ??= import('./loading/batches.ts').then(({ BatchLoader }) => new BatchLoader(this.#driver));
    const loader = await this.#loader;
    this.#assertOpen();
    return loader;
  }

  /** A whole pass that the device reads and transforms itself; undefined if batches must be loaded for it. */
  #deviceSource({ dataset, order, seed, epoch }: BatchSource, plan: SamplePlan): ImageSource | undefined {
    const { first, fused } = plan;
    if (!fused || first.length > 0 || isStored(dataset) || !this.#driver.loadsImages) return undefined;
    const { pixels, labels } = dataset;
    return { kind: 'dataset', pixels, labels, fused, order, seed, epoch };
  }

  /** A caller's images. @throws UsageError if the number of values does not fit. */
  #values(
    images: Float32Array,
    count: number,
    given?: ArrayLike<number>,
    input: Shape = this.#network.input,
  ): ImageSource {
    const { name } = this.#network;
    const size = sizeOf(input);
    if (images.length !== count * size) {
      throw new UsageError(
        `${name}: ${images.length} values are not ${count} images of ${input.join('×')} = ${size} values`,
      );
    }
    const labels = new Uint16Array(this.#driver.buffer(count * 2));
    if (given) labels.set(Array.from(given));
    const samples = Uint32Array.from({ length: count }, (_, i) => i);
    return { kind: 'values', values: images, labels, samples, seed: 0, epoch: 0 };
  }

  async #abortable<T>(signal: AbortSignal | undefined, body: () => Promise<T>): Promise<T> {
    // It may have been closed since the call began.
    this.#assertOpen();
    const abort = (): void => this.#driver.abort(true);
    this.#driver.abort(signal?.aborted === true);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      const running = body();
      this.#running = running.catch(() => undefined);
      return await running;
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#driver.abort(false);
    }
  }
}

/** The parameters of layers that are not frozen. */
const learning = ({ layers }: Network, frozen: readonly number[]): readonly ParameterSpec[] =>
  layers.flatMap(({ parameters }, layer) => (frozen.includes(layer) ? [] : parameters));

const stepOptionsOf = ({
  accumulate = 1,
  labelSmoothing = 0,
  clipNorm = 0,
  averageDecay = 0,
  mixup = 0,
}: StepOptions): Required<StepOptions> => ({ accumulate, labelSmoothing, clipNorm, averageDecay, mixup });

/** A source of these tensors. @throws UsageError if one is missing or has another number of values. */
function checkedSource(tensors: readonly ParameterSpec[], given: Weights | WeightSource): WeightSource {
  const source = sourceOf(given);
  for (const { name, shape } of tensors) {
    const found = source.shapes.get(name);
    const size = found && sizeOf(found);
    if (size === sizeOf(shape)) continue;
    throw new UsageError(
      `${name} has ${size ?? 'no'} values, but the network needs [${shape.join(', ')}] = ${sizeOf(shape)}`,
    );
  }
  return source;
}

/** The different sizes of batches `from` … `to` of a pass; only the last of all may be smaller. */
function batchSizes(images: number, batchSize: number, from: number, to: number): Set<number> {
  return new Set(
    [from, to - 1].map((step) => Math.min(batchSize, images - step * batchSize)).filter((count) => count > 0),
  );
}
