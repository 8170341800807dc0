/** Our side of `bench/prepare.ts`: one request per line, one answer per line. A process prepares once. */
import { readdirSync, readFileSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

// As `vgg` does, and as Python does without being asked.
enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/vgg', import.meta.url)));
const { imageFolder } = await import('../src/data/folders/image-folder.ts');
const { readBaseline } = await import('../src/images/jpeg/baseline.ts');
const { openJpegDecoder } = await import('../src/images/jpeg/decoder.ts');
const { readImageFileSync } = await import('../src/images/read-sync.ts');

interface Request {
  readonly command: 'prepare' | 'decode';
  readonly folder: string;
  readonly cache: string;
}

/** Decodes all files on this thread, as preparing does, without keeping them. */
function decodeAll(folder: string): void {
  const decoder = openJpegDecoder();
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.jpg')) continue;
    const bytes = readImageFileSync(join(folder, name));
    const jpeg = readBaseline(bytes);
    if (jpeg === undefined || !decoder.decode(jpeg, bytes, () => undefined))
      throw new Error(`${name} is left to sharp`);
  }
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
  if (command === 'decode') decodeAll(folder);
  else await imageFolder(folder, { cache });
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(before);
  console.log(JSON.stringify({ seconds, busy: (user + system) / 1e6, peak: peakMemory() }));
}
