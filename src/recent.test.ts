import { expect, test } from 'vitest';
import { Recent } from './recent.ts';

test('keeps the entries used last', () => {
  const made: string[] = [];
  const recent = new Recent<string>(2);
  const get = (key: string): string =>
    recent.get(key, () => {
      made.push(key);
      return key.toUpperCase();
    });
  for (const key of ['a', 'b', 'a', 'c', 'a', 'b']) expect(get(key)).toBe(key.toUpperCase());
  // c replaced b, because a had been used after it.
  expect(made).toEqual(['a', 'b', 'c', 'b']);
  expect(recent.size).toBe(2);
  recent.clear();
  expect(get('a')).toBe('A');
  expect(made.length).toBe(5);
});
