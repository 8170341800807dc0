import { expect, test } from 'vitest';
import { parseJson } from './json.ts';

test.for<[string, string, Parameters<typeof parseJson>[1], string]>([
  ['nesting', '[[[1]]]', { depth: 2 }, 'nests lists and objects more than 2 deep'],
  ['a million brackets', '['.repeat(1e6), {}, 'nests lists and objects more than 32 deep'],
  ['keys', '{"a":1,"b":{"c":2}}', { keys: 2 }, 'has more than 2 keys'],
  ['a key twice', '{"a":1,"a":2}', { unique: true }, 'has the key "a" twice'],
  ['a key twice, once escaped', '{"a\\"":1,"\\u0061\\"":2}', { unique: true }, 'has the key "a\\"" twice'],
  ['a text without end', '{"a', { unique: true }, 'is not JSON'],
  ['a broken escape', '{"\\x":1}', { unique: true }, 'is not JSON'],
])('rejects %s', ([, text, bounds, problem]) => {
  expect(parseJson(text, bounds).problem).toContain(problem);
});

test('brackets, colons and escapes inside texts do not count', () => {
  const value = { '[{:"\\': ['::::', '{"a":1}', '\\"['], b: { c: [1, 2] }, c: { c: 1 } };
  expect(parseJson(JSON.stringify(value), { depth: 3, keys: 5, unique: true })).toEqual({ value });
});
