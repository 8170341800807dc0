/**
 * What a user does with `vgg train --open` and `vgg studio`, in processes of their own: watch a training, steer it,
 * interrupt it, resume it and repeat it. The page itself is tested elsewhere; here its client stands for it.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readConfig, readRun } from '../src/runs/folder.ts';
import { keyIn, runIn, StudioClient, type StudioEvent, tokenFor } from '../src/serve/api.ts';
import { openBrowser, openerFor } from '../src/serve/open-browser.ts';
import { digests } from './digests.ts';
import { bin, quickVgg, vgg } from './run-vgg.ts';

let root: string;
let started: Vgg[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'vggnet-studio-cli-'));
});
afterEach(async () => {
  for (const { child } of started) child.kill('SIGKILL');
  started = [];
  await rm(root, { recursive: true, force: true });
});

interface Vgg {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  /** The link that it printed. */
  readonly link: string;
  readonly ended: Promise<number | null>;
  readonly stderr: () => string;
}

/** Starts `vgg`, with a program in place of the browser that writes its argument to a file. */
async function start(args: readonly string[]): Promise<Vgg> {
  const opener = join(root, openerFor(process.platform)[0]);
  await writeFile(opener, `#!/bin/sh\nprintf %s "$1" > "${join(root, 'opened')}"\n`);
  await chmod(opener, 0o755);
  const child = spawn(process.execPath, [bin, ...args], {
    env: {
      ...process.env,
      COLUMNS: '',
      VGGNET_RUNS: join(root, 'runs'),
      PATH: `${root}${delimiter}${process.env.PATH}`,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  for (;;) {
    const { value, done } = await lines.next();
    if (done) throw new Error(`vgg ended without a link: ${stderr}`);
    const link = /"link":"([^"]+)"/.exec(value)?.[1];
    if (link === undefined) continue;
    const process = { child, link, ended, stderr: () => stderr };
    started.push(process);
    return process;
  }
}

async function clientOf(link: string): Promise<StudioClient> {
  const { origin, hash } = new URL(link);
  return new StudioClient({ token: await tokenFor(keyIn(hash)!, origin), origin });
}

async function opened(): Promise<string> {
  while (!existsSync(join(root, 'opened'))) await sleep(50);
  await sleep(100);
  return readFile(join(root, 'opened'), 'utf8');
}

// The page is built from these sources.
const hasPage = existsSync(fileURLToPath(new URL('../src/studio/index.html', import.meta.url)));

describe.skipIf(!hasPage)('with the page', () => {
  const options = [
    ...['--device', 'wasm', '--threads', '1', '--batch-size', '100', '--optimizer', 'sgd', '--lr', '0.01'],
    ...['--schedule', 'constant', '--epochs', '60', '--no-report'],
  ];

  test('a training is opened, steered, interrupted, resumed and repeated with the same bits', {
    timeout: 240_000,
  }, async () => {
    const run = join(root, 'runs', 'a');
    const train = await start(['train', ...options, '--open', '--json', '--run', run]);
    const link = await opened();
    // The browser's link holds a code: others see the arguments of programs.
    expect(link).not.toContain(new URLSearchParams(train.link.split('?')[1]).get('token'));
    const client = await clientOf(link);
    await expect(clientOf(link)).rejects.toThrow('this link was used already');
    const id = runIn(new URL(link).hash)!;
    const events: StudioEvent[] = [];
    const following = (async () => {
      for await (const event of client.events([id])) events.push(event);
    })();
    while ((await client.runs()).find((one) => one.id === id)?.live !== 'steer') await sleep(50);
    expect(await client.send(id, { command: 'pause' })).toEqual({ confirmed: true });
    await client.send(id, { command: 'change', settings: { lr: 0.02, momentum: 0.8 } });
    await client.send(id, { command: 'step', count: 5 });
    while (((await readConfig(run)).changes ?? []).length === 0) await sleep(50);
    const { changes } = await readConfig(run);
    expect(changes).toEqual([{ step: expect.any(Number), lr: 0.02, momentum: 0.8 }]);
    train.child.kill('SIGINT');
    expect(await train.ended).toBe(130);
    expect(train.stderr()).toMatch(
      /Interrupted\. The checkpoint after .* Resume with:\n {2}.*vgg train --resume/s,
    );
    await following;
    expect(events.at(-1)).toMatchObject({ type: 'bye' });

    const { status } = await readRun(run);
    const steps = String(Math.ceil((status!.step + 1) / 100) * 100);
    const resumed = await start([
      'train',
      '--resume',
      run,
      '--steps',
      steps,
      '--no-report',
      '--open',
      '--json',
    ]);
    expect(runIn(new URL(resumed.link).hash)).toBe(id);
    expect(await resumed.ended).toBe(0);
    expect((await readConfig(run)).changes).toEqual(changes);
    const again = join(root, 'again');
    const config = ['--config', join(run, 'config.json')];
    expect((await vgg(['train', ...config, '--steps', steps, '--no-report', '--run', again])).code).toBe(0);
    expect(await digests(again)).toEqual(await digests(run));
    const plain = join(root, 'plain');
    expect((await vgg(['train', ...options, '--steps', steps, '--run', plain])).code).toBe(0);
    expect(await digests(plain)).not.toEqual(await digests(run));
  });

  test('vgg studio steers a training of another process; stopped there, it ends as with Ctrl-C', {
    timeout: 240_000,
  }, async () => {
    const run = join(root, 'runs', 'a');
    const training = vgg(['train', ...options, '--json', '--run', run]);
    while (!existsSync(join(run, 'control.jsonl'))) await sleep(50);
    const studio = await start(['studio', '--json', '--open']);
    const client = await clientOf(await opened());
    const [first] = await client.runs();
    expect(first).toMatchObject({ name: 'a', state: 'running', live: 'steer' });
    expect(await client.send(first!.id, { command: 'step', count: 2 })).toEqual({ confirmed: true });
    expect(await client.send(first!.id, { command: 'stop' })).toEqual({ confirmed: true });
    const { code, stderr, stdout } = await training;
    expect(code).toBe(130);
    expect(stderr).toContain('Interrupted. The checkpoint after');
    expect(stdout).toContain('"reason":"interrupted"');
    while ((await client.runs())[0]!.state !== 'interrupted') await sleep(50);
    expect((await client.runs())[0]).not.toHaveProperty('live');
    // Several seeds are shown as they come.
    const seeds = await start([
      'train',
      ...options,
      '--seeds',
      '2',
      '--run',
      join(root, 'runs', 'two'),
      '--open',
      '--json',
    ]);
    const other = await clientOf(seeds.link);
    while (!(await other.runs()).some(({ group, live }) => group?.name === 'two' && live === 'steer'))
      await sleep(50);
    const seed = (await other.runs()).find(({ group }) => group?.name === 'two')!;
    expect((await other.runs()).map(({ name }) => name).sort()).toEqual(['a', seed.name]);
    await other.send(seed.id, { command: 'stop' });
    expect(await seeds.ended).toBe(130);
    studio.child.kill('SIGINT');
    expect(await studio.ended).toBe(0);
  });

  test('the page comes from the built files', async () => {
    const studio = await start(['studio', '--json']);
    const { origin } = new URL(studio.link);
    const index = await (await fetch(origin)).text();
    const script = /src="\.?(\/[^"]+\.js)"/.exec(index)?.[1];
    expect(script).toBeDefined();
    const answer = await fetch(`${origin}${script}`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toContain('text/javascript');
    studio.child.kill('SIGTERM');
    expect(await studio.ended).toBe(0);
  });
});

test.each([
  [['studio', 'nothing'], 'nothing is neither a run nor a folder of runs'],
  [['studio', '--port', '0'], '--port 0 is not a whole number ≥ 1'],
  [['studio', '--port', '70000'], '--port 70000 is above the limit of 65535'],
  [['train', '--open', '--no-run'], '--open shows a run, and --no-run keeps none; leave out one of them'],
  [['train', '--change', '5'], '--change 5 does not have the form step:name=value, as in 500:lr=0.01'],
  [['train', '--change', '5:lr=0'], '--change 5:lr=0: lr 0 is not a finite number above 0'],
  [['train', '--change', '5:momentum=0.5'], 'adam has no momentum to change'],
])('%j is refused with exit code 2', async (args, message) => {
  const { code, stderr } = await quickVgg(args);
  expect(code).toBe(2);
  expect(stderr).toContain(message);
});

test('changes may be given as flags, in any order', async () => {
  const flags = [
    '--change',
    '500:lr=0.01',
    '--change',
    '200:lr=1/2,weightDecay=0.1',
    '--change',
    '500:lr=0.02',
  ];
  const { stdout } = await quickVgg(['train', ...flags, '--print-config']);
  expect(JSON.parse(stdout).changes).toEqual([
    { step: 200, lr: 0.5, weightDecay: 0.1 },
    { step: 500, lr: 0.02 },
  ]);
});

test('where no browser can be opened, the user is told', async () => {
  const notices: string[] = [];
  const note = (line: string): void => void notices.push(line);
  openBrowser('http://127.0.0.1/', note, [join(root, 'nothing')]);
  openBrowser('http://127.0.0.1/', note, [process.execPath, '--eval', 'process.exit(3)']);
  while (notices.length < 2) await sleep(20);
  expect(notices.join()).toContain('nothing: program not found); open the link yourself');
  expect(notices.join()).toContain('exit code 3); open the link yourself');
  expect(openerFor('darwin')).toEqual(['open']);
  expect(openerFor('win32')[0]).toBe('rundll32');
});
