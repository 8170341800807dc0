/** Workers that do not start, and workers that have nothing to do. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { noNative } from '../../../../test/native.ts';
import { VggError } from '../../../errors.ts';
import { startThread, type WorkerProgram } from './threads.ts';

describe('a worker that does not start is an error that says what to do', () => {
  afterEach(() => void vi.useRealTimers());

  const failure = async (program: WorkerProgram): Promise<VggError> => {
    const error = await startThread(program).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(VggError);
    return error as VggError;
  };

  test.for<readonly [string, WorkerProgram, string]>([
    ['whose program is missing', { file: new URL('nowhere.js', import.meta.url) }, 'Cannot find module'],
    ['whose program throws', { text: "throw new Error('no luck')" }, 'no luck'],
    ['whose program is not JavaScript', { text: '<!doctype html>' }, 'Unexpected token'],
    ['that ends', { text: 'process.exit(0)' }, 'it ended with code 0'],
  ])('%s', async ([, program, reason]) => {
    const { message } = await failure(program);
    expect(message).toContain(`a worker cannot start: ${reason}`);
    expect(message).toMatch(
      /; reinstall vggnet, or, if this program was bundled, declare vggnet external in the bundler/,
    );
    expect(message).not.toContain('\n');
  });

  test('that runs another program', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const failed = failure({ text: "require('worker_threads').parentPort.on('message', () => {})" });
    let over = false;
    void failed.then(() => {
      over = true;
    });
    while (!over) {
      vi.advanceTimersByTime(1000);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect((await failed).message).toContain('a worker cannot start: it did not answer within 10 s; ');
  });
});

test('a failure before `listen` is not lost', async () => {
  const thread = await startThread({
    text: `const { parentPort } = require('worker_threads');
      parentPort.postMessage({ kind: 'started' });
      parentPort.postMessage({ kind: 'failed', message: 'early' });`,
  });
  onTestFinished(() => thread.stop());
  await new Promise((resolve) => setTimeout(resolve, 100));
  const told: unknown[] = [];
  thread.listen((message) => told.push(message));
  expect(told).toContainEqual({ kind: 'failed', message: 'early' });
});

describe('a program exits although its model is open', () => {
  const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
  const prologue = `
    const { compile, sequential, flatten, linear, shapes, dataLoader, adam } = await import(${url('../../../index.ts')});
    const { train, test } = shapes();
    const open = (device) => compile(sequential([flatten(), linear(10)]), { input: train.shape, threads: 2, device });
    const loader = dataLoader(train, { batchSize: 100 });
    const step = { epoch: 1, optimizer: adam(), steps: 2 };
  `;
  /** What the program prints; it has a minute. */
  const run = async (program: string): Promise<string> => {
    const args = ['--input-type=module', '--eval', prologue + program];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 });
    return stdout;
  };

  test.for(['native', 'wasm', 'reference'] as const)('%s', async (device, { skip }) => {
    if (device === 'native' && noNative !== undefined) skip(noNative);
    const output = await run(`
      const model = await open('${device}');
      // Nobody waits for it, and yet it is done.
      model.train(loader, step).then(({ steps }) => console.log('trained', steps));
      model.evaluate(dataLoader(test, { batchSize: 100 })).then(({ images }) => console.log('tested', images));
      model.predict(new Float32Array(3 * 32 * 32)).then(({ labels }) => console.log('predicted', labels.length));
    `);
    expect(output).toBe('trained 2\ntested 2000\npredicted 1\n');
  });

  test('after an error', async () => {
    const output = await run(`
      const model = await open('wasm');
      await model.train(loader, { ...step, optimizer: { kind: 'adam', lr: 0.1 } }).catch(() => console.log('failed'));
    `);
    expect(output).toBe('failed\n');
  });

  test('in a separate worker thread', async () => {
    const output = await run(`
      const { Worker } = await import('node:worker_threads');
      const text = \`import(${url('../../../index.ts').replaceAll('"', "'")}).then(async ({ compile, sequential, flatten, linear }) => {
        await compile(sequential([flatten(), linear(10)]), { input: [1, 2, 2], threads: 2, device: 'wasm' });
        console.log('compiled');
      })\`;
      new Worker(text, { eval: true, execArgv: [] }).on('exit', (code) => console.log('thread', code));
    `);
    expect(output).toBe('compiled\nthread 0\n');
  });
});
