import { describe, expect, test } from 'vitest';
import { DataError } from '../errors.ts';
import { initialWeights } from './initialize.ts';
import type { Weight } from './layer.ts';
import { batchNorm1d, flatten, linear } from './layers/index.ts';
import { buildNetwork, sequential } from './network.ts';
import { checkWeights, readSafetensors, writeSafetensors } from './safetensors.ts';

const network = buildNetwork(sequential([flatten(), linear({ out: 2, name: 'fc' })]), [1, 1, 3]);
const weights = initialWeights(network, 1);

/** A file of any header and so many bytes of values, each byte its own index. */
function file(header: unknown, dataLength: number, headerLength?: number): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + dataLength);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerLength ?? json.length), true);
  bytes.set(json, 8);
  for (let i = 0; i < dataLength; i++) bytes[8 + json.length + i] = i;
  return bytes;
}

const f32 = (shape: readonly number[], begin: number, end: number): Record<string, unknown> => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

describe('safetensors', () => {
  test('reads what it wrote, at any alignment', () => {
    const bytes = writeSafetensors(weights, { model: 'test' });
    expect(readSafetensors(bytes)).toEqual({ tensors: weights, metadata: { model: 'test' } });
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    expect(readSafetensors(shifted.subarray(3)).tensors).toEqual(weights);
  });

  test('writes equal bytes for equal weights, with the values at a multiple of 8', () => {
    const bytes = writeSafetensors(weights);
    expect(writeSafetensors(initialWeights(network, 1))).toEqual(bytes);
    expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(0);
    const text = new TextDecoder().decode(bytes.subarray(8, 8 + 60));
    expect(text).toBe('{"fc.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,');
  });

  test('converts F64, F16 and BF16', () => {
    const bytes = file(
      {
        double: { dtype: 'F64', shape: [1], data_offsets: [0, 8] },
        half: { dtype: 'F16', shape: [5], data_offsets: [8, 18] },
        brain: { dtype: 'BF16', shape: [], data_offsets: [18, 20] },
      },
      20,
    );
    const view = new DataView(bytes.buffer, bytes.length - 20);
    view.setFloat64(0, Math.PI, true);
    for (const [i, bits] of [0x3c00, 0xc000, 0x0001, 0x7c00, 0x3555].entries())
      view.setUint16(8 + 2 * i, bits, true);
    view.setUint16(18, 0xbfc0, true);
    const { tensors } = readSafetensors(bytes);
    expect(tensors.get('double')).toEqual({ shape: [1], data: Float32Array.of(Math.PI) });
    const halves = Float32Array.of(1, -2, 2 ** -24, Number.POSITIVE_INFINITY, 0.333251953125);
    expect(tensors.get('half')).toEqual({ shape: [5], data: halves });
    expect(tensors.get('brain')).toEqual({ shape: [], data: Float32Array.of(-1.5) });
  });

  test.each<[string, Uint8Array, string]>([
    ['an empty file', new Uint8Array(0), 'it has 0 bytes'],
    ['a header beyond the file', file({}, 0, 50), 'its header should have 50 bytes, but only 2 bytes follow'],
    [
      'a header of 2⁶⁰ bytes',
      file({}, 0, 2 ** 60),
      'its header of 1152921504606846976 bytes exceeds the limit of 8388608',
    ],
    ['a header of 16 MB', file(`{"a":"${'\\n'.repeat(2 ** 23)}"}`, 0), 'bytes exceeds the limit of 8388608'],
    ['a text of 8 MB', file(`"${'\\n'.repeat(4_194_000)}`, 0), 'its header is not JSON in UTF-8'],
    [
      '600,000 keys',
      file(`{${Array.from({ length: 6e5 }, (_, i) => `"${i.toString(36)}":0`).join()}}`, 0),
      'its header has more than 200000 keys',
    ],
    [
      'nested lists',
      file(`{"a":${'['.repeat(1e6)}${']'.repeat(1e6)}}`, 0),
      'nests lists and objects more than',
    ],
    ['nine axes', file({ a: f32([1, 1, 1, 1, 1, 1, 1, 1, 1], 0, 4) }, 4), 'is not a list of up to 8 whole'],
    ['no JSON', file('{"a":', 0), 'its header is not JSON in UTF-8'],
    ['a list', file([], 0), 'its header is not a JSON object'],
    ['a twofold name', file('{"a":{},"\\u0061":{}}', 0), 'its header has the key "a" twice'],
    ['a twofold key', file('{"a":{"dtype":"F32","dtype":"F16"}}', 0), 'its header has the key "dtype" twice'],
    ['a number for a tensor', file({ a: 1 }, 0), 'tensor "a": its entry is 1, not an object'],
    [
      'an unknown dtype',
      file({ a: { ...f32([1], 0, 4), dtype: 'I8' } }, 4),
      'tensor "a": dtype "I8" is not one of F64',
    ],
    ['no dtype', file({ a: { shape: [], data_offsets: [0, 4] } }, 4), 'tensor "a": dtype missing'],
    [
      'a negative side',
      file({ a: f32([-1], 0, 4) }, 4),
      'tensor "a": shape [-1] is not a list of up to 8 whole numbers ≥ 0',
    ],
    ['half a side', file({ a: f32([0.5], 0, 4) }, 4), 'tensor "a": shape [0.5]'],
    [
      'sides beyond all numbers',
      file({ a: f32([2 ** 50, 2 ** 50], 0, 4) }, 4),
      'needs 5.070602400912918e+30 bytes',
    ],
    ['one offset', file({ a: { ...f32([1], 0, 4), data_offsets: [0] } }, 4), 'data_offsets [0] are not two'],
    [
      'offsets beyond the file',
      file({ a: f32([2], 0, 8) }, 4),
      'are not an increasing range within the 4 bytes',
    ],
    ['offsets in disorder', file({ a: f32([1], 4, 0) }, 4), 'are not an increasing range'],
    [
      'a shape that does not fill its bytes',
      file({ a: f32([3], 0, 8) }, 8),
      'shape [3] of F32 needs 12 bytes, data_offsets give 8',
    ],
    [
      'overlapping tensors',
      file({ a: f32([2], 0, 8), b: f32([2], 4, 12) }, 12),
      'tensor "b": starts at byte 4 and overlaps',
    ],
    [
      'a gap',
      file({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12),
      'tensor "b": starts at byte 8 and leaves a gap (expected 4)',
    ],
    ['values that belong to none', file({ a: f32([1], 0, 4) }, 8), 'its tensors end at byte 4, but it has 8'],
    [
      'metadata that is not a string',
      file({ __metadata__: { a: 1 } }, 0),
      '__metadata__.a is 1, not a string',
    ],
  ])('rejects %s', (_name, bytes, message) => {
    expect(() => readSafetensors(bytes)).toThrow(DataError);
    expect(() => readSafetensors(bytes)).toThrow(message);
  });

  test('names with the parts of a JSON text in them are read as names', () => {
    const names = ['a"{b', '__proto__', '{"a":1}', 'end\\'];
    const tensors = new Map(
      names.map((name): [string, Weight] => [name, { shape: [1], data: Float32Array.of(1) }]),
    );
    expect([...readSafetensors(writeSafetensors(tensors)).tensors.keys()]).toEqual(names);
  });
});

test('reads PyTorch’s count of batches and passes it over', () => {
  const normalized = buildNetwork(sequential([batchNorm1d({ name: 'bn' })]), [2]);
  const own = initialWeights(normalized, 1);
  const bytes = writeSafetensors(own);
  const view = new DataView(bytes.buffer);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const end = bytes.length - 8 - length;
  header['bn.num_batches_tracked'] = { dtype: 'I64', shape: [], data_offsets: [end, end + 8] };
  const json = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + json.length + end + 8);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  file.set(bytes.subarray(8 + length), 8 + json.length);
  new DataView(file.buffer).setBigInt64(file.length - 8, 500n, true);
  const { tensors } = readSafetensors(file);
  expect([...tensors.get('bn.num_batches_tracked')!.data]).toEqual([500]);
  expect(checkWeights(normalized, tensors)).toEqual(own);
  // Where there is no normalization of that name, it is a tensor as any other.
  const stray = new Map([
    ...own,
    ['fc.num_batches_tracked', { shape: [], data: Float32Array.of(1) }] as const,
  ]);
  expect(() => checkWeights(normalized, stray)).toThrow(/fc.num_batches_tracked is unexpected/);
});

describe('checkWeights', () => {
  test('gives the weights in the order of the network', () => {
    expect([...checkWeights(network, new Map([...weights].reverse())).keys()]).toEqual([
      'fc.weight',
      'fc.bias',
    ]);
  });

  test('names tensors that are missing, unexpected, or have a wrong shape', () => {
    const wrong = new Map<string, Weight>([
      ['fc.weight', { shape: [3, 2], data: new Float32Array(6) }],
      ['head.bias', { shape: [2], data: new Float32Array(2) }],
    ]);
    expect(() => checkWeights(network, wrong)).toThrow(
      'weights do not fit sequential on 1×1×3: fc.weight is [3, 2], expected [2, 3]; fc.bias [2] is missing; ' +
        'head.bias is unexpected',
    );
  });
});
