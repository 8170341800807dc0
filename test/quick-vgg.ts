/**
 * Runs command lines one after the other in this process, each as `bin/vgg.js` would. Each line of standard input is
 * one, as a list of words; what it wrote and its exit code are printed as a line of JSON.
 */
import { EventEmitter } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { main } from '../src/cli/main.ts';
import type { Run } from './run-vgg.ts';

const bin = fileURLToPath(new URL('../bin/vgg.js', import.meta.url));
// Each command listens for signals.
EventEmitter.defaultMaxListeners = 0;
const answer = process.stdout.write.bind(process.stdout);
for await (const line of createInterface({ input: process.stdin })) {
  const written = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].write = (chunk: string | Uint8Array) => {
      written[name] += String(chunk);
      return true;
    };
  }
  process.exitCode = 0;
  process.argv = [process.execPath, bin, ...(JSON.parse(line) as readonly string[])];
  await main(process.argv);
  answer(`${JSON.stringify({ code: Number(process.exitCode), ...written } satisfies Run)}\n`);
}
process.exitCode = 0;
