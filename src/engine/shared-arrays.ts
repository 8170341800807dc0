/** Arrays in shared memory, so that workers need no copies. */

type Values = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float32Array | Float64Array;

export const isShared = ({ buffer }: Values): boolean =>
  typeof SharedArrayBuffer !== 'undefined' && buffer instanceof SharedArrayBuffer;

/** The same values in shared memory. */
export function shareable<T extends Values>(values: T): T {
  if (isShared(values)) return values;
  let copy = copies.get(values);
  if (!copy) {
    const buffer = new SharedArrayBuffer(values.byteLength);
    copy = new (values.constructor as new (buffer: ArrayBufferLike) => T)(buffer);
    (copy as Uint8Array).set(values as Uint8Array);
    copies.set(values, copy);
  }
  return copy as T;
}

/** Shared copies of data sets and orders, which callers are expected not to change. */
const copies = new WeakMap<object, Values>();
