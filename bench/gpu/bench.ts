/**
 * Measures WebGPU on this machine's GPU: `npm run bench:gpu`. Each part runs in a process with a limit of time, so that a
 * crash or a hang loses nothing else. Cells that were not measured say so.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { VggError } from '../../src/errors.ts';
import { fail, readOptions, wholeNumber } from '../options.ts';
import { pack } from './pack.ts';
import type { Cell, Message, Part, PartOptions } from './part.ts';
import { parts } from './parts.ts';
import { type PartResult, printResult, type Results } from './results.ts';

const usage = `npm run bench:gpu -- [options]
  --parts A,B,…        only these parts: ${Object.keys(parts).join(', ')}
  --adapter N          index of the adapter, or a part of its name (default: the system's choice)
  --json FILE          write all results (default: bench-gpu.json)
  --seconds N          end after so many seconds (default 475, or 1900 with --quick)
  --torch DEVICE       PyTorch's device: cuda (default), or cpu to test the benchmark; $PYTHON names its interpreter
  --quick              tiny sizes, to test the benchmark on a software adapter
  --pack FILE          only make an archive (.tar.xz, or .tar) that runs on a machine without npm and network`;

const signals = ['SIGINT', 'SIGTERM'] as const;
const { values } = readOptions(usage, {
  options: {
    parts: { type: 'string' },
    adapter: { type: 'string' },
    json: { type: 'string', default: 'bench-gpu.json' },
    seconds: { type: 'string' },
    torch: { type: 'string', default: 'cuda' },
    quick: { type: 'boolean', default: false },
    pack: { type: 'string' },
  },
});
try {
  if (values.pack === undefined) await measure();
  else await pack(values.pack);
} catch (error) {
  if (!(error instanceof VggError)) throw error;
  console.error(`error: ${error.message}`);
  process.exitCode = error.exitCode;
}

async function measure(): Promise<void> {
  const { quick, torch } = values;
  const names = values.parts?.split(',') ?? Object.keys(parts);
  for (const name of names) if (!parts[name]) fail(`--parts: there is no part '${name}'`, usage);
  if (torch !== 'cuda' && torch !== 'cpu') fail(`--torch ${torch} is not cuda or cpu`, usage);
  const { adapter } = values;
  const started = new Date().toISOString();
  const start = performance.now();
  const end = start + 1000 * wholeNumber('--seconds', values.seconds ?? (quick ? '1900' : '475'), 1, usage);
  const results: Record<string, PartResult> = {};
  for (const name of names) {
    const part = parts[name]!;
    // Software adapters take seconds to compile a kernel.
    const most = part.seconds * (quick ? 4 : 1);
    const seconds = Math.min(most, (end - performance.now()) / 1000);
    process.stderr.write(`${part.title} …\n`);
    results[name] = await runPart(name, part, { quick, adapter, torch, seconds });
    // After each part, so that a machine that is taken away loses none.
    const all: Results = { version: 1, quick, started, parts: results };
    writeFileSync(values.json, `${JSON.stringify(all, undefined, 1)}\n`);
  }
  for (const [name, result] of Object.entries(results)) printResult(parts[name]!, result, quick);
  const seconds = Math.round((performance.now() - start) / 1000);
  console.log(`${seconds} s; all results are in ${values.json}`);
  if (Object.values(results).some(({ failure }) => failure !== undefined)) process.exitCode = 1;
}

/** Ends a process and all that it started. */
function kill(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

async function runPart(name: string, { title }: Part, options: PartOptions): Promise<PartResult> {
  const start = performance.now();
  const notes: string[] = [];
  const cells: Record<string, Record<string, Cell>> = {};
  const result = (failure?: string): PartResult => ({
    ...{ title, seconds: (performance.now() - start) / 1000, notes, cells },
    ...(failure !== undefined && { failure }),
  });
  if (options.seconds < 0.5) return result('no time was left');
  const script = fileURLToPath(new URL('run-part.ts', import.meta.url));
  const child = spawn(process.execPath, [script, name, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let [errors, isLate] = ['', false];
  let known: string | undefined;
  child.stderr.on('data', (text: Buffer) => {
    errors = (errors + text.toString()).slice(-4000);
  });
  // Ctrl-C does not reach it, which has a group of its own.
  const onSignal = (signal: NodeJS.Signals): void => {
    kill(child.pid);
    process.kill(process.pid, signal);
  };
  for (const signal of signals) process.once(signal, onSignal);
  const timer = setTimeout(() => {
    isLate = true;
    kill(child.pid);
  }, 1000 * options.seconds);
  const ended = new Promise<string | undefined>((resolve) => {
    child.on('error', ({ message }) => resolve(message));
    child.on('close', (code, signal) => {
      if (isLate) resolve(`ended after ${Math.round(options.seconds)} s, its limit`);
      else if (code === 0) resolve(undefined);
      else
        resolve(
          `ended with ${signal ?? `code ${code}`}${errors ? `: ${errors.trim().split('\n').at(-1)}` : ''}`,
        );
    });
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const message = JSON.parse(line) as Message;
    if ('note' in message) notes.push(message.note);
    else if ('failure' in message) known = message.failure;
    else cells[message.row] = { ...cells[message.row], ...message.cells };
  }
  const failure = known ?? (await ended);
  clearTimeout(timer);
  for (const signal of signals) process.off(signal, onSignal);
  kill(child.pid);
  return result(failure);
}
