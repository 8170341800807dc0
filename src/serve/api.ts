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
 *     POST api/token                { code } → { token }, once; needs no token
 *
 * An error is a status of 400 or more with { error: string }.
 */
import type { Change } from '../train/changes.ts';
import type { TrainingCommand } from '../train/commands.ts';
import type { TrainConfig } from '../train/config-table.ts';
import type { LiveState, StepPoint } from '../train/live-state.ts';
import type { EpochRecord } from '../train/records.ts';

export type { LiveState, StepPoint } from '../train/live-state.ts';

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

/**
 * What a link to the page carries in its fragment: the token, or a code that is exchanged for it once. A browser is
 * opened with a code, because other users of a machine see the arguments of programs.
 */
export type Key = { readonly token: string } | { readonly code: string };

/** `http://127.0.0.1:4173/#/watch?token=…&run=…`; the run is the one to show first. */
export const linkTo = (origin: string, key: Key, run?: string): string =>
  `${origin}/#/watch?${new URLSearchParams({ ...key, ...(run !== undefined && { run }) })}`;

const parametersIn = (fragment: string): URLSearchParams =>
  new URLSearchParams(/\?(.*)$/s.exec(fragment)?.[1] ?? '');

/** The ID of the run that a link's fragment names. */
export function runIn(fragment: string): string | undefined {
  const run = parametersIn(fragment).get('run');
  return run !== null && /^[0-9a-f]{16}$/.test(run) ? run : undefined;
}

/** The key in a link's fragment. */
export function keyIn(fragment: string): Key | undefined {
  const parameters = parametersIn(fragment);
  const [token, code] = [parameters.get('token'), parameters.get('code')];
  const isKey = (text: string | null): text is string => text !== null && /^[\w-]{20,100}$/.test(text);
  return isKey(token) ? { token } : isKey(code) ? { code } : undefined;
}

/** The token for a key. Keep it in `sessionStorage`, so that a reload finds it, and take the key out of the address. */
export async function tokenFor(key: Key, origin?: string): Promise<string> {
  if ('token' in key) return key.token;
  const response = await request(origin, 'token', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ code: key.code }),
  });
  return ((await response.json()) as { readonly token: string }).token;
}

export interface StudioClientOptions {
  readonly token: string;
  /** Where the page is, as in `http://127.0.0.1:4173`; by default beside the page. */
  readonly origin?: string;
}

/** The page's access to `vgg studio`. All calls throw `ApiError`. */
export class StudioClient {
  readonly #token: string;
  readonly #origin: string | undefined;

  constructor({ token, origin }: StudioClientOptions) {
    this.#token = token;
    this.#origin = origin;
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
   * The list of runs as it changes, and the steps of the runs `ids`. Read details of runs after the first event, so that
   * no step is missed in between; steps may come twice, as rows and live. Ends with the event `bye`, with `signal`, or with an
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

  #fetch(path: string, init: RequestInit): Promise<Response> {
    return request(this.#origin, path, {
      ...init,
      headers: { ...init.headers, Authorization: `Bearer ${this.#token}` },
    });
  }
}

/** @throws ApiError for an answer that is an error, and without an answer. */
async function request(origin: string | undefined, path: string, init: RequestInit): Promise<Response> {
  const url = `${origin === undefined ? '' : `${origin}/`}api/${path}`;
  const send = (): Promise<Response> => fetch(url, { ...init, cache: 'no-store' });
  let response: Response;
  try {
    // The server may just have closed a connection that was kept: what changes nothing is asked again.
    response = await (init.method === undefined ? send().catch(send) : send());
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError('vgg studio does not answer; it may have ended', 0);
  }
  if (response.ok) return response;
  const answer = (await response.json().catch(() => ({}))) as { readonly error?: string };
  throw new ApiError(answer.error ?? `the server answered with status ${response.status}`, response.status);
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
