/** From the start of a program to its first prediction with VGG-16, and the parts of that time. */
import { type Bar, mostVgg16Seconds } from '../bars.ts';
import { summarize } from '../contest.ts';
import { fixed, log } from '../print.ts';
import { type Ours, start } from './contestants.ts';
import type { Opening } from './job.ts';

/** Seconds of one program. */
interface Start extends Opening {
  readonly whole: number;
  readonly firstRun: number;
  /** At most: compiling and the first pass also do other things. */
  readonly planning: number;
}

async function measureStart(device: Ours, threads: number, folder: string): Promise<Start | undefined> {
  const before = performance.now();
  const running = await start(device, { command: 'predict', batch: 1, folder, threads });
  const whole = (performance.now() - before) / 1000;
  if (running === undefined) return undefined;
  const later = await running.time(3);
  await running.close();
  const { opening = { modules: 0, compile: 0, load: 0 }, firstRun } = running.hello;
  return { whole, ...opening, firstRun, planning: opening.compile + firstRun - later };
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
  if (starts.length > 0) {
    const { median: whole, lower, upper } = summarize(starts.map((one) => one.whole));
    const parts = (['modules', 'compile', 'load', 'firstRun', 'planning'] as const).map(
      (part) => `${partNames[part]} ${fixed(median(part)!, 2)}`,
    );
    log(
      `${device}: ${fixed(whole, 2)} s (${fixed(lower, 2)}–${fixed(upper, 2)}, n = ${n}); ${parts.join(', ')}`,
    );
  }
  const bar = (what: string, value: number | undefined, most: number): Bar => {
    return { what: `${device}: VGG-16, ${what}`, value, unit: ' s', most };
  };
  return {
    results: [{ device, starts }],
    bars: [
      bar('start to first prediction', median('whole'), mostVgg16Seconds.start),
      bar('planning in it, upper bound', median('planning'), mostVgg16Seconds.planning),
    ],
  };
}

const partNames: Readonly<Record<Exclude<keyof Start, 'whole'>, string>> = {
  modules: 'modules',
  compile: 'compiling',
  load: 'loading',
  firstRun: 'first pass',
  planning: 'planning at most',
};
