/** Values after layers, and gradients with respect to values and images, on every device against the reference. */
import { describe, expect, test } from 'vitest';
import { random } from '../../src/data/random.ts';
import type { FeaturesRequest, FeaturesResult, Session } from '../../src/engine/backend.ts';
import { openReference } from '../../src/engine/reference.ts';
import { initialWeights } from '../../src/model/initialize.ts';
import type { Network } from '../../src/model/layer.ts';
import { batchNorm2d, conv2d, flatten, linear, maxPool2d, relu } from '../../src/model/layers/index.ts';
import { buildNetwork, sequential, sizeOf } from '../../src/model/network.ts';
import { expectAllClose } from '../allclose.ts';
import {
  averagedCases,
  type Case,
  flattenedCases,
  lastLayerCases,
  listedCases,
  normalizedCases,
  randomCase,
} from '../cases.ts';
import { devices } from '../devices.ts';
import { drawInference, largestIn, randomImages } from '../expected.ts';

const allCases = [
  ...[...listedCases, ...normalizedCases, ...averagedCases, ...lastLayerCases, ...flattenedCases],
  ...Array.from({ length: 100 }, (_, i) => randomCase(i + 1)),
].filter(({ model }) => model.layers.length > 0);

/** Requests: all values at once, then gradients from some layers to images and to layers. */
function requestsOf(network: Network, images: Float32Array, count: number, seed: number): FeaturesRequest[] {
  const source = random(seed, 1105);
  const { layers } = network;
  const given = (layer: number): [number, Float32Array] => [
    layer,
    Float32Array.from({ length: count * sizeOf(layers[layer]!.output) }, () => source.normal()),
  ];
  const last = layers.length - 1;
  const any = (from: number): number => from + source.integer(layers.length - from);
  const to = any(0);
  const deep = any(0);
  return [
    { images, count, layers: layers.map((_, i) => i) },
    { images, count, layers: [deep], backward: { given: new Map([given(last)]) } },
    { images, count, layers: [], backward: { given: new Map([given(any(to)), given(any(to))]), to } },
    { images, count, layers: [any(0)], backward: { given: new Map([given(deep), given(any(0))]), to: -1 } },
  ];
}

async function expectSame(
  session: Session,
  network: Network,
  request: FeaturesRequest,
  expected: FeaturesResult,
): Promise<void> {
  const actual = await session.features(request);
  const { name, layers } = network;
  request.layers.forEach((layer, i) => {
    const what = `${name}: values after layer ${layer} (${layers[layer]!.spec.kind})`;
    expectAllClose(actual.values[i]!, expected.values[i]!, 1e-4, what);
  });
  const { backward } = request;
  expect(actual.gradient === undefined).toBe(backward === undefined);
  if (!backward) return;
  const from = [...backward.given.keys()].join(' and ');
  const what = `${name}: gradient from layers ${from} to ${backward.to ?? -1}`;
  expectAllClose(actual.gradient!, expected.gradient!, 1e-4, what);
  expect(largestIn(actual.gradient!)).toBeLessThan(Number.POSITIVE_INFINITY);
}

/** Random images and initial weights, for comparisons of a device with itself. */
const drawLoosely = (network: Network, count: number) => ({
  images: randomImages(network.input, count, 1),
  weights: initialWeights(network, 1),
});

interface Known {
  readonly network: Network;
  readonly weights: ReturnType<typeof drawInference>['weights'];
  readonly requests: readonly FeaturesRequest[];
  readonly results: readonly FeaturesResult[];
}

const known = new Map<Case, Promise<Known>>();

async function knownOf({ model, input, batch }: Case): Promise<Known> {
  const network = buildNetwork(model, input);
  const { images, weights } = drawInference(network, batch, 1);
  const requests = requestsOf(network, images, batch, batch);
  const reference = await openReference(network, { batchSize: batch });
  await reference.setWeights(weights);
  const results: FeaturesResult[] = [];
  for (const request of requests) results.push(await reference.features(request));
  await reference.close();
  return { network, weights, requests, results };
}

const others = devices.filter(({ open }) => open !== openReference);

describe.each(others)('$name', ({ open, threads, every }) => {
  const share = every === 1 ? 1 : 2 * every + 1;
  const cases = allCases.filter((_, i) => i % share === 0);
  test.each(cases)('$model.name', async (one) => {
    const ready = known.get(one) ?? knownOf(one);
    known.set(one, ready);
    const { network, weights, requests, results } = await ready;
    const session = await open(network, { batchSize: one.batch, threads });
    try {
      await session.setWeights(weights);
      for (const [i, request] of requests.entries()) await expectSame(session, network, request, results[i]!);
      // Again, after other plans have used the memory.
      for (const [i, request] of requests.entries()) await expectSame(session, network, request, results[i]!);
    } finally {
      await session.close();
    }
  });

  // Large maps share memory, so that the zeros around them must be written again.
  test('gradients of large maps are the same again', async () => {
    const wide = conv2d({ out: 8, kernel: 3, padding: 1 });
    const network = buildNetwork(sequential([wide, relu(), wide, relu(), wide, flatten()]), [3, 64, 64]);
    const count = 8;
    const { images, weights } = drawLoosely(network, count);
    const given = (layer: number) =>
      new Map([[layer, Float32Array.from({ length: count * 8 * 4096 }, (_, i) => Math.sin(i))]]);
    const session = await open(network, { batchSize: count, threads });
    try {
      await session.setWeights(weights);
      for (const layer of [4, 2]) {
        const request = { images, count, layers: [], backward: { given: given(layer) } };
        const first = await session.features(request);
        for (let i = 0; i < 2; i++) expect(await session.features(request)).toEqual(first);
        const one = await session.features({
          images: images.subarray(0, images.length / count),
          count: 1,
          layers: [],
          backward: {
            given: new Map([
              [
                layer,
                given(layer)
                  .get(layer)!
                  .subarray(0, 8 * 4096),
              ],
            ]),
          },
        });
        const size = one.gradient!.length;
        expectAllClose(one.gradient!, first.gradient!.subarray(0, size), 1e-4, 'one of eight images');
      }
    } finally {
      await session.close();
    }
  });

  test('training in between changes nothing but the weights', async () => {
    const network = buildNetwork(
      sequential([
        conv2d({ out: 8, kernel: 3, padding: 1 }),
        batchNorm2d(),
        relu(),
        conv2d({ out: 8, kernel: 3, padding: 1 }),
        relu(),
        maxPool2d(2),
        flatten(),
        linear(4),
      ]),
      [3, 10, 10],
    );
    const { images, weights } = drawInference(network, 9, 3);
    const session = await open(network, { batchSize: 9, threads });
    const [request] = requestsOf(network, images, 9, 4).slice(1);
    try {
      await session.setWeights(weights);
      const before = await session.features(request!);
      const { gradients } = await session.gradients(images, [0, 1, 2, 3, 0, 1, 2, 3, 0]);
      expect(await session.features(request!)).toEqual(before);
      const { gradients: again } = await session.gradients(images, [0, 1, 2, 3, 0, 1, 2, 3, 0]);
      expect(again).toEqual(gradients);
      expect(await session.weights()).toEqual(weights);
    } finally {
      await session.close();
    }
  });

  test('a session to predict has values and gradients behind its convolutions', async () => {
    const network = buildNetwork(
      sequential([conv2d({ out: 5, kernel: 3 }), relu(), maxPool2d(2), flatten(), linear(4)]),
      [2, 9, 9],
    );
    const { images, weights } = drawInference(network, 2, 3);
    const given = new Map([[4, Float32Array.of(0, 1, 0, 0, 1, 0, 0, 0)]]);
    const results = [];
    for (const purpose of ['predict', 'train'] as const) {
      const session = await open(network, { batchSize: 2, threads, purpose });
      try {
        await session.setWeights(weights);
        results.push(
          await session.features({ images, count: 2, layers: [0, 1], backward: { given, to: 1 } }),
        );
        const toImages = session.features({ images, count: 2, layers: [], backward: { given } });
        if (purpose === 'train') await toImages;
        else
          await expect(toImages).rejects.toThrow(
            "purpose 'predict', so no gradient passes its convolution 0",
          );
      } finally {
        await session.close();
      }
    }
    expect(results[0]).toEqual(results[1]);
  });
});
