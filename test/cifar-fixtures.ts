/** Small stand-ins for CIFAR's files: full-sized, mostly holes, with the bytes that a test wants. */
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { binaryFileBytes, type CifarName, cifarFormats } from '../src/data/cifar.ts';

/** A file of `size` zeros (a hole on disk) with `bytes` at some places. */
export function writeSparse(
  path: string,
  size: number,
  bytes: Readonly<Record<number, readonly number[]>> = {},
): void {
  const file = openSync(path, 'w');
  ftruncateSync(file, size);
  for (const [at, values] of Object.entries(bytes))
    writeSync(file, Uint8Array.from(values), 0, values.length, Number(at));
  closeSync(file);
}

/** The official binary folder in `root`: all labels and pixels 0, but for the first record of each file. */
export function writeBinaryFolder(root: string, name: CifarName): string {
  const format = cifarFormats[name];
  const folder = join(root, format.folders.binary);
  mkdirSync(folder, { recursive: true });
  format.files.forEach((file, i) => {
    // Labels, then red of the first two pixels.
    const first = format.labelBytes === 1 ? [i + 1, 10, 20] : [3, 7 + i, 10, 20];
    writeSparse(join(folder, file.binary), binaryFileBytes(format, file), { 0: first });
  });
  return folder;
}

export interface Member {
  readonly path: string;
  readonly content: Uint8Array;
  /** As in ustar: 0 file, 2 symbolic link, 5 folder. */
  readonly type?: string;
}

/** A tar archive (ustar) of these members. */
export function tar(members: readonly Member[]): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (const { path, content, type = '0' } of members) {
    const header = new Uint8Array(512);
    const put = (at: number, text: string): void => header.set(new TextEncoder().encode(text), at);
    put(0, path);
    put(100, '0000644\0');
    put(124, `${content.length.toString(8).padStart(11, '0')}\0`);
    put(148, ' '.repeat(8));
    put(156, type);
    put(257, 'ustar\x0000');
    put(
      148,
      `${header
        .reduce((a, b) => a + b)
        .toString(8)
        .padStart(6, '0')}\0 `,
    );
    blocks.push(header, content, new Uint8Array((512 - (content.length % 512)) % 512));
  }
  blocks.push(new Uint8Array(1024));
  return Buffer.concat(blocks);
}

/** The members of an official binary archive. */
export function binaryMembers(name: CifarName): Member[] {
  const format = cifarFormats[name];
  return format.files.map((file) => {
    const content = new Uint8Array(binaryFileBytes(format, file));
    content[format.labelBytes - 1] = 9;
    content[format.labelBytes] = 77;
    return { path: `${format.folders.binary}/${file.binary}`, content };
  });
}

export const tarGz = (members: readonly Member[]): Uint8Array => gzipSync(tar(members), { level: 1 });

/**
 * A pickle (protocol 2) as Python 2 wrote CIFAR's batches: a dictionary with a NumPy array of zeros and lists of
 * labels, the first of which is given and the rest 0.
 */
export function writePickle(path: string, records: number, labels: Readonly<Record<string, number>>): void {
  const text = (value: string): number[] => [0x55, value.length, ...new TextEncoder().encode(value)];
  const int32 = (value: number): number[] => [...new Uint8Array(Int32Array.of(value).buffer)];
  const global = (module: string, name: string): number[] => [
    0x63,
    ...new TextEncoder().encode(`${module}\n${name}\n`),
  ];
  const size = records * 3072;
  const head = [
    ...[0x80, 2, 0x7d, 0x71, 1, 0x28], // PROTO 2, EMPTY_DICT, BINPUT 1, MARK
    ...text('data'),
    ...global('numpy.core.multiarray', '_reconstruct'),
    ...global('numpy', 'ndarray'),
    ...[0x4b, 0, 0x85], // BININT1 0, TUPLE1
    ...text('b'),
    ...[0x87, 0x52, 0x28, 0x4b, 1], // TUPLE3, REDUCE, MARK, BININT1 1
    ...[0x4a, ...int32(records), 0x4d, 0x00, 0x0c, 0x86], // BININT records, BININT2 3072, TUPLE2
    ...global('numpy', 'dtype'),
    ...text('u1'),
    ...[0x4b, 0, 0x4b, 1, 0x87, 0x52, 0x28, 0x4b, 3], // BININT1 0, 1, TUPLE3, REDUCE, MARK, BININT1 3
    ...text('|'),
    ...[0x4e, 0x4e, 0x4e], // NONE ×3
    ...[0x4a, ...int32(-1), 0x4a, ...int32(-1), 0x4b, 0, 0x74, 0x62, 0x89], // BININT −1 ×2, 0, TUPLE, BUILD, NEWFALSE
    ...[0x54, ...int32(size)], // BINSTRING
  ];
  const tail = [0x74, 0x62]; // TUPLE, BUILD
  for (const [key, first] of Object.entries(labels)) {
    tail.push(...text(key), 0x5d, 0x28); // EMPTY_LIST, MARK
    for (let i = 0; i < records; i++) tail.push(0x4b, i === 0 ? first : 0);
    tail.push(0x65); // APPENDS
  }
  tail.push(0x75, 0x2e); // SETITEMS, STOP
  writeSparse(path, head.length + size + tail.length, {
    0: head,
    [head.length]: [5, 6],
    [head.length + size]: tail,
  });
}

/** Writes the official python folder in `root`. */
export function writePythonFolder(root: string, name: CifarName): string {
  const format = cifarFormats[name];
  const folder = join(root, format.folders.python);
  mkdirSync(folder, { recursive: true });
  for (const { python, records } of format.files) {
    writePickle(
      join(folder, python),
      records,
      name === 'cifar10' ? { labels: 4 } : { fine_labels: 42, coarse_labels: 2 },
    );
  }
  return folder;
}

export const writeArchive = (path: string, members: readonly Member[]): void =>
  writeFileSync(path, tarGz(members));
