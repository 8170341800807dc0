/** The contestants of the VGG-16 benchmark as processes: which are installed, and how to start them. Node only. */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import type { Contestant } from '../contest.ts';
import { allocator, python } from '../peer.ts';
import { contestantName, fixed, log, sideNames } from '../print.ts';
import { type LineProcess, openProcess } from '../process.ts';
import type { Hello, JobOptions } from './job.ts';

export type Ours = 'native' | 'wasm';
export type Side = Exclude<Contestant['side'], 'reference'>;

export const onnxRuntimes = ['onnxruntime-node', 'onnxruntime-web'] as const;

/** A process that has done its work once. */
export interface Running {
  readonly side: Side;
  readonly threads: number;
  readonly hello: Exclude<Hello, { rejected: string }>;
  /** Seconds per run. */
  time(repetitions: number): Promise<number>;
  /** Bytes; undefined where the system does not tell. */
  peakMemory(): Promise<number | undefined>;
  close(): Promise<void>;
}

/** Starts a contestant; undefined with a printed line if it rejects the work. */
export async function start(side: Side, options: JobOptions): Promise<Running | undefined> {
  const process = await startProgram(side, options);
  const hello = process.hello as Hello;
  if ('rejected' in hello) {
    await process.close();
    log(`${sideNames[side]} rejects it: ${hello.rejected}`);
    return undefined;
  }
  return {
    side,
    threads: options.threads,
    hello,
    time: async (repetitions) => {
      const { seconds } = (await process.ask({ repetitions })) as { readonly seconds: readonly number[] };
      return seconds.reduce((sum, value) => sum + value, 0) / repetitions;
    },
    peakMemory: async () => ((await process.ask({})) as { readonly peak?: number | null }).peak ?? undefined,
    close: process.close,
  };
}

const built = new URL('.built/', import.meta.url);

/**
 * Builds the package and bundles the programs that use it, so that what is measured is what users run: without Node's
 * compiler of TypeScript, which takes time and memory.
 */
export async function buildPrograms(): Promise<void> {
  const run = promisify(execFile);
  const root = fileURLToPath(new URL('../../', import.meta.url));
  await run('npm', ['run', 'build'], { cwd: root });
  await build({
    entryPoints: programs.map((name) => fileURLToPath(new URL(`${name}.ts`, import.meta.url))),
    outdir: fileURLToPath(built),
    bundle: true,
    packages: 'external',
    // The project's would find the package's sources.
    tsconfigRaw: {},
    platform: 'node',
    format: 'esm',
  });
  // Native kernels are compiled once per version, which takes time and memory.
  const warmUp = `import { compile, simplified } from 'vggnet';
    const options = { input: [3, 32, 32], onNotice: () => undefined };
    await using _ = await compile(simplified({ classes: 10 }), options);`;
  await run(process.execPath, ['--input-type=module', '--eval', warmUp], { cwd: root });
}

const programs = ['ours', 'onnx-runtime'] as const;

function startProgram(side: Side, options: JobOptions): Promise<LineProcess> {
  const run = (command: string, script: URL, extra: object = {}, env = {}): Promise<LineProcess> =>
    openProcess(command, [fileURLToPath(script), JSON.stringify({ ...options, ...extra })], env);
  const runBuilt = (name: (typeof programs)[number], extra: object): Promise<LineProcess> =>
    run(process.execPath, new URL(`${name}.js`, built), extra);
  switch (side) {
    case 'native':
    case 'wasm':
      return runBuilt('ours', { device: side });
    case 'torch':
      return run(python, new URL('pytorch.py', import.meta.url), {}, allocator);
    case 'onnxruntime-node':
    case 'onnxruntime-web':
      return runBuilt('onnx-runtime', { package: side });
  }
}

/** Starts a peer with each number of threads and keeps the faster one. */
export async function startFaster(
  side: Side,
  threadCounts: readonly number[],
  job: Omit<JobOptions, 'threads'>,
): Promise<Running | undefined> {
  let best: { readonly running: Running; readonly seconds: number } | undefined;
  for (const threads of threadCounts) {
    const running = await start(side, { ...job, threads });
    if (running === undefined) continue;
    const seconds = await running.time(1);
    log(`${contestantName(side, threads)}, second run: ${fixed(1000 * seconds, 0)} ms`);
    const slower = best !== undefined && best.seconds <= seconds ? running : best?.running;
    if (slower !== running) best = { running, seconds };
    await slower?.close();
  }
  return best?.running;
}

/** The peers that are installed; a line says how to add another one. */
export async function installedPeers(torch: boolean): Promise<Side[]> {
  const peers: Side[] = [];
  if (torch) {
    try {
      await promisify(execFile)(python, ['-c', 'import torch']);
      peers.push('torch');
    } catch {
      log(`No comparison with PyTorch: ${python} has no torch`);
    }
  }
  const { resolve } = createRequire(import.meta.url);
  for (const name of onnxRuntimes) {
    try {
      resolve(name);
      peers.push(name);
    } catch {
      log(`No comparison with ${sideNames[name]}: npm install --ignore-scripts --no-save ${name} adds it`);
    }
  }
  return peers;
}
