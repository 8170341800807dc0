/**
 * One training in a worker, steered by the page. `fit` is the loop; its `TrainingControl` pauses it, changes it and lets
 * questions in between two steps. The device drives it: no timer paces the steps, so a hidden tab trains on.
 */
import { DeviceLostError, DivergedError, VggError } from '../../errors.ts';
import type { Training } from '../../runs/prepare.ts';
import { TrainingControl } from '../../train/control.ts';
import { Opened, type Post } from './opened.ts';
import { type Command, isStoreQuestion, type Opening, type Question, type Watch } from './protocol.ts';
import { theStore, work } from './work.ts';

/** Times that a training continues on a new GPU without a step in between. */
const mostLosses = 3;

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class StudioTraining {
  readonly #post: Post;
  #stop = new AbortController();
  /** Settles when the last training has ended and its model is closed. */
  #ended: Promise<void> = Promise.resolve();
  #control = new TrainingControl();
  #open: Opened | undefined;
  #watch: Watch = { probe: false, filters: false, dead: false };

  constructor(post: Post) {
    this.#post = post;
  }

  receive(command: Command): void {
    switch (command.kind) {
      case 'open':
        this.#reopen(command.opening, command.go);
        return;
      case 'train':
        this.#control.resume();
        return;
      case 'pause':
        this.#control.pause();
        return;
      case 'step':
        this.#control.step(command.count);
        return;
      case 'change':
        this.#control.change(command.settings);
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
  #reopen(opening: Opening, go: boolean): void {
    this.#stop.abort();
    const stop = new AbortController();
    const control = new TrainingControl();
    this.#stop = stop;
    this.#control = control;
    this.#open = undefined;
    const before = this.#ended;
    this.#ended = (async () => {
      await before;
      if (!stop.signal.aborted) await this.#run(opening, go, control, stop.signal);
    })();
  }

  async #run(opening: Opening, go: boolean, control: TrainingControl, signal: AbortSignal): Promise<void> {
    const post: Post = (event, transfer) => {
      if (!signal.aborted) this.#post(event, transfer);
    };
    post({ kind: 'phase', phase: 'preparing' });
    let next = opening;
    let going = go;
    for (let losses = 0; ; losses++) {
      // It rests until the page knows what it is.
      control.pause();
      const held: { run?: string; opened?: Opened; model?: Training['model'] } = {};
      try {
        const { training } = await work({
          opening: next,
          control,
          signal,
          onRun: (run) => {
            held.run = run;
          },
          onNotice: (line) => post({ kind: 'notice', line }),
          onStart: (training, from) => {
            held.opened = new Opened(training, { run: held.run, go: going, from, control, post, signal });
            this.#open = held.opened;
            held.opened.watch(this.#watch);
          },
          // They ask for what `onStart` makes.
          callbacks: [
            {
              step: (event) => held.opened?.step(event),
              epoch: (event) => held.opened?.epoch(event),
              change: (_, loop) => held.opened?.changed(loop),
              pause: (paused) => held.opened?.rest(paused),
            },
          ],
        });
        held.model = training.model;
        held.opened?.end();
        // Questions about it are answered until another one is opened.
        await aborted(signal);
      } catch (error) {
        held.opened?.flush();
        const { run, opened } = held;
        if (error instanceof DeviceLostError && run !== undefined && losses < mostLosses && !signal.aborted) {
          if (opened && opened.trainedSteps > 0) losses = 0;
          post({ kind: 'notice', line: messageOf(error) });
          next = { run };
          going = !control.paused;
          continue;
        }
        this.#open = undefined;
        const phase = error instanceof DivergedError ? 'diverged' : 'failed';
        post({ kind: 'phase', phase, message: messageOf(error) });
      }
      await held.model?.close();
      await discardEmpty(held.run, held.opened);
      return;
    }
  }

  async #answer(id: number, question: Question): Promise<void> {
    try {
      const answer = isStoreQuestion(question)
        ? await (await import('./store-answers.ts')).answerFromStore(question)
        : await this.#opened().answer(question);
      this.#post({ kind: 'answer', id, answer });
    } catch (error) {
      this.#post({ kind: 'refusal', id, message: messageOf(error) });
    }
  }

  #opened(): Opened {
    if (this.#open) return this.#open;
    throw new VggError('no training is open; wait until it is prepared, or start it anew');
  }
}

/** Waits until a signal is aborted. */
const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

/** Removes a run that never trained a step, such as that of a page that was only looked at. */
async function discardEmpty(run: string | undefined, opened: Opened | undefined): Promise<void> {
  if (run === undefined || !opened || opened.totalSteps > 0) return;
  await (await theStore()).removeRun(run).catch(() => undefined);
}
