/**
 * Measures how fast photos are prepared, against Pillow in two processes, and decoding alone, on one thread:
 *
 *     node bench/prepare.ts [--images N] [--rounds N] [--folder DIR]
 *
 * Both read the same JPEGs of 500×375 pixels, decode them and resize them to a shorter side of 256; we also write them
 * to the cache, with checksums and statistics. The sides take turns; printed are medians, quartiles, the time of all
 * processors per image, which other work on the machine affects less, and the peak memory.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { summarize } from './contest.ts';
import { readOptions, wholeNumber } from './options.ts';
import { python } from './peer.ts';
import { fixed, log, ratio } from './print.ts';
import { openProcess } from './process.ts';

const usage = `node bench/prepare.ts [options]
  --images N           photos (default 1000)
  --rounds N           rounds (default 5)
  --folder DIR         where photos and cache are written (default: the system's temporary folder)`;
const { values } = readOptions(usage, {
  options: {
    images: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '5' },
    folder: { type: 'string', default: tmpdir() },
  },
});
const images = wholeNumber('--images', values.images, 4, usage);
const rounds = wholeNumber('--rounds', values.rounds, 1, usage);
const place = mkdtempSync(join(values.folder, 'vgg-bench-prepare-'));
const [folder, cache] = [join(place, 'photos'), join(place, 'cache')];
const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
/** Processes of Pillow; our decoding alone is on one thread. */
const processes = { prepare: 2, decode: 1 } as const;

interface Measured {
  readonly seconds: number;
  /** Seconds of all processors together. */
  readonly busy: number;
  readonly peak?: number;
}
type Command = 'prepare' | 'decode';

/** Of several processes the slower one counts. */
async function pillow(command: Command): Promise<Measured> {
  const workers = await Promise.all(
    Array.from({ length: processes[command] }, () => openProcess(python, [script('pillow.py')])),
  );
  const parts = (await Promise.all(
    workers.map(({ ask }, part) => ask({ command, folder, part, of: processes[command] })),
  )) as Measured[];
  await Promise.all(workers.map(({ close }) => close()));
  return {
    seconds: Math.max(...parts.map(({ seconds }) => seconds)),
    busy: parts.reduce((sum, { busy }) => sum + busy, 0),
  };
}

async function ours(command: Command): Promise<Measured> {
  rmSync(cache, { recursive: true, force: true });
  const child = await openProcess(process.execPath, [script('prepare-ours.ts')]);
  const measured = (await child.ask({ command, folder, cache })) as Measured;
  await child.close();
  return measured;
}

try {
  const maker = await openProcess(python, [script('pillow.py')]);
  await maker.ask({ command: 'make', folder, count: images });
  await maker.close();
  log(
    `${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}, Pillow ${(maker.hello as { pillow: string }).pillow}`,
  );
  log(`${images} photos of 500×375, ${rounds} rounds\n`);
  log(`${''.padEnd(30)}images/s   quartiles   CPU per image`);
  for (const command of ['prepare', 'decode'] as const) {
    const [own, theirs]: [Measured[], Measured[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      // In turns, each first in every other round.
      if (round % 2 === 0) own.push(await ours(command));
      theirs.push(await pillow(command));
      if (round % 2 === 1) own.push(await ours(command));
    }
    for (const [name, list] of [
      ['vggnet', own],
      [command === 'prepare' ? 'Pillow, 2 processes' : 'Pillow', theirs],
    ] as const) {
      const { median, lower, upper } = summarize(list.map(({ seconds }) => images / seconds));
      const busy = summarize(list.map((one) => (1000 * one.busy) / images)).median;
      const peak = Math.max(...list.map((one) => one.peak ?? 0));
      log(
        `${`${command}: ${name}`.padEnd(30)}${fixed(median, 0).padStart(8)}   ${`${fixed(lower, 0)}–${fixed(upper, 0)}`.padEnd(12)}${fixed(busy, 2).padStart(6)} ms` +
          (peak > 0 ? `   at most ${fixed(peak / 1e6, 0)} MB` : ''),
      );
    }
    log(
      `${`${command}: rate of Pillow's`.padEnd(30)}${ratio(summarize(own.map(({ seconds }, i) => theirs[i]!.seconds / seconds)))}\n`,
    );
  }
} finally {
  if (existsSync(place)) rmSync(place, { recursive: true, force: true });
}
