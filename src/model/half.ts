/**
 * Half precision (IEEE 754 binary16) and weights packed into it, as reports embed their network. Values are rounded to
 * the nearest half, ties to even.
 */
import { DataError, UsageError } from '../errors.ts';
import type { Shape, Weights } from './layer.ts';

/** Names and shapes of packed weights, in order. */
export type TensorList = readonly { readonly name: string; readonly shape: Shape }[];

const floats = new Float32Array(1);
const bits = new Uint32Array(floats.buffer);

/** Returns the 16 bits of the half nearest to `value`. Values that are too large become infinite. */
export function toHalf(value: number): number {
  floats[0] = value;
  return halfOfBits(bits[0]!);
}

/** The same of a float32's bits. */
function halfOfBits(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) return sign | 0x7e00;
  if (magnitude >= 0x4780_0000) return sign | 0x7c00;
  // Below the smallest normal half the exponent stays and the fraction is shifted out.
  const exponent = magnitude >>> 23;
  const shift = exponent < 113 ? 126 - exponent : 13;
  if (shift > 24) return sign;
  const fraction = exponent < 113 ? (magnitude & 0x7f_ffff) | 0x80_0000 : magnitude - 0x3800_0000;
  const kept = fraction >>> shift;
  const rest = fraction & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  return sign | (kept + (rest > tie || (rest === tie && kept & 1) ? 1 : 0));
}

/** Converts the 16 bits of a half to a number. */
export function fromHalf(half: number): number {
  const exponent = (half >>> 10) & 31;
  const fraction = half & 0x3ff;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

let table: Float32Array | undefined;
/** The numbers of all 2¹⁶ halves, by their bits. */
export const halfValues = (): Float32Array =>
  (table ??= Float32Array.from({ length: 65_536 }, (_, half) => fromHalf(half)));

/** Each value rounded to a half and back. */
export function roundedToHalf(weights: Weights): Weights {
  return new Map(
    [...weights].map(([name, { shape, data }]) => [
      name,
      { shape, data: data.map((v) => fromHalf(toHalf(v))) },
    ]),
  );
}

/**
 * The values of a tensor as little-endian halves.
 * @throws UsageError if a finite value is too large for half precision; it names the tensor.
 */
export function halfBytes(tensor: string, values: Float32Array): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bytes = new Uint8Array(2 * values.length);
  for (let i = 0; i < words.length; i++) {
    const half = halfOfBits(words[i]!);
    if ((half & 0x7fff) === 0x7c00 && Number.isFinite(values[i])) {
      throw new UsageError(
        `${tensor} has the value ${values[i]}, and half precision holds at most 65504; store the weights in single precision`,
      );
    }
    bytes[2 * i] = half & 0xff;
    bytes[2 * i + 1] = half >>> 8;
  }
  return bytes;
}

/** Packs weights as little-endian halves, one tensor after another. */
export function packHalves(weights: Weights): { tensors: TensorList; bytes: Uint8Array } {
  const count = [...weights.values()].reduce((sum, { data }) => sum + data.length, 0);
  const bytes = new Uint8Array(2 * count);
  let at = 0;
  for (const { data } of weights.values()) {
    for (const value of data) {
      const half = toHalf(value);
      bytes[at++] = half & 0xff;
      bytes[at++] = half >>> 8;
    }
  }
  return { tensors: [...weights].map(([name, { shape }]) => ({ name, shape })), bytes };
}

/** Unpacks weights from `packHalves`. @throws DataError if the number of bytes does not match the tensors. */
export function unpackHalves(tensors: TensorList, bytes: Uint8Array): Weights {
  const values = halfValues();
  let at = 0;
  const weights = new Map(
    tensors.map(({ name, shape }) => {
      const data = new Float32Array(shape.reduce((size, side) => size * side, 1));
      for (let i = 0; i < data.length; i++, at += 2) data[i] = values[bytes[at]! | (bytes[at + 1]! << 8)]!;
      return [name, { shape, data }];
    }),
  );
  if (at !== bytes.length) {
    throw new DataError(
      `weights: the file has ${bytes.length} bytes, but the tensors need ${at}; it is truncated or from another network`,
    );
  }
  return weights;
}
