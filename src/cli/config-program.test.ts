import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { readConfigFile } from './config-options.ts';
import { plain } from './config-program.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-config-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function read(program: string, patience?: number): Promise<unknown> {
  const path = join(folder, 'a.ts');
  await writeFile(path, program);
  return readConfigFile(path, patience);
}

describe('a config that is a program', () => {
  test('is run, and may leave timers behind', async () => {
    const program = `
      const seconds: number = await new Promise((done) => setTimeout(done, 10, 3));
      setInterval(() => {}, 1000);
      export default { epochs: seconds, modelOptions: { channels: [1, 2] }, steps: undefined, ['__proto__']: 1 };`;
    const config = await read(program);
    expect(Object.entries(config as object)).toEqual([
      ['epochs', 3],
      ['modelOptions', { channels: [1, 2] }],
      ['__proto__', 1],
    ]);
  });

  test.each([
    ['await new Promise(() => {}); export default {}', /it ended without a default export/],
    ['process.exit(0)', /it ended without a default export/],
    ['export const epochs = 3', /it has no default export/],
    ['export default {', /does not run: /],
    ['throw new Error("one\\n  two")', /does not run: one two; correct it/],
    ['throw { toString() { throw 1 } }', /does not run: it throws what cannot be shown/],
    ['throw null', /does not run: it throws null/],
    [
      'setTimeout(() => { throw new Error("late") }); await new Promise((f) => setTimeout(f, 1000))',
      /not run: late/,
    ],
    ['export default { get lr() { throw new Error("no") } }', /lr: is computed by a getter/],
    ['const a: any = {}; a.modelOptions = { a }; export default a', /modelOptions\.a: contains itself/],
    ['export default new Proxy({}, { ownKeys() { throw 1 } })', /its default export is a proxy/],
    ['export default new Promise(() => {})', /its default export is a promise; write await/],
    ['export default { lr: 0 / 0 }', /lr: NaN is not a finite number/],
  ])('%s', async (program, problem) => {
    await expect(read(program)).rejects.toThrow(UsageError);
    await expect(read(program)).rejects.toThrow(problem);
    await expect(read(program)).rejects.not.toThrow(/\n/);
  });

  test('is stopped when it does not end', async () => {
    await expect(read('for (;;) {}; export default {}', 500)).rejects.toThrow(
      'it did not finish within 0.5 s',
    );
    await expect(read('setInterval(() => {}, 9); await new Promise(() => {})', 500)).rejects.toThrow(
      'within 0.5 s',
    );
  });
});

test.each([
  [{ a: [1, { b: Number.POSITIVE_INFINITY }] }, 'a[1].b: Infinity is not a finite number'],
  [{ a: 1n }, 'a: is of type bigint'],
  [{ a: () => 1 }, 'a: is of type function'],
  [{ a: Symbol('a') }, 'a: is of type symbol'],
  [{ a: new Array(2) }, 'a[0]: is of type undefined'],
  [{ a: new Map() }, 'a: is an object of a class'],
  [{ a: new Date(0) }, 'a: is an object of a class'],
  [new (class Config {})(), 'its default export is an object of a class'],
  [Object.assign(Object.create({ lr: 1 }), { a: 1 }), 'its default export is an object of a class'],
  [Object.defineProperty([], 0, { get: () => 1, enumerable: true }), '[0]: is computed by a getter'],
])('plain data is nothing else: %#', (value, problem) => {
  expect(() => plain(value)).toThrow(problem);
});

test('what is nested too deep is refused', () => {
  let value: unknown = 1;
  for (let i = 0; i < 100_000; i++) value = [value];
  expect(() => plain(value)).toThrow('is nested more than 100 deep');
  expect(() => plain(value)).toThrow(/^.{0,400}$/);
});

test('the same object twice is no circle', () => {
  const list = [1];
  expect(plain({ a: list, b: list, c: null, d: Object.create(null) as unknown })).toEqual({
    ...{ a: [1], b: [1], c: null, d: {} },
  });
});
