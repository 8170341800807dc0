import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { DataError, UsageError } from '../errors.ts';
import { type DownloadWeightsOptions, downloadWeights } from './download-weights.ts';
import { torchvisionWeights } from './torchvision-weights.ts';

const content = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251));
const sha256 = createHash('sha256').update(content).digest('hex').slice(0, 8);
const file = 'vgg16-397923af.pth';
let server: Server;
let base: string;
let directory: string;
/** How many bytes an answer has before the server hangs up. */
let most = Infinity;
const ranges: (string | undefined)[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    ranges.push(request.headers.range);
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const range = `bytes ${from}-${content.length - 1}/${content.length}`;
    response.writeHead(from > 0 ? 206 : 200, {
      'content-length': content.length - from,
      ...(from > 0 && { 'content-range': range }),
    });
    if (content.length - from <= most) return void response.end(content.subarray(from));
    response.write(content.subarray(from, from + most), () => setTimeout(() => response.destroy(), 50));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterAll(() => new Promise((resolve) => server.close(resolve)));
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vggnet-weights-'));
  most = Infinity;
  ranges.length = 0;
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const fetchIt = (options: DownloadWeightsOptions = {}) =>
  downloadWeights('vgg16', { directory, url: `${base}${file}`, sha256, ...options });

test('the file appears when it is complete; a second download finds it', async () => {
  const phases = new Set<string>();
  const { path, present } = await fetchIt({ onProgress: ({ phase }) => phases.add(phase) });
  expect({ path, present }).toEqual({ path: join(directory, file), present: false });
  expect(readFileSync(path).equals(content)).toBe(true);
  expect(readdirSync(directory)).toEqual([file]);
  expect([...phases]).toEqual(['transfer', 'check']);
  expect(await fetchIt()).toEqual({ path, present: true });
  expect(ranges).toHaveLength(1);
});

test('a download that is cut off resumes', async () => {
  most = 90_000;
  await fetchIt();
  expect(ranges).toEqual([undefined, 'bytes=90000-', 'bytes=180000-']);
});

test('a file of that name with other content is replaced', async () => {
  writeFileSync(join(directory, file), 'something else');
  const { path, present } = await fetchIt();
  expect(present).toBe(false);
  expect(readFileSync(path).equals(content)).toBe(true);
});

test('a wrong checksum is an error that names both, and leaves nothing', async () => {
  const error = await fetchIt({ sha256: '00000000' }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(DataError);
  expect((error as Error).message).toContain(`the file has SHA-256 ${sha256}, not the official 00000000`);
  expect(existsSync(join(directory, file))).toBe(false);
  expect(readdirSync(directory)).toEqual([]);
});

test('networks without published weights are refused', async () => {
  await expect(downloadWeights('vgg16-c')).rejects.toThrow(UsageError);
  await expect(downloadWeights('vgg17')).rejects.toThrow('did you mean "vgg11"');
});

test('names of files are those of torchvision', () => {
  expect(torchvisionWeights.map((weights) => weights.file)).toContain('vgg16_bn-6c64b313.pth');
  expect(torchvisionWeights).toHaveLength(8);
});
