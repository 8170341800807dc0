/**
 * `npm run bench`: compares our speed with PyTorch's and with the machine's peak; both take turns in one run
 * (`contest.ts`). PyTorch gets its best settings: an allocator that keeps memory, and the faster of one and two
 * threads. Without PyTorch or CIFAR-10 (`--data`), the rest is measured and a note says what is missing.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { enableCompileCache } from 'node:module';
import { arch, cpus, loadavg, platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Session } from '../src/engine/backend.ts';
import { describeKernels } from '../src/engine/cpu/kernels/library.ts';
import { nativeKernels, wasmKernels } from '../src/engine/cpu/kernels/provider.ts';
import { profileLayers } from '../src/engine/cpu/measure/profile.ts';
import { formatTable } from '../src/words.ts';
import {
  type Bar,
  formatBar,
  isMet,
  leastSpeed,
  leastTwoThreads,
  mostMegabytes,
  mostSecondsToStep,
} from './bars.ts';
import { firstStep, peakMemory } from './command.ts';
import {
  type Contestant,
  contest,
  fastest,
  type Score,
  type Summary,
  speedup,
  summarize,
} from './contest.ts';
import { fail, readOptions, wholeNumber } from './options.ts';
import { type BenchDevice, lectureEpoch, networkOf, openOurs, operationsOf } from './ours.ts';
import { measurePeaks, type Peak } from './peak.ts';
import { type ModelName, openPeer, type Peer, python } from './peer.ts';
import { contestantName, fixed, log, printScores, ratio } from './print.ts';
import { benchVgg16 } from './vgg16/bench.ts';

// Workers start sooner; the command does the same.
enableCompileCache();

const parts = ['peak', 'step', 'vgg16-bn', 'layers', 'predict', 'epoch', 'memory', 'start', 'vgg16'] as const;
type Part = (typeof parts)[number];

const usage = `npm run bench -- [options]
  --only PART          one of ${parts.join(', ')}; may be repeated (default: all)
  --repetitions N      bursts per contestant in step and predict (default 20); a quarter
                       in the steps of vgg16-bn (at 32×32, batch 128) and of
                       vgg16, which needs 16 GB of memory
  --epochs N           epochs per contestant (default 20: ten minutes)
  --data DIR           CIFAR-10's binary files (default $VGGNET_DATA); without them
                       the epoch is skipped, and memory is measured on shapes
  --batch-size N       images per step (default 100)
  --device D           native, wasm or reference; may be repeated (default: native and wasm)
  --json FILE          also write all measurements to FILE
  --no-torch           do not compare with PyTorch
PyTorch is run with $PYTHON, by default /usr/bin/python3.`;

const { values: options } = readOptions(usage, {
  allowNegative: true,
  options: {
    only: { type: 'string', multiple: true },
    repetitions: { type: 'string', default: '20' },
    epochs: { type: 'string', default: '20' },
    data: { type: 'string', default: process.env.VGGNET_DATA ?? '' },
    'batch-size': { type: 'string', default: '100' },
    device: { type: 'string', multiple: true },
    json: { type: 'string', default: '' },
    torch: { type: 'boolean', default: true },
  },
});
const only: readonly string[] = options.only ?? parts;
for (const part of only) {
  if (!(parts as readonly string[]).includes(part))
    fail(`--only ${part} is not one of ${parts.join(', ')}`, usage);
}
const known: readonly BenchDevice[] = ['native', 'wasm', 'reference'];
const devices = (options.device ?? ['native', 'wasm']).map(
  (name) =>
    known.find((device) => device === name) ??
    fail(`--device ${name} is not one of ${known.join(', ')}`, usage),
);
const repetitions = wholeNumber('--repetitions', options.repetitions, 1, usage);
const epochs = wholeNumber('--epochs', options.epochs, 1, usage);
const batchSize = wholeNumber('--batch-size', options['batch-size'], 1, usage);
const wanted = (part: Part): boolean => only.includes(part);

/** Consecutive steps per turn, a few tenths of a second. */
const burstSteps: Readonly<Record<ModelName, number>> = {
  simplified: 50,
  vgg7: 3,
  'vgg16-bn': 1,
};
const threadCounts = cpus().length === 1 ? [1] : [1, 2];
const threadsOf = (device: BenchDevice): readonly number[] => (device === 'reference' ? [1] : threadCounts);

const bars: Bar[] = [];
/** Adds a measurement to the list of bars printed at the end. */
function addBar(
  what: string,
  value: number | undefined,
  unit: Bar['unit'],
  limit: Pick<Bar, 'least' | 'most'>,
): void {
  if (value !== undefined) bars.push({ what, value, unit, ...limit });
}

interface Ratios {
  readonly device: BenchDevice;
  /** The score with the faster number of threads; PyTorch's is chosen in the same way. */
  readonly best: Score;
  readonly toTorch?: Summary;
  readonly twoThreads?: Summary;
}

/** Prints two ratios per device: its speed relative to PyTorch's, each at its best, and two threads relative to one. */
function printRatios(scores: readonly Score[]): Ratios[] {
  /** A ratio that is useful if other work disturbs the medians. */
  const undisturbed = (a: Score, b: Score): string => `; fastest to fastest ${fixed(a.least / b.least, 2)}×`;
  const torch = fastest(scores.filter(({ side }) => side === 'torch'));
  return devices.flatMap((device) => {
    const ours = scores.filter(({ side }) => side === device);
    const best = fastest(ours);
    if (!best) return [];
    const [one, two] = ours;
    const toTorch = torch && speedup(torch, best);
    const twoThreads = two && speedup(one!, two);
    if (toTorch) log(`${best.name}: ${ratio(toTorch)} the speed of ${torch.name}${undisturbed(torch, best)}`);
    if (twoThreads)
      log(`${device}, two threads: ${ratio(twoThreads)} the speed of one${undisturbed(one!, two)}`);
    return [{ device, best, ...(toTorch && { toTorch }), ...(twoThreads && { twoThreads }) }];
  });
}

const barsOf = (device: BenchDevice) => (device === 'reference' ? undefined : leastSpeed[device]);

async function benchBatches(
  command: 'step' | 'predict',
  model: ModelName,
  batchSize: number,
  peers: readonly Peer[],
  peak: number | undefined,
  rounds = repetitions,
) {
  // A single image takes so little time that a burst needs many.
  const burst = burstSteps[model] * (batchSize === 1 ? 20 : 1);
  const work = command === 'step' ? 'Training step' : 'Inference';
  log(`\n${work} of ${model}, batch ${batchSize} (n = ${rounds} bursts of ${burst}, taking turns)`);
  const operations = operationsOf(networkOf(model), command === 'step');
  const contestants: Contestant[] = [];
  const sessions: Session[] = [];
  try {
    for (const device of devices) {
      for (const threads of threadsOf(device)) {
        const our = await openOurs(model, { device, threads, batchSize });
        sessions.push(our.session);
        contestants.push({
          name: contestantName(device, threads),
          threads,
          side: device,
          burst: () => (command === 'step' ? our.step(burst) : our.predict(burst)),
        });
      }
    }
    for (const peer of peers) {
      contestants.push({
        name: contestantName('torch', peer.threads),
        threads: peer.threads,
        side: 'torch',
        burst: async () => {
          const seconds = await peer.time(command, model, batchSize, burst);
          return seconds.reduce((sum, value) => sum + value, 0) / burst;
        },
      });
    }
    const scores = await contest(contestants, rounds);
    printScores(scores, operations, batchSize, peak);
    const ratios = printRatios(scores);
    for (const { device, best, toTorch, twoThreads } of ratios) {
      const least = barsOf(device);
      if (!least) continue;
      if (command === 'predict') {
        const bar = model === 'vgg7' ? least.predict[batchSize] : undefined;
        const what = `${device}: inference of ${model}, batch ${batchSize}, to PyTorch`;
        if (bar !== undefined) addBar(what, toTorch?.median, '×', { least: bar });
        continue;
      }
      const step = `${device}: step of ${model}`;
      addBar(`${step}, to PyTorch`, toTorch?.median, '×', { least: least.step[model] });
      addBar(`${step}, two threads to one`, twoThreads?.median, '×', { least: leastTwoThreads });
      if (model === 'vgg7' && least.peakShare !== undefined && peak !== undefined) {
        const share = (operations * batchSize) / best.median / 1e9 / (peak * best.threads);
        addBar(`${step}, direct rate to the cores' peak`, share, '×', { least: least.peakShare });
      }
    }
    return { model, command, batchSize, burst, operations, scores, ratios };
  } finally {
    for (const session of sessions) await session.close();
  }
}

/** Prints the time of each layer in a step, on one thread. */
async function benchLayers(model: ModelName, device: 'native' | 'wasm') {
  const kernels = await (device === 'native' ? nativeKernels : wasmKernels)(false, log);
  const profile = await profileLayers(networkOf(model), kernels, { batchSize, steps: 20 });
  const name = describeKernels(kernels);
  log(`\nLayers in a step of ${model}, batch ${batchSize}, ${name}, one thread (medians of 20 steps)`);
  const rows = profile.rows.map(({ layers, milliseconds, share, gflops }) => [
    layers.join(' '),
    fixed(milliseconds, 2),
    `${fixed(100 * share, 1)} %`,
    gflops > 0 ? fixed(gflops, 0) : '',
  ]);
  const rest = [
    'images, loss',
    fixed(profile.rest.milliseconds, 2),
    `${fixed(100 * profile.rest.share, 1)} %`,
    '',
  ];
  log(formatTable([['layers', 'ms', 'share', 'GFLOP/s'], ...rows, rest], 1));
  return { model, kernels: name, batchSize, ...profile };
}

/** The folder with the unpacked binary files, which the PyTorch program needs. */
function binaryFolder(data: string): string | undefined {
  return [data, join(data, 'cifar-10-batches-bin')].find((path) =>
    existsSync(join(path, 'data_batch_1.bin')),
  );
}

async function benchEpoch(data: string, peers: readonly Peer[]) {
  log(
    `\nOne epoch of the lecture on CIFAR-10, including files, augmentation and test (n = ${epochs}, taking turns)`,
  );
  const folder = binaryFolder(data);
  if (folder === undefined && peers.length > 0) {
    log(`PyTorch is skipped: it needs the unpacked binary files, and ${data} has none`);
  }
  // PyTorch's loader uses one thread, so two are not always faster; the first epoch decides.
  const trials = [];
  for (const peer of folder === undefined ? [] : peers)
    trials.push({ peer, times: await peer.epoch(folder!) });
  const peer = trials.toSorted((a, b) => a.times.seconds - b.times.seconds)[0]?.peer;
  for (const { peer, times } of trials)
    log(`${contestantName('torch', peer.threads)}, first: ${fixed(times.seconds, 1)} s`);
  const details: object[] = [];
  const timed = (
    side: Contestant['side'],
    threads: number,
    epoch: () => ReturnType<typeof lectureEpoch>,
  ): Contestant => ({
    name: contestantName(side, threads),
    threads,
    side,
    burst: async () => {
      const times = await epoch();
      details.push({ side, ...times });
      return times.seconds;
    },
  });
  const scores = await contest(
    [
      ...devices
        .filter((device) => device !== 'reference')
        .map((device) => {
          const threads = threadCounts.at(-1)!;
          return timed(device, threads, () => lectureEpoch(data, device, threads));
        }),
      ...(peer === undefined ? [] : [timed('torch', peer.threads, () => peer.epoch(folder!))]),
    ],
    epochs,
    0,
  );
  for (const { name, median, lower, upper } of scores) {
    log(`${name.padEnd(18)}${fixed(median, 2).padStart(7)} s (${fixed(lower, 2)}–${fixed(upper, 2)})`);
  }
  const ratios = printRatios(scores);
  for (const { device, toTorch } of ratios) {
    const least = barsOf(device)?.epoch;
    if (least !== undefined)
      addBar(`${device}: the lecture's epoch, to PyTorch`, toTorch?.median, '×', { least });
  }
  return { scores, details, ratios };
}

async function benchMemory(data: string | undefined, device: BenchDevice) {
  const dataset = data === undefined ? ['--dataset', 'shapes'] : ['--dataset', 'cifar10', '--data', data];
  const training = ['--model', 'simplified', ...dataset, '--epochs', '1', '--device', device];
  const folder = await mkdtemp(join(tmpdir(), 'vggnet-bench-'));
  const bytes = await peakMemory([...training, '--no-run']);
  const withReport = await peakMemory([...training, '--run', join(folder, 'run')]);
  await rm(folder, { recursive: true });
  const amount = (of: number | undefined): string =>
    of === undefined ? 'not measured, because this system has no /proc' : `${fixed(of / 1e6, 0)} MB`;
  log(
    `\n${device}: peak resident memory of vgg train on ${dataset[1]}: ${amount(bytes)}; ` +
      `with a run folder and its report: ${amount(withReport)}`,
  );
  addBar(`${device}: peak memory, ${dataset[1]}`, bytes && bytes / 1e6, ' MB', { most: mostMegabytes });
  return { device, dataset: dataset[1], bytes, withReport };
}

async function benchStart(data: string | undefined, device: BenchDevice) {
  log(`\n${device}: time from the command to its first training step, simplified`);
  const results = [];
  for (const dataset of ['shapes', ...(data === undefined ? [] : ['cifar10'])]) {
    const arguments_ = ['--model', 'simplified', '--dataset', dataset, '--device', device];
    if (dataset === 'cifar10') arguments_.push('--data', data!);
    const seconds = [];
    for (let i = 0; i < repetitions; i++) seconds.push(await firstStep(arguments_));
    const summary = summarize(seconds);
    const { median, lower, upper } = summary;
    log(
      `${dataset.padEnd(9)}${fixed(median, 2)} s (${fixed(lower, 2)}–${fixed(upper, 2)}, n = ${seconds.length})`,
    );
    addBar(`${device}: command to first step, ${dataset}`, median, ' s', { most: mostSecondsToStep });
    results.push({ device, dataset, ...summary });
  }
  return results;
}

async function openPeers(): Promise<Peer[]> {
  const compares =
    wanted('step') || wanted('vgg16-bn') || wanted('predict') || (wanted('epoch') && data !== undefined);
  if (!options.torch || !compares) return [];
  const peers: Peer[] = [];
  for (const threads of threadCounts) {
    const peer = await openPeer(threads);
    if (peer === undefined) break;
    peers.push(peer);
  }
  const found = peers[0] && `PyTorch ${peers[0].version}`;
  log(found ?? `No comparison with PyTorch: ${python} has no torch and torchvision`);
  return peers;
}

const machine = {
  date: new Date().toISOString(),
  processor: cpus()[0]?.model.trim(),
  cores: cpus().length,
  system: `${platform()} ${arch()}`,
  node: process.version,
};
log(`${machine.processor}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}`);
const loadBefore = loadavg()[0]!;
log(
  `load before: ${fixed(loadBefore, 2)}${loadBefore > 0.5 ? '; other programs are running and affect the results' : ''}`,
);
const data = options.data === '' ? undefined : options.data;
const peers = await openPeers();
const measured: Record<string, unknown> = { machine, torch: peers[0]?.version, loadBefore };

let peaks: Peak[] = [];
if (wanted('peak') || wanted('step') || wanted('vgg16-bn') || wanted('predict') || wanted('vgg16')) {
  peaks = await measurePeaks();
  const each = peaks.map(({ kernels, gflops }) => `${fixed(gflops, 0)} with ${kernels}`).join(', ');
  log(`multiply-add peak of one core, GFLOP/s: ${each}; percentages below refer to the largest`);
  measured.peaks = peaks;
}
const peak = peaks.length === 0 ? undefined : Math.max(...peaks.map(({ gflops }) => gflops));
try {
  for (const command of ['step', 'predict'] as const) {
    if (!wanted(command)) continue;
    const results = [];
    for (const model of ['simplified', 'vgg7'] as const) {
      results.push(await benchBatches(command, model, batchSize, peers, peak));
    }
    if (command === 'predict') results.push(await benchBatches(command, 'vgg7', 1, peers, peak));
    measured[command] = results;
  }
  if (wanted('vgg16-bn')) {
    const rounds = Math.ceil(repetitions / 4);
    measured['vgg16-bn'] = await benchBatches('step', 'vgg16-bn', 128, peers, peak, rounds);
  }
  if (wanted('layers')) {
    const layers = [];
    for (const model of ['simplified', 'vgg7'] as const) {
      for (const device of devices) if (device !== 'reference') layers.push(await benchLayers(model, device));
    }
    measured.layers = layers;
  }
  if (wanted('epoch')) {
    if (data === undefined)
      log('\nThe epoch on CIFAR-10 is skipped; pass the folder with its files to --data');
    else measured.epoch = await benchEpoch(data, peers);
  }
} finally {
  for (const peer of peers) await peer.close();
}
const memory = [];
const start = [];
for (const device of devices) {
  if (device === 'reference') continue;
  if (wanted('memory')) memory.push(await benchMemory(data, device));
  if (wanted('start')) start.push(await benchStart(data, device));
}
Object.assign(measured, { memory, start });
if (wanted('vgg16')) {
  const { results, bars: found } = await benchVgg16({
    devices: devices.filter((device) => device !== 'reference'),
    threadCounts,
    repetitions,
    torch: options.torch,
    peak,
  });
  measured.vgg16 = results;
  bars.push(...found);
}
measured.loadAfter = loadavg()[0];
if (bars.length > 0) log(`\nload after: ${fixed(loadavg()[0]!, 2)}\n${bars.map(formatBar).join('\n')}`);
measured.bars = bars.map((bar) => ({ ...bar, met: isMet(bar) }));
if (options.json !== '') {
  await writeFile(options.json, `${JSON.stringify(measured, null, 2)}\n`);
  log(`\nwritten to ${options.json}`);
}
