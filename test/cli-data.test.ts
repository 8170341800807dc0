/**
 * CIFAR through the command line: the real `vgg` in a process of its own, on files that are right, wrong or absent,
 * and `vgg download` against a server on loopback. What the files hold is tested beside `src/data`.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  binaryMembers,
  tarGz,
  writeArchive,
  writeBinaryFolder,
  writePythonFolder,
  writeSparse,
} from './cifar-fixtures.ts';
import { jsonLines, quickVgg, type Run, vgg } from './run-vgg.ts';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'vggnet-cli-data-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const fresh = (): string => mkdtempSync(join(root, 'case-'));

/** The command ended with one message on standard error and nothing else. */
function expectError(run: Run, message: RegExp | string): void {
  expect(run.stderr).toMatch(/^error: /);
  expect(run.stderr).toMatch(message);
  expect(run.stderr).not.toMatch(/^\s+at /m);
  expect(run.stdout).toBe('');
  expect(run.code).toBe(1);
}

describe('CIFAR is found', () => {
  const step = ['train', '--steps', '1', '--log-every', '1', '--json', '--no-report'];
  const oneStep = async (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
    const run = await vgg([...step, ...args], { env });
    expect(run.stderr).not.toContain('error');
    expect(run.code).toBe(0);
    return jsonLines(run);
  };

  test('in --data, in $VGGNET_DATA, and in the cache, in this order', async () => {
    const cache = fresh();
    writeBinaryFolder(join(cache, 'vggnet'), 'cifar10');
    const events = await oneStep(['--dataset', 'cifar10'], { XDG_CACHE_HOME: cache, VGGNET_DATA: '' });
    expect(events[0]).toMatchObject({ event: 'start', dataset: 'cifar10' });

    const named = fresh();
    const elsewhere = await vgg([...step, '--dataset', 'cifar10'], {
      env: { XDG_CACHE_HOME: cache, VGGNET_DATA: named },
    });
    expectError(
      elsewhere,
      `cifar10: no files found in ${named}; download them with: npx vgg download cifar10`,
    );

    const explicit = await vgg([...step, '--dataset', 'cifar10', '--data', named], {
      env: { VGGNET_DATA: join(cache, 'vggnet') },
    });
    expectError(explicit, `cifar10: no files found in ${named}; `);
  });

  test('as python files, with fine and coarse labels', async () => {
    const data = fresh();
    writePythonFolder(data, 'cifar100');
    const args = ['--dataset', 'cifar100', '--data', data];
    // With 100 or 20 classes the first loss is near the logarithm of these.
    const [, fine] = await oneStep(args);
    expect(Math.abs((fine!.loss as number) - Math.log(100))).toBeLessThan(0.5);
    const [, coarse] = await oneStep([...args, '--labels', 'coarse']);
    expect(Math.abs((coarse!.loss as number) - Math.log(20))).toBeLessThan(0.5);
  });

  test('as an archive', async () => {
    const archive = join(fresh(), 'cifar-100-binary.tar.gz');
    writeArchive(archive, binaryMembers('cifar100'));
    const stats = jsonLines(await vgg(['stats', '--dataset', 'cifar100', '--data', archive, '--json']));
    // One red pixel of 50,000 · 32² is 77, all else is 0.
    expect(stats[0]!.mean).toEqual([expect.closeTo(77 / 255 / 50_000 / 1024, 12), 0, 0]);
  });

  test.skipIf(!process.env.VGGNET_TEST_CIFAR)('and its real statistics are printed', async () => {
    const args = ['stats', '--dataset', 'cifar100', '--data', process.env.VGGNET_TEST_CIFAR!, '--json'];
    const [stats] = jsonLines(await vgg(args)) as readonly { mean: number[]; std: number[] }[];
    const known = {
      mean: [0.5070751592, 0.4865488733, 0.4409178434],
      std: [0.2673342859, 0.2564384629, 0.2761504713],
    };
    for (const key of ['mean', 'std'] as const) {
      for (const [c, value] of known[key].entries()) {
        expect(Math.abs(stats![key][c]! - value), `${key} ${c}`).toBeLessThan(1e-8);
      }
    }
  });
});

describe('wrong files', () => {
  /** Makes a place with wrong files and returns its path; the message that names them, with `PLACE` for that path. */
  const cases: readonly (readonly [name: string, make: (folder: string) => string, message: string])[] = [
    [
      'a folder without them',
      (folder) => folder,
      'cifar10: no files found in PLACE; download them with: npx vgg download cifar10, or pass their folder or archive to --data.\nSearched for PLACE/data_batch_1.bin, ',
    ],
    ['no folder', (folder) => join(folder, 'nowhere'), 'cifar10: PLACE does not exist; download them with: '],
    [
      'one missing',
      (folder) => {
        const files = writeBinaryFolder(folder, 'cifar10');
        rmSync(join(files, 'data_batch_4.bin'));
        return files;
      },
      'cifar10: PLACE/data_batch_4.bin is missing; ',
    ],
    [
      'a truncated one',
      (folder) => {
        truncateSync(join(writeBinaryFolder(folder, 'cifar10'), 'data_batch_1.bin'), 30_000_000);
        return folder;
      },
      'PLACE/cifar-10-batches-bin/data_batch_1.bin is truncated: it has 30000000 bytes, but 10000 records take 30730000',
    ],
    [
      'an overlong one',
      (folder) => {
        truncateSync(join(writeBinaryFolder(folder, 'cifar10'), 'data_batch_1.bin'), 30_730_001);
        return folder;
      },
      'data_batch_1.bin is too long: it has 30730001 bytes, but 10000 records take 30730000',
    ],
    [
      'a label out of range',
      (folder) => {
        const path = join(writeBinaryFolder(folder, 'cifar10'), 'data_batch_2.bin');
        writeSparse(path, 30_730_000, { [3073 * 9999]: [255] });
        return folder;
      },
      'data_batch_2.bin: record 9999 has label 255; expected 0 to 9.',
    ],
    [
      'a pickle that would run code',
      (folder) => {
        const files = writePythonFolder(folder, 'cifar10');
        writeFileSync(join(files, 'data_batch_1'), '\x80\x02cos\nsystem\nU\x02ls\x85R.', 'latin1');
        return files;
      },
      'PLACE/data_batch_1 is not a pickle of the official python archive: it refers to "os system"',
    ],
    [
      'an archive that is none',
      (folder) => {
        const path = join(folder, 'cifar.tar.gz');
        writeFileSync(path, 'this is no archive');
        return path;
      },
      'PLACE is not a complete .tar.gz archive: incorrect header check; download it again',
    ],
    [
      'an archive that is cut off',
      (folder) => {
        const archive = tarGz(binaryMembers('cifar10').slice(0, 1));
        writeFileSync(join(folder, 'cifar-10-binary.tar.gz'), archive.subarray(0, archive.length - 5000));
        return folder;
      },
      'PLACE/cifar-10-binary.tar.gz is not a complete .tar.gz archive: unexpected end of file; download it again',
    ],
    [
      'an archive with a path outside its folder',
      (folder) => {
        const path = join(folder, 'cifar.tar.gz');
        writeArchive(path, [{ path: '../evil', content: Uint8Array.of(1) }]);
        return path;
      },
      'PLACE: member "../evil" is outside the archive\'s folder; do not unpack this archive',
    ],
    [
      'an archive with a link',
      (folder) => {
        const path = join(folder, 'cifar.tar.gz');
        writeArchive(path, [{ path: 'cifar-10-batches-bin/x', content: new Uint8Array(0), type: '2' }]);
        return path;
      },
      'PLACE: member cifar-10-batches-bin/x is a link or special file (type 2)',
    ],
  ];
  test.for(cases)('%s', async ([, make, message]) => {
    const place = make(fresh());
    const run = await quickVgg(['train', '--dataset', 'cifar10', '--data', place]);
    expectError(run, '');
    expect(run.stderr).toContain(message.replaceAll('PLACE', place));
    expect(existsSync(join(place, '..', 'evil'))).toBe(false);
  });
});

describe('vgg download', () => {
  /** Runs `vgg download` with the official address led to a server on loopback that answers with `answer`. */
  async function downloadFrom(
    answer: RequestListener,
    args: readonly string[],
    options: Parameters<typeof vgg>[1] = {},
  ): Promise<Run> {
    const server = createServer(answer);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const preload =
      'const { fetch } = globalThis;' +
      `globalThis.fetch = (url, options) => fetch(url.replace(/^https:[/][/][^/]+/, "http://127.0.0.1:${port}"), options);`;
    try {
      return await vgg(['download', ...args], {
        ...options,
        env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(preload)}` },
      });
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  test('asks the official address, and refuses what has another checksum', async () => {
    const directory = fresh();
    const paths: (string | undefined)[] = [];
    const run = await downloadFrom(
      (request, response) => {
        paths.push(request.url);
        response.end('another archive');
      },
      ['cifar10', '--directory', directory],
    );
    expect(paths).toEqual(['/~kriz/cifar-10-binary.tar.gz']);
    expect(run.stderr).toMatch(
      /error: .*: the file has MD5 [0-9a-f]{32}, not the official c32a1d4ab5d03f1284b67883e8d87530\./,
    );
    expect([run.stdout, run.code]).toEqual(['', 1]);
    expect(readdirSync(directory)).toEqual([]);
  });

  test('says in two lines how to do without it', async () => {
    const directory = fresh();
    const run = await downloadFrom(
      (_, response) => response.writeHead(404).end(),
      ['cifar100', '--directory', directory],
    );
    const url = 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz';
    expectError(run, '');
    expect(run.stderr).toBe(
      `error: ${url}: the server answered 404 Not Found.\n` +
        `Download ${url} manually (MD5 03b5dce01913d631647c71ecec9e9cb8),\n` +
        `save it as ${directory}/cifar-100-binary.tar.gz, and train with: --data ${directory}\n`,
    );
    expect(readdirSync(directory)).toEqual([]);
  });

  test('finds what is there already', async () => {
    const directory = fresh();
    const folder = writeBinaryFolder(directory, 'cifar10');
    const none: RequestListener = (_, response) => response.writeHead(500).end();
    const run = await downloadFrom(none, ['cifar10', '--directory', directory]);
    expect(run.stdout).toBe(`cifar10 is already in ${folder}.\n`);
    expect(run.stderr).toBe(`Train on it with:\n  npx vgg train --dataset cifar10 --data ${directory}\n`);
    expect(run.code).toBe(0);
    const json = await downloadFrom(none, ['cifar10', '--directory', directory, '--json']);
    expect(jsonLines(json)).toEqual([{ dataset: 'cifar10', folder, present: true }]);
  });

  test('into a folder that cannot be made', async () => {
    const file = join(fresh(), 'file');
    writeFileSync(file, '');
    const run = await vgg(['download', 'cifar10', '--directory', join(file, 'below')]);
    expectError(
      run,
      /cannot create the folder .*below: part of its path is a file, not a folder; choose another folder with --directory/,
    );
  });

  test('that is interrupted keeps what it got', async () => {
    const directory = fresh();
    const part = join(directory, 'cifar-10-binary.tar.gz.part');
    const run = await downloadFrom(
      (_, response) => {
        response.writeHead(200, { 'content-length': 1e6 });
        response.write(new Uint8Array(200_000));
      },
      ['cifar10', '--directory', directory],
      { interrupt: { signal: 'SIGINT', after: '0.2 of 1.0 MB' } },
    );
    expect(run.stderr).toMatch(
      /\nInterrupted\. The downloaded part is kept\. Continue with:\n {2}npx vgg download cifar10 --directory \S+\n$/,
    );
    expect(run.stderr).not.toMatch(/^\s+at /m);
    expect([run.stdout, run.code]).toEqual(['', 130]);
    expect(statSync(part).size).toBeGreaterThan(100_000);
  });
});
