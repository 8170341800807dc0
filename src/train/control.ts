/**
 * Steers a training while it runs: `fit({ …, control })`. What is asked takes effect after the current optimizer step,
 * on every device: the training interrupts its pass, does what was asked, and continues with the same bits.
 *
 * `TrainingControl` is the caller's side. The loop's side is `Steering`, which only `fit` uses.
 */
import { UsageError } from '../errors.ts';
import { checkWhole, longestTimer } from '../options.ts';
import { type Change, checkedSettings, type LiveSettings, mergedChanges } from './changes.ts';

/** What the loop sees of a control. */
export interface Steering {
  /** Steps that may be trained before the next pause. */
  readonly left: number;
  /** Aborts when something is asked. `attend` renews it. */
  readonly signal: AbortSignal;
  /** The device reported a step. */
  readonly reported: () => void;
  /** Counts the steps since the last call of `attend`. */
  readonly trained: (steps: number) => void;
  /**
   * Does what was asked, and waits while the training is paused.
   * @throws the reason of `signal` if it is aborted meanwhile.
   */
  readonly attend: (hooks: SteeringHooks, signal: AbortSignal | undefined) => Promise<void>;
  readonly detach: () => void;
}

export interface SteeringHooks {
  /** Called with settings that take effect now; returns the change. */
  readonly change: (settings: LiveSettings) => Promise<Change>;
  /** Called when the training comes to rest, and when it continues. */
  readonly rest: (resting: boolean) => Promise<void>;
}

/** Checks settings against the optimizer. @throws UsageError if it does not have them. */
type CheckSettings = (settings: LiveSettings) => void;

/** For `fit`: steers a training. @throws UsageError if the control steers another one. */
export let steer: (control: TrainingControl, check: CheckSettings, changes: readonly Change[]) => Steering;

/**
 * Pauses, steps and changes a training. One control steers one training at a time; it may be used before the training
 * starts, for instance to start it paused.
 */
export class TrainingControl {
  static {
    steer = (control, check, changes) => control.#attach(check, changes);
  }

  /** Steps until the next pause. Infinity: running; 0: paused. */
  #left = Infinity;
  /** Whether the steps that are being trained count; not if they began before `left` was set. */
  #counts = true;
  #settings: LiveSettings | undefined;
  #looks: (() => Promise<void>)[] = [];
  #changes: readonly Change[] = [];
  #attached: CheckSettings | undefined;
  #resting = false;
  #interrupt = new AbortController();
  /** Whether a step was reported since the last interruption; looks wait for one, so that training makes progress. */
  #hasProgress = false;
  /** Continues a waiting training. */
  #wake: () => void = () => undefined;

  /** Whether the training is asked to pause, or is paused. */
  get paused(): boolean {
    return this.#left === 0;
  }

  /** Whether the training has come to rest: a pause took effect. */
  get resting(): boolean {
    return this.#resting;
  }

  /** The changes that took effect so far, also those from the config and from before a resume. */
  get changes(): readonly Change[] {
    return this.#changes;
  }

  /** Pauses after the current step; after the test of an epoch if that is running. */
  pause(): void {
    this.#leave(0);
  }

  resume(): void {
    this.#leave(Infinity);
  }

  /**
   * Trains `count` batches, then pauses. A paused training trains exactly so many; with `accumulate`, up to the end of a
   * group. Calls add up.
   */
  step(count = 1): void {
    checkWhole('TrainingControl.step', 'count', count, 1);
    if (this.#left === Infinity || this.#left === 0) this.#leave(count);
    else this.#left += count;
  }

  /**
   * Changes settings from the next step on.
   * @throws UsageError for a value out of range, or one that the training's optimizer does not have.
   */
  change(settings: LiveSettings): void {
    const checked = checkedSettings('TrainingControl.change', settings);
    this.#attached?.(checked);
    this.#settings = { ...this.#settings, ...checked };
    this.#ask();
  }

  /**
   * Calls `look` between two steps, when the model is free: to read its weights, or to classify images with them. At
   * least one step passes between two looks, unless the training is paused. Without a training, it is called at once.
   */
  async between<T>(look: () => Promise<T>): Promise<T> {
    if (!this.#attached) return look();
    return new Promise<T>((resolve, reject) => {
      this.#looks.push(() => look().then(resolve, reject));
      this.#wake();
      if (this.#hasProgress) this.#interrupt.abort();
    });
  }

  #leave(steps: number): void {
    this.#left = steps;
    this.#counts = false;
    this.#ask();
  }

  #ask(): void {
    this.#wake();
    this.#interrupt.abort();
  }

  #attach(check: CheckSettings, changes: readonly Change[]): Steering {
    if (this.#attached) {
      throw new UsageError('fit: this control steers another training; use one TrainingControl for each');
    }
    if (this.#settings) check(this.#settings);
    this.#attached = check;
    this.#changes = changes;
    const control = this;
    return {
      get left() {
        return control.#left;
      },
      get signal() {
        return control.#interrupt.signal;
      },
      reported: () => {
        this.#hasProgress = true;
        if (this.#looks.length > 0) this.#interrupt.abort();
      },
      trained: (steps) => {
        if (this.#counts) this.#left = Math.max(0, this.#left - steps);
      },
      attend: (hooks, signal) => this.#attend(hooks, signal),
      detach: () => {
        this.#attached = undefined;
        this.#resting = false;
        // A look that came too late finds the training ended.
        for (const look of this.#looks.splice(0)) void look();
      },
    };
  }

  async #attend(hooks: SteeringHooks, signal: AbortSignal | undefined): Promise<void> {
    this.#hasProgress = false;
    for (;;) {
      if (this.#settings) {
        const settings = this.#settings;
        this.#settings = undefined;
        this.#changes = mergedChanges(this.#changes, [await hooks.change(settings)]);
      }
      for (const look of this.#looks.splice(0)) await look();
      if (this.#settings) continue;
      if (this.#left > 0 || signal?.aborted) break;
      if (!this.#resting) {
        this.#resting = true;
        await hooks.rest(true);
        continue;
      }
      await this.#asleep(signal);
    }
    this.#interrupt = new AbortController();
    this.#counts = true;
    if (this.#resting) {
      this.#resting = false;
      await hooks.rest(false);
    }
  }

  /** Waits until something is asked, or `signal` is aborted. Keeps the process alive. */
  async #asleep(signal: AbortSignal | undefined): Promise<void> {
    if (this.#settings || this.#looks.length > 0 || this.#left > 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setInterval(() => undefined, longestTimer * 1000);
    this.#wake = resolve;
    const onAbort = (): void => resolve();
    signal?.addEventListener('abort', onAbort);
    try {
      if (!signal?.aborted) await promise;
    } finally {
      clearInterval(timer);
      signal?.removeEventListener('abort', onAbort);
      this.#wake = () => undefined;
    }
  }
}
