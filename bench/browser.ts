/**
 * WebAssembly in Chromium against Node with the same kernels (`VGGNET_REVECTORIZE=0`) and as many threads: a step of the
 * lecture's network, in turns. `node bench/browser.ts [threads] [rounds]`; by default all processors, 7 rounds of 100 steps.
 * The bar is a ratio of 1.25.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleForBrowsers } from '../src/build/for-browsers.ts';
import { isolating, openBrowser, servePage } from '../test/browser.ts';

const [threads = availableParallelism(), rounds = 7] = process.argv.slice(2).map(Number);
const steps = 100;
const bar = 1.25;

const folder = await mkdtemp(join(tmpdir(), 'vggnet-bench-browser-'));
const beside = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
await bundleForBrowsers({ input: { page: beside('browser-steps.ts') }, chunks: '', dir: folder });
using server = await servePage(folder, isolating);
await using browser = await openBrowser();
const page = await browser.newPage();
await page.goto(server.url);
await page.waitForFunction(() => 'steps' in globalThis);
const child = fork(beside('browser-node.ts'), { env: { ...process.env, VGGNET_REVECTORIZE: '0' } });

interface Timed {
  readonly value: number;
  readonly description: string;
}
type Steps = {
  readonly steps: {
    stepMilliseconds(threads: number, steps: number): Promise<number>;
    described(): Promise<string>;
  };
};

async function inNode(): Promise<Timed> {
  child.send({ threads, steps });
  const [answer] = (await once(child, 'message')) as [Timed];
  return answer;
}
const inChromium = (): Promise<Timed> =>
  page.evaluate(
    async ([count, length]) => {
      const { stepMilliseconds, described } = (globalThis as unknown as Steps).steps;
      return { value: await stepMilliseconds(count!, length!), description: await described() };
    },
    [threads, steps],
  );

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
const ratios: number[] = [];
const times = { node: [] as number[], chromium: [] as number[] };
try {
  for (let round = 0; round < rounds; round++) {
    const [node, chromium] = round % 2 === 0 ? [await inNode(), await inChromium()] : await inTurn();
    if (round === 0)
      console.log(`Node: ${node.description}; Chromium ${browser.version()}: ${chromium.description}`);
    times.node.push(node.value);
    times.chromium.push(chromium.value);
    ratios.push(chromium.value / node.value);
    console.log(
      `round ${round + 1}: Node ${node.value.toFixed(2)} ms, Chromium ${chromium.value.toFixed(2)} ms, ratio ${ratios.at(-1)!.toFixed(3)}`,
    );
  }
} finally {
  child.kill();
  await rm(folder, { recursive: true });
}
const spread = `${Math.min(...ratios).toFixed(3)} to ${Math.max(...ratios).toFixed(3)}`;
console.log(
  `a step of simplified, median of ${rounds}: Node ${median(times.node).toFixed(2)} ms, Chromium ${median(times.chromium).toFixed(2)} ms; ` +
    `ratio ${median(ratios).toFixed(3)} (${spread}); bar ${bar}`,
);

/** Chromium first. */
async function inTurn(): Promise<readonly [Timed, Timed]> {
  const chromium = await inChromium();
  return [await inNode(), chromium];
}
