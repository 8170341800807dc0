/**
 * Reads the headers of the JPEG files that our own decoder knows: 8 bits, Huffman codes, one scan, and gray or YCbCr with
 * whole or half chroma. Everything else is left to sharp, so what is unusual here need only be recognized as such.
 * ITU-T T.81, and for colors JFIF and what libjpeg assumes.
 */

import { jpegHeader } from './header.ts';
import type { HuffmanCode } from './huffman.ts';
import { type Segment, segmentsOf, startOfScan, startsWith, wordAt } from './segments.ts';

export interface Component {
  /** Blocks of an MCU. */
  readonly horizontal: number;
  readonly vertical: number;
  /** Of the coefficients, row by row. */
  readonly quantization: Uint16Array;
  readonly dc: HuffmanCode;
  readonly ac: HuffmanCode;
}

export interface BaselineJpeg {
  readonly width: number;
  readonly height: number;
  /** Gray, or Y, Cb and Cr. */
  readonly components: readonly Component[];
  /** MCUs between restarts; 0 without. */
  readonly restartInterval: number;
  /** Where the scan's codes start in the file. */
  readonly scanStart: number;
}

/** Where coefficients are in a block, in the order in which they are stored. */
// biome-ignore format: the rows of a block
export const zigzag: Uint8Array = Uint8Array.of(
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
  12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
  58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
);

interface Frame {
  readonly width: number;
  readonly height: number;
  readonly components: readonly { readonly id: number; readonly sampling: number; readonly table: number }[];
}

interface Tables {
  readonly quantization: Map<number, Uint16Array>;
  /** By class (0: DC, 16: AC) and number. */
  readonly huffman: Map<number, HuffmanCode>;
  restartInterval: number;
  frame?: Frame | undefined;
  isJfif: boolean;
  /** Adobe's transform of colors. */
  adobe?: number;
}

/** The headers of an upright image; undefined for a file that is unusual or damaged. */
export function readBaseline(bytes: Uint8Array): BaselineJpeg | undefined {
  if (jpegHeader(bytes)?.isUpright !== true) return undefined;
  const tables: Tables = { quantization: new Map(), huffman: new Map(), restartInterval: 0, isJfif: false };
  for (const segment of segmentsOf(bytes)) {
    if (segment.marker === startOfScan) return scanOf(bytes, segment, tables);
    if (!readSegment(bytes, segment, tables)) return undefined;
  }
  return undefined;
}

/** Whether a segment is of a kind that is known, and whole. */
function readSegment(bytes: Uint8Array, segment: Segment, tables: Tables): boolean {
  const { marker, start, end } = segment;
  switch (marker) {
    // Frames with Huffman codes and one scan for all coefficients: baseline and extended.
    case 0xc0:
    case 0xc1:
      if (tables.frame !== undefined) return false;
      tables.frame = frameOf(bytes, segment);
      return tables.frame !== undefined;
    case 0xc4:
      return readHuffman(bytes, segment, tables);
    case 0xdb:
      return readQuantization(bytes, segment, tables);
    case 0xdd:
      tables.restartInterval = wordAt(bytes, start);
      return end - start === 2;
    case 0xe0:
      if (startsWith(bytes, segment, 'JFIF\0') && end - start >= 14) tables.isJfif = true;
      return true;
    case 0xee:
      if (startsWith(bytes, segment, 'Adobe') && end - start >= 12) tables.adobe = bytes[start + 11]!;
      return true;
    // Applications' data and comments.
    default:
      return (marker >= 0xe0 && marker <= 0xef) || marker === 0xfe;
  }
}

function frameOf(bytes: Uint8Array, { start, end }: Segment): Frame | undefined {
  const count = bytes[start + 5]!;
  if (end - start !== 6 + 3 * count) return undefined;
  return {
    height: wordAt(bytes, start + 1),
    width: wordAt(bytes, start + 3),
    components: Array.from({ length: count }, (_, i) => {
      const at = start + 6 + 3 * i;
      return { id: bytes[at]!, sampling: bytes[at + 1]!, table: bytes[at + 2]! };
    }),
  };
}

function readHuffman(bytes: Uint8Array, { start, end }: Segment, { huffman }: Tables): boolean {
  let at = start;
  while (at + 17 <= end) {
    const counts = bytes.slice(at + 1, at + 17);
    const total = counts.reduce((sum, count) => sum + count, 0);
    if (total > 256 || at + 17 + total > end || (bytes[at]! & ~0x13) !== 0) return false;
    huffman.set(bytes[at]!, { counts, symbols: bytes.slice(at + 17, at + 17 + total) });
    at += 17 + total;
  }
  return at === end;
}

function readQuantization(bytes: Uint8Array, { start, end }: Segment, { quantization }: Tables): boolean {
  let at = start;
  for (; at + 65 <= end; at += 65) {
    // Steps of 8 bits, and four tables.
    if (bytes[at]! > 3) return false;
    const table = new Uint16Array(64);
    for (let i = 0; i < 64; i++) table[zigzag[i]!] = bytes[at + 1 + i]!;
    quantization.set(bytes[at]!, table);
  }
  return at === end;
}

/** Samplings (blocks across and down an MCU) of luma whose chroma has one block. */
const lumaSamplings = [0x11, 0x21, 0x22];
/** Of gray, where they mean nothing: up to four blocks each. */
const graySamplings = [1, 2, 3, 4].flatMap((across) => [1, 2, 3, 4].map((down) => (across << 4) | down));

const samplingsOf = (count: number, i: number): readonly number[] =>
  count === 1 ? graySamplings : i === 0 ? lumaSamplings : [0x11];

function scanOf(bytes: Uint8Array, { start, end }: Segment, tables: Tables): BaselineJpeg | undefined {
  const { frame, quantization, huffman, restartInterval } = tables;
  if (frame === undefined) return undefined;
  const count = frame.components.length;
  if (bytes[start] !== count || end - start !== 4 + 2 * count) return undefined;
  // All coefficients, with all their bits.
  if (bytes[end - 3] !== 0 || bytes[end - 2] !== 63 || bytes[end - 1] !== 0) return undefined;
  if (count === 3 && !isYcc(frame, tables)) return undefined;
  const components: Component[] = [];
  for (const [i, { id, sampling, table }] of frame.components.entries()) {
    const codes = bytes[start + 2 + 2 * i]!;
    const [dc, ac] = [huffman.get(codes >> 4), huffman.get(16 | (codes & 15))];
    const steps = quantization.get(table);
    const isKnown = samplingsOf(count, i).includes(sampling);
    if (bytes[start + 1 + 2 * i] !== id || !isKnown || !dc || !ac || !steps) return undefined;
    // The only component of a scan has a block per MCU.
    const [horizontal, vertical] = count === 1 ? [1, 1] : [sampling >> 4, sampling & 15];
    components.push({ horizontal, vertical, quantization: steps, dc, ac });
  }
  const { width, height } = frame;
  // libjpeg does not interpolate chroma of one or two columns.
  if (components[0]!.horizontal === 2 && width <= 4) return undefined;
  return { width, height, components, restartInterval, scanStart: end };
}

function isYcc({ components }: Frame, { isJfif, adobe }: Tables): boolean {
  if (isJfif) return true;
  if (adobe !== undefined) return adobe === 1;
  return components.every(({ id }, i) => id === i + 1);
}
