/**
 * The interface between `vgg studio` and its page: what is sent, and the page's client. Server and page share this file,
 * so it needs neither Node nor a browser.
 *
 * All requests go to `api/…` beside the page, with the header `Authorization: Bearer TOKEN`. The token is in the
 * fragment of the link that `vgg studio` prints, which browsers never send.
 *
 *     GET  api/runs                 { runs: RunSummary[] }
 *     GET  api/runs/ID              RunDetail
 *     GET  api/events?run=ID&run=…  server-sent events: one StudioEvent per message
 *     POST api/runs/ID/commands     TrainingCommand → CommandAnswer
 *
 * An error is a status of 400 or more with { error: string }.
 */
import type { Change, LiveSettings } from '../train/changes.ts';
import type { TrainingCommand } from '../train/commands.ts';
import type { TrainConfig } from '../train/config-table.ts';
import type { EpochRecord } from '../train/records.ts';

/** A run in the list. */
export interface RunSummary {
  /** Names the run in requests. The same folder has the same ID. */
  readonly id: string;
  readonly name: string;
  /** The series of seeds or the study that the run belongs to. */
  readonly group?: { readonly kind: 'series' | 'study'; readonly name: string };
  readonly folder: string;
  readonly state: 'running' | 'finished' | 'interrupted' | 'failed' | 'damaged';
  /** Why it failed or was interrupted, or what is damaged. */
  readonly reason?: string;
  /**
   * What the training accepts: `steer`: all commands; `watch`: none, because it is a trial of a study; absent: it has
   * ended, or it is trained by a program that does not listen.
   */
  readonly live?: 'steer' | 'watch';
  readonly model: string;
  readonly dataset: string;
  /** Whole epochs done, and epochs of the training. */
  readonly epochs: number;
  readonly totalEpochs: number;
  /** Of the last epoch, and of the best one: on the validation images, if any are held out. */
  readonly testAccuracy?: number;
  readonly best?: { readonly epoch: number; readonly accuracy: number; readonly metric: string };
  /** Seconds of training so far. */
  readonly seconds?: number;
  /** ISO 8601, UTC. */
  readonly started?: string;
}

/** A training step: steps of the whole training so far, loss, learning rate. A loss that is not finite is null. */
export type StepPoint = readonly [step: number, loss: number | null, lr: number];

export interface RunDetail {
  readonly summary: RunSummary;
  /** Absent for a damaged run. */
  readonly config?: TrainConfig;
  readonly stepsPerEpoch?: number;
  /** Steps of the whole training. */
  readonly totalSteps?: number;
  /** Logged steps; of many, an even selection. */
  readonly steps: readonly StepPoint[];
  readonly epochs: readonly EpochRecord[];
  /** Settings that were changed while it trained. */
  readonly changes: readonly Change[];
}

/** A running training at this moment. */
export interface LiveState {
  /** Whether it is asked to pause, and whether it has come to rest. */
  readonly paused: boolean;
  readonly resting: boolean;
  /** Whether it is about to stop. */
  readonly stopping: boolean;
  /** The epoch, and batches done in it. */
  readonly epoch: number;
  readonly step: number;
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  /** Batches done in the whole training, and of all. */
  readonly done: number;
  readonly totalSteps: number;
  /** Of the last seconds; 0 while it rests or tests. */
  readonly stepsPerSecond: number;
  readonly imagesPerSecond: number;
  /** The settings of the next step. `lr` is the base rate, to which the schedule applies. */
  readonly settings: LiveSettings;
  readonly changes: readonly Change[];
}

export type StudioEvent =
  /** Runs that are new or changed, and IDs of those that are gone; at first, all runs. */
  | { readonly type: 'runs'; readonly runs: readonly RunSummary[]; readonly gone: readonly string[] }
  /** New steps of a followed run that trains, and where it is; several times a second. */
  | {
      readonly type: 'live';
      readonly run: string;
      readonly live: LiveState;
      readonly points: readonly StepPoint[];
    }
  /** Rows that were written to `metrics.csv`. */
  | {
      readonly type: 'rows';
      readonly run: string;
      readonly steps: readonly StepPoint[];
      readonly epochs: readonly EpochRecord[];
    }
  /** The run continues from an earlier checkpoint: fetch its detail again. */
  | { readonly type: 'reset'; readonly run: string }
  /** The server ends; nothing follows. */
  | { readonly type: 'bye'; readonly reason: string };

export interface CommandAnswer {
  /** Whether the training has confirmed the command. If not, it may still do so: it is busy, for instance testing. */
  readonly confirmed: boolean;
}

/** An answer that is an error. */
export class ApiError extends Error {
  override name = 'ApiError';
  /** HTTP status; 0 if the server cannot be reached. */
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

/** The link to the page: the token is in the fragment, as a parameter of the view `watch`. */
export const linkTo = (origin: string, token: string): string => `${origin}/#/watch?token=${token}`;

/** The token in a link's fragment: `#/watch?token=…`. */
export function tokenIn(fragment: string): string | undefined {
  const [, query = ''] = /\?(.*)$/s.exec(fragment) ?? [];
  const token = new URLSearchParams(query).get('token');
  return token !== null && /^[\w-]{20,100}$/.test(token) ? token : undefined;
}

export interface StudioClientOptions {
  readonly token: string;
  /** Where the page is, as in `http://127.0.0.1:4173`; by default beside the page. */
  readonly origin?: string;
}

/** The page's access to `vgg studio`. All calls throw `ApiError`. */
export class StudioClient {
  readonly #token: string;
  readonly #base: string;

  constructor({ token, origin }: StudioClientOptions) {
    this.#token = token;
    this.#base = origin === undefined ? 'api' : `${origin}/api`;
  }

  async runs(): Promise<readonly RunSummary[]> {
    const { runs } = await this.#json<{ readonly runs: readonly RunSummary[] }>('runs');
    return runs;
  }

  run(id: string): Promise<RunDetail> {
    return this.#json<RunDetail>(`runs/${encodeURIComponent(id)}`);
  }

  /** Sends a command to a training, and waits a moment for its confirmation. */
  send(id: string, command: TrainingCommand): Promise<CommandAnswer> {
    return this.#json<CommandAnswer>(`runs/${encodeURIComponent(id)}/commands`, {
      method: 'POST',
      body: JSON.stringify(command),
      headers: { 'Content-Type': 'application/json' },
    });
  }

  /**
   * The list of runs as it changes, and the steps of the runs `ids`. Ends with the event `bye`, with `signal`, or with an
   * ApiError of status 0 if the connection is lost.
   */
  async *events(ids: readonly string[], signal?: AbortSignal): AsyncGenerator<StudioEvent, void> {
    const query = new URLSearchParams(ids.map((id) => ['run', id]));
    const { body } = await this.#fetch(`events?${query}`, signal ? { signal } : {});
    if (!body) throw new ApiError('the server sent no events', 0);
    try {
      for await (const data of messagesIn(body)) {
        const event = JSON.parse(data) as StudioEvent;
        yield event;
        if (event.type === 'bye') return;
      }
    } catch (error) {
      if (signal?.aborted) return;
      throw new ApiError(`the connection to vgg studio was lost: ${error}`, 0);
    }
    if (!signal?.aborted) throw new ApiError('the connection to vgg studio was lost', 0);
  }

  async #json<T>(path: string, init: RequestInit = {}): Promise<T> {
    return (await (await this.#fetch(path, init)).json()) as T;
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(`${this.#base}/${path}`, {
        ...init,
        headers: { ...init.headers, Authorization: `Bearer ${this.#token}` },
        cache: 'no-store',
      });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ApiError('vgg studio does not answer; it may have ended', 0);
    }
    if (response.ok) return response;
    const answer = (await response.json().catch(() => ({}))) as { readonly error?: string };
    throw new ApiError(answer.error ?? `the server answered with status ${response.status}`, response.status);
  }
}

/** The data of server-sent events; comments are left out. Our server sends each message's data on one line. */
export async function* messagesIn(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  const reader = stream
    .pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>)
    .getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.startsWith('data: ')) yield line.slice(6);
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
