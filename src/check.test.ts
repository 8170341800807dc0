import { expect, test } from 'vitest';
import * as z from 'zod';
import { check } from './check.ts';

const count = z.int().min(1);
const share = z.number().min(0).lt(1);
const either = z.union([z.number(), z.array(z.number()), z.string()]);
const pruner = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('none') }),
  z.strictObject({ name: z.literal('asha'), factor: z.int().min(2).default(4) }),
]);

test.for<[z.ZodType, unknown, string | string[]]>([
  [count, 'two', '"two" is not a whole number ≥ 1'],
  [count, 0, '0 is not a whole number ≥ 1'],
  [count, 1.5, '1.5 is not a whole number ≥ 1'],
  [count, Number.NaN, 'NaN is not a whole number ≥ 1'],
  [z.int().min(0), 2 ** 64, '18446744073709552000 is above the limit of 9007199254740991'],
  [z.int(), -1e30, '-1e+30 is below the limit of -9007199254740991'],
  [z.int().min(0), -1e30, '-1e+30 is not a whole number ≥ 0'],
  [z.int().max(10), 1e30, '1e+30 is above the limit of 10'],
  [z.number().max(2), 3, '3 is above the limit of 2'],
  [z.int(), true, 'true is not a whole number'],
  [share, 1, '1 is not a number of at least 0 and below 1'],
  [share, null, 'null is not a number of at least 0 and below 1'],
  [z.number().positive(), -1, '-1 is not a number above 0'],
  [z.boolean(), 'yes', '"yes" is not true or false'],
  [z.string(), 3, '3 is not text'],
  [z.string().regex(/^\d+$/), 'x', '"x" is not text of the form /^\\d+$/'],
  [z.enum(['adam', 'sgd']), 'adamm', '"adamm" is not one of adam, sgd; did you mean "adam"?'],
  [z.enum(['adam', 'sgd']), 3, '3 is not one of adam, sgd'],
  [z.array(count), 3, '3 is not a list in which each element is a whole number ≥ 1'],
  [z.array(count), [1, 0], '[1]: 0 is not a whole number ≥ 1'],
  [
    z.record(z.string(), either),
    { hidden: true },
    'hidden: true is not a number or a list in which each element is a number or text',
  ],
  [z.object({ cores: count }), {}, 'cores: is missing; set it to a whole number ≥ 1'],
  [z.object({ cores: count }), [], '[] is not an object'],
  [
    z.object({ best: z.object({ epoch: count }).nullable() }),
    { best: { epoch: 0 } },
    'best.epoch: 0 is not a whole number ≥ 1',
  ],
  [z.strictObject({ step: count.optional() }), { setp: 1 }, 'there is no key "setp"; did you mean "step"?'],
  [pruner, { name: 'ash' }, 'name: "ash" is not one of none, asha; did you mean "asha"?'],
  [pruner, {}, 'name: is missing; set it to one of none, asha'],
  [pruner, 5, '5 is not an object with name'],
  [pruner, { name: 'asha', factor: 1 }, 'factor: 1 is not a whole number ≥ 2'],
  [z.tuple([count, count], { error: 'give [lowest, highest]' }), 3, 'give [lowest, highest]'],
  [
    z.object({ a: count, b: z.string() }),
    { a: 0, b: 0 },
    ['a: 0 is not a whole number ≥ 1', 'b: 0 is not text'],
  ],
])('%$: %j', ([schema, input, problems]) => {
  expect(check(schema, input)).toEqual({ problems: [problems].flat() });
});

test('valid input gets its defaults', () => {
  expect(check(pruner, { name: 'asha' })).toEqual({ value: { name: 'asha', factor: 4 } });
});

test('a nested value is named by its path', () => {
  const { problems } = check(z.array(count), [0], { at: ['modelOptions', 'channels'] });
  expect(problems).toEqual(['modelOptions.channels[0]: 0 is not a whole number ≥ 1']);
});
