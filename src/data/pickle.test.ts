import { describe, expect, test } from 'vitest';
import { DataError } from '../errors.ts';
import { parse } from './byte-parser.ts';
import { checkByteArray, dictionary, type PickleValue, unpickle } from './pickle.ts';

/** Reads a pickle written as a string of bytes, in chunks of `chunk` bytes. */
function load(pickle: string, target = new Uint8Array(0), chunk = pickle.length): Promise<PickleValue> {
  const bytes = Uint8Array.from(pickle, (character) => character.charCodeAt(0));
  const chunks = Array.from({ length: Math.ceil(bytes.length / chunk) }, (_, i) =>
    bytes.subarray(i * chunk, (i + 1) * chunk),
  );
  return parse(unpickle(target, 'p'), chunks, 'p');
}

/** As NumPy under Python 2 pickled an array of bytes, opcode by opcode, with the memo's numbers left out. */
const array = (rows: string, columns: string, bytes: string, { type = 'u1', order = '\x89' } = {}): string =>
  'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01' +
  `${rows}${columns}\x86cnumpy\ndtype\nU${String.fromCharCode(type.length)}${type}K\0K\x01\x87R` +
  `(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb${order}T${bytes}tb`;

const tower = (height: number): string => {
  if (height === 0) return 'K\x01';
  const memo = String.fromCharCode(height);
  return `](${tower(height - 1)}q${memo}h${memo}e`;
};

/** 6 bytes, 1 to 6, as a long string. */
const six = '\x06\0\0\0\x01\x02\x03\x04\x05\x06';

describe('values', () => {
  test('dictionaries, lists, texts and numbers, and what the memo recalls', async () => {
    const pickle =
      '\x80\x02}q\x01(U\x06labelsq\x02]q\x03(K\x06M\x10\x27J\xfe\xff\xff\xffNe' + // an int of each width, None
      'U\x05againh\x03X\x02\0\0\0\xc3\xa9\x88u.'; // the list once more; UTF-8; True
    const expected = [6, 10_000, -2, null];
    for (const chunk of [1, 3, pickle.length]) {
      const value = dictionary(await load(pickle, undefined, chunk), 'p');
      expect([...value]).toEqual([
        ['labels', expected],
        ['again', expected],
        ['é', true],
      ]);
    }
  });

  test('an array of bytes goes into its target', async () => {
    const target = new Uint8Array(6);
    const value = await load(`\x80\x02${array('K\x02', 'K\x03', six)}.`, target, 5);
    checkByteArray(value, target, [2, 3], 'p');
    expect([...target]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('an array in column-major order is reordered', async () => {
    const target = new Uint8Array(6);
    const value = await load(`\x80\x02${array('K\x02', 'K\x03', six, { order: '\x88' })}.`, target);
    checkByteArray(value, target, [2, 3], 'p');
    expect([...target]).toEqual([1, 3, 5, 2, 4, 6]);
  });
});

describe('anything but a pickle of the archive', () => {
  test.each([
    ['code', '\x80\x02cos\nsystem\nU\x02ls\x85R.', /it refers to "os system", which is not allowed/],
    ['code behind a known name', '\x80\x02cnumpy\ndtype\n)R)R.', /it calls a value/],
    ['another protocol', '\x80\x04.', /its protocol is 4, not 2/],
    ['an unknown opcode', '\x80\x02\x95.', /it contains the opcode 0x95/],
    ['an empty stack', '\x80\x02.', /its stack is empty/],
    ['no mark', '\x80\x02Nt.', /a mark is missing/],
    ['an item too many', '\x80\x02NN.', /it ends with unused values/],
    ['a memo that was never filled', '\x80\x02h\x01.', /it recalls value 1, which it never stored/],
    ['appending to a number', '\x80\x02K\x01Na.', /it appends to something that is not a list/],
    ['a key that is not a string', '\x80\x02}K\x01K\x02s.', /a dictionary key is not a string/],
    ['a huge text', '\x80\x02X\xff\xff\xff\xff', /it contains a string of 4294967295 bytes/],
    ['a huge string', '\x80\x02T\xff\xff\xff\xff', /a string of 4294967295 bytes; expected none/],
    ['an endless name', `\x80\x02c${'a'.repeat(300)}`, /a name is longer than 256 bytes/],
    ['half a pickle', '\x80\x02}q\x01(U\x06lab', /p is truncated: it ends after 11 bytes/],
  ])('%s', async (_, pickle, message) => {
    const reading = load(pickle);
    await expect(reading).rejects.toThrow(DataError);
    await expect(reading).rejects.toThrow(message);
  });

  test.each([
    ['another shape', array('K\x03', 'K\x02', six), /type u1 and shape \[3, 2\]; expected .* \[2, 3\]/],
    ['another type', array('K\x02', 'K\x03', six, { type: 'f4' }), /type f4 and shape \[2, 3\]/],
    ['no array', 'K\x01', /"data" is not a NumPy array/],
    // 40 lists, each of which holds the one before twice: as text, 2⁴⁰ numbers.
    ['a side that is a tower of lists', array(tower(40), 'K\x03', six), /shape \[unknown\]/],
  ])('%s instead of the pixels', async (_, pickle, message) => {
    const target = new Uint8Array(6);
    const value = await load(`\x80\x02${pickle}.`, target);
    expect(() => checkByteArray(value, target, [2, 3], 'p')).toThrow(message);
  });

  test('a string of the wrong length instead of the pixels', async () => {
    await expect(load(`\x80\x02${array('K\x02', 'K\x03', six)}.`, new Uint8Array(7))).rejects.toThrow(
      /a string of 6 bytes; expected one of 7 bytes of pixels/,
    );
  });
});
