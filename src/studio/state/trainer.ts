/**
 * The page's side of a training: a worker, and signals of what it reports. A view reads the signals and calls the
 * methods; it never sees messages.
 */
import { batch, type ReadonlySignal, type Signal, signal } from '@preact/signals';
import type { Change, LiveSettings } from '../../train/changes.ts';
import type { TrainConfig, TrainConfigInput } from '../../train/config-table.ts';
import type { EpochRecord } from '../../train/records.ts';
import type {
  Answers,
  Command,
  Event,
  LiveView,
  Opening,
  Phase,
  Question,
  RunFacts,
  StepPoint,
  Watch,
} from '../worker/protocol.ts';
import type { RunSpec } from './spec.ts';

/** An epoch's figures, and the fingerprint of the weights after it. */
export interface EpochPoint extends EpochRecord {
  /** Empty if it is not known: of epochs before the page was opened, and of large networks. */
  readonly hash: string;
}

/** Accuracy on the probe's images after a step. */
export interface ProbePoint {
  readonly step: number;
  readonly accuracy: number;
}

/** Points that are kept of a curve; more are thinned out. */
const mostPoints = 4000;

/** What a worker answers that a training cannot do. */
export class Refusal extends Error {}

const nothing: Watch = { probe: false, filters: false, dead: false };

export class Trainer {
  readonly spec: Signal<RunSpec>;
  readonly phase: Signal<Phase> = signal<Phase>('preparing');
  /** Why it failed or diverged. */
  readonly message: Signal<string> = signal('');
  readonly facts: Signal<RunFacts | undefined> = signal<RunFacts | undefined>(undefined);
  /** The last step. */
  readonly last: Signal<StepPoint | undefined> = signal<StepPoint | undefined>(undefined);
  readonly steps: Signal<readonly StepPoint[]> = signal<readonly StepPoint[]>([]);
  readonly epochs: Signal<readonly EpochPoint[]> = signal<readonly EpochPoint[]>([]);
  readonly probes: Signal<readonly ProbePoint[]> = signal<readonly ProbePoint[]>([]);
  readonly changes: Signal<readonly Change[]> = signal<readonly Change[]>([]);
  readonly imagesPerSecond: Signal<number> = signal(0);
  readonly view: Signal<LiveView | undefined> = signal<LiveView | undefined>(undefined);
  readonly notice: Signal<string> = signal('');
  readonly #keep: boolean;
  readonly #threads: number | undefined;
  #worker: Worker | undefined;
  #asked = 0;
  /** The training is a run of the store, whose config the worker knows. */
  #isResumed = false;
  readonly #waiting = new Map<number, PromiseWithResolvers<Answers[keyof Answers]>>();
  #watch: Watch = nothing;

  /** `keep`: its trainings are kept as runs in the browser's store. */
  constructor(
    spec: RunSpec,
    { keep = false, threads }: { readonly keep?: boolean; readonly threads?: number } = {},
  ) {
    this.spec = signal(spec);
    this.#keep = keep;
    document.addEventListener('visibilitychange', () => this.#sendWatch());
    this.#threads = threads;
  }

  /** Prepares a training, by default the present one anew. */
  open(spec: RunSpec = this.spec.value): void {
    this.spec.value = spec;
    this.#isResumed = false;
    const threads = this.#threads;
    this.#prepare({ spec, keep: this.#keep, ...(threads !== undefined && { threads }) }, false);
  }

  /** Continues a run of the browser's store from its last checkpoint; `go` trains at once. */
  resume(run: string, { go, epochs }: { readonly go: boolean; readonly epochs?: number }): void {
    this.#isResumed = true;
    this.#prepare({ run, ...(epochs !== undefined && { epochs }) }, go);
  }

  #prepare(opening: Opening, go: boolean): void {
    batch(() => {
      this.phase.value = 'preparing';
      this.facts.value = undefined;
      this.#forget();
    });
    this.#begin();
    this.#send({ kind: 'open', opening, go });
    this.#sendWatch();
  }

  /** Starts the worker, unless it runs. */
  #begin(): void {
    this.#worker ??= this.#start();
  }

  /** Forgets the curves. */
  #forget(): void {
    this.message.value = '';
    this.notice.value = '';
    this.last.value = undefined;
    this.steps.value = [];
    this.epochs.value = [];
    this.probes.value = [];
    this.changes.value = [];
    this.imagesPerSecond.value = 0;
    this.view.value = undefined;
  }

  train(): void {
    this.#send({ kind: 'train' });
  }

  pause(): void {
    this.#send({ kind: 'pause' });
  }

  step(count = 1): void {
    this.#send({ kind: 'step', count });
  }

  change(settings: LiveSettings): void {
    this.#send({ kind: 'change', settings });
  }

  /** What the live views show; a view calls it when it opens. */
  watch(watch: Partial<Watch>): void {
    this.#watch = { ...nothing, ...watch };
    this.#sendWatch();
  }

  /** A hidden tab trains on, but shows nothing. */
  #sendWatch(): void {
    this.#send({ kind: 'watch', watch: document.hidden ? nothing : this.#watch });
  }

  /** Asks the worker; the answer comes between two steps. @throws Refusal with the reason. */
  async ask<K extends Question['kind']>(question: Extract<Question, { kind: K }>): Promise<Answers[K]> {
    const id = this.#asked++;
    const answer = Promise.withResolvers<Answers[keyof Answers]>();
    this.#waiting.set(id, answer);
    this.#begin();
    this.#send({ kind: 'ask', id, question });
    return (await answer.promise) as Answers[K];
  }

  /** Ends the worker and frees its memory. */
  close(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#refuseAll('the training was closed');
  }

  #send(command: Command): void {
    this.#worker?.postMessage(command);
  }

  #start(): Worker {
    const worker = new Worker(new URL('../worker/worker.ts', import.meta.url), {
      type: 'module',
      name: 'training',
    });
    worker.onmessage = ({ data }: MessageEvent<Event>) => batch(() => this.#receive(data));
    worker.onerror = ({ message }) => {
      this.#worker?.terminate();
      this.#worker = undefined;
      this.#fail(message || 'the training ended unexpectedly');
    };
    return worker;
  }

  #fail(message: string): void {
    batch(() => {
      this.message.value = message;
      this.phase.value = 'failed';
    });
    this.#refuseAll(message);
  }

  #refuseAll(message: string): void {
    for (const { reject } of this.#waiting.values()) reject(new Refusal(message));
    this.#waiting.clear();
  }

  #receive(event: Event): void {
    switch (event.kind) {
      case 'phase':
        this.phase.value = event.phase;
        this.message.value = event.message ?? '';
        return;
      case 'opened':
        this.facts.value = event.facts;
        if (this.#isResumed) this.spec.value = { config: withoutPlace(event.facts.config) };
        return;
      case 'restored':
        this.steps.value = event.steps;
        this.last.value =
          event.done > 0 ? { loss: Number.NaN, lr: 0, ...event.steps.at(-1), step: event.done } : undefined;
        this.epochs.value = event.epochs.map((epoch) => ({ ...epoch, hash: '' }));
        this.changes.value = event.changes;
        return;
      case 'steps':
        this.steps.value = thinned([...this.steps.value, ...event.steps]);
        this.last.value = event.steps.at(-1) ?? this.last.value;
        this.imagesPerSecond.value = event.imagesPerSecond;
        return;
      case 'epoch':
        this.epochs.value = [...this.epochs.value, { ...event.event, hash: event.hash }];
        return;
      case 'changed':
        this.changes.value = event.changes;
        return;
      case 'view': {
        const { view } = event;
        this.view.value = view;
        if (view.probe)
          this.probes.value = thinned([
            ...this.probes.value,
            { step: view.step, accuracy: view.probe.accuracy },
          ]);
        return;
      }
      case 'notice':
        this.notice.value = event.line;
        return;
      case 'answer':
        this.#waiting.get(event.id)?.resolve(event.answer);
        this.#waiting.delete(event.id);
        return;
      case 'refusal':
        this.#waiting.get(event.id)?.reject(new Refusal(event.message));
        this.#waiting.delete(event.id);
        return;
      default:
        event satisfies never;
    }
  }
}

/** A run's config without what belongs to one machine, as a link carries it. */
function withoutPlace(config: TrainConfig): TrainConfigInput {
  const { threads: _, data: __, logEvery: ___, checkpointEvery: ____, ...rest } = config;
  return rest;
}

/** Halves a curve that has become too long, so that memory stays flat. The newest points stay. */
function thinned<T>(points: readonly T[]): readonly T[] {
  if (points.length <= mostPoints) return points;
  const kept = points.length - mostPoints / 4;
  return points.filter((_, i) => i >= kept || i % 2 === 0);
}

/** Whether a training moves. */
export const isBusy = (phase: ReadonlySignal<Phase>): boolean =>
  phase.value === 'preparing' || phase.value === 'training';

/** The seconds that are left, at the present speed; undefined before it is known. */
export function secondsLeft(trainer: Trainer): number | undefined {
  const facts = trainer.facts.value;
  const rate = trainer.imagesPerSecond.value;
  if (!facts || rate === 0) return undefined;
  const total = facts.epochs * facts.trainImages;
  const done = (trainer.last.value?.step ?? 0) * facts.batchSize;
  return Math.max(0, total - done) / rate;
}
