/** `auto` takes a GPU that was measured faster: SwiftShader stands for it, as if it were no software adapter. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { network } from '../../../test/conformance/small.ts';
import { softwareGpu } from '../../../test/webgpu.ts';
import { openerOf } from '../open.ts';
import { openGpu } from './device.ts';
import { storeGpu } from './stored-node.ts';

const real = { isSoftware: false };
vi.mock(import('./device.ts'), async (importOriginal) => {
  const original = await importOriginal();
  return {
    ...original,
    openGpu: async (options) =>
      Object.create(await original.openGpu(options), {
        isSoftware: { get: () => real.isSoftware },
      }) as Awaited<ReturnType<typeof original.openGpu>>,
  };
});

describe.skipIf(!softwareGpu)('auto', () => {
  let folder = '';
  const before = process.env.XDG_CACHE_HOME;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vggnet-auto-'));
    process.env.XDG_CACHE_HOME = folder;
  });
  afterAll(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
    rmSync(folder, { recursive: true, force: true });
  });

  async function chosen(): Promise<{ device: string; notes: string[] }> {
    const notes: string[] = [];
    const open = await openerOf('auto');
    const session = await open(network, { batchSize: 2, onNotice: (line) => notes.push(line) });
    await session.close();
    return { device: session.device, notes: notes.filter((line) => line.startsWith('auto')) };
  }

  test('is the processor until a GPU was measured faster, and says why then', async () => {
    const { adapter } = await openGpu();
    expect((await chosen()).device).not.toBe('webgpu');
    const speed = { gpu: 1234.5, native: 99.6, description: 'native (AVX2), 2 threads', network: 'vgg7' };
    await storeGpu('another adapter', { speed });
    expect((await chosen()).device).not.toBe('webgpu');
    await storeGpu(adapter, { speed: { ...speed, gpu: 99 } });
    expect((await chosen()).device).not.toBe('webgpu');
    await storeGpu('another adapter', { speed: { ...speed, gpu: 1 } });
    await storeGpu(adapter, { speed });
    expect(await chosen()).toEqual({
      device: 'webgpu',
      notes: [
        `auto uses webgpu (${adapter}): vgg doctor measured 1235 images/s in training vgg7, and 100 with native (AVX2), 2 threads`,
      ],
    });
    real.isSoftware = true;
    expect(await chosen()).toMatchObject({
      device: expect.not.stringContaining('webgpu') as string,
      notes: [],
    });
  });
});
