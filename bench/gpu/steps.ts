/** Training steps of the four networks, ours and PyTorch's in turns on the same GPU. */
import { fileURLToPath } from 'node:url';
import { describeStep } from '../../src/engine/webgpu/describe.ts';
import { VggError } from '../../src/errors.ts';
import { type Summary, summarize } from '../contest.ts';
import { openProcess } from '../process.ts';
import { unchecked } from './device.ts';
import { type BenchNetwork, networkOf, networksOf } from './networks.ts';
import type { Part, PartOptions, Reporter } from './part.ts';
import { openTorch, type Torch } from './pytorch.ts';
import type { StepsRequest } from './steps-worker.ts';

const columns = {
  ours: 'ours',
  unchecked: 'ours, unchecked',
  f32: 'PyTorch f32',
  tf32: 'PyTorch TF32',
  compiled: 'PyTorch compiled, TF32',
} as const;
type Side = keyof typeof columns;
const rate = 'ours, TFLOP/s';
const over = (side: Side): string => `ours over ${columns[side]}`;

/** Burst of a contestant: about so many seconds. */
const burstSeconds = 0.15;

interface Contestant {
  readonly side: Side;
  /** Seconds per step. */
  burst(steps: number): Promise<number>;
}

interface Ours {
  open(network: BenchNetwork, batch: number): Promise<void>;
  steps(steps: number): Promise<number>;
  close(): Promise<void>;
}

async function openOurs({ adapter }: PartOptions, flags: readonly string[]): Promise<Ours> {
  const script = fileURLToPath(new URL('steps-worker.ts', import.meta.url));
  const child = await openProcess(process.execPath, [script, String(adapter ?? '-'), ...flags]);
  const ask = async <T>(request: StepsRequest): Promise<T> => {
    const reply = (await child.ask(request)) as T & { readonly error?: string };
    if (reply.error !== undefined) throw new VggError(reply.error);
    return reply;
  };
  return {
    open: (network, batch) => ask({ command: 'open', network, batch }),
    steps: async (steps) => (await ask<{ readonly seconds: number }>({ command: 'steps', steps })).seconds,
    close: async () => {
      await ask({ command: 'close' });
      await child.close();
    },
  };
}

type OurSides = Readonly<Record<'ours' | 'unchecked', Ours>>;

/** PyTorch's processes. One compiles for up to a minute, and is ended if it takes longer than there is time. */
interface Peers {
  readonly eager: Torch | undefined;
  compiling: Torch | undefined;
}

const found = (torch: Torch | string): Torch | undefined => (typeof torch === 'string' ? undefined : torch);

export const stepsPart: Part = {
  title: 'Training steps (ms)',
  seconds: 220,
  rows: (quick) => networksOf(quick).map(({ name }) => name),
  columns: () => ['batch', ...Object.values(columns), rate, over('f32'), over('tf32'), over('compiled')],
  async run(options, report) {
    const deadline = performance.now() + 1000 * options.seconds;
    const [ours, without, eager, compiling] = await Promise.all([
      openOurs(options, []),
      openOurs(options, [unchecked]),
      openTorch(options.torch),
      openTorch(options.torch),
    ]);
    const peers: Peers = { eager: found(eager), compiling: found(compiling) };
    report.note(
      typeof eager === 'string'
        ? eager
        : `${eager.name}; its images are on the GPU already, ours are loaded from bytes in each step`,
    );
    const all = networksOf(options.quick);
    let failures = 0;
    for (const [i, network] of all.entries()) {
      const seconds = (deadline - performance.now()) / 1000 / (all.length - i);
      try {
        await compare(network, seconds, { ours, unchecked: without }, peers, options, report);
      } catch (error) {
        report.note(`${network.name}: ${(error as Error).message}`);
        failures++;
      }
    }
    if (failures === all.length) throw new VggError('no network was measured');
  },
};

/** Opens a network on our side, with the largest batch that fits. */
async function openLargest(network: BenchNetwork, ours: OurSides, { note }: Reporter): Promise<number> {
  for (let { batch } = network; ; batch = Math.ceil(batch / 2)) {
    const opened = await Promise.allSettled(Object.values(ours).map((own) => own.open(network, batch)));
    const failed = opened.find((result) => result.status === 'rejected');
    if (!failed) return batch;
    const { message } = failed.reason as Error;
    if (batch === 1 || !/memory|buffers of at most/.test(message)) throw failed.reason;
    note(`${network.name}, batch ${batch}: ${message}`);
  }
}

async function compare(
  network: BenchNetwork,
  seconds: number,
  ours: OurSides,
  peers: Peers,
  options: PartOptions,
  report: Reporter,
): Promise<void> {
  const end = performance.now() + 1000 * seconds;
  const batch = await openLargest(network, ours, report);
  report.cells(network.name, { batch });
  const contestants: Contestant[] = (['ours', 'unchecked'] as const).map((side) => ({
    side,
    burst: (steps) => ours[side].steps(steps),
  }));
  const openOn = async (own: Torch, side: 'f32' | 'tf32' | 'compiled'): Promise<void> => {
    await own.ask({ command: 'open', network, batch, variant: side });
    const burst = async (steps: number): Promise<number> =>
      (await own.ask<{ readonly seconds: number }>({ command: 'steps', variant: side, steps })).seconds;
    contestants.push({ side, burst });
  };
  if (peers.eager) {
    for (const side of ['f32', 'tf32'] as const) {
      const problem = await within(seconds, openOn(peers.eager, side));
      if (problem !== undefined) report.note(`${network.name}, ${columns[side]}: ${problem}`);
    }
    peers.compiling ??= found(await openTorch(options.torch));
  }
  if (peers.compiling) {
    const most = (end - performance.now()) / 1000 - 8;
    const problem = await within(most, openOn(peers.compiling, 'compiled'));
    if (problem !== undefined) {
      report.note(`${network.name}, ${columns.compiled}: ${problem}`);
      peers.compiling.kill();
      peers.compiling = undefined;
    }
  }
  const known = await rounds(contestants, end, options.quick, (side, problem) =>
    report.note(`${network.name}, ${columns[side]}: ${problem}`),
  );
  show(network, batch, known, report);
  await peers.eager?.ask({ command: 'close' });
  await peers.compiling?.ask({ command: 'close' });
}

/** Undefined when done, or why not. */
async function within(seconds: number, work: Promise<void>): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(
      () => resolve(`not ready after ${Math.round(seconds)} s`),
      1000 * Math.max(0, seconds),
    );
  });
  const done = work.then(
    () => undefined,
    (error: Error) => error.message,
  );
  const result = await Promise.race([late, done]);
  clearTimeout(timer);
  return result;
}

/** Seconds per step of each contestant in each round; they take turns. One that fails is left out. */
async function rounds(
  contestants: readonly Contestant[],
  end: number,
  quick: boolean,
  onFailure: (side: Side, problem: string) => void,
): Promise<ReadonlyMap<Side, readonly number[]>> {
  const seconds = new Map<Side, number[]>();
  const steps = new Map<Side, number>();
  const burst = async ({ side, burst: run }: Contestant, count: number): Promise<number | undefined> => {
    try {
      return await run(count);
    } catch (error) {
      onFailure(side, (error as Error).message);
      seconds.delete(side);
      return undefined;
    }
  };
  for (const one of contestants) {
    seconds.set(one.side, []);
    // After a first one, since caches and clocks are cold.
    await burst(one, 1);
    const each = quick ? burstSeconds : seconds.has(one.side) && (await burst(one, 3));
    if (each) steps.set(one.side, Math.max(1, Math.min(1000, Math.round(burstSeconds / each))));
  }
  const count = quick ? 1 : 5;
  for (let round = 0; round < count && (round === 0 || performance.now() < end); round++) {
    for (let turn = 0; turn < contestants.length; turn++) {
      const one = contestants[(turn + round) % contestants.length]!;
      if (!seconds.has(one.side)) continue;
      const each = await burst(one, steps.get(one.side)!);
      if (each !== undefined) seconds.get(one.side)!.push(each);
    }
  }
  return seconds;
}

function show(
  network: BenchNetwork,
  batch: number,
  known: ReadonlyMap<Side, readonly number[]>,
  { cells, note }: Reporter,
): void {
  const { name } = network;
  const summaries = new Map([...known].map(([side, seconds]): [Side, Summary] => [side, summarize(seconds)]));
  for (const [side, { median }] of summaries) cells(name, { [columns[side]]: 1000 * median });
  const own = known.get('ours');
  if (!own) return;
  const { operations } = describeStep(networkOf(network), batch, { optimizer: 'adam' });
  cells(name, { [rate]: operations / summarize(own).median / 1e12 });
  for (const side of ['f32', 'tf32', 'compiled'] as const) {
    const theirs = known.get(side);
    // Within each round, when the machine was in the same state.
    if (theirs) cells(name, { [over(side)]: summarize(theirs.map((value, i) => value / own[i]!)).median });
  }
  const ms = (value: number): string => (1000 * value).toPrecision(3);
  const spreads = [...summaries].map(
    ([side, { lower, upper }]) => `${columns[side]} ${ms(lower)}–${ms(upper)}`,
  );
  note(`${name}, quartiles of ${own.length} rounds: ${spreads.join('; ')}`);
}
