/** What the machine has. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { openTimed } from './device.ts';
import type { Part } from './part.ts';

const limitNames = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxStorageBuffersPerShaderStage',
] as const;

const rows = ['adapter', 'vendor', 'features', 'subgroups', ...limitNames, 'NVIDIA', 'processor', 'versions'];

/** The driver's own words, where there is one of NVIDIA. */
function nvidia(): string {
  try {
    const query = '--query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory,power.limit';
    return execFileSync('nvidia-smi', [query, '--format=csv,noheader'], { encoding: 'utf8', timeout: 20_000 })
      .trim()
      .replaceAll('\n', '; ');
  } catch {
    return 'no nvidia-smi';
  }
}

export const adapterPart: Part = {
  title: 'Adapter',
  seconds: 20,
  rows: () => rows,
  columns: () => ['value'],
  async run({ adapter: index }, { cells }) {
    const version = (name: string): string => {
      const file = createRequire(import.meta.url).resolve(`${name}/package.json`);
      return (JSON.parse(readFileSync(file, 'utf8')) as { readonly version: string }).version;
    };
    cells('versions', { value: `Node ${process.versions.node}, webgpu ${version('webgpu')}` });
    const [processor] = cpus();
    cells('processor', { value: `${processor?.model.trim() ?? 'unknown'}, ${cpus().length} threads` });
    cells('NVIDIA', { value: nvidia() });
    const { gpu, adapter } = await openTimed(index);
    const { vendor, architecture, device, subgroupMinSize, subgroupMaxSize } = adapter.info;
    cells('adapter', { value: `${gpu.adapter}${gpu.isSoftware ? ' (computed by the processor)' : ''}` });
    cells('vendor', { value: [vendor, architecture, device].filter(Boolean).join(', ') || 'not told' });
    cells('features', { value: [...adapter.features].sort().join(', ') });
    cells('subgroups', { value: `${subgroupMinSize ?? '?'} to ${subgroupMaxSize ?? '?'}` });
    for (const name of limitNames) cells(name, { value: adapter.limits[name].toLocaleString('en-US') });
  },
};
