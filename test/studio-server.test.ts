/**
 * The server of `vgg studio`: who may use it, what a request may ask for and use up, and that pages see runs live and
 * steer them. Requests are made byte by byte where a usual client would correct them.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { TrainingStopped } from '../src/errors.ts';
import { createRun } from '../src/runs/run.ts';
import { openMetrics } from '../src/runs/table-files.ts';
import { runTraining, type TrainingResult } from '../src/runs/training.ts';
import { ApiError, keyIn, StudioClient, type StudioEvent, tokenFor } from '../src/serve/api.ts';
import { Catalog, placeNamed, thinned } from '../src/serve/catalog.ts';
import { limits, type StudioServer, startStudio } from '../src/serve/server.ts';
import type { PageFiles } from '../src/serve/studio-files.ts';
import { parseConfig } from '../src/train/config.ts';
import type { TrainConfigInput } from '../src/train/config-table.ts';

const page = new TextEncoder().encode('<!doctype html><title>page</title>');
const html = { type: 'text/html; charset=utf-8', content: page };
const files: PageFiles = new Map([
  ['/', html],
  ['/index.html', html],
  ['/assets/main.js', { type: 'text/javascript; charset=utf-8', content: new TextEncoder().encode('1;') }],
]);

let root: string;
let runs: string;
let server: StudioServer;
let notices: string[] = [];

async function start({
  places = [runs],
  headersMilliseconds,
}: {
  readonly places?: readonly string[];
  readonly headersMilliseconds?: number;
} = {}): Promise<StudioServer> {
  notices = [];
  return startStudio({
    catalog: new Catalog(places.map(placeNamed)),
    files,
    ...(headersMilliseconds !== undefined && { headersMilliseconds }),
    onNotice: (line) => void notices.push(line),
  });
}

/** A run that has ended. */
async function makeRun(name: string, config: TrainConfigInput = {}): Promise<string> {
  const folder = join(runs, name);
  const run = await createRun(folder, parseConfig({ epochs: 2, ...config }, 'test'));
  const table = await openMetrics(run.path('metrics'));
  await table.append([
    { kind: 'step', epoch: 1, step: 5, lr: 0.1, trainLoss: 2 },
    { kind: 'step', epoch: 1, step: 10, lr: 0.1, trainLoss: 1 },
    {
      ...{
        kind: 'epoch',
        epoch: 1,
        step: 10,
        lr: 0.1,
        trainLoss: 1.5,
        trainAccuracy: 0.5,
        testLoss: 1,
        testAccuracy: 0.6,
      },
      ...{ testTopFive: 0.9, trainSeconds: 1, testSeconds: 1, imagesPerSecond: 100 },
    },
  ]);
  await table.close();
  await run.writeStatus({ state: 'finished', epoch: 2, step: 10, seconds: 3 });
  await run.close();
  return folder;
}

/** The ID that the server gives a run. */
const idOf = (folder: string): string => createHash('sha256').update(folder).digest('hex').slice(0, 16);

interface Answer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

const portOf = (): number => Number(new URL(server.origin).port);

function socketTo(): Socket {
  const socket = connect(portOf(), '127.0.0.1');
  socket.on('error', () => undefined);
  return socket;
}

/** Sends bytes as they are, and reads until the server closes the connection. */
function raw(text: string, { end = false } = {}): Promise<Answer> {
  const socket = socketTo();
  const { promise, resolve } = Promise.withResolvers<Answer>();
  let got = '';
  socket.setEncoding('utf8').on('data', (part: string) => {
    got += part;
  });
  socket.on('close', () => {
    const [head = '', ...body] = got.split('\r\n\r\n');
    resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]), head, body: body.join('\r\n\r\n') });
  });
  if (end) socket.end(text);
  else socket.write(text);
  return promise;
}

/** A request with usual headers, and others in place of them; null leaves one out. */
function ask(
  path: string,
  {
    method = 'GET',
    headers = {},
    body = '',
  }: {
    readonly method?: string;
    readonly headers?: Readonly<Record<string, string | null>>;
    readonly body?: string;
  } = {},
): Promise<Answer> {
  const all: Record<string, string | null> = {
    Host: `127.0.0.1:${portOf()}`,
    Authorization: `Bearer ${server.token}`,
    Connection: 'close',
    ...(body !== '' && {
      'Content-Type': 'application/json',
      'Content-Length': String(Buffer.byteLength(body)),
    }),
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === null ? [] : [`${name}: ${value}`]));
  return raw(`${method} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${body}`);
}

const errorOf = ({ body }: Answer): string => (JSON.parse(body) as { readonly error: string }).error;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'vggnet-studio-'));
  runs = join(root, 'runs');
  await mkdir(runs);
});
afterEach(async () => {
  await server.close('the test ends');
  await rm(root, { recursive: true, force: true });
});

describe('who may use it', () => {
  beforeEach(async () => {
    await makeRun('a');
    server = await start();
  });

  test('the page is open, isolated, and under a strict policy', async () => {
    for (const path of ['/', '/index.html', '/?x=1']) {
      const { status, head, body } = await ask(path, { headers: { Authorization: null } });
      expect(status).toBe(200);
      expect(body).toContain('<title>page</title>');
      const [, policy = ''] = /content-security-policy: (.*)/i.exec(head) ?? [];
      expect(policy).toMatch(/^default-src 'none'; script-src 'self' 'wasm-unsafe-eval';/);
      expect(policy).not.toMatch(/unsafe-inline|'unsafe-eval'|\*|http/);
      for (const line of [
        /cross-origin-opener-policy: same-origin/i,
        /cross-origin-embedder-policy: require-corp/i,
        /cross-origin-resource-policy: same-origin/i,
        /x-content-type-options: nosniff/i,
        /referrer-policy: no-referrer/i,
      ])
        expect(head).toMatch(line);
      expect(head).not.toMatch(/access-control-allow/i);
    }
    expect((await ask('/assets/main.js')).head).toMatch(/content-type: text\/javascript/i);
    expect((await ask('/', { method: 'HEAD' })).body).toBe('');
  });

  test('it listens on the loopback address only', async () => {
    expect(server.origin).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const others = Object.values(networkInterfaces())
      .flat()
      .filter((one) => one !== undefined && !one.internal && one.family === 'IPv4');
    for (const { address } of others as { readonly address: string }[]) {
      const socket = connect(portOf(), address);
      await expect(
        new Promise((resolve, reject) => void socket.on('connect', resolve).on('error', reject)),
      ).rejects.toThrow(/ECONNREFUSED/);
      socket.destroy();
    }
  });

  test.each([
    [null, 'the token is missing'],
    ['', 'the token is missing'],
    ['Bearer', 'the token is missing'],
    ['Basic dXNlcjpwYXNz', 'the token is missing'],
    [`Bearer ${'A'.repeat(43)}`, 'this is not the token of this server'],
    [`Bearer ${'A'.repeat(5000)}`, 'the token is missing'],
  ])('without the token (%s), the interface is closed', async (Authorization, message) => {
    for (const path of ['/api/runs', '/api/events', '/api/nothing', `/api/runs/${idOf(join(runs, 'a'))}`]) {
      const answer = await ask(path, { headers: { Authorization } });
      expect(answer.status).toBe(401);
      expect(answer.head).toMatch(/www-authenticate: Bearer/i);
      expect(errorOf(answer)).toContain(message);
    }
  });

  test('the token in a query or a cookie does not count', async () => {
    expect((await ask(`/api/runs?token=${server.token}`, { headers: { Authorization: null } })).status).toBe(
      401,
    );
    const Cookie = `token=${server.token}`;
    expect((await ask('/api/runs', { headers: { Authorization: null, Cookie } })).status).toBe(401);
  });

  test('two servers have different tokens', async () => {
    const other = await start();
    expect(other.token).not.toBe(server.token);
    expect(other.token).toMatch(/^[\w-]{43}$/);
    await other.close('the test ends');
  });

  test.each([
    'evil.example',
    'evil.example:80',
    '127.0.0.1',
    '127.0.0.1:1',
    'localhost.evil.example:PORT',
    '[::1]:PORT',
    '',
  ])('the host %j is refused, as of a name that resolves to this machine', async (host) => {
    const Host = host.replace('PORT', String(portOf()));
    for (const path of ['/', '/api/runs']) {
      const answer = await ask(path, { headers: { Host } });
      expect(answer.status).toBe(403);
      expect(errorOf(answer)).toContain('not for the host');
    }
  });

  test('localhost is this machine, too', async () => {
    const Host = `localhost:${portOf()}`;
    expect((await ask('/api/runs', { headers: { Host, Origin: `http://${Host}` } })).status).toBe(200);
  });

  test.each([
    'http://evil.example',
    'null',
    'https://127.0.0.1:PORT',
    'http://127.0.0.1:PORT.evil.example',
    'http://127.0.0.1',
    '',
  ])('the origin %j is refused, with the token, too', async (origin) => {
    const Origin = origin.replace('PORT', String(portOf()));
    for (const [path, method] of [
      ['/api/runs', 'GET'],
      ['/api/events', 'GET'],
      ['/api/runs', 'OPTIONS'],
      [`/api/runs/${idOf(join(runs, 'a'))}/commands`, 'POST'],
    ] as const) {
      const answer = await ask(path, { method, headers: { Origin } });
      expect(answer.status).toBe(403);
      expect(errorOf(answer)).toContain('may not use this server');
      expect(answer.head).not.toMatch(/access-control-allow/i);
    }
  });

  test('a request that another site caused is refused, without Origin, too', async () => {
    const answer = await ask('/api/runs', { headers: { 'Sec-Fetch-Site': 'cross-site' } });
    expect(answer.status).toBe(403);
    // A link on another page may open the page itself.
    expect((await ask('/', { headers: { 'Sec-Fetch-Site': 'cross-site' } })).status).toBe(200);
  });

  test('a code in a link is exchanged for the token once', async () => {
    const key = keyIn(new URL(server.newLink()).hash)!;
    expect(key).toHaveProperty('code');
    expect(await tokenFor(key, server.origin)).toBe(server.token);
    await expect(tokenFor(key, server.origin)).rejects.toThrow('this link was used already');
    const [first, second] = [server.newLink(), server.newLink()].map((link) => keyIn(new URL(link).hash)!);
    await expect(tokenFor(first!, server.origin)).rejects.toThrow(ApiError);
    expect(await tokenFor(second!, server.origin)).toBe(server.token);
    expect(await tokenFor(keyIn(new URL(server.link).hash)!)).toBe(server.token);
    expect(keyIn('#/watch?token=<script>')).toBeUndefined();
    expect(
      (await ask('/api/token', { method: 'POST', body: '{}', headers: { Authorization: null } })).status,
    ).toBe(400);
  });
});

describe('what a request may ask for', () => {
  let a: string;
  beforeEach(async () => {
    a = await makeRun('a');
    await writeFile(join(root, 'secret.txt'), 'secret');
    await writeFile(join(runs, 'secret.txt'), 'secret');
    await symlink(join(root, 'secret.txt'), join(a, 'link.txt'));
    server = await start();
  });

  const outside = [
    '/../secret.txt',
    '/..%2fsecret.txt',
    '/%2e%2e/secret.txt',
    '/%252e%252e%252fsecret.txt',
    '/..\\secret.txt',
    '/..%5csecret.txt',
    '/assets/../../secret.txt',
    '/assets/%00',
    '/assets/main.js%00.html',
    '//etc/passwd',
    '/%2fetc%2fpasswd',
    '/C:/Windows/win.ini',
    '/file:///etc/passwd',
    '/secret.txt',
    '/a/config.json',
    '/.git/config',
    '/%',
    '/%ff',
  ];
  test.each(outside)('no file at %s', async (path) => {
    const answer = await ask(path);
    expect(answer.status).toBe(404);
    expect(answer.body).not.toContain('root:');
    expect(errorOf(answer)).toBe('there is no such file');
  });

  test.each([
    '/api/runs/../runs',
    '/api/runs/..%2f..%2fsecret.txt',
    '/api/runs/%2e%2e',
    '/api/runs/a',
    '/api/runs/0123456789abcdef/..',
    '/api/runs/ID/config.json',
    '/api/runs/ID%00',
    '/api/runs/ID/link.txt',
    '/api//runs',
    '/api/',
    '/api/runs/',
    '/api/runs/0123456789ABCDEF',
  ])('nothing in the interface at %s', async (path) => {
    const answer = await ask(path.replace('ID', idOf(a)));
    expect(answer.status).toBe(404);
    expect(answer.body).not.toContain('secret');
  });

  test.each(['http://127.0.0.1/api/runs', 'http://evil.example/', '*', 'api/runs', '?x'])(
    'the target %s is no path',
    async (path) => {
      expect((await ask(path)).status).toBe(400);
    },
  );

  test('an unknown run, and one that is deleted', async () => {
    expect(errorOf(await ask('/api/runs/0123456789abcdef'))).toContain('there is no such run');
    await rm(a, { recursive: true });
    const answer = await ask(`/api/runs/${idOf(a)}`);
    expect([404, 200]).toContain(answer.status);
    expect((await ask('/api/runs')).body).toBe('{"runs":[]}');
    expect((await ask(`/api/runs/${idOf(a)}`)).status).toBe(404);
  });

  test('links that lead out of the folder are named, not followed', async () => {
    const other = await mkdtemp(join(tmpdir(), 'vggnet-other-'));
    runs = other;
    const foreign = await makeRun('foreign');
    runs = join(root, 'runs');
    await symlink(foreign, join(runs, 'b'));
    await symlink(a, join(runs, 'c'));
    // A run whose files are links.
    const d = await makeRun('d');
    await rm(join(d, 'metrics.csv'));
    await symlink(join(root, 'secret.txt'), join(d, 'metrics.csv'));
    const listed = await new StudioClient({ token: server.token, origin: server.origin }).runs();
    expect(listed.map(({ name, state }) => [name, state])).toEqual([
      ['a', 'finished'],
      ['b', 'damaged'],
      ['c', 'finished'],
      ['d', 'damaged'],
    ]);
    expect(listed[1]!.reason).toContain(
      `is a link out of ${runs}, which is not followed; name it as well: vgg studio`,
    );
    expect(listed[3]!.reason).toContain('metrics.csv is a symbolic link, which is not followed here');
    const detail = await ask(`/api/runs/${listed[1]!.id}`);
    expect(detail.body).not.toContain('"config"');
    const command = await ask(`/api/runs/${listed[1]!.id}/commands`, {
      method: 'POST',
      body: '{"command":"stop"}',
    });
    expect(command.status).toBe(404);
    await rm(other, { recursive: true, force: true });
  });

  test.each([
    ['/', 'POST', 'GET'],
    ['/api/runs', 'POST', 'GET'],
    ['/api/runs', 'DELETE', 'GET'],
    ['/api/events', 'PUT', 'GET'],
    ['/api/token', 'GET', 'POST'],
    ['/api/runs/ID', 'PATCH', 'GET'],
    ['/api/runs/ID/commands', 'GET', 'POST'],
    ['/api/runs', 'OPTIONS', 'GET'],
    ['/api/runs', 'TRACE', 'GET'],
  ])('%s refuses %s', async (path, method, allowed) => {
    const answer = await ask(path.replace('ID', idOf(a)), { method });
    expect(answer.status).toBe(405);
    expect(answer.head).toMatch(new RegExp(`allow: ${allowed}`, 'i'));
    expect(errorOf(answer)).toBe(`${method} is not possible here; use ${allowed}`);
  });

  test.each([
    ['{', 400, 'the body is no JSON'],
    ['', 415, 'not of type application/json'],
    ['[]', 400, 'the body is not a JSON object'],
    ['null', 400, 'the body is not a JSON object'],
    ['{"command":"explode"}', 400, 'there is no command "explode"'],
    ['{"command":"change","settings":{"lr":-1}}', 400, 'lr -1 is not a finite number above 0'],
    ['{"command":"pause","x":1}', 400, 'there is no "x" in this command'],
    ['{"command":{"a":1}}', 400, 'command an object is not one of'],
    [`${'['.repeat(2000)}`, 400, 'nests lists and objects more than 32 deep'],
    [`{"command":"${'x'.repeat(5000)}"}`, 413, 'longer than 4096 bytes'],
    ['{"command":"pause"}', 409, 'this run is not being trained now'],
  ])('the body %s gives %i', async (body, status, message) => {
    const answer = await ask(`/api/runs/${idOf(a)}/commands`, { method: 'POST', body });
    expect(answer.status).toBe(status);
    expect(errorOf(answer)).toContain(message);
    expect(existsSync(join(a, 'control.jsonl'))).toBe(false);
  });

  test('a form of another page cannot be a command', async () => {
    const headers = { 'Content-Type': 'text/plain' };
    const answer = await ask(`/api/runs/${idOf(a)}/commands`, {
      method: 'POST',
      body: '{"command":"stop"}',
      headers,
    });
    expect(answer.status).toBe(415);
  });

  test('after all of this, the server is well', async () => {
    expect(notices).toEqual([]);
    expect((await ask('/api/runs')).status).toBe(200);
  });
});

describe('what a request may use up', () => {
  beforeEach(async () => {
    await makeRun('a');
    server = await start();
  });

  test('headers and bodies that are too long, also of unknown length', async () => {
    const long = await ask('/api/runs', { headers: { 'X-Long': 'x'.repeat(limits.headerBytes) } });
    expect(long.status).toBe(431);
    expect(errorOf(long)).toContain('the headers are longer than 16384 bytes');
    const path = `/api/runs/${idOf(join(runs, 'a'))}/commands`;
    const common = `Host: 127.0.0.1:${portOf()}\r\nAuthorization: Bearer ${server.token}\r\nContent-Type: application/json\r\n`;
    const chunk = `1000\r\n${' '.repeat(4096)}\r\n`;
    const chunked = await raw(
      `POST ${path} HTTP/1.1\r\n${common}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(3)}`,
    );
    expect(chunked.status).toBe(413);
    const announced = await raw(`POST ${path} HTTP/1.1\r\n${common}Content-Length: 99999999999\r\n\r\n`);
    expect(announced.status).toBe(413);
  });

  test('what is no HTTP is refused in words', async () => {
    for (const text of [
      '\u0000\u0001\u0002\r\n\r\n',
      'GET\r\n\r\n',
      'GET / HTTP/9.9\r\n\r\n',
      'GET / HTTP/1.1\r\n\r\n',
    ])
      expect((await raw(text, { end: true })).status).toBe(400);
    const both = await raw(
      `POST /api/token HTTP/1.1\r\nHost: 127.0.0.1:${portOf()}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    );
    expect(both.status).toBe(400);
  });

  test('clients that are too slow are disconnected, and those that send nothing', async () => {
    const slow = raw(`GET /api/runs HTTP/1.1\r\nHost: 127.0.0.1:${portOf()}\r\nX-Slow: `);
    const silent = raw('');
    const slowBody = raw(
      `POST /api/token HTTP/1.1\r\nHost: 127.0.0.1:${portOf()}\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{`,
    );
    expect((await slow).status).toBe(408);
    expect(errorOf(await slow)).toBe('the request took too long');
    await silent;
    expect((await slowBody).status).toBe(408);
  });

  test('of a thousand connections, some are served and the others get 503; then all is well', async () => {
    await server.close('another follows');
    // Longer than the test.
    server = await start({ headersMilliseconds: 60_000 });
    const memory = (): number => {
      globalThis.gc?.();
      return process.memoryUsage().heapUsed;
    };
    const before = memory();
    const answers = await Promise.all(
      Array.from({ length: 1000 }, () => ask('/').catch(() => ({ status: 0, head: '', body: '' }))),
    );
    const count = (status: number): number => answers.filter((one) => one.status === status).length;
    expect(count(200)).toBeGreaterThanOrEqual(1);
    expect(count(200) + count(503)).toBe(1000);
    // Held open, exactly so many are admitted.
    const held = Array.from({ length: 1000 }, socketTo);
    const answered = Promise.withResolvers<void>();
    const fates: string[] = [];
    const settle = (fate: string): void => {
      if (fates.push(fate) === 1000 - limits.connections) answered.resolve();
    };
    for (const socket of held) {
      socket.once('data', (data: Buffer) => settle(data.toString().slice(9, 12)));
    }
    await answered.promise;
    await sleep(500);
    expect(fates).toEqual(Array.from({ length: 1000 - limits.connections }, () => '503'));
    for (const socket of held) socket.destroy();
    while ((await ask('/api/runs')).status !== 200) await sleep(50);
    expect(memory() - before).toBeLessThan(64 << 20);
  });

  test('so many streams of events and no more', async () => {
    const headers = { Authorization: `Bearer ${server.token}` };
    const streams = await Promise.all(
      Array.from({ length: limits.streams }, () => fetch(`${server.origin}/api/events`, { headers })),
    );
    expect(streams.map(({ status }) => status)).toEqual(streams.map(() => 200));
    const more = await ask('/api/events');
    expect(more.status).toBe(503);
    expect(errorOf(more)).toContain('20 pages are open, which is the limit');
    await Promise.all(streams.map(({ body }) => body?.cancel()));
    while ((await ask('/api/runs')).status !== 200) await sleep(50);
    const query = Array.from({ length: limits.runs + 1 }, () => 'run=a').join('&');
    expect((await ask(`/api/events?${query}`)).status).toBe(400);
  });
});

test('a port that is in use is named', async () => {
  server = await start();
  const again = startStudio({ catalog: new Catalog([]), files, port: portOf(), onNotice: () => undefined });
  await expect(again).rejects.toThrow(
    `port ${portOf()} is in use; choose another one (--port), or leave it out`,
  );
});

/** Collects the events of a stream. */
function listening(client: StudioClient, ids: readonly string[]) {
  const abort = new AbortController();
  const events: StudioEvent[] = [];
  const ended = (async () => {
    for await (const event of client.events(ids, abort.signal)) events.push(event);
  })();
  const until = async <Found extends StudioEvent>(
    holds: (event: StudioEvent) => event is Found,
  ): Promise<Found> => {
    for (;;) {
      const found = events.findLast(holds);
      if (found) return found;
      await Promise.race([sleep(20), ended]);
    }
  };
  return { events, until, ended, stop: () => abort.abort() };
}

const isLive =
  (holds: (event: StudioEvent & { type: 'live' }) => boolean) =>
  (event: StudioEvent): event is StudioEvent & { type: 'live' } =>
    event.type === 'live' && holds(event);

describe('runs', () => {
  test('are listed with their groups and read in detail', async () => {
    const a = await makeRun('a', { changes: [{ step: 5, lr: 0.01 }] });
    await mkdir(join(runs, 'study'));
    await writeFile(join(runs, 'study', 'study.json'), '{}');
    const inner = runs;
    runs = join(inner, 'study', 'runs');
    await makeRun('trial-0');
    runs = join(inner, 'three');
    await mkdir(runs);
    await writeFile(join(runs, 'seeds.json'), '{}');
    await makeRun('seed-0');
    runs = inner;
    await mkdir(join(runs, 'broken'));
    await writeFile(join(runs, 'broken', 'config.json'), '{"epochs":');
    server = await start();
    const client = new StudioClient({ token: server.token, origin: server.origin });
    const listed = await client.runs();
    expect(listed.map(({ name, group, state }) => [name, group?.kind, state])).toEqual([
      ['a', undefined, 'finished'],
      ['broken', undefined, 'damaged'],
      ['trial-0', 'study', 'finished'],
      ['three/seed-0', 'series', 'finished'],
    ]);
    expect(listed[0]).toMatchObject({
      ...{
        id: idOf(a),
        model: 'simplified',
        dataset: 'shapes',
        epochs: 1,
        totalEpochs: 2,
        testAccuracy: 0.6,
        seconds: 3,
      },
      best: { epoch: 1, accuracy: 0.6, metric: 'testAccuracy' },
    });
    expect(listed[0]).not.toHaveProperty('live');
    const detail = await client.run(idOf(a));
    expect(detail).toMatchObject({
      ...{ stepsPerEpoch: 10, totalSteps: 20, changes: [{ step: 5, lr: 0.01 }], config: { epochs: 2 } },
      steps: [
        [5, 2, 0.1],
        [10, 1, 0.1],
      ],
    });
    expect(detail.epochs).toHaveLength(1);
    await expect(client.run('0123456789abcdef')).rejects.toMatchObject({ status: 404 });
    await server.close('the test ends');
    server = await start({ places: [join(runs, 'study'), a] });
    const some = await new StudioClient({ token: server.token, origin: server.origin }).runs();
    expect(some.map(({ name }) => name)).toEqual(['trial-0', 'a']);
    expect(() => placeNamed(join(runs, 'nothing'))).toThrow('is neither a run nor a folder of runs');
  });

  test('of many points an even selection is sent, with the last one', () => {
    const points = Array.from({ length: 10_001 }, (_, i) => [i, 1, 1] as const);
    const some = thinned(points);
    expect(some).toHaveLength(4000);
    expect(some.at(-1)![0]).toBe(10_000);
    expect(thinned(points.slice(0, 4000))).toHaveLength(4000);
  });

  test('new and deleted runs, and new rows, are told', async () => {
    const a = await makeRun('a');
    server = await start();
    const client = new StudioClient({ token: server.token, origin: server.origin });
    const { events, until, ended } = listening(client, [idOf(a), 'unknown']);
    await until((event): event is StudioEvent & { type: 'runs' } => event.type === 'runs');
    await makeRun('b');
    await until(
      (event): event is StudioEvent & { type: 'runs' } =>
        event.type === 'runs' && event.runs.some(({ name }) => name === 'b'),
    );
    await appendFile(join(a, 'metrics.csv'), 'step,2,15,0.1,0.5,,,,,,,,,\nstep,2,2');
    const rows = (event: StudioEvent): event is StudioEvent & { type: 'rows' } => event.type === 'rows';
    expect(await until(rows)).toEqual({ type: 'rows', run: idOf(a), steps: [[15, 0.5, 0.1]], epochs: [] });
    await appendFile(join(a, 'metrics.csv'), '0,0.1,0.4,,,,,,,,,\n');
    while (events.filter(rows).length < 2) await sleep(20);
    expect(events.filter(rows)[1]!.steps).toEqual([[20, 0.4, 0.1]]);
    // As a run that resumes from an earlier checkpoint does.
    const text = await readFile(join(a, 'metrics.csv'), 'utf8');
    await writeFile(join(a, 'metrics.csv'), text.split('\n').slice(0, 3).join('\n'));
    await until((event): event is StudioEvent & { type: 'reset' } => event.type === 'reset');
    await rm(a, { recursive: true });
    await until(
      (event): event is StudioEvent & { type: 'runs' } =>
        event.type === 'runs' && event.gone.includes(idOf(a)),
    );
    await server.close('the test ends');
    await ended;
    expect(events.at(-1)).toEqual({ type: 'bye', reason: 'the test ends' });
  });

  test('a lost connection is told', async () => {
    server = await start();
    const client = new StudioClient({ token: server.token, origin: server.origin });
    await server.close('the test ends');
    await expect(client.runs()).rejects.toThrow('vgg studio does not answer; it may have ended');
    const wrong = new StudioClient({ token: 'x'.repeat(43), origin: server.origin });
    await expect(wrong.runs()).rejects.toThrow(ApiError);
  });
});

describe('a training', () => {
  let folder: string;
  let training: Promise<TrainingResult>;
  let client: StudioClient;
  const config = parseConfig(
    { batchSize: 100, epochs: 1000, device: 'wasm', threads: 1, optimizer: 'sgd', lr: 0.01 },
    'test',
  );

  const begin = async (live: 'steer' | 'watch'): Promise<void> => {
    folder = join(runs, 'now');
    const ready = Promise.withResolvers<void>();
    training = runTraining(config, { folder, live, onStart: () => ready.resolve(), signal: stop.signal });
    training.catch(ready.reject);
    await ready.promise;
    server = await start();
    client = new StudioClient({ token: server.token, origin: server.origin });
  };
  let stop = new AbortController();
  beforeEach(() => {
    stop = new AbortController();
  });
  afterEach(async () => {
    stop.abort(new Error('the test ends'));
    await training.catch(() => undefined);
  });

  test('is seen live by two pages, and steered', async () => {
    await begin('steer');
    const id = idOf(folder);
    expect((await client.runs())[0]).toMatchObject({ id, state: 'running', live: 'steer' });
    const one = listening(client, [id]);
    const first = await one.until(isLive(({ points }) => points.length > 0));
    const two = listening(client, [id]);
    await two.until(isLive(({ points }) => points.length > 0));
    expect(first.live).toMatchObject({
      epochs: 1000,
      stepsPerEpoch: 100,
      totalSteps: 100_000,
      paused: false,
    });
    expect(first.live).not.toHaveProperty('answers');

    expect(await client.send(id, { command: 'pause' })).toEqual({ confirmed: true });
    const { live } = await one.until(isLive((event) => event.live.resting));
    expect(await client.send(id, { command: 'step', count: 3 })).toEqual({ confirmed: true });
    await one.until(isLive((event) => event.live.resting && event.live.done === live.done + 3));
    expect(await client.send(id, { command: 'change', settings: { lr: 0.02, momentum: 0.5 } })).toEqual({
      confirmed: true,
    });
    const changed = await two.until(isLive((event) => event.live.changes.length > 0));
    expect(changed.live.changes).toEqual([{ step: live.done + 3, lr: 0.02, momentum: 0.5 }]);
    expect(changed.live.settings).toEqual({ lr: 0.02, momentum: 0.5, weightDecay: 0 });
    expect((await client.run(id)).changes).toEqual(changed.live.changes);
    // Each step is sent once.
    const steps = one.events.flatMap((event) =>
      event.type === 'live' ? event.points.map(([step]) => step) : [],
    );
    expect(steps).toEqual([...new Set(steps)].toSorted((a, b) => a - b));
    expect(steps.at(-1)).toBe(live.done + 3);

    expect(await client.send(id, { command: 'stop' })).toEqual({ confirmed: true });
    await expect(training).rejects.toThrow(TrainingStopped);
    await one.until(
      (event): event is StudioEvent & { type: 'runs' } =>
        event.type === 'runs' && event.runs.some(({ state }) => state === 'interrupted'),
    );
    await expect(client.send(id, { command: 'resume' })).rejects.toMatchObject({ status: 409 });
    one.stop();
    two.stop();
    await Promise.all([one.ended, two.ended]);
  });

  test('of a study is watched only; settings that do not fit are refused in words', async () => {
    await begin('watch');
    const id = idOf(folder);
    expect((await client.runs())[0]).toMatchObject({ live: 'watch' });
    await expect(client.send(id, { command: 'pause' })).rejects.toThrow(
      'a trial of a study, which is not steered',
    );
    const page = listening(client, [id]);
    await page.until(isLive(({ points }) => points.length > 0));
    page.stop();
    stop.abort(new Error('enough'));
    await expect(training).rejects.toThrow('enough');
    await rm(folder, { recursive: true });
    await server.close('again');

    stop = new AbortController();
    await begin('steer');
    await expect(client.send(id, { command: 'change', settings: { lr: 0 } })).rejects.toMatchObject({
      status: 400,
    });
    stop.abort(new Error('enough'));
    await expect(training).rejects.toThrow('enough');
  });
});
