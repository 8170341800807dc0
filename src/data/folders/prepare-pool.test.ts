/** The pool that prepares images, and the memory its threads share. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { openBudget, sharedBudget } from './memory-budget.ts';
import { openPreparer, type Prepared } from './prepare-image.ts';
import { openPool } from './prepare-pool.ts';

const root = mkdtempSync(join(tmpdir(), 'vgg-pool-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const image = (name: string): string => `test/golden/images/${name}`;

/** A worker's program that answers with the path, or ends for the path `end`. */
function programOf(text: string): URL {
  const file = join(root, `${Math.random()}.mjs`);
  writeFileSync(file, `import { parentPort, workerData } from 'node:worker_threads';\n${text}`);
  return pathToFileURL(file);
}

test('own threads and workers give the same', async () => {
  const pool = openPool(50, 2);
  const own = openPreparer(50, openBudget(sharedBudget(1e9)));
  const names = [
    '420.jpg',
    'progressive.jpg',
    'orientation-6.jpg',
    'gray.jpg',
    'rgb.png',
    'cmyk.jpg',
    'none.jpg',
  ];
  const [some, others] = await Promise.all([
    Promise.all(names.map((name) => pool.prepare(image(name)))),
    Promise.all(names.map((name) => own(image(name)))),
  ]);
  expect(some).toEqual(others);
  expect(some.map((one) => ('problem' in one ? one.problem : Math.min(one.width, one.height)))).toEqual([
    ...[50, 50, 50, 50, 50, 50],
    'test/golden/images/none.jpg cannot be read: no such file or folder',
  ]);
  await pool.close();
});

test('a worker that ends while it has nothing to do fails the next request', async () => {
  const pool = openPool(50, 2, programOf('process.exit(3);'));
  await sleep(500);
  await expect(pool.prepare('a')).rejects.toThrow(
    'a worker that prepares images ended with code 3; try again',
  );
  await pool.close();
});

test('a worker that ends fails the requests of all: they may wait for its memory', async () => {
  const text = `parentPort.on('message', ({ path }) => { if (path === 'end') process.exit(3); });`;
  const pool = openPool(50, 3, programOf(text));
  const requests = ['a', 'end', 'b', 'c'].map((path) => pool.prepare(path));
  for (const result of await Promise.allSettled(requests)) expect(result.status).toBe('rejected');
  await expect(pool.prepare('d')).rejects.toThrow('ended with code 3');
  await pool.close();
});

test('a worker that throws', async () => {
  const pool = openPool(50, 1, programOf(`throw new Error('no memory');`));
  await expect(pool.prepare('a')).rejects.toThrow('a worker that prepares images failed: no memory');
  await pool.close();
});

test('memory: who needs more than is free waits; one alone gets more than all', async () => {
  const shared = sharedBudget(100 * 4096);
  const [a, b] = [openBudget(shared), openBudget(shared)];
  const bytes = (units: number): number => units * 4096;
  expect(a.take(bytes(60))).toBeUndefined();
  expect(a.takeMore(bytes(60), bytes(30))).toBe(true);
  expect(b.takeMore(0, bytes(20))).toBe(false);
  // Others have nothing: more than all is given.
  expect(a.takeMore(bytes(90), bytes(500))).toBe(true);
  const order: string[] = [];
  const waiting = Promise.resolve(b.take(bytes(50))).then(() => order.push('b'));
  await sleep(20);
  order.push('a');
  a.give(bytes(590));
  await waiting;
  expect(order).toEqual(['a', 'b']);
  expect(a.take(bytes(51))).toBeInstanceOf(Promise);
  b.give(bytes(50));
});

test('images that wait for memory are read again, with the same bytes', async () => {
  const shared = sharedBudget(1);
  const prepare = openPreparer(40, openBudget(shared));
  const names = ['progressive.jpg', 'rgb.png', '420.jpg', 'gray16.png', 'lossy.webp'];
  const files = names.map((name) => join(root, name));
  for (const [i, file] of files.entries()) cpSync(image(names[i]!), file);
  const apart: Prepared[] = [];
  for (const file of files) apart.push(await prepare(file));
  expect(await Promise.all(files.map(prepare))).toEqual(apart);
  expect(shared[0]).toBe(0);
});
