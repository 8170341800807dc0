/**
 * Exported models in ONNX Runtime (`npm install --ignore-scripts --no-save onnxruntime-node`) against the reference
 * device. Skipped without it.
 */
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { random } from '../src/data/random.ts';
import { UsageError } from '../src/errors.ts';
import { roundedToHalf } from '../src/model/half.ts';
import type { NetworkLayer, Shape, Weights } from '../src/model/layer.ts';
import { conv2d, flatten, linear, relu } from '../src/model/layers/index.ts';
import { buildNetwork, sequential, sizeOf, tensorsOf } from '../src/model/network.ts';
import { encodeModel } from '../src/model/onnx/encode.ts';
import { type OnnxModel, type OnnxOptions, writeOnnx } from '../src/model/onnx/onnx.ts';
import {
  adaptiveAveragePool,
  GraphBuilder,
  localResponseNormalization,
} from '../src/model/onnx/operators.ts';
import { joinBytes } from '../src/protobuf.ts';
import { compile } from '../src/train/model.ts';
import { expectAllClose } from './allclose.ts';
import { type Case, listedCases, randomCase } from './cases.ts';
import { isOnnx } from './onnx.ts';

/** The part of ONNX Runtime's interface that is used here; the package is optional, so its types are not available. */
interface OnnxRuntime {
  readonly Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => object;
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options?: object,
    ): Promise<{
      run(
        feeds: Record<string, object>,
      ): Promise<Record<string, { readonly data: Float32Array; readonly dims: readonly number[] }>>;
    }>;
  };
}

function runtimeHere(): OnnxRuntime | undefined {
  try {
    return createRequire(import.meta.url)('onnxruntime-node') as OnnxRuntime;
  } catch {
    return undefined;
  }
}

const runtime = runtimeHere();
/** Of streams of `random`, apart from those of other tests. */
const stream = 4711;

function drawn(length: number, seed: number, scale = 1): Float32Array {
  const source = random(seed, stream);
  return Float32Array.from({ length }, () => scale * (2 * source.uniform() - 1));
}

/** Random weights, also of running means and variances, with outputs of about the size of inputs. */
function randomWeights({ model, input }: Case, seed: number): Weights {
  return new Map(
    tensorsOf(buildNetwork(model, input)).map(({ name, shape }, i) => {
      const fanIn = sizeOf(shape) / shape[0]!;
      const data = drawn(sizeOf(shape), 1000 * seed + i, shape.length > 1 ? Math.sqrt(3 / fanIn) : 0.5);
      return [name, { shape, data: name.endsWith('running_var') ? data.map((value) => 1 + value) : data }];
    }),
  );
}

/** The only output of a model in ONNX Runtime. */
async function runOnnx(model: Uint8Array, images: Float32Array, shape: Shape) {
  const session = await runtime!.InferenceSession.create(model, {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  const [output, more] = Object.entries(
    await session.run({ images: new runtime!.Tensor('float32', images, shape) }),
  );
  expect(more).toBeUndefined();
  return { name: output![0], ...output![1], data: output![1].data, dims: output![1].dims };
}

async function referenceOf({ model, input }: Case, weights: Weights, images: Float32Array) {
  await using reference = await compile(model, { input, weights, device: 'reference' });
  return reference.predict(images);
}

/** Compares logits on random weights and images. */
async function compareLogits(given: Case, seed: number, options: OnnxOptions = {}): Promise<void> {
  const { model, input, batch } = given;
  const weights = randomWeights(given, seed);
  const images = drawn(batch * sizeOf(input), seed + 1);
  const onnx: OnnxModel = { network: model, input, weights };
  const { data, dims } = await runOnnx(await writeOnnx(onnx, options), images, [batch, ...input]);
  const { logits } = await referenceOf(given, weights, images);
  expect(dims).toEqual([batch, logits.length / batch]);
  // Inputs and weights are such that all maps have values of about 1; a logit may be near 0 by cancellation.
  const scale = logits.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
  expectAllClose(data, logits, 1e-5, model.name, scale);
}

/** The output of one layer alone, whose nodes `add` adds. */
async function runLayer(
  input: Shape,
  output: Shape,
  images: Float32Array,
  add: (layer: Pick<NetworkLayer, 'name' | 'input'>, graph: GraphBuilder) => string,
): Promise<Float32Array> {
  const graph = new GraphBuilder(['images', 'logits'], false);
  if (add({ name: 'layer', input }, graph) === 'images') graph.add('Identity', ['images'], 'same');
  graph.nameLast('logits');
  const { nodes, tensors } = graph;
  const values = { input: { name: 'images', shape: input }, output: { name: 'logits', shape: output } };
  const pieces = encodeModel({ name: 'layer', nodes, tensors, ...values }, '0', {});
  const model = joinBytes(pieces as readonly Uint8Array[]);
  const batch = images.length / sizeOf(input);
  return (await runOnnx(model, images, [batch, ...input])).data;
}

describe.skipIf(runtime === undefined)('in ONNX Runtime (skipped without onnxruntime-node)', () => {
  test.for(listedCases.filter(isOnnx).map((one, i) => [one.model.name, one, i] as const))(
    '%s',
    async ([, one, i]) => {
      await compareLogits(one, i);
    },
  );

  test('60 random networks', async () => {
    for (let number = 0; number < 60; number++) {
      const given = randomCase(number);
      if (isOnnx(given)) await compareLogits(given, number);
    }
  });

  test('a network whose layers do nothing', () =>
    compareLogits({ model: sequential([flatten()]), input: [5], batch: 2 }, 1));

  test('names that layers share, or that inputs and outputs have', async () => {
    const layers = [
      conv2d({ out: 3, kernel: 1, name: 'images' }),
      relu({ name: 'same' }),
      relu({ name: 'same' }),
      flatten(),
      linear({ out: 2, name: 'logits' }),
    ];
    await compareLogits({ model: sequential(layers), input: [2, 3, 3], batch: 2 }, 5);
  });

  describe('options', () => {
    const given: Case = {
      model: sequential([conv2d({ out: 6, kernel: 3, padding: 1 }), relu(), flatten(), linear(4)]),
      input: [3, 5, 4],
      batch: 3,
    };
    const { model: network, input, batch } = given;
    const size = sizeOf(input);
    const weights = randomWeights(given, 3);

    test('half: the logits of rounded matrices', async () => {
      const vectors = new Map([...weights].filter(([, { shape }]) => shape.length === 1));
      const rounded = new Map([...roundedToHalf(weights), ...vectors]);
      const images = drawn(batch * size, 9);
      const bytes = await writeOnnx({ network, input, weights }, { half: true });
      const { data } = await runOnnx(bytes, images, [batch, ...input]);
      expectAllClose(data, (await referenceOf(given, rounded, images)).logits, 1e-6, 'logits');
      const { logits } = await referenceOf(given, weights, images);
      expect(() => expectAllClose(data, logits, 1e-6, 'logits')).toThrow();
    });

    test('softmax and preprocess: from pixels to probabilities', async () => {
      const normalization = { mean: [0.4, 0.5, 0.6], std: [0.2, 0.25, 0.3] };
      const source = random(1, stream);
      const pixels = Float32Array.from({ length: batch * size }, () => source.integer(256));
      const prepared = pixels.map((pixel, i) => {
        const channel = Math.floor(i / 20) % 3;
        return (pixel / 255 - normalization.mean[channel]!) / normalization.std[channel]!;
      });
      const bytes = await writeOnnx(
        { network, input, weights, normalization },
        { softmax: true, preprocess: true },
      );
      const { name, data } = await runOnnx(bytes, pixels, [batch, ...input]);
      expect(name).toBe('probabilities');
      expectAllClose(
        data,
        (await referenceOf(given, weights, prepared)).probabilities,
        1e-5,
        'probabilities',
      );
    });
  });

  describe('layers that are more than one node', () => {
    test.for([
      [
        [3, 8, 9],
        [7, 7],
      ],
      [
        [2, 7, 7],
        [7, 7],
      ],
      [
        [2, 7, 10],
        [7, 3],
      ],
      [
        [2, 5, 4],
        [3, 4],
      ],
      [
        [1, 1, 1],
        [7, 5],
      ],
      [
        [3, 6, 5],
        [1, 1],
      ],
      [
        [3, 1, 1],
        [1, 1],
      ],
    ] as const)('an adaptive average pool of %j to %j', async ([input, size]) => {
      const [channels, height, width] = input;
      const [rows, columns] = size;
      const images = drawn(2 * sizeOf(input), 1);
      const output = await runLayer(input, [channels, ...size], images, (layer, graph) =>
        adaptiveAveragePool(layer, size, graph, 'images'),
      );
      const expected: number[] = [];
      for (let plane = 0; plane < 2 * channels; plane++) {
        for (let i = 0; i < rows * columns; i++) {
          const [y, x] = [Math.floor(i / columns), i % columns];
          const values: number[] = [];
          for (let v = Math.floor((y * height) / rows); v < ((y + 1) * height) / rows; v++) {
            for (let u = Math.floor((x * width) / columns); u < ((x + 1) * width) / columns; u++)
              values.push(images[(plane * height + v) * width + u]!);
          }
          expected.push(values.reduce((a, b) => a + b) / values.length);
        }
      }
      expectAllClose(output, expected, 1e-6, 'values');
    });

    test('local response normalization, for odd sizes', async () => {
      const [channels, area] = [7, 6];
      const spec = { size: 5, alpha: 0.3, beta: 0.75, k: 2 };
      const images = drawn(2 * channels * area, 2);
      const output = await runLayer([channels, 2, 3], [channels, 2, 3], images, (layer, graph) =>
        localResponseNormalization(layer, spec, graph, 'images'),
      );
      const expected = images.map((value, i) => {
        const channel = Math.floor(i / area) % channels;
        let sum = 0;
        for (let c = Math.max(0, channel - 2); c <= Math.min(channels - 1, channel + 2); c++)
          sum += images[i + (c - channel) * area]! ** 2;
        return value / (spec.k + (spec.alpha / spec.size) * sum) ** spec.beta;
      });
      expectAllClose(output, expected, 1e-6, 'values');
      const even = (): unknown =>
        localResponseNormalization(
          { name: 'a' },
          { ...spec, size: 4 },
          new GraphBuilder([], false),
          'images',
        );
      expect(even).toThrow(UsageError);
      expect(even).toThrow(/layer a normalizes over 4 channels, and ONNX only over an odd number/);
    });
  });
});
