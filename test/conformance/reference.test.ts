/** Every device against the float64 reference, on networks of any layers and shapes. */
import { describe, test } from 'vitest';
import { openReference } from '../../src/engine/reference.ts';
import { initialWeights } from '../../src/model/initialize.ts';
import type { LayerSpec, Weight } from '../../src/model/layer.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from '../../src/model/layers/index.ts';
import { buildNetwork, sequential } from '../../src/model/network.ts';
import { expectAllClose } from '../allclose.ts';
import { conformanceCases } from '../cases.ts';
import { compareWithReference } from '../compare.ts';
import { devices } from '../devices.ts';
import { randomImages } from '../expected.ts';

const largestOf = (values: Float32Array): number => values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);

// The reference compared with itself would show nothing; it is tested against finite differences and PyTorch.
const others = devices.filter(({ open }) => open !== openReference);

/** A pool on each path. */
const smallMaps = sequential([
  conv2d({ out: 8, kernel: 3, padding: 1 }),
  relu(),
  conv2d({ out: 9, kernel: 3, padding: 1 }),
  relu(),
  maxPool2d(4),
  conv2d({ out: 6, kernel: 3, padding: 1 }),
  relu(),
  maxPool2d(2),
  flatten(),
  linear(5),
]);

describe.each(others)('$name', ({ open, threads, every }) => {
  const someOf = <T>(cases: readonly T[]): T[] => cases.filter((_, i) => i % every === 0);

  // Odd numbers that divide no period of the lists, so that what is taken of them has everything in it.
  const share = every === 1 ? 1 : 2 * every + 1;
  const cases = conformanceCases.filter((_, i) => i % share === 0);
  test.each(cases)('$model.name', ({ model, input, batch }) =>
    compareWithReference(open, model, input, { batch, threads }),
  );

  // The gradients are PyTorch's: of the class in the middle, which the ReLU cuts off, there is none.
  test('a network that ends in a ReLU has the gradients of PyTorch', async () => {
    const small = buildNetwork(sequential([flatten(), linear(3), relu()]), [1, 1, 1]);
    const session = await open(small, { batchSize: 8, threads });
    try {
      const weight = { shape: [3, 1], data: Float32Array.of(1, -1, 2) };
      const bias = { shape: [3], data: new Float32Array(3) };
      await session.setWeights(new Map(Object.entries({ '1.weight': weight, '1.bias': bias })));
      for (const count of [1, 8]) {
        const images = new Float32Array(count).fill(1);
        const { gradients } = await session.gradients(images, new Array<number>(count).fill(0));
        const expected = [-0.75527153, 0, 0.66524096];
        expectAllClose(gradients.get('1.bias')!.data, expected, 1e-6, `${count} images`);
      }
    } finally {
      await session.close();
    }
  });

  // A few images take another way through the layers than many.
  test('batches of 1 to 9 images', async () => {
    for (const batch of someOf([2, 7, 8, 1, 3, 4, 5, 6, 9])) {
      await compareWithReference(open, smallMaps, [3, 17, 18], { batch, threads });
    }
  });

  // On small whole numbers every sum is exact, so that values of different patches are truly equal.
  describe('the first of equal values wins, and the gradient of a ReLU at 0 is 0', () => {
    const whole = (values: Float32Array): Float32Array => values.map((value) => Math.round(1.4 * value));
    const ties: [string, LayerSpec[], LayerSpec][] = [
      ['pool 2', [conv2d({ out: 4, kernel: 1 })], maxPool2d(2)],
      ['pool 2 behind a ReLU', [conv2d({ out: 5, kernel: 1 }), relu()], maxPool2d(2)],
      ['padded pool 3', [conv2d({ out: 4, kernel: 1 })], maxPool2d({ kernel: 3, stride: 2, padding: 1 })],
      ['pool 4', [conv2d({ out: 4, kernel: 5, padding: 2 })], maxPool2d(4)],
      [
        'pool 4 behind a ReLU',
        [conv2d({ out: 3, kernel: 1 }), conv2d({ out: 4, kernel: 1 }), relu()],
        maxPool2d(4),
      ],
    ];
    test.each(someOf(ties))('%s', async (name, convolutions, pool) => {
      const model = sequential([...convolutions, pool, flatten(), linear(3)], { name });
      const input = [2, 8, 8];
      const drawn = initialWeights(buildNetwork(model, input), 1);
      const weights = new Map(
        [...drawn].map(([parameter, { shape, data }]): [string, Weight] => [
          parameter,
          {
            shape,
            data: shape.length === 4 ? whole(data.map((x) => x / largestOf(data))) : data.map(Math.round),
          },
        ]),
      );
      weights.set(`${convolutions.length + 2}.weight`, drawn.get(`${convolutions.length + 2}.weight`)!);
      for (const batch of [2, 8]) {
        const images = whole(randomImages(input, batch, 3));
        await compareWithReference(open, model, input, { batch, threads, given: { weights, images } });
      }
    });
  });
});
