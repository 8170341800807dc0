/** Runs on this machine, as `vgg studio` and `vgg train --open` serve them: the list, and the runs that are followed. */
import { batch, type Signal, signal } from '@preact/signals';
import {
  ApiError,
  type Key,
  keyIn,
  type LiveState,
  type RunSummary,
  runIn,
  StudioClient,
  type StudioEvent,
  tokenFor,
} from '../../serve/api.ts';
import type { Change } from '../../train/changes.ts';
import type { TrainingCommand } from '../../train/commands.ts';
import type { EpochRecord } from '../../train/records.ts';
import type { StepPoint } from '../worker/protocol.ts';

/** A followed run. */
export interface Followed {
  readonly id: string;
  readonly name: string;
  readonly stepsPerEpoch: number;
  readonly epochCount: number;
  readonly steps: readonly StepPoint[];
  readonly epochs: readonly EpochRecord[];
  readonly changes: readonly Change[];
  readonly live: LiveState | undefined;
}

const tokenKey = 'vgg-studio-token';

/** What the link gave: a key, and the run to show first. Both are taken out of the address, where others might read them. */
const given: { readonly key: Key | undefined; readonly run: string | undefined } = {
  key: keyIn(location.hash),
  run: runIn(location.hash),
};
if (given.key) history.replaceState(null, '', '#/watch');

function keptToken(): string | undefined {
  try {
    return sessionStorage.getItem(tokenKey) ?? undefined;
  } catch {
    return undefined;
  }
}

/** The token, kept for reloads of this tab. */
async function takeToken(key: Key): Promise<string> {
  const token = await tokenFor(key);
  try {
    sessionStorage.setItem(tokenKey, token);
  } catch {
    // A reload needs the link again.
  }
  return token;
}

/** Runs that are shown at the same time; there are so many colors. */
export const mostFollowed = 6;
/** Milliseconds until a lost connection is tried again. */
const retry = 2000;

export class Watched {
  readonly runs: Signal<readonly RunSummary[]> = signal<readonly RunSummary[]>([]);
  readonly followed: Signal<readonly Followed[]> = signal<readonly Followed[]>([]);
  /** Why nothing comes any more; empty while connected. */
  readonly problem: Signal<string> = signal('');
  readonly #client: Promise<StudioClient>;
  #ids: readonly string[];
  #listening = new AbortController();
  #hasChosen: boolean;

  constructor(token: Promise<string>, run: string | undefined) {
    this.#client = token.then((known) => new StudioClient({ token: known }));
    this.#ids = run === undefined ? [] : [run];
    this.#hasChosen = run !== undefined;
    void this.#listen();
  }

  /** Follows these runs, and no others. */
  follow(ids: readonly string[]): void {
    this.#ids = ids.slice(0, mostFollowed);
    this.#hasChosen = true;
    this.followed.value = this.followed.value.filter(({ id }) => this.#ids.includes(id));
    this.#listening.abort();
    void this.#listen();
  }

  /** Sends a command to a training. @throws ApiError */
  async send(id: string, command: TrainingCommand): Promise<void> {
    await (await this.#client).send(id, command);
  }

  async #listen(): Promise<void> {
    const listening = new AbortController();
    this.#listening = listening;
    const { signal: ended } = listening;
    try {
      const client = await this.#client;
      let isFirst = true;
      for await (const event of client.events(this.#ids, ended)) {
        if (ended.aborted) return;
        this.problem.value = '';
        // Details are read after the first event, so that no step is missed in between.
        if (isFirst) for (const id of this.#ids) if (!this.#find(id)) await this.#fetch(id);
        isFirst = false;
        if ((await this.#receive(event)) === 'again') return;
      }
    } catch (error) {
      if (ended.aborted) return;
      this.problem.value = error instanceof Error ? error.message : String(error);
      // A wrong token stays wrong.
      if (error instanceof ApiError && error.status !== 0) return;
      setTimeout(() => {
        if (!ended.aborted) void this.#listen();
      }, retry);
    }
  }

  #find(id: string): Followed | undefined {
    return this.followed.value.find((one) => one.id === id);
  }

  #change(id: string, change: (run: Followed) => Partial<Followed>): void {
    this.followed.value = this.followed.value.map((run) =>
      run.id === id ? { ...run, ...change(run) } : run,
    );
  }

  async #fetch(id: string): Promise<void> {
    const { summary, stepsPerEpoch = 1, steps, epochs, changes } = await (await this.#client).run(id);
    const run: Followed = {
      id,
      name: summary.name,
      stepsPerEpoch,
      epochCount: summary.totalEpochs,
      steps: steps.map(pointOf),
      epochs,
      changes,
      live: undefined,
    };
    this.followed.value = [...this.followed.value.filter((one) => one.id !== id), run];
  }

  async #receive(event: StudioEvent): Promise<'again' | undefined> {
    switch (event.type) {
      case 'runs': {
        const changed = new Map(event.runs.map((run) => [run.id, run]));
        const kept = this.runs.value.filter(({ id }) => !changed.has(id) && !event.gone.includes(id));
        this.runs.value = [...kept, ...event.runs].sort((a, b) =>
          (b.started ?? '').localeCompare(a.started ?? ''),
        );
        // At first, what trains now is shown, or else the newest run.
        if (this.#hasChosen || this.runs.value.length === 0) return undefined;
        const running = this.runs.value.filter(({ state }) => state === 'running');
        this.follow((running.length > 0 ? running : this.runs.value.slice(0, 1)).map(({ id }) => id));
        return 'again';
      }
      case 'live':
        batch(() =>
          this.#change(event.run, ({ steps }) => ({
            live: event.live,
            changes: event.live.changes,
            steps: merged(steps, event.points.map(pointOf)),
          })),
        );
        return undefined;
      case 'rows':
        this.#change(event.run, ({ steps, epochs }) => ({
          steps: merged(steps, event.steps.map(pointOf)),
          epochs: [
            ...epochs.filter(({ epoch }) => !event.epochs.some((row) => row.epoch === epoch)),
            ...event.epochs,
          ],
        }));
        return undefined;
      case 'reset':
        await this.#fetch(event.run);
        return undefined;
      case 'bye':
        this.problem.value = event.reason;
        return undefined;
      default:
        return event satisfies never;
    }
  }
}

const pointOf = ([step, loss, lr]: readonly [number, number | null, number]): StepPoint => ({
  step,
  loss: loss ?? Number.NaN,
  lr,
});

/** Points that are kept of a curve; more are thinned out. */
const mostPoints = 4000;

/** Both lists in order of steps, each step once. */
function merged(known: readonly StepPoint[], fresh: readonly StepPoint[]): readonly StepPoint[] {
  if (fresh.length === 0) return known;
  const last = known.at(-1)?.step ?? 0;
  const isLater = fresh.every(({ step }) => step > last);
  const all = isLater
    ? [...known, ...fresh]
    : [...new Map([...known, ...fresh].map((point) => [point.step, point])).values()].sort(
        (a, b) => a.step - b.step,
      );
  return all.length <= mostPoints ? all : all.filter((_, i) => i % 2 === 0 || i > all.length - 500);
}

const kept = keptToken();

/** The runs of this machine; undefined if the page was not opened by `vgg studio`. */
export const watched: Watched | undefined = given.key
  ? new Watched(takeToken(given.key), given.run)
  : kept === undefined
    ? undefined
    : new Watched(Promise.resolve(kept), undefined);
