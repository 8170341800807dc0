/** A training that is prepared: tells the page its steps and epochs, shows live views, and answers questions. */
import { layerNames } from '../../model/layer-names.ts';
import { sizeOf } from '../../model/network.ts';
import { optimizerOf, type Training } from '../../runs/prepare.ts';
import type { TrainingControl } from '../../train/control.ts';
import type { LoopState, Snapshot } from '../../train/loop-state.ts';
import type { EpochEvent, StepEvent } from '../../train/reporters.ts';
import { fingerprintOf } from './fingerprint.ts';
import { Looks } from './looks.ts';
import type {
  Answers,
  Event,
  LayerFacts,
  Question,
  RunFacts,
  StepPoint,
  StoreQuestion,
  Watch,
} from './protocol.ts';
import { theStore } from './work.ts';

export type Post = (event: Event, transfer?: readonly ArrayBuffer[]) => void;

/** Milliseconds between two messages with steps. */
const flushEvery = 100;
/** Milliseconds between two live views, at least; and the share of the time that they may take. */
const viewEvery = 200;
const viewShare = 0.15;
/** Networks with more parameters have no fingerprint after each epoch: computing it would take seconds. */
const mostHashed = 8_000_000;

export interface OpenedOptions {
  readonly run: string | undefined;
  /** It trains as soon as it is introduced to the page. */
  readonly go: boolean;
  /** The checkpoint from which it continues. */
  readonly from: Snapshot | undefined;
  readonly control: TrainingControl;
  readonly post: Post;
  readonly signal: AbortSignal;
}

export class Opened {
  readonly looks: Promise<Looks>;
  /** Steps that were trained since it was opened. */
  trainedSteps = 0;
  readonly #training: Training;
  readonly #options: OpenedOptions;
  readonly #before: number;
  #watch: Watch = { probe: false, filters: false, dead: false };
  #steps: StepPoint[] = [];
  #flushed = 0;
  #imagesPerSecond = 0;
  /** The step that the last view shows. */
  #viewed = -1;
  #isLooking = false;
  #isIntroduced = false;

  constructor(training: Training, options: OpenedOptions) {
    this.#training = training;
    this.#options = options;
    this.#before = options.from?.loop.totalSteps ?? 0;
    this.looks = Looks.open(training);
    this.#introduce().catch((error: unknown) => this.#notice(error));
  }

  /** Tells the page what was prepared, and what the run did before. */
  async #introduce(): Promise<void> {
    const { run, go, from, control, post } = this.#options;
    const { probe } = await this.looks;
    post({ kind: 'opened', facts: factsOf(this.#training, probe, run) });
    if (run !== undefined && from) {
      const { steps, epochs } = await (await theStore()).metrics(run);
      post({
        kind: 'restored',
        done: this.#before,
        epochs: epochs.filter(({ step }) => step <= this.#before),
        steps: steps
          .filter(({ step }) => step <= this.#before)
          .map(({ epoch: _, step, trainLoss, lr }) => ({ step, loss: trainLoss, lr })),
        changes: from.loop.changes ?? [],
      });
    }
    this.#isIntroduced = true;
    if (go) control.resume();
    else this.rest(true);
  }

  #notice(error: unknown): void {
    this.#options.post({ kind: 'notice', line: error instanceof Error ? error.message : String(error) });
  }

  get totalSteps(): number {
    return this.#before + this.trainedSteps;
  }

  watch(watch: Watch): void {
    this.#watch = watch;
    this.#viewed = -1;
    void this.#look();
  }

  step({ loss, lr }: StepEvent): void {
    this.trainedSteps += 1;
    this.#steps.push({ step: this.totalSteps, loss, lr });
    if (performance.now() - this.#flushed >= flushEvery) this.flush();
    void this.#look();
  }

  async epoch(event: EpochEvent): Promise<void> {
    this.flush();
    const { model } = this.#training;
    const hash = model.network.parameterCount > mostHashed ? '' : await model.readWeights(fingerprintOf);
    this.#options.post({ kind: 'epoch', event, hash });
    this.#flushed = performance.now();
  }

  changed({ changes = [] }: LoopState): void {
    this.#options.post({ kind: 'changed', changes });
  }

  /** The training came to rest, or goes on. */
  rest(resting: boolean): void {
    if (!this.#isIntroduced) return;
    this.flush();
    const phase = !resting ? 'training' : this.totalSteps === 0 ? 'ready' : 'paused';
    this.#options.post({ kind: 'phase', phase });
    this.#flushed = performance.now();
    void this.#look();
  }

  end(): void {
    this.flush();
    this.#options.post({ kind: 'phase', phase: 'ended' });
    this.#viewed = -1;
    void this.#look();
  }

  flush(): void {
    const now = performance.now();
    const steps = this.#steps;
    if (steps.length > 0 && this.#flushed > 0) {
      const images = steps.length * this.#training.config.batchSize;
      const rate = (images * 1000) / Math.max(1, now - this.#flushed);
      this.#imagesPerSecond = this.#imagesPerSecond === 0 ? rate : 0.8 * this.#imagesPerSecond + 0.2 * rate;
    }
    this.#flushed = now;
    if (steps.length === 0) return;
    this.#steps = [];
    this.#options.post({ kind: 'steps', steps, imagesPerSecond: this.#imagesPerSecond });
  }

  /** Shows what is watched after the present step; then rests, so that looking takes a small share of the time. */
  async #look(): Promise<void> {
    const { control, signal, post } = this.#options;
    const watched = Object.values(this.#watch).some(Boolean);
    if (this.#isLooking || !watched || this.#viewed === this.totalSteps || signal.aborted) return;
    this.#isLooking = true;
    try {
      const looks = await this.looks;
      const started = performance.now();
      let spent = 0;
      await control.between(async () => {
        const from = performance.now();
        const step = this.totalSteps;
        const view = await looks.view(step, this.#watch);
        this.#viewed = step;
        post({ kind: 'view', view });
        spent = performance.now() - from;
      });
      const wait = Math.max(viewEvery, spent / viewShare) - (performance.now() - started);
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    } catch (error) {
      // What cannot be shown must not end the training.
      this.#viewed = this.totalSteps;
      if (!signal.aborted) this.#notice(error);
    } finally {
      this.#isLooking = false;
    }
    if (this.#viewed !== this.totalSteps && control.resting) void this.#look();
  }

  async answer(question: Exclude<Question, StoreQuestion>): Promise<Answers[Question['kind']]> {
    const looks = await this.looks;
    return this.#options.control.between(() => looks.answer(question, this.totalSteps));
  }
}

function factsOf(training: Training, probe: readonly number[], run: string | undefined): RunFacts {
  const { config, model, splits, trainLoader, testLoader } = training;
  const { network } = model;
  const optimizer = optimizerOf(config);
  const named = new Map([...layerNames(network)].map(([name, index]) => [index, name]));
  const layers: readonly LayerFacts[] = network.layers.map((layer, index) => ({
    name: named.get(index) ?? layer.name,
    kind: layer.spec.kind,
    input: layer.input,
    output: layer.output,
    parameters: layer.parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    multiplyAdds: layer.multiplyAdds,
  }));
  const [channels = 1, height = 1, width = 1] = network.input;
  return {
    ...(run !== undefined && { run }),
    config,
    dataset: config.dataset,
    classes: splits.train.classes,
    shape: [channels, height, width],
    trainImages: trainLoader.dataset.length,
    testImages: testLoader.dataset.length,
    stepsPerEpoch: trainLoader.length,
    epochs: config.epochs,
    batchSize: config.batchSize,
    device: model.description.replace(/^wasm\b/, 'WebAssembly').replace(/^webgpu\b/, 'WebGPU'),
    reason:
      model.device !== 'webgpu' && !globalThis.crossOriginIsolated
        ? 'unshared'
        : config.device === 'auto'
          ? 'auto'
          : 'asked',
    parameters: network.parameterCount,
    layers,
    probe,
    settings: {
      lr: optimizer.lr,
      weightDecay: optimizer.weightDecay,
      ...(optimizer.kind === 'sgd' && { momentum: optimizer.momentum }),
    },
  };
}
