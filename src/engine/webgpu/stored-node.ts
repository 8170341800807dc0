/**
 * What `vgg doctor` measured of this machine's GPUs, in the cache (Node only): tables of tiles, and whether training is
 * faster than on the processor. Measurements count for one machine, adapter and version.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod';
import { cacheDirectory } from '../../data/cache.ts';
import { writeJson } from '../../files/files.ts';
import { makePrivateFolder } from '../../files/private-folder.ts';
import { packageVersion } from '../../version.ts';
import { packageFacts } from './device-node.ts';
import type { TileTable } from './tiles.ts';
import { tilesSchema } from './tiles-schema.ts';

/** How fast a network trains, in images per second. */
export interface GpuSpeed {
  readonly gpu: number;
  readonly native: number;
  /** `native (AVX2), 2 threads`. */
  readonly description: string;
  readonly network: string;
}

export interface StoredGpu {
  readonly machine: string;
  readonly adapter: string;
  /** Of vggnet and of the npm package webgpu. */
  readonly versions: string;
  readonly tiles?: TileTable | undefined;
  readonly speed?: GpuSpeed | undefined;
}

const rate = z.number().positive();
const fileSchema: z.ZodType<{ readonly gpus: readonly StoredGpu[] }> = z.object({
  gpus: z
    .array(
      z.object({
        ...{ machine: z.string(), adapter: z.string(), versions: z.string(), tiles: tilesSchema.optional() },
        speed: z.object({ gpu: rate, native: rate, description: z.string(), network: z.string() }).optional(),
      }),
    )
    .max(100),
});

/** The file of measurements, in a folder that only this user can change. */
export const storedFile = (): string => join(cacheDirectory(), 'gpu', 'gpu.json');

/** The most bytes of the file. */
const mostBytes = 2 ** 18;

/** All measurements; none if the file is missing, damaged or of another form. */
function readAll(): readonly StoredGpu[] {
  try {
    const text = readFileSync(storedFile());
    if (text.length > mostBytes) return [];
    return fileSchema.parse(JSON.parse(text.toString())).gpus;
  } catch {
    return [];
  }
}

const versions = (): string => `vggnet ${packageVersion()}, webgpu ${packageFacts().version}`;

const isOwn = (one: StoredGpu, adapter: string): boolean =>
  one.machine === hostname() && one.adapter === adapter && one.versions === versions();

/** What is known of an adapter of this machine, with these versions. */
export const storedFor = (adapter: string): StoredGpu | undefined =>
  readAll().find((one) => isOwn(one, adapter));

/** The GPU of this machine on which training was faster than on the processor. */
export function fasterGpu(): (StoredGpu & { readonly speed: GpuSpeed }) | undefined {
  const all = readAll();
  if (all.length === 0) return undefined;
  try {
    for (const one of all) {
      const { speed } = one;
      if (speed && isOwn(one, one.adapter) && speed.gpu > speed.native) return { ...one, speed };
    }
  } catch {
    // The npm package is gone.
  }
  return undefined;
}

/** Stores what was measured of an adapter beside what is known. @throws VggError if the cache cannot be written. */
export async function storeGpu(adapter: string, measured: Pick<StoredGpu, 'tiles' | 'speed'>): Promise<void> {
  mkdirSync(cacheDirectory(), { recursive: true });
  makePrivateFolder(join(cacheDirectory(), 'gpu'));
  const all = readAll();
  const known = all.find((one) => isOwn(one, adapter));
  // Of other versions it would not be used any more.
  const others = all.filter((one) => one.machine !== hostname() || one.adapter !== adapter);
  const entry = { machine: hostname(), adapter, versions: versions(), ...known, ...measured };
  await writeJson(storedFile(), { gpus: [entry, ...others].slice(0, 100) });
}
