/** Sizes and channels against sharp's, and files that are left to it. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type ImageHeader, loadSharp } from '../sharp.ts';
import { jpegHeader } from './header.ts';

const folder = 'test/golden/images';
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(`${folder}/${name}`));
const files = readdirSync(folder).filter((name) => name.endsWith('.jpg'));

test.for(files)('%s', async (name) => {
  const header = jpegHeader(read(name));
  const { format, width, height, channels, depth, space, orientation } = (await loadSharp()(read(name), {
    failOn: 'error',
    limitInputPixels: false,
    ignoreIcc: true,
  }).metadata()) as ImageHeader & { readonly orientation?: number };
  const known = { format, width, height, channels, depth, space };
  const isUpright = orientation === undefined || orientation === 1;
  const more = { isUpright, isPlain: isUpright && channels === 3 };
  expect(header).toEqual(space === 'cmyk' ? undefined : { ...known, ...more });
});

test('what is damaged or uncommon is left to the decoder', () => {
  const jpeg = read('420.jpg');
  for (const length of [0, 2, 3, 20, 150]) expect(jpegHeader(jpeg.subarray(0, length))).toBeUndefined();
  const start = jpeg.findIndex((byte, i) => byte === 0xff && jpeg[i + 1] === 0xc0);
  const changed = (at: number, byte: number): Uint8Array => jpeg.map((old, i) => (i === at ? byte : old));
  // Lossless compression, 12 bits, no height, four channels, no marker.
  for (const [at, byte] of [
    [1, 0xc3],
    [4, 12],
    [9, 4],
    [0, 0],
  ] as const)
    expect(jpegHeader(changed(start + at, byte))).toBeUndefined();
  // A length of 0 leads into the segment itself, where no marker is.
  expect(jpegHeader(Uint8Array.of(0xff, 0xd8, 0xff, 0xe0, 0, 0, ...new Uint8Array(20)))).toBeUndefined();
});
