/**
 * The server of `vgg studio` (Node only): the page's files, and the runs behind `api/` (`api.ts`). It listens on this
 * machine's loopback address. Everything that a request can use up has a limit: connections, bytes, time, streams.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { UsageError, VggError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { isObject } from '../options.ts';
import { reason } from '../reason.ts';
import { parseCommand } from '../train/commands.ts';
import { Access, Refusal, requireOwnSite, safetyHeaders } from './access.ts';
import { linkTo, type StudioEvent } from './api.ts';
import type { Catalog } from './catalog.ts';
import { Follower } from './follower.ts';
import { sendCommand } from './send.ts';
import type { PageFiles } from './studio-files.ts';

export const limits = {
  /** Further connections are answered with 503. */
  connections: 100,
  /** Streams of events, and runs in one. */
  streams: 20,
  runs: 64,
  headerBytes: 16_384,
  bodyBytes: 4096,
  /** A page that does not read its events is disconnected. */
  unreadBytes: 4_194_304,
  /** From the connection to the end of the headers. */
  headersMilliseconds: 5000,
  requestMilliseconds: 10_000,
  /** Between two requests of a connection; longer than a training at its start keeps this thread busy. */
  idleMilliseconds: 30_000,
  /** Without a byte that the client takes. */
  stalledMilliseconds: 30_000,
} as const;

/** Between two looks at the list of runs, and between two signs of life in a stream. */
const scanMilliseconds = 1500;
const signMilliseconds = 10_000;

export interface StudioOptions {
  readonly catalog: Catalog;
  readonly files: PageFiles;
  /** 0, the default: any that is free. */
  readonly port?: number;
  /** The run that the links show first, by its ID. */
  readonly run?: string;
  /** Instead of that of `limits`; for tests. */
  readonly headersMilliseconds?: number;
  readonly onNotice: (line: string) => void;
}

export interface StudioServer {
  /** As in `http://127.0.0.1:4173`. */
  readonly origin: string;
  readonly token: string;
  /** The link for the user; it has the token. */
  readonly link: string;
  /** A link that can be used once, for programs whose arguments other users see. */
  readonly newLink: () => string;
  /** Tells the pages why it ends, and ends. */
  readonly close: (why: string) => Promise<void>;
}

/** Starts the server. @throws UsageError if the port is in use. */
export async function startStudio(options: StudioOptions): Promise<StudioServer> {
  const studio = new Studio(options);
  await studio.open();
  return studio;
}

class Studio implements StudioServer {
  readonly #options: StudioOptions;
  readonly #access = new Access();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #refused = new WeakSet<Socket>();
  readonly #streams = new Set<Stream>();
  readonly #followers = new Map<string, Follower>();
  #timer: NodeJS.Timeout | undefined;
  #port = 0;

  constructor(options: StudioOptions) {
    this.#options = options;
    const { headerBytes, requestMilliseconds, idleMilliseconds } = limits;
    const { headersMilliseconds = limits.headersMilliseconds } = options;
    this.#server = createServer(
      {
        maxHeaderSize: headerBytes,
        headersTimeout: headersMilliseconds,
        requestTimeout: Math.max(requestMilliseconds, headersMilliseconds),
        keepAliveTimeout: idleMilliseconds,
        connectionsCheckingInterval: 500,
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.on('connection', (socket) => this.#admit(socket));
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket) =>
      refuseBroken(error, socket as Socket),
    );
  }

  get token(): string {
    return this.#access.token;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get link(): string {
    return linkTo(this.origin, { token: this.#access.token }, this.#options.run);
  }

  newLink(): string {
    return linkTo(this.origin, { code: this.#access.newCode() }, this.#options.run);
  }

  async open(): Promise<void> {
    const { port = 0, catalog } = this.#options;
    await catalog.scan();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once('error', reject);
    this.#server.listen({ port, host: '127.0.0.1', exclusive: true }, resolve);
    try {
      await promise;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE')
        throw new UsageError(`port ${port} is in use; choose another one (--port), or leave it out`);
      throw new VggError(`port ${port} cannot be used: ${reason(error)}`, { cause: error });
    }
    this.#server.removeListener('error', reject);
    this.#port = (this.#server.address() as AddressInfo).port;
    this.#timer = setInterval(() => void this.#scan(), scanMilliseconds).unref();
  }

  async close(why: string): Promise<void> {
    clearInterval(this.#timer);
    const closed = new Promise((resolve) => this.#server.close(resolve));
    // The last state of the runs.
    await this.#scan();
    for (const stream of this.#streams) stream.end({ type: 'bye', reason: why });
    const timer = setTimeout(() => this.#server.closeAllConnections(), 500);
    this.#server.closeIdleConnections();
    await closed;
    clearTimeout(timer);
  }

  #admit(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    if (this.#sockets.size >= limits.connections) {
      this.#refused.add(socket);
      refuseRaw(socket, '503 Service Unavailable', 'too many connections; try again');
      return;
    }
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#refused.has(request.socket)) return;
    for (const [name, value] of Object.entries(safetyHeaders)) response.setHeader(name, value);
    response.setTimeout(limits.stalledMilliseconds, () => response.destroy());
    try {
      await this.#route(request, response);
    } catch (error) {
      this.#fail(request, response, error);
    }
  }

  #fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    const known = error instanceof Refusal ? error : undefined;
    const status = known?.status ?? (error instanceof VggError ? 422 : 500);
    if (status === 500) this.#options.onNotice(`vgg studio: ${error instanceof Error ? error.stack : error}`);
    const message =
      error instanceof Error && status !== 500 ? error.message : 'a fault of the server; see its terminal';
    // What is left of the request is not read.
    if (!request.complete) response.setHeader('Connection', 'close');
    for (const [name, value] of Object.entries(known?.headers ?? {})) response.setHeader(name, value);
    sendJson(response, { error: message }, status);
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { url = '', method = '', headers } = request;
    // Not resolved or decoded: a path is one of those known here, or unknown.
    const [, path = '', query = ''] = /^([^?#]*)\??([^#]*)/.exec(url) ?? [];
    if (!path.startsWith('/')) throw new Refusal(400, 'the request names no path of this server');
    const isApi = path.startsWith('/api/');
    requireOwnSite(headers, this.#port, isApi);
    if (!isApi) return this.#sendFile(path, method, response);
    if (path === '/api/token') {
      requireMethod(method, 'POST');
      const { code } = await bodyOf(request);
      if (typeof code !== 'string') throw new Refusal(400, 'the code is missing');
      return sendJson(response, { token: this.#access.exchange(code) });
    }
    this.#access.requireToken(headers);
    if (path === '/api/runs') {
      requireMethod(method, 'GET');
      await this.#options.catalog.scan();
      return sendJson(response, { runs: this.#options.catalog.runs });
    }
    if (path === '/api/events') {
      requireMethod(method, 'GET');
      return this.#openStream(new URLSearchParams(query).getAll('run'), response);
    }
    const [, id, rest] = /^\/api\/runs\/([0-9a-f]{16})(\/commands)?$/.exec(path) ?? [];
    if (id === undefined) throw new Refusal(404, 'there is nothing at this path of the interface');
    if (rest === undefined) {
      requireMethod(method, 'GET');
      return sendJson(response, (await this.#options.catalog.detailOf(id)) ?? unknownRun());
    }
    requireMethod(method, 'POST');
    const folder = this.#options.catalog.folderOf(id) ?? unknownRun();
    const body = await bodyOf(request);
    return sendJson(response, await sendCommand(folder, commandIn(body)));
  }

  #sendFile(path: string, method: string, response: ServerResponse): void {
    const file = this.#options.files.get(path);
    if (!file) throw new Refusal(404, 'there is no such file');
    if (method !== 'HEAD') requireMethod(method, 'GET');
    response.writeHead(200, {
      'Content-Type': file.type,
      'Content-Length': file.content.length,
      'Cache-Control': 'no-cache',
    });
    response.end(method === 'HEAD' ? undefined : file.content);
  }

  async #openStream(ids: readonly string[], response: ServerResponse): Promise<void> {
    const { catalog } = this.#options;
    if (ids.length > limits.runs)
      throw new Refusal(400, `${ids.length} runs are more than ${limits.runs} at once`);
    if (this.#streams.size >= limits.streams)
      throw new Refusal(503, `${limits.streams} pages are open, which is the limit; close one`, {
        'Retry-After': '5',
      });
    const stream = new Stream(response, ids);
    this.#streams.add(stream);
    response.on('close', () => {
      this.#streams.delete(stream);
      for (const end of stream.ends.splice(0)) end();
    });
    await catalog.scan();
    const followers = await this.#followersFor(stream);
    if (response.destroyed) return;
    stream.open();
    stream.send({ type: 'runs', runs: catalog.runs, gone: [] });
    stream.follow(followers);
  }

  /** Those of the runs that a page asked for and does not follow yet; a training may only now create its run. */
  async #followersFor(stream: Stream): Promise<readonly Follower[]> {
    const followers: Follower[] = [];
    for (const id of stream.wanted) {
      const folder = this.#options.catalog.folderOf(id);
      if (folder === undefined) continue;
      stream.wanted.delete(id);
      const follower = this.#followers.get(id) ?? new Follower(id, folder);
      this.#followers.set(id, follower);
      await follower.begin();
      followers.push(follower);
    }
    return followers;
  }

  /** Tells the pages what changed in the list. */
  async #scan(): Promise<void> {
    if (this.#streams.size === 0) return;
    try {
      const { changed, gone } = await this.#options.catalog.scan();
      for (const id of gone) this.#followers.delete(id);
      if (changed.length === 0 && gone.length === 0) return;
      for (const stream of this.#streams) {
        const followers = await this.#followersFor(stream);
        stream.send({ type: 'runs', runs: changed, gone });
        stream.follow(followers);
      }
    } catch (error) {
      if (!(error instanceof VggError)) throw error;
      // The folder may be unreachable for a while.
    }
  }
}

/** Server-sent events to one page. */
class Stream {
  /** IDs of runs that are not followed yet. */
  readonly wanted: Set<string>;
  /** End what the stream follows. */
  readonly ends: (() => void)[] = [];
  readonly #response: ServerResponse;
  #timer: NodeJS.Timeout | undefined;
  #isOpen = false;

  constructor(response: ServerResponse, wanted: readonly string[]) {
    this.#response = response;
    this.wanted = new Set(wanted);
  }

  follow(followers: readonly Follower[]): void {
    if (this.#response.destroyed) return;
    for (const follower of followers) this.ends.push(follower.listen((event) => this.send(event)));
  }

  open(): void {
    if (this.#response.destroyed) return;
    this.#isOpen = true;
    this.#response.writeHead(200, {
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-store',
    });
    this.#timer = setInterval(() => this.#write(':\n\n'), signMilliseconds).unref();
    this.#response.on('close', () => clearInterval(this.#timer));
  }

  send(event: StudioEvent): void {
    if (this.#isOpen) this.#write(`data: ${JSON.stringify(event)}\n\n`);
  }

  end(event: StudioEvent): void {
    this.send(event);
    this.#response.end();
  }

  #write(text: string): void {
    if (this.#response.destroyed || this.#response.writableEnded) return;
    if (this.#response.writableLength > limits.unreadBytes) this.#response.destroy();
    else this.#response.write(text);
  }
}

function unknownRun(): never {
  throw new Refusal(404, 'there is no such run in the list; it may have been deleted');
}

/** @throws Refusal for a command that is none. */
function commandIn(body: Readonly<Record<string, unknown>>): ReturnType<typeof parseCommand> {
  try {
    return parseCommand(body);
  } catch (error) {
    if (error instanceof UsageError) throw new Refusal(400, error.message);
    throw error;
  }
}

function requireMethod(method: string, allowed: 'GET' | 'POST'): void {
  if (method === allowed) return;
  throw new Refusal(405, `${method} is not possible here; use ${allowed}`, { Allow: allowed });
}

/** The JSON object of a request. @throws Refusal if it is too long, or none. */
async function bodyOf(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const { 'content-type': type = '', 'content-length': length } = request.headers;
  if (!/^application\/json\s*(;|$)/i.test(type))
    throw new Refusal(415, 'the body is not of type application/json');
  const tooLong = new Refusal(413, `the body is longer than ${limits.bodyBytes} bytes`);
  if (length !== undefined && Number(length) > limits.bodyBytes) throw tooLong;
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Uint8Array>) {
    bytes += part.length;
    if (bytes > limits.bodyBytes) throw tooLong;
    parts.push(part);
  }
  const { value, problem } = parseJson(Buffer.concat(parts).toString('utf8'));
  if (problem !== undefined) throw new Refusal(400, `the body is no JSON: it ${problem}`);
  if (!isObject(value)) throw new Refusal(400, 'the body is not a JSON object');
  return value;
}

function sendJson(response: ServerResponse, value: unknown, status = 200): void {
  const text = JSON.stringify(value);
  response.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(text),
    'Cache-Control': 'no-store',
  });
  response.end(text);
}

/** Answers what is no request: too long headers, a client that is too slow, other bytes. */
function refuseBroken({ code }: NodeJS.ErrnoException, socket: Socket): void {
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  if (code === 'HPE_HEADER_OVERFLOW')
    refuseRaw(
      socket,
      '431 Request Header Fields Too Large',
      `the headers are longer than ${limits.headerBytes} bytes`,
    );
  else if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    refuseRaw(socket, '408 Request Timeout', 'the request took too long');
  else refuseRaw(socket, '400 Bad Request', 'this is no HTTP request');
}

function refuseRaw(socket: Socket, status: string, message: string): void {
  const body = JSON.stringify({ error: message });
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `Connection: close\r\n${status.startsWith('503') ? 'Retry-After: 1\r\n' : ''}\r\n${body}`,
    // Bytes that still arrive are not awaited.
    () => socket.destroy(),
  );
}
