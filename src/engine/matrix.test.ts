import { expect, test } from 'vitest';
import { conv2d, flatten, linear } from '../model/layers/index.ts';
import { buildNetwork, sequential, sizeOf } from '../model/network.ts';
import { planOperations, storedTensors } from './cpu/plan/operations.ts';
import { readPart, storePart, wholeRows } from './matrix.ts';

const network = buildNetwork(
  sequential([
    conv2d({ out: 6, kernel: 3, padding: 1 }),
    conv2d({ out: 5, kernel: 3 }),
    flatten(),
    linear(7),
  ]),
  [3, 9, 8],
);
const operations = planOperations(network);
const tensors = [...storedTensors(operations)].map(([name, tensor]) => {
  const { shape } = network.layers.flatMap(({ parameters }) => parameters).find((own) => own.name === name)!;
  return { name, tensor, values: Float32Array.from({ length: sizeOf(shape) }, (_, i) => i + 1) };
});
const memoryOf = (): Float32Array => new Float32Array(operations.parameterLength);

test.each(tensors)(
  '$name: parts of any length, in any order, are as all of it at once',
  ({ tensor, values }) => {
    const whole = memoryOf();
    storePart(whole, tensor, 0, values);
    for (const length of [1, 7, 50, wholeRows(tensor, 100)]) {
      const memory = memoryOf();
      const starts = Array.from({ length: Math.ceil(values.length / length) }, (_, i) => i * length);
      for (const from of starts.toReversed())
        storePart(memory, tensor, from, values.subarray(from, from + length));
      expect(memory).toEqual(whole);
      const back = new Float32Array(values.length);
      for (const from of starts) readPart(memory, tensor, from, back.subarray(from, from + length));
      expect(back).toEqual(values);
    }
  },
);

test.each(tensors)('$name: a part changes no other value, even of its row', ({ tensor, values }) => {
  const memory = memoryOf().fill(-1);
  storePart(memory, tensor, 2, values.subarray(2, 5));
  expect(memory.filter((value) => value !== -1)).toHaveLength(Math.min(3, values.length - 2));
});
