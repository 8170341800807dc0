/** From the start of a program to its first prediction with VGG-16, and the parts of that time. */
import { fileURLToPath } from 'node:url';
import { type Bar, mostVgg16Seconds } from '../bars.ts';
import { summarize } from '../contest.ts';
import { fixed, log } from '../print.ts';
import { openProcess } from '../process.ts';
import { type Ours, start } from './contestants.ts';
import type { Opening } from './job.ts';

/** Seconds of one program. */
interface Start extends Opening {
  readonly whole: number;
  readonly firstRun: number;
}

async function measureStart(device: Ours, threads: number, folder: string): Promise<Start | undefined> {
  const before = performance.now();
  const running = await start(device, { command: 'predict', batch: 1, folder, threads });
  const whole = (performance.now() - before) / 1000;
  if (running === undefined) return undefined;
  await running.close();
  const { opening = { modules: 0, compile: 0, load: 0 }, firstRun } = running.hello;
  return { whole, ...opening, firstRun };
}

/** Seconds of planning in a new process. */
async function measurePlanning(threads: number): Promise<number> {
  const script = fileURLToPath(new URL('plan.ts', import.meta.url));
  const planner = await openProcess(process.execPath, [script, String(threads)]);
  await planner.close();
  return planner.hello as number;
}

/** Measures `n` programs that compile VGG-16, load its weights and classify an image. */
export async function benchStart(
  device: Ours,
  threads: number,
  folder: string,
  n: number,
): Promise<{ results: object[]; bars: Bar[] }> {
  const starts: Start[] = [];
  while (starts.length < n) {
    const one = await measureStart(device, threads, folder);
    if (one === undefined) break;
    starts.push(one);
  }
  const median = (part: keyof Start): number | undefined =>
    starts.length === 0 ? undefined : summarize(starts.map((one) => one[part])).median;
  const plans: number[] = [];
  while (plans.length < n) plans.push(await measurePlanning(threads));
  const planning = summarize(plans).median;
  if (starts.length > 0) {
    const { median: whole, lower, upper } = summarize(starts.map((one) => one.whole));
    const parts = (['modules', 'compile', 'load', 'firstRun'] as const).map(
      (part) => `${partNames[part]} ${fixed(median(part)!, 2)}`,
    );
    log(
      `${device}: ${fixed(whole, 2)} s (${fixed(lower, 2)}–${fixed(upper, 2)}, n = ${n}); ${parts.join(', ')}; planning, in compiling and the first pass: ${fixed(planning, 2)}`,
    );
  }
  const bar = (what: string, value: number | undefined, most: number): Bar => {
    return { what: `${device}: VGG-16, ${what}`, value, unit: ' s', most };
  };
  return {
    results: [{ device, starts, plans }],
    bars: [
      bar('start to first prediction', median('whole'), mostVgg16Seconds.start),
      bar('planning in it', planning, mostVgg16Seconds.planning),
    ],
  };
}

const partNames: Readonly<Record<Exclude<keyof Start, 'whole'>, string>> = {
  modules: 'modules',
  compile: 'compiling',
  load: 'loading',
  firstRun: 'first pass',
};
