/**
 * One training in a worker, steered by the page. `fit` is the loop; its `TrainingControl` pauses it, changes it and lets
 * questions in between two steps. The device drives it: no timer paces the steps, so a hidden tab trains on.
 */
import { DivergedError, VggError } from '../../errors.ts';
import { layerNames } from '../../model/layer-names.ts';
import { sizeOf } from '../../model/network.ts';
import { TrainingControl } from '../../train/control.ts';
import { fit } from '../../train/fit.ts';
import type { StepEvent } from '../../train/reporters.ts';
import type { RunSpec } from '../state/spec.ts';
import { fingerprintOf } from './fingerprint.ts';
import { Looks } from './looks.ts';
import { type Parts, prepare } from './prepare.ts';
import type {
  Answers,
  Command,
  Event,
  LayerFacts,
  Phase,
  Question,
  RunFacts,
  StepPoint,
  Watch,
} from './protocol.ts';

export type Post = (event: Event, transfer?: readonly ArrayBuffer[]) => void;

/** Milliseconds between two messages with steps. */
const flushEvery = 100;
/** Milliseconds between two live views, at least; and the share of the time that they may take. */
const viewEvery = 200;
const viewShare = 0.15;
/** Networks with more parameters have no fingerprint after each epoch: computing it would take seconds. */
const mostHashed = 8_000_000;

/** Test images whose answers are followed. */
const probeSize = 200;

export class StudioTraining {
  readonly #post: Post;
  #stop = new AbortController();
  /** Settles when the last training has ended and its model is closed. */
  #ended: Promise<void> = Promise.resolve();
  #open: Opened | undefined;
  #watch: Watch = { probe: false, filters: false, dead: false };

  constructor(post: Post) {
    this.#post = post;
  }

  receive(command: Command): void {
    switch (command.kind) {
      case 'open':
        this.#reopen(command.spec, command.threads);
        return;
      case 'train':
        this.#open?.control.resume();
        return;
      case 'pause':
        this.#open?.control.pause();
        return;
      case 'step':
        this.#open?.control.step(command.count);
        return;
      case 'change':
        this.#open?.control.change(command.settings);
        return;
      case 'watch':
        this.#watch = command.watch;
        this.#open?.watch(command.watch);
        return;
      case 'ask':
        void this.#answer(command.id, command.question);
        return;
      default:
        command satisfies never;
    }
  }

  /** Ends the present training and prepares another. */
  #reopen(spec: RunSpec, threads: number | undefined): void {
    this.#stop.abort();
    const stop = new AbortController();
    this.#stop = stop;
    this.#open = undefined;
    const before = this.#ended;
    this.#ended = (async () => {
      await before;
      if (stop.signal.aborted) return;
      await this.#run(spec, threads, stop.signal);
    })();
  }

  async #run(spec: RunSpec, threads: number | undefined, signal: AbortSignal): Promise<void> {
    const post: Post = (event, transfer) => {
      if (!signal.aborted) this.#post(event, transfer);
    };
    let parts: Parts | undefined;
    try {
      post({ kind: 'phase', phase: 'preparing' });
      parts = await prepare(spec, threads, (line) => post({ kind: 'notice', line }), signal);
      const opened = new Opened(parts, post, signal);
      this.#open = opened;
      post({ kind: 'opened', facts: factsOf(parts, opened.looks.probe) });
      opened.watch(this.#watch);
      await opened.ended();
    } catch (error) {
      post({
        kind: 'phase',
        phase: error instanceof DivergedError ? 'diverged' : 'failed',
        message: messageOf(error),
      });
    }
    // Questions about the last training are answered until another one is opened.
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await parts?.model.close();
  }

  async #answer(id: number, question: Question): Promise<void> {
    try {
      if (!this.#open) throw new VggError('the training is being prepared; ask again when it is ready');
      const answer = await this.#open.answer(question);
      this.#post({ kind: 'answer', id, answer });
    } catch (error) {
      this.#post({ kind: 'refusal', id, message: messageOf(error) });
    }
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** A training that is prepared. */
class Opened {
  readonly control = new TrainingControl();
  readonly looks: Looks;
  readonly #parts: Parts;
  readonly #post: Post;
  readonly #signal: AbortSignal;
  #watch: Watch = { probe: false, filters: false, dead: false };
  #steps: StepPoint[] = [];
  #totalSteps = 0;
  #flushed = 0;
  #imagesPerSecond = 0;
  /** The step that the last view shows. */
  #viewed = -1;
  #isLooking = false;

  constructor(parts: Parts, post: Post, signal: AbortSignal) {
    this.#parts = parts;
    this.#post = post;
    this.#signal = signal;
    this.looks = new Looks(parts, probeSize);
    this.control.pause();
  }

  watch(watch: Watch): void {
    this.#watch = watch;
    this.#viewed = -1;
    void this.#look();
  }

  /** Runs the training, which starts paused, to its end. */
  async ended(): Promise<void> {
    const { config, model, trainLoader, testLoader, optimizer, validationLoader } = this.#parts;
    try {
      // biome-ignore lint/suspicious/noFocusedTests: this trains
      await fit({
        model,
        trainLoader,
        testLoader,
        ...(validationLoader && { validationLoader }),
        optimizer,
        epochs: config.epochs,
        ...(config.changes && { changes: config.changes }),
        control: this.control,
        signal: this.#signal,
        callbacks: [
          {
            step: (event) => this.#step(event),
            epoch: async (event) => {
              this.#flush();
              const hash =
                model.network.parameterCount > mostHashed ? '' : await model.readWeights(fingerprintOf);
              this.#post({ kind: 'epoch', event, hash });
            },
            change: (_, { changes }) => this.#post({ kind: 'changed', changes: changes ?? [] }),
            pause: (paused) => this.#rest(paused),
          },
        ],
      });
      this.#finish('ended');
    } catch (error) {
      this.#flush();
      throw error;
    }
  }

  #finish(phase: Phase): void {
    this.#flush();
    this.#post({ kind: 'phase', phase });
    this.#viewed = -1;
    void this.#look();
  }

  /** The training came to rest, or goes on. */
  #rest(resting: boolean): void {
    this.#flush();
    const phase = !resting ? 'training' : this.#totalSteps === 0 ? 'ready' : 'paused';
    this.#post({ kind: 'phase', phase });
    this.#flushed = performance.now();
    void this.#look();
  }

  #step({ loss, lr }: StepEvent): void {
    this.#totalSteps += 1;
    this.#steps.push({ step: this.#totalSteps, loss, lr });
    if (performance.now() - this.#flushed >= flushEvery) this.#flush();
    void this.#look();
  }

  #flush(): void {
    const now = performance.now();
    const steps = this.#steps;
    if (steps.length > 0 && this.#flushed > 0) {
      const rate = (steps.length * this.#parts.config.batchSize * 1000) / Math.max(1, now - this.#flushed);
      this.#imagesPerSecond = this.#imagesPerSecond === 0 ? rate : 0.8 * this.#imagesPerSecond + 0.2 * rate;
    }
    this.#flushed = now;
    if (steps.length === 0) return;
    this.#steps = [];
    this.#post({ kind: 'steps', steps, imagesPerSecond: this.#imagesPerSecond });
  }

  /** Shows what is watched after the present step; then rests, so that looking takes a small share of the time. */
  async #look(): Promise<void> {
    const watched = Object.values(this.#watch).some(Boolean);
    if (this.#isLooking || !watched || this.#viewed === this.#totalSteps || this.#signal.aborted) return;
    this.#isLooking = true;
    try {
      const started = performance.now();
      let spent = 0;
      await this.control.between(async () => {
        const from = performance.now();
        const step = this.#totalSteps;
        const view = await this.looks.view(step, this.#watch);
        this.#viewed = step;
        this.#post({ kind: 'view', view });
        spent = performance.now() - from;
      });
      const wait = Math.max(viewEvery, spent / viewShare) - (performance.now() - started);
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    } catch (error) {
      // What cannot be shown must not end the training.
      this.#post({ kind: 'notice', line: messageOf(error) });
      this.#viewed = this.#totalSteps;
    } finally {
      this.#isLooking = false;
    }
    if (this.#viewed !== this.#totalSteps && this.control.resting) void this.#look();
  }

  answer(question: Question): Promise<Answers[Question['kind']]> {
    return this.control.between(() => this.looks.answer(question, this.#totalSteps));
  }
}

function factsOf(
  { config, model, splits, trainLoader, testLoader, optimizer }: Parts,
  probe: readonly number[],
): RunFacts {
  const { network } = model;
  const named = new Map([...layerNames(network)].map(([name, index]) => [index, name]));
  const layers: readonly LayerFacts[] = network.layers.map((layer, index) => ({
    name: named.get(index) ?? layer.name,
    kind: layer.spec.kind,
    input: layer.input,
    output: layer.output,
    parameters: layer.parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    multiplyAdds: layer.multiplyAdds,
  }));
  return {
    dataset: config.dataset,
    classes: splits.train.classes,
    shape: splits.train.shape,
    trainImages: trainLoader.dataset.length,
    testImages: testLoader.dataset.length,
    stepsPerEpoch: trainLoader.length,
    epochs: config.epochs,
    batchSize: config.batchSize,
    device: model.description.replace(/^wasm\b/, 'WebAssembly').replace(/^webgpu\b/, 'WebGPU'),
    reason: '',
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
