/**
 * `npm run bench`: our speed against PyTorch's and the machine's peak, in one run in which both take turns
 * (`contest.ts`). PyTorch is taken at its best: with memory that it keeps, and the better of one and two threads.
 * Without PyTorch, or without CIFAR-10 (`--data`), what can be measured is measured and the rest is said to be missing.
 */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { enableCompileCache } from 'node:module';
import { arch, cpus, loadavg, platform } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  type Bar,
  formatBar,
  isMet,
  leastEpoch,
  leastStep,
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
import { type BenchDevice, lectureEpoch, networkOf, openOurs, operationsOf } from './ours.ts';
import { measurePeak, type Peak } from './peak.ts';
import { type ModelName, openPeer, type Peer, python } from './peer.ts';

// As the command does: workers start sooner.
enableCompileCache();

const parts = ['peak', 'step', 'predict', 'epoch', 'memory', 'start'] as const;
type Part = (typeof parts)[number];

const usage = `npm run bench -- [options]
  --only PART          one of ${parts.join(', ')}; may be repeated (default: all)
  --repetitions N      bursts of each contestant in step and predict (default 20)
  --epochs N           epochs of each contestant (default 20: ten minutes)
  --data DIR           CIFAR-10's binary files (default $VGGNET_DATA); without them
                       the epoch is left out, and memory is that of training on shapes
  --batch-size N       images in a step (default 100)
  --device D           native, wasm or reference (default wasm)
  --json FILE          also write all measurements to FILE
  --no-torch           ours alone
PyTorch is looked for in $PYTHON, otherwise in /usr/bin/python3.`;

const optionTypes = {
  only: { type: 'string', multiple: true },
  repetitions: { type: 'string', default: '20' },
  epochs: { type: 'string', default: '20' },
  data: { type: 'string', default: process.env.VGGNET_DATA ?? '' },
  'batch-size': { type: 'string', default: '100' },
  device: { type: 'string', default: 'wasm' },
  json: { type: 'string', default: '' },
  torch: { type: 'boolean', default: true },
  help: { type: 'boolean', default: false },
} as const;

function fail(message: string): never {
  console.error(`${message}\n\n${usage}`);
  process.exit(2);
}

function parseOptions() {
  try {
    return parseArgs({ allowNegative: true, options: optionTypes }).values;
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
}

const options = parseOptions();

function wholeNumber(name: 'repetitions' | 'epochs' | 'batch-size'): number {
  const value = Number(options[name]);
  if (!Number.isInteger(value) || value < 1) fail(`--${name} ${options[name]} is not a whole number ≥ 1`);
  return value;
}

if (options.help) {
  console.log(usage);
  process.exit();
}
const only: readonly string[] = options.only ?? parts;
for (const part of only) {
  if (!(parts as readonly string[]).includes(part)) fail(`--only ${part} is not one of ${parts.join(', ')}`);
}
if (options.device !== 'wasm' && options.device !== 'native' && options.device !== 'reference')
  fail(`unknown --device ${options.device}`);
const device: BenchDevice = options.device;
const repetitions = wholeNumber('repetitions');
const epochs = wholeNumber('epochs');
const batchSize = wholeNumber('batch-size');
const wanted = (part: Part): boolean => only.includes(part);

/** Steps done back to back before the next contestant's turn: some tenths of a second. */
const burstSteps: Readonly<Record<ModelName, number>> = { simplified: 10, vgg7: 2 };
const threadCounts = device === 'reference' || cpus().length === 1 ? [1] : [1, 2];

const log = (line = ''): void => console.log(line);
const bars: Bar[] = [];
const fixed = (value: number, digits: number): string => value.toFixed(digits);
/** `2.31× (2.25–2.38)`: median and quartiles. */
const ratio = ({ median, lower, upper }: Summary): string =>
  `${fixed(median, 2)}× (${fixed(lower, 2)}–${fixed(upper, 2)})`;

/** Threads and side in words. */
const contestantName = (side: Contestant['side'], threads: number): string =>
  `${side === 'ours' ? 'vggnet' : 'PyTorch'}, ${threads} thread${threads === 1 ? '' : 's'}`;

/** Keeps what was measured for the verdicts at the end. */
function addBar(
  what: string,
  value: number | undefined,
  unit: Bar['unit'],
  limit: Pick<Bar, 'least' | 'most'>,
): void {
  if (value !== undefined) bars.push({ what, value, unit, ...limit });
}

function printScores(
  scores: readonly Score[],
  operations: number,
  images: number,
  peak: Peak | undefined,
): void {
  log('                       ms   quartiles            fastest   images/s   GFLOP/s   of peak');
  for (const { name, threads, median, lower, upper, least } of scores) {
    const speed = (operations * images) / median / 1e9;
    const share = peak === undefined ? '' : `${fixed((100 * speed) / (peak.best * threads), 0)} %`;
    const quartiles = `${fixed(1000 * lower, 2)}–${fixed(1000 * upper, 2)}`;
    log(
      `${name.padEnd(18)}${fixed(1000 * median, 2).padStart(7)}   ${quartiles.padEnd(18)}` +
        `${fixed(1000 * least, 2).padStart(10)}${fixed(images / median, 0).padStart(11)}${fixed(speed, 1).padStart(10)}${share.padStart(10)}`,
    );
  }
}

/** The two ratios that matter: ours to PyTorch, both at their best, and our two threads to one. */
function printRatios(scores: readonly Score[]): { toTorch?: Summary; twoThreads?: Summary } {
  const ours = scores.filter(({ side }) => side === 'ours');
  const best = fastest(ours)!;
  const torch = fastest(scores.filter(({ side }) => side === 'torch'));
  const [one, two] = ours;
  const toTorch = torch && speedup(torch, best);
  const twoThreads = two && speedup(one!, two);
  /** What remains where other work disturbs every median. */
  const undisturbed = (a: Score, b: Score): string => `; fastest to fastest ${fixed(a.least / b.least, 2)}×`;
  if (toTorch) log(`${best.name}: ${ratio(toTorch)} the speed of ${torch.name}${undisturbed(torch, best)}`);
  if (twoThreads) log(`two threads: ${ratio(twoThreads)} the speed of one${undisturbed(one!, two)}`);
  return { ...(toTorch && { toTorch }), ...(twoThreads && { twoThreads }) };
}

async function benchBatches(
  command: 'step' | 'predict',
  model: ModelName,
  peers: readonly Peer[],
  peak?: Peak,
) {
  const burst = burstSteps[model];
  const work = command === 'step' ? 'Training step' : 'Inference';
  log(`\n${work} of ${model}, batch ${batchSize} (n = ${repetitions} bursts of ${burst}, taking turns)`);
  const operations = operationsOf(networkOf(model), command === 'step');
  const ours = [];
  for (const threads of threadCounts) ours.push(await openOurs(model, { device, threads, batchSize }));
  try {
    const scores = await contest(
      [
        ...ours.map((our, i): Contestant => {
          const threads = threadCounts[i]!;
          return {
            name: contestantName('ours', threads),
            threads,
            side: 'ours',
            burst: () => (command === 'step' ? our.step(burst) : our.predict(burst)),
          };
        }),
        ...peers.map((peer): Contestant => {
          return {
            name: contestantName('torch', peer.threads),
            threads: peer.threads,
            side: 'torch',
            burst: async () => {
              const seconds = await peer.time(command, model, batchSize, burst);
              return seconds.reduce((sum, value) => sum + value, 0) / burst;
            },
          };
        }),
      ],
      repetitions,
    );
    printScores(scores, operations, batchSize, peak);
    const ratios = printRatios(scores);
    if (command === 'step') {
      const step = `training step of ${model}`;
      addBar(`${step}, PyTorch's to ours`, ratios.toTorch?.median, '×', { least: leastStep[model] });
      addBar(`${step}, two threads to one`, ratios.twoThreads?.median, '×', { least: leastTwoThreads });
    }
    return { model, command, batchSize, burst, operations, scores, ...ratios };
  } finally {
    for (const { session } of ours) await session.close();
  }
}

/** The folder with the unpacked binary files, which is what PyTorch's side reads. */
function binaryFolder(data: string): string | undefined {
  return [data, join(data, 'cifar-10-batches-bin')].find((path) =>
    existsSync(join(path, 'data_batch_1.bin')),
  );
}

async function benchEpoch(data: string, peers: readonly Peer[]) {
  log(
    `\nOne epoch of the lecture on CIFAR-10, files, augmentation and test included (n = ${epochs}, taking turns)`,
  );
  const folder = binaryFolder(data);
  if (folder === undefined && peers.length > 0) {
    log(`PyTorch is left out: it reads the unpacked binary files, and ${data} has none`);
  }
  const threads = threadCounts.at(-1)!;
  // PyTorch's loader works in one thread, so that two are not always better: the first epoch decides.
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
      timed('ours', threads, () => lectureEpoch(data, device, threads)),
      ...(peer === undefined ? [] : [timed('torch', peer.threads, () => peer.epoch(folder!))]),
    ],
    epochs,
    0,
  );
  for (const { name, median, lower, upper } of scores) {
    log(`${name.padEnd(18)}${fixed(median, 2).padStart(7)} s (${fixed(lower, 2)}–${fixed(upper, 2)})`);
  }
  const ratios = printRatios(scores);
  addBar("lecture's epoch, PyTorch's to ours", ratios.toTorch?.median, '×', { least: leastEpoch });
  return { scores, details, ...ratios };
}

async function benchMemory(data: string | undefined) {
  const dataset = data === undefined ? ['--dataset', 'shapes'] : ['--dataset', 'cifar10', '--data', data];
  const bytes = await peakMemory(['--model', 'simplified', ...dataset, '--epochs', '1', '--device', device]);
  const amount =
    bytes === undefined ? 'not measured: this system has no /proc' : `${fixed(bytes / 1e6, 0)} MB`;
  log(`\nPeak resident memory of vgg train on ${dataset[1]}: ${amount}`);
  addBar(`peak memory, ${dataset[1]}`, bytes && bytes / 1e6, ' MB', { most: mostMegabytes });
  return { dataset: dataset[1], bytes };
}

async function benchStart(data: string | undefined) {
  log('\nFrom the command to its first training step, simplified');
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
    addBar(`command to first step, ${dataset}`, median, ' s', { most: mostSecondsToStep });
    results.push({ dataset, ...summary });
  }
  return results;
}

async function openPeers(): Promise<Peer[]> {
  const compares = wanted('step') || wanted('predict') || (wanted('epoch') && data !== undefined);
  if (!options.torch || !compares) return [];
  const peers: Peer[] = [];
  for (const threads of threadCounts) {
    const peer = await openPeer(threads);
    if (peer === undefined) break;
    peers.push(peer);
  }
  const found = peers[0] && `PyTorch ${peers[0].version}`;
  log(found ?? `No PyTorch: ${python} has no torch and torchvision, so ours stands alone`);
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
log(`load before: ${fixed(loadBefore, 2)}${loadBefore > 0.5 ? '; other work is running and will show' : ''}`);
const data = options.data === '' ? undefined : options.data;
const peers = await openPeers();
const measured: Record<string, unknown> = { machine, torch: peers[0]?.version, loadBefore };

let peak: Peak | undefined;
if (wanted('peak') || wanted('step') || wanted('predict')) {
  peak = await measurePeak();
  const wide = peak.wide === undefined ? 'no 256-bit vectors' : `${fixed(peak.wide, 0)} with 256 bits`;
  log(
    `multiply-add peak of one core in WebAssembly, GFLOP/s: ${fixed(peak.separate, 0)} apart in 128 bits (what our ` +
      `kernels use), ${fixed(peak.narrow, 0)} fused in 128 bits, ${wide}; shares below are of the largest`,
  );
  measured.peak = peak;
}
try {
  for (const command of ['step', 'predict'] as const) {
    if (!wanted(command)) continue;
    const results = [];
    for (const model of ['simplified', 'vgg7'] as const) {
      results.push(await benchBatches(command, model, peers, peak));
    }
    measured[command] = results;
  }
  if (wanted('epoch')) {
    if (data === undefined)
      log('\nThe epoch on CIFAR-10 is left out: --data DIR names the folder with its files');
    else measured.epoch = await benchEpoch(data, peers);
  }
} finally {
  for (const peer of peers) await peer.close();
}
if (wanted('memory')) measured.memory = await benchMemory(data);
if (wanted('start')) measured.start = await benchStart(data);
measured.loadAfter = loadavg()[0];
if (bars.length > 0) log(`\nload after: ${fixed(loadavg()[0]!, 2)}\n${bars.map(formatBar).join('\n')}`);
measured.bars = bars.map((bar) => ({ ...bar, met: isMet(bar) }));
if (options.json !== '') {
  await writeFile(options.json, `${JSON.stringify(measured, null, 2)}\n`);
  log(`\nwritten to ${options.json}`);
}
