/**
 * `npm run bench -- --only vgg16`: VGG-16 at 224×224 against PyTorch and ONNX Runtime. Each contestant is a process that
 * does one kind of work (`job.ts`); the processes take turns, and each tells its own peak memory.
 */
import { counted } from '../../src/words.ts';
import { type Bar, type Vgg16Bars, vgg16Bars } from '../bars.ts';
import { contest, fastest, type Score, speedup } from '../contest.ts';
import { operationsOf } from '../ours.ts';
import { contestantName, fixed, log, printScores, ratio, sideNames } from '../print.ts';
import { benchCommand } from './command.ts';
import {
  buildPrograms,
  installedPeers,
  type Ours,
  onnxRuntimes,
  type Running,
  type Side,
  start,
  startFaster,
} from './contestants.ts';
import { vgg16Network, writeVgg16Files } from './files.ts';
import type { JobOptions } from './job.ts';
import { benchStart } from './start.ts';

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

/** ONNX Runtime does not train, and its WebAssembly takes too long for eight images. */
const works: readonly Work[] = [
  {
    command: 'predict',
    batch: 1,
    burst: 5,
    peers: ['torch', ...onnxRuntimes],
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
  { command: 'fineTune', batch: 8, burst: 1, peers: ['torch'], bars: vgg16Bars['fineTune 8'] },
];

function titleOf({ command, batch }: Work): string {
  if (command === 'predict') return `inference, ${counted(batch, 'image')}`;
  return `SGD step${command === 'fineTune' ? ' with frozen features' : ''}, batch ${batch}`;
}

/** Operations per image (`operationsOf`). */
function vgg16Operations(command: Work['command']): number {
  const network = vgg16Network();
  if (command !== 'fineTune') return operationsOf(network, command === 'step');
  const layers = network.layers.filter(({ name }) => name.startsWith('classifier'));
  return (
    operationsOf(network, false) +
    operationsOf({ ...network, layers }, true) -
    operationsOf({ ...network, layers }, false)
  );
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
  const take = (one: Running | undefined): void => {
    if (one !== undefined) running.push(one);
  };
  try {
    for (const side of work.peers) {
      if (installed.includes(side)) take(await startFaster(side, threadCounts, job));
    }
    for (const device of devices) take(await start(device, { ...job, threads: threadCounts.at(-1)! }));
    const contestants = running.map((one) => {
      const { side, threads } = one;
      return { name: contestantName(side, threads), threads, side, burst: () => one.time(burst) };
    });
    const scores = await contest(contestants, rounds, 1);
    if (scores.length > 0) printScores(scores, vgg16Operations(command), batch, peak);
    printAgreement(running);
    const peaks = await printPeaks(running);
    return {
      results: [{ command, batch, burst, scores, peaks: Object.fromEntries(peaks) }],
      bars: devices.flatMap((device) => barsOf(device, title, limits[device], scores, peaks.get(device))),
    };
  } finally {
    for (const one of running) await one.close();
  }
}

async function printPeaks(running: readonly Running[]): Promise<Map<Side, number>> {
  const peaks = new Map<Side, number>();
  for (const one of running) {
    const peak = await one.peakMemory();
    if (peak !== undefined) peaks.set(one.side, peak);
  }
  const each = [...peaks].map(([side, bytes]) => `${sideNames[side]} ${fixed(bytes / 1e6, 0)} MB`);
  if (each.length > 0) log(`peak resident memory: ${each.join(', ')}`);
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

export async function benchVgg16(options: Vgg16Options): Promise<Measured> {
  await buildPrograms();
  await using files = await writeVgg16Files(Math.max(...works.map(({ batch }) => batch)));
  log();
  const installed = await installedPeers(options.torch);
  const measured = [];
  for (const work of works) measured.push(await benchWork(work, files.folder, installed, options));
  log('\nVGG-16 at 224×224, from the start of a program to its first prediction (medians and quartiles)');
  const { devices, threadCounts, repetitions } = options;
  for (const device of devices) {
    measured.push(await benchStart(device, threadCounts.at(-1)!, files.folder, Math.min(repetitions, 10)));
  }
  log('\nVGG-16 from the command line');
  for (const device of devices) {
    measured.push(await benchCommand(device, files.folder, options.torch, Math.min(repetitions, 10)));
  }
  return { results: measured.flatMap(({ results }) => results), bars: measured.flatMap(({ bars }) => bars) };
}
