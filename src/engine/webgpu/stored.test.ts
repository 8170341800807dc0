/** Adapters by number and name, limits, and what `vgg doctor` stores. Needs no adapter. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { describeAdapter, lowLimit } from './device.ts';
import { nameOf } from './device-node.ts';
import { fasterGpu, storedFile, storedFor, storeGpu } from './stored-node.ts';
import { type TileTable, tilesProblem, tileTables } from './tiles.ts';

const gpus = ['NVIDIA A2', 'NVIDIA A2', 'Intel Arc', 'NVIDIA A20'];

describe('adapters', () => {
  test.each([
    ['2', 'Intel Arc'],
    ['0', 'NVIDIA A2'],
    ['Intel', 'Intel Arc'],
    ['A20', 'NVIDIA A20'],
    ['3', 'NVIDIA A20'],
  ])('--adapter %s is %s', (given, name) => expect(nameOf(given, gpus)).toBe(name));

  test('a name that nobody has, a number that is too large, and a name that an earlier one has', () => {
    expect(() => nameOf('AMD', gpus)).toThrow(
      '--adapter AMD: no adapter has a name with these letters; adapters: 0: NVIDIA A2, 1: NVIDIA A2, 2: Intel Arc, 3: NVIDIA A20',
    );
    expect(() => nameOf('4', gpus)).toThrow('--adapter 4: there are 4 adapters: 0: NVIDIA A2');
    expect(() => nameOf('0', [])).toThrow('--adapter 0: there are 0 adapters: none');
    expect(() => nameOf('1', gpus)).toThrow(/would take adapter 0, whose name holds "NVIDIA A2", too; hide/);
  });

  test('an adapter is called by its name and driver, or by what a browser says', () => {
    const info = { vendor: 'nvidia', architecture: 'hopper', device: '', description: '' } as GPUAdapterInfo;
    expect(describeAdapter(info)).toBe('nvidia hopper');
    expect(describeAdapter({ ...info, device: 'nvidia-h200-', description: 'NVIDIA 570.86' })).toBe(
      'nvidia-h200, NVIDIA 570.86',
    );
    expect(describeAdapter({ ...info, vendor: '', architecture: '' })).toBe('a GPU of unknown name');
  });

  test('limits below what kernels need', () => {
    const limits = {
      ...{ maxStorageBuffersPerShaderStage: 8, maxComputeInvocationsPerWorkgroup: 256 },
      ...{ maxComputeWorkgroupSizeX: 256, maxComputeWorkgroupStorageSize: 16_384 },
    };
    expect(lowLimit(limits)).toBeUndefined();
    expect(lowLimit({ ...limits, maxStorageBuffersPerShaderStage: 7 })).toBe(
      '7 buffers a kernel, and at least 8 are needed',
    );
    expect(lowLimit({ ...limits, maxComputeWorkgroupStorageSize: 16_383 })).toMatch(
      /^16383 bytes of workgroup/,
    );
    expect(lowLimit({ ...limits, maxComputeInvocationsPerWorkgroup: undefined })).toMatch(/^undefined invoc/);
  });
});

describe('tables of tiles', () => {
  test('those of the classes are of the form that kernels need', () => {
    for (const table of Object.values(tileTables)) expect(tilesProblem(table)).toBeUndefined();
  });

  test.each([
    { bm: 128, bn: 128, bk: 16, tm: 4, tn: 4 },
    { bm: 128, bn: 128, bk: 32, tm: 8, tn: 8 },
    { bm: 30, bn: 32, bk: 16, tm: 4, tn: 4 },
    { bm: 32, bn: 32, bk: 6, tm: 4, tn: 4 },
    { bm: 32, bn: 36, bk: 16, tm: 4, tn: 6 },
  ])('%o is refused', (tile) =>
    expect(tilesProblem({ tiles: [tile] })).toMatch(/is not one of multiples of 4/),
  );
});

describe('what doctor stores', () => {
  let folder = '';
  const before = process.env.XDG_CACHE_HOME;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'vggnet-stored-'));
    process.env.XDG_CACHE_HOME = folder;
  });
  afterEach(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
    rmSync(folder, { recursive: true, force: true });
  });

  const tiles: TileTable = { ...tileTables.gpu, name: 'measured', groups: 512 };
  const speed = { gpu: 900, native: 100, description: 'native (AVX2), 2 threads', network: 'vgg7' };

  test('is found again for its adapter alone, in a folder that is private', async () => {
    expect(storedFor('A')).toBeUndefined();
    expect(fasterGpu()).toBeUndefined();
    await storeGpu('A', { tiles });
    await storeGpu('A', { speed });
    await storeGpu('B', { speed: { ...speed, gpu: 50 } });
    expect(storedFor('A')).toMatchObject({ tiles, speed });
    expect(storedFor('B')?.tiles).toBeUndefined();
    expect(storedFor('C')).toBeUndefined();
    expect(fasterGpu()).toMatchObject({ adapter: 'A', speed });
    if (process.getuid) expect(statSync(dirname(storedFile())).mode & 0o777).toBe(0o700);
  });

  test('does not count for another machine or version, or on a slower GPU', async () => {
    await storeGpu('A', { tiles, speed });
    const change = (edit: (own: Record<string, unknown>) => void): void => {
      const all = JSON.parse(readFileSync(storedFile(), 'utf8')) as { gpus: Record<string, unknown>[] };
      edit(all.gpus[0]!);
      writeFileSync(storedFile(), JSON.stringify(all));
    };
    const text = readFileSync(storedFile(), 'utf8');
    for (const edit of [
      (own: Record<string, unknown>) => Object.assign(own, { machine: 'elsewhere' }),
      (own: Record<string, unknown>) => Object.assign(own, { versions: 'vggnet 0.0.1, webgpu 0.0.1' }),
    ]) {
      writeFileSync(storedFile(), text);
      change(edit);
      expect(storedFor('A')).toBeUndefined();
      expect(fasterGpu()).toBeUndefined();
    }
    await storeGpu('A', { speed: { ...speed, gpu: 99 } });
    expect(fasterGpu()).toBeUndefined();
  });

  test.each([
    ['no JSON', '{'],
    ['another form', '{"gpus": [{"adapter": 3}]}'],
    ['a table that no kernel fits', undefined],
    ['too many bytes', `{"gpus": []}${' '.repeat(2 ** 18)}`],
  ])('a file with %s is as none, and is replaced', async (_, text) => {
    await storeGpu('A', { tiles });
    const broken = readFileSync(storedFile(), 'utf8').replaceAll('"bk": 16', '"bk": 640');
    writeFileSync(storedFile(), text ?? broken);
    expect(storedFor('A')).toBeUndefined();
    await storeGpu('A', { tiles });
    expect(storedFor('A')).toMatchObject({ tiles });
  });
});
