/** Our side of `bench/prepare.ts`: one request per line, one answer per line. A process prepares once. */
import { readdirSync, readFileSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

// As `vgg` does, and as Python does without being asked.
enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/vgg', import.meta.url)));
const { imageFolder } = await import('../src/data/folders/image-folder.ts');
const { decodeImage } = await import('../src/images/decode.ts');
const { readImageFile } = await import('../src/images/read.ts');

interface Request {
  readonly command: 'prepare' | 'decode';
  readonly folder: string;
  readonly cache: string;
}

/** Decodes all files, as many at once as preparing does, without keeping them. */
async function decodeAll(folder: string): Promise<void> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.jpg'))
    .map((name) => join(folder, name));
  const next = files.values();
  const lane = async (): Promise<void> => {
    for (const file of next) await decodeImage(await readImageFile(file));
  };
  await Promise.all(Array.from({ length: 2 * availableParallelism() }, lane));
}

/** Peak memory in bytes, as Linux counts it. */
function peakMemory(): number | undefined {
  try {
    return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
  } catch {
    return undefined;
  }
}

console.log('{}');
for await (const line of createInterface({ input: process.stdin })) {
  const { command, folder, cache } = JSON.parse(line) as Request;
  const [start, before] = [performance.now(), process.cpuUsage()];
  if (command === 'decode') await decodeAll(folder);
  else await imageFolder(folder, { cache });
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(before);
  console.log(JSON.stringify({ seconds, busy: (user + system) / 1e6, peak: peakMemory() }));
}
