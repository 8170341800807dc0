/**
 * Protobuf's wire format (protobuf.dev/programming-guides/encoding), for files that are written by hand: TensorBoard's
 * events and ONNX models. A field is its number and wire type, then its value.
 */

/** A number of seven bits per byte, lowest first; `value` is a whole number ≥ 0. */
function varint(value: number): readonly number[] {
  const out: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...out, rest];
    out.push((rest % 128) | 128);
  }
}

const key = (field: number, wireType: number): readonly number[] => varint(field * 8 + wireType);

/** Joins fields, or any bytes. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export const integer = (field: number, value: number): Uint8Array =>
  Uint8Array.from([...key(field, 0), ...varint(value)]);

/** What precedes the `length` bytes of a message, a text or a block of bytes. */
export const beforeBytes = (field: number, length: number): Uint8Array =>
  Uint8Array.from([...key(field, 2), ...varint(length)]);

export const bytes = (field: number, value: Uint8Array): Uint8Array =>
  joinBytes([beforeBytes(field, value.length), value]);

export const text = (field: number, value: string): Uint8Array =>
  bytes(field, new TextEncoder().encode(value));

export function float(field: number, value: number): Uint8Array {
  const out = new DataView(new ArrayBuffer(4));
  out.setFloat32(0, value, true);
  return joinBytes([Uint8Array.from(key(field, 5)), new Uint8Array(out.buffer)]);
}

export function double(field: number, value: number): Uint8Array {
  const out = new DataView(new ArrayBuffer(8));
  out.setFloat64(0, value, true);
  return joinBytes([Uint8Array.from(key(field, 1)), new Uint8Array(out.buffer)]);
}
