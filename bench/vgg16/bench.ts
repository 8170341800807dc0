/**
 * `npm run bench -- --only vgg16`: VGG-16 at 224×224 against PyTorch and ONNX Runtime. Each contestant is a process that
 * does one kind of work (`job.ts`); the processes take turns, and each tells its own peak memory.
 */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { counted } from '../../src/words.ts';
import { type Bar, mostVgg16Seconds, type Vgg16Bars, vgg16Bars } from '../bars.ts';
import { type Contestant, contest, fastest, type Score, speedup, summarize } from '../contest.ts';
import { operationsOf } from '../ours.ts';
import { allocator, python } from '../peer.ts';
import { contestantName, fixed, log, printScores, ratio, sideNames } from '../print.ts';
import { type LineProcess, openProcess } from '../process.ts';
import { vgg16Network, writeVgg16Files } from './files.ts';
import type { Hello, JobOptions } from './job.ts';

type Side = Exclude<Contestant['side'], 'reference'>;
type Ours = 'native' | 'wasm';

export interface Vgg16Options {
  readonly devices: readonly Ours[];
  readonly threadCounts: readonly number[];
  readonly repetitions: number;
  readonly torch: boolean;
  /** Multiply-add peak of one core in GFLOP/s. */
  readonly peak: number | undefined;
}

interface Work extends Pick<JobOptions, 'command' | 'batch'> {
  /** Steps per turn. */
  readonly burst: number;
  readonly peers: readonly Side[];
  readonly bars: Readonly<Record<Ours, Vgg16Bars>>;
}

const anyOnnxRuntime = ['onnxruntime-node', 'onnxruntime-web'] as const;
/** ONNX Runtime does not train, and its WebAssembly takes too long for eight images. */
const works: readonly Work[] = [
  {
    command: 'predict',
    batch: 1,
    burst: 5,
    peers: ['torch', ...anyOnnxRuntime],
    bars: vgg16Bars['predict 1'],
  },
  {
    command: 'predict',
    batch: 8,
    burst: 1,
    peers: ['torch', 'onnxruntime-node'],
    bars: vgg16Bars['predict 8'],
  },
  { command: 'step', batch: 8, burst: 1, peers: ['torch'], bars: vgg16Bars['step 8'] },
  { command: 'step', batch: 32, burst: 1, peers: ['torch'], bars: vgg16Bars['step 32'] },
];

const titleOf = ({ command, batch }: Work): string =>
  command === 'predict' ? `inference, ${counted(batch, 'image')}` : `SGD step, batch ${batch}`;

/** Starts a contestant's program; it answers after its first run. */
function start(side: Side, options: JobOptions): Promise<LineProcess> {
  const run = (command: string, name: string, extra: object = {}, env = {}): Promise<LineProcess> => {
    const script = fileURLToPath(new URL(name, import.meta.url));
    return openProcess(command, [script, JSON.stringify({ ...options, ...extra })], env);
  };
  switch (side) {
    case 'native':
    case 'wasm':
      return run(process.execPath, 'ours.ts', { device: side });
    case 'torch':
      return run(python, 'pytorch.py', {}, allocator);
    case 'onnxruntime-node':
    case 'onnxruntime-web':
      return run(process.execPath, 'onnx-runtime.ts', { package: side });
  }
}

interface Running {
  readonly side: Side;
  readonly threads: number;
  readonly process: LineProcess;
  readonly hello: Exclude<Hello, { rejected: string }>;
}

const timed = async ({ process }: Running, repetitions: number): Promise<number> => {
  const { seconds } = (await process.ask({ repetitions })) as { readonly seconds: readonly number[] };
  return seconds.reduce((sum, value) => sum + value, 0) / repetitions;
};

/** Starts a peer with each number of threads and keeps the faster one. */
async function fasterPeer(
  side: Side,
  threadCounts: readonly number[],
  job: Omit<JobOptions, 'threads'>,
): Promise<Running> {
  let best: { readonly running: Running; readonly seconds: number } | undefined;
  for (const threads of threadCounts) {
    const process = await start(side, { ...job, threads });
    const running = { side, threads, process, hello: process.hello as Running['hello'] };
    const seconds = await timed(running, 1);
    log(`${contestantName(side, threads)}, second run: ${fixed(1000 * seconds, 0)} ms`);
    if (best !== undefined && best.seconds <= seconds) {
      await process.close();
      continue;
    }
    await best?.running.process.close();
    best = { running, seconds };
  }
  return best!.running;
}

/** The peers that are installed; a line says how to add another one. */
async function installedPeers(torch: boolean): Promise<Side[]> {
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
  for (const name of anyOnnxRuntime) {
    try {
      resolve(name);
      peers.push(name);
    } catch {
      log(`No comparison with ${sideNames[name]}: npm install --ignore-scripts --no-save ${name} adds it`);
    }
  }
  return peers;
}

/** The peers that a device is compared with, and the bar for each. */
const comparisons = (device: Ours, bars: Vgg16Bars): [Side, number | undefined][] => [
  ['torch', bars.torch],
  [device === 'native' ? 'onnxruntime-node' : 'onnxruntime-web', bars.onnxRuntime],
];

/** Prints the largest difference of each contestant's logits from the first one's, over the largest logit. */
function printAgreement(running: readonly Running[]): void {
  const [first, ...others] = running.flatMap(({ side, hello: { logits } }) =>
    logits ? [{ side, logits }] : [],
  );
  if (first === undefined || others.length === 0) return;
  const largest = first.logits.reduce((most, logit) => Math.max(most, Math.abs(logit)), 0);
  const distances = others.map(({ side, logits }) => {
    const most = logits.reduce((worst, logit, i) => Math.max(worst, Math.abs(logit - first.logits[i]!)), 0);
    return `${sideNames[side]} ${(most / largest).toExponential(1)}`;
  });
  log(`logits, relative distance from ${sideNames[first.side]}: ${distances.join(', ')}`);
}

interface Measured {
  readonly results: object[];
  readonly bars: Bar[];
}

async function benchWork(
  work: Work,
  folder: string,
  installed: readonly Side[],
  { devices, threadCounts, repetitions, peak }: Vgg16Options,
): Promise<Measured> {
  const { command, batch, burst, bars: limits } = work;
  const title = titleOf(work);
  // A step takes seconds.
  const rounds = command === 'predict' ? repetitions : Math.ceil(repetitions / 4);
  log(`\nVGG-16 at 224×224, ${title} (n = ${rounds} bursts of ${burst}, taking turns)`);
  const job = { command, batch, folder };
  const running: Running[] = [];
  const rejected: { readonly device: Ours; readonly reason: string }[] = [];
  const bars: Bar[] = [];
  try {
    for (const side of work.peers) {
      if (installed.includes(side)) running.push(await fasterPeer(side, threadCounts, job));
    }
    for (const device of devices) {
      const threads = threadCounts.at(-1)!;
      const process = await start(device, { ...job, threads });
      const hello = process.hello as Hello;
      if ('rejected' in hello) {
        await process.close();
        rejected.push({ device, reason: hello.rejected });
        log(`${device} rejects it: ${hello.rejected}`);
      } else running.push({ side: device, threads, process, hello });
    }
    const contestants = running.map(
      (one): Contestant => ({
        name: contestantName(one.side, one.threads),
        threads: one.threads,
        side: one.side,
        burst: () => timed(one, burst),
      }),
    );
    const scores = await contest(contestants, rounds, 1);
    printScores(scores, operationsOf(vgg16Network(), command === 'step'), batch, peak);
    printAgreement(running);
    const peaks = await printPeaks(running);
    for (const device of devices)
      bars.push(...barsOf(device, title, limits[device], scores, peaks.get(device)));
    return { results: [{ command, batch, burst, scores, rejected, peaks: Object.fromEntries(peaks) }], bars };
  } finally {
    for (const { process } of running) await process.close();
  }
}

async function printPeaks(running: readonly Running[]): Promise<Map<Side, number>> {
  const peaks = new Map<Side, number>();
  for (const { side, process } of running) {
    const { peak } = (await process.ask({})) as { readonly peak?: number };
    if (peak !== undefined) peaks.set(side, peak);
  }
  const each = [...peaks].map(([side, bytes]) => `${sideNames[side]} ${fixed(bytes / 1e6, 0)} MB`);
  log(`peak resident memory: ${each.join(', ')}`);
  return peaks;
}

/** Prints a device's ratios to its peers; returns its bars, which a rejection misses. */
function barsOf(
  device: Ours,
  title: string,
  limits: Vgg16Bars,
  scores: readonly Score[],
  peak: number | undefined,
): Bar[] {
  const bars: Bar[] = [];
  const ours = scores.find(({ side }) => side === device);
  if (ours === undefined && limits.mayReject) return bars;
  for (const [side, least] of comparisons(device, limits)) {
    const peer = fastest(scores.filter((score) => score.side === side));
    const speed = peer && ours && speedup(peer, ours);
    if (speed) log(`${ours.name}: ${ratio(speed)} the speed of ${peer.name}`);
    const what = `${device}: VGG-16, ${title}, to ${sideNames[side]}`;
    // Without the peer there is nothing to meet or miss.
    if (least !== undefined && (peer || !ours)) bars.push({ what, value: speed?.median, unit: '×', least });
  }
  if (limits.megabytes !== undefined && (peak !== undefined || !ours)) {
    const value = peak === undefined ? undefined : peak / 1e6;
    bars.push({ what: `${device}: VGG-16, ${title}, memory`, value, unit: ' MB', most: limits.megabytes });
  }
  return bars;
}

/** Time of a program that compiles VGG-16, loads its weights and classifies an image, and its parts. */
async function benchStart(
  folder: string,
  { devices, threadCounts, repetitions }: Vgg16Options,
): Promise<Measured> {
  const results: object[] = [];
  const bars: Bar[] = [];
  log('\nVGG-16 at 224×224, from the start of a program to its first prediction');
  for (const device of devices) {
    const seconds: number[] = [];
    const plans: number[] = [];
    const parts: Readonly<Record<string, number>>[] = [];
    let rejected: string | undefined;
    for (let i = 0; i < Math.min(repetitions, 10) && rejected === undefined; i++) {
      const before = performance.now();
      const job = { command: 'predict', batch: 1, folder, threads: threadCounts.at(-1)! } as const;
      const process = await start(device, job);
      const total = (performance.now() - before) / 1000;
      const hello = process.hello as Hello;
      if ('rejected' in hello) rejected = hello.rejected;
      else {
        const later = await timed({ side: device, threads: job.threads, process, hello }, 3);
        const { started = 0, compiled = 0, loaded = 0, run = 0 } = hello.milestones ?? {};
        seconds.push(total);
        // Planning happens while compiling and before the first run; both also do other things.
        plans.push(compiled - started + run - loaded - later);
        parts.push({
          modules: started,
          compile: compiled - started,
          load: loaded - compiled,
          run: run - loaded,
        });
      }
      await process.close();
    }
    if (rejected !== undefined) log(`${device} rejects it: ${rejected}`);
    else {
      const whole = summarize(seconds);
      const planning = summarize(plans);
      const names = Object.keys(parts[0]!);
      const each = names.map(
        (name) => `${name} ${fixed(summarize(parts.map((part) => part[name]!)).median, 2)}`,
      );
      log(
        `${device.padEnd(8)}${fixed(whole.median, 2)} s (${fixed(whole.lower, 2)}–${fixed(whole.upper, 2)}, n = ${whole.n}); ` +
          `medians: ${each.join(', ')}; planning at most ${fixed(planning.median, 2)}`,
      );
      results.push({ device, ...whole, planning, parts });
    }
    const value = rejected === undefined ? summarize(seconds).median : undefined;
    const planning = rejected === undefined ? summarize(plans).median : undefined;
    const { start: most, planning: mostPlanning } = mostVgg16Seconds;
    bars.push({ what: `${device}: VGG-16, start to prediction`, value, unit: ' s', most });
    bars.push({
      what: `${device}: VGG-16, planning in it, at most`,
      value: planning,
      unit: ' s',
      most: mostPlanning,
    });
  }
  return { results, bars };
}

export async function benchVgg16(options: Vgg16Options): Promise<Measured> {
  await using files = await writeVgg16Files(Math.max(...works.map(({ batch }) => batch)));
  log();
  const installed = await installedPeers(options.torch);
  const measured = [];
  for (const work of works) measured.push(await benchWork(work, files.folder, installed, options));
  measured.push(await benchStart(files.folder, options));
  return { results: measured.flatMap(({ results }) => results), bars: measured.flatMap(({ bars }) => bars) };
}
