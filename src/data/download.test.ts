import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { binaryMembers, tarGz } from '../../test/cifar-fixtures.ts';
import { cifar100 } from './cifar-files.ts';
import { type DownloadOptions, type DownloadProgress, download } from './download.ts';

let archive: Uint8Array;
let md5: string;
let server: Server;
let base: string;
let directory: string;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const ranges: (string | undefined)[] = [];

beforeAll(async () => {
  archive = tarGz(binaryMembers('cifar100'));
  md5 = createHash('md5').update(archive).digest('hex');
  server = createServer((request, response) => {
    ranges.push(request.headers.range);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => new Promise((resolve) => server.close(resolve)));
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vggnet-download-'));
  ranges.length = 0;
  answer = whole;
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Answers as a file server does, ranges included. */
function whole(request: IncomingMessage, response: ServerResponse): void {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  if (from >= archive.length) {
    response.writeHead(416, { 'content-range': `bytes */${archive.length}` }).end();
    return;
  }
  const headers = { 'content-length': archive.length - from };
  if (from > 0) {
    const range = `bytes ${from}-${archive.length - 1}/${archive.length}`;
    response.writeHead(206, { ...headers, 'content-range': range });
  } else response.writeHead(200, headers);
  response.end(archive.subarray(from));
}

/** Sends part of what `whole` would, and hangs up. */
function cutOff(request: IncomingMessage, response: ServerResponse): void {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const to = Math.min(archive.length, from + 50_000);
  response.writeHead(from > 0 ? 206 : 200, {
    'content-length': archive.length - from,
    ...(from > 0 && { 'content-range': `bytes ${from}-${archive.length - 1}/${archive.length}` }),
  });
  response.write(archive.subarray(from, to));
  setTimeout(() => response.destroy(), 200);
}

const fetchIt = (options: DownloadOptions = {}) =>
  download('cifar100', { directory, url: `${base}/a.tar.gz`, md5, ...options });
const part = (): string => join(directory, 'cifar-100-binary.tar.gz.part');

describe('a download', () => {
  test('of a whole archive reports progress; a second download finds it complete', async () => {
    const seen: DownloadProgress[] = [];
    const { folder, present } = await fetchIt({ onProgress: (progress) => seen.push(progress) });
    expect(present).toBe(false);
    expect((await cifar100({ data: folder })).train.labels[0]).toBe(9);
    expect(readdirSync(directory)).toEqual(['cifar-100-binary']);
    const transfers = seen.filter(({ phase }) => phase === 'transfer');
    expect(transfers.at(-1)).toEqual({ phase: 'transfer', bytes: archive.length, total: archive.length });
    expect([...new Set(seen.map(({ phase }) => phase))]).toEqual(['transfer', 'check', 'unpack']);
    expect((await fetchIt()).present).toBe(true);
    expect(ranges).toHaveLength(1);
  });

  test('that is cut off resumes', async () => {
    let requests = 0;
    answer = (request, response) => (++requests <= 2 ? cutOff : whole)(request, response);
    await fetchIt();
    expect(ranges[0]).toBeUndefined();
    expect(ranges.slice(1)).toEqual([
      expect.stringMatching(/^bytes=\d+-$/),
      expect.stringMatching(/^bytes=\d+-$/),
    ]);
  });

  test('resumes what an earlier one left, also if it is complete', async () => {
    writeFileSync(part(), archive.subarray(0, 1000));
    await fetchIt();
    expect(ranges).toEqual(['bytes=1000-']);
    rmSync(join(directory, 'cifar-100-binary'), { recursive: true });
    writeFileSync(part(), archive);
    await fetchIt();
    expect(ranges.at(-1)).toBe(`bytes=${archive.length}-`);
  });

  test('restarts if the server ignores ranges, or has a shorter file', async () => {
    writeFileSync(part(), new Uint8Array(1000));
    answer = (request, response) => {
      delete request.headers.range;
      whole(request, response);
    };
    await fetchIt();
    rmSync(join(directory, 'cifar-100-binary'), { recursive: true });
    writeFileSync(part(), new Uint8Array(archive.length + 5));
    answer = whole;
    await fetchIt();
    expect(existsSync(join(directory, 'cifar-100-binary', 'train.bin'))).toBe(true);
  });

  test('restarts if an earlier one left the start of another archive', async () => {
    writeFileSync(part(), new Uint8Array(1000).fill(7));
    await fetchIt();
    expect(ranges).toEqual(['bytes=1000-', undefined]);
    expect(existsSync(join(directory, 'cifar-100-binary', 'train.bin'))).toBe(true);
  });

  test('follows a redirect', async () => {
    answer = (request, response) => {
      if (request.url === '/moved') whole(request, response);
      else response.writeHead(302, { location: '/moved' }).end();
    };
    expect((await fetchIt()).present).toBe(false);
  });
});

describe('a download fails', () => {
  const byHand =
    /Download http.* manually \(MD5 [0-9a-f]{32}\),\nsave it as .*cifar-100-binary\.tar\.gz, and train with: --data /;

  test('with a wrong checksum, and deletes what it received', async () => {
    const sum = '0'.repeat(32);
    await expect(fetchIt({ md5: sum })).rejects.toThrow(new RegExp(`MD5 ${md5}, not the official ${sum}`));
    expect(readdirSync(directory)).toEqual([]);
  });

  test('with 404', async () => {
    answer = (_, response) => response.writeHead(404).end('no');
    await expect(fetchIt()).rejects.toThrow(/the server answered 404 Not Found/);
    await expect(fetchIt()).rejects.toThrow(byHand);
  });

  test('with an empty answer', async () => {
    answer = (_, response) => response.writeHead(200).end();
    await expect(fetchIt()).rejects.toThrow(/failed repeatedly \(the server sent nothing\)/);
    expect(readdirSync(directory)).toEqual([]);
  });

  test('without a network, saying how to download manually', async () => {
    const url = 'http://127.0.0.1:1/closed.tar.gz';
    await expect(fetchIt({ url })).rejects.toThrow(/cannot reach .*closed\.tar\.gz/);
    await expect(fetchIt({ url })).rejects.toThrow(byHand);
  });

  test('that fails repeatedly, and keeps what it received', async () => {
    writeFileSync(part(), archive.subarray(0, 1000));
    answer = (_, response) => response.destroy();
    await expect(fetchIt()).rejects.toThrow(/failed repeatedly/);
    expect(statSync(part()).size).toBe(1000);
  });

  test('if the disk path cannot be written', async () => {
    const file = join(directory, 'file');
    writeFileSync(file, '');
    await expect(fetchIt({ directory: join(file, 'below') })).rejects.toThrow(
      /cannot create the folder .*file.*: .* file.*; choose another folder with --directory or \$VGGNET_DATA/,
    );
  });

  test('if it is asked to stop', async () => {
    const controller = new AbortController();
    answer = (_, response) => {
      response.writeHead(200, { 'content-length': archive.length });
      response.write(archive.subarray(0, 1000), () => controller.abort(new Error('stopped')));
    };
    await expect(fetchIt({ signal: controller.signal })).rejects.toThrow('stopped');
  });

  test('with an archive in which a file is missing', async () => {
    const lacking = tarGz(binaryMembers('cifar100').slice(1));
    const sum = createHash('md5').update(lacking).digest('hex');
    answer = (_, response) => response.writeHead(200).end(lacking);
    await expect(fetchIt({ md5: sum })).rejects.toThrow(/does not contain cifar-100-binary\/train\.bin/);
    expect(readdirSync(directory)).toEqual(['cifar-100-binary.tar.gz.part']);
  });
});
