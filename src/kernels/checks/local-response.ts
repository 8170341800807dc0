/** Checks of local response normalization: windows of even and odd sizes, wider than the channels, and exponents. */
import { exponentArguments } from '../local-response.ts';
import type { Arguments, KernelCheck } from './check.ts';

interface Normalization {
  readonly before: number;
  readonly behind: number;
  readonly exponent: number;
  readonly factor: number;
  readonly constant: number;
  readonly channels: number;
}

const normalizations: readonly Normalization[] = [
  { before: 2, behind: 2, exponent: 0.75, factor: 0.5, constant: 1, channels: 28 },
  { before: 1, behind: 0, exponent: 0.5, factor: 3, constant: 0.5, channels: 12 },
  { before: 0, behind: 0, exponent: 1, factor: 1, constant: 2, channels: 4 },
  { before: 3, behind: 2, exponent: 2.6, factor: 0.7, constant: 1.5, channels: 20 },
  { before: 7, behind: 7, exponent: 0, factor: 0.25, constant: 0.25, channels: 8 },
];

const [rows, columns, gap] = [2, 3, 8];

function argumentsOf({ before, behind, exponent, factor, constant, channels }: Normalization): Arguments {
  return {
    ...{ out: 1001, outRow: 131, map: 2003, mapRow: 137, squares: 3001, workingPixel: channels + gap },
    ...{ before, size: before + behind + 1, rows, columns, channels },
    ...{ factor: Math.fround(factor), constant, ...exponentArguments(exponent) },
  };
}

/** Zeros around the channels of each pixel. */
const prepare =
  (...working: readonly ('squares' | 'terms')[]): KernelCheck['prepare'] =>
  ({ floats }, a) => {
    for (const name of working) floats.fill(0, a[name]! - gap, a[name]! + columns * a.workingPixel!);
  };

const workingRange = (a: Arguments, name: 'squares' | 'terms'): readonly [number, number] => [
  a[name]!,
  a[name]! + columns * a.workingPixel!,
];

/** Calls `body` for each value: with its position in a map of a row stride, and the channels of its place. */
function eachPixel(a: Arguments, body: (at: (start: number, rowStride: number) => number) => void): void {
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      body((start, rowStride) => start + y * rowStride + x * a.channels!);
    }
  }
}

/** The sum over a window that starts `before` channels before `channel`. */
function windowSum(values: readonly number[], channel: number, before: number, size: number): number {
  return values
    .slice(Math.max(0, channel - before), Math.max(0, channel - before + size))
    .reduce((sum, value) => sum + value, 0);
}

function basesOf(a: Arguments, values: readonly number[]): number[] {
  const squares = values.map((value) => value * value);
  return values.map((_, c) => a.constant! + a.factor! * windowSum(squares, c, a.before!, a.size!));
}

const titleOf = ({ before, behind, exponent, channels }: Normalization): string =>
  `window ${before} + 1 + ${behind} of ${channels} channels, exponent ${exponent}`;

export const localResponse: readonly KernelCheck[] = normalizations.map((normalization) => {
  const named = argumentsOf(normalization);
  return {
    title: titleOf(normalization),
    arguments: named,
    prepare: prepare('squares')!,
    ignored: [workingRange(named, 'squares')],
    plain(m, a) {
      eachPixel(a, (at) => {
        const from = at(a.map!, a.mapRow!);
        const values = [...m.subarray(from, from + a.channels!)];
        const to = at(a.out!, a.outRow!);
        for (const [c, base] of basesOf(a, values).entries()) {
          m[to + c] = values[c]! / base ** normalization.exponent;
        }
      });
    },
  };
});

export const localResponseBackward: readonly KernelCheck[] = normalizations.map((normalization) => {
  const { exponent, behind } = normalization;
  const named = {
    ...argumentsOf(normalization),
    ...{ gradient: 4001, gradientRow: 139, terms: 5003, behind },
    scale: Math.fround(2 * normalization.factor * exponent),
  };
  return {
    title: titleOf(normalization),
    arguments: named,
    prepare: prepare('squares', 'terms')!,
    ignored: [workingRange(named, 'squares'), workingRange(named, 'terms')],
    plain(m, a) {
      eachPixel(a, (at) => {
        const from = at(a.map!, a.mapRow!);
        const values = [...m.subarray(from, from + a.channels!)];
        const gradient = at(a.gradient!, a.gradientRow!);
        const bases = basesOf(a, values);
        const terms = values.map((value, c) => (m[gradient + c]! * value) / bases[c]! ** (exponent + 1));
        const to = at(a.out!, a.outRow!);
        for (const [c, value] of values.entries()) {
          const others = a.scale! * value * windowSum(terms, c, behind, a.size!);
          m[to + c] = m[gradient + c]! / bases[c]! ** exponent - others;
        }
      });
    },
  };
});
