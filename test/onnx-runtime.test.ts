/**
 * Exported models in ONNX Runtime (`npm install --ignore-scripts --no-save onnxruntime-node`) against the reference
 * device. Skipped without it.
 */
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { random } from '../src/data/random.ts';
import { heads, vggNames } from '../src/model/family.ts';
import { roundedToHalf } from '../src/model/half.ts';
import type { Shape, Weights } from '../src/model/layer.ts';
import {
  adaptiveAvgPool2d,
  conv2d,
  flatten,
  linear,
  localResponseNorm,
  relu,
} from '../src/model/layers/index.ts';
import { createModel } from '../src/model/models.ts';
import { buildNetwork, sequential, sizeOf, tensorsOf } from '../src/model/network.ts';
import { type OnnxModel, type OnnxOptions, writeOnnx } from '../src/model/onnx/onnx.ts';
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

describe.skipIf(runtime === undefined)('in ONNX Runtime (skipped without onnxruntime-node)', () => {
  test.for(listedCases.filter(isOnnx).map((one, i) => [one.model.name, one, i] as const))(
    '%s',
    async ([, one, i]) => {
      await compareLogits(one, i);
    },
  );

  test('60 random networks', async () => {
    let compared = 0;
    for (let number = 0; compared < 60; number++) {
      const given = randomCase(number);
      if (!isOnnx(given)) continue;
      await compareLogits(given, number);
      compared++;
    }
  });

  test.each(vggNames.flatMap((name) => heads.map((head) => [name, head] as const)))(
    '%s with the classifier %s',
    async (name, head) => {
      const input = [3, 40, 56];
      const options = { head, width: 1 / 16, ...(head !== 'linear' && { hidden: 12 }) };
      await compareLogits({ model: createModel(name, { classes: 7, input, options }), input, batch: 2 }, 11);
    },
  );

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

  test.each([
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
  ] as const)('an adaptive average pool of %j to %j', async (input, size) => {
    const model = sequential([adaptiveAvgPool2d({ size }), flatten(), linear(5)]);
    await compareLogits({ model, input, batch: 2 }, 2);
  });

  test.each([1, 3, 5, 9])('local response normalization over %d channels', async (size) => {
    const model = sequential([
      localResponseNorm({ size, alpha: 0.5, beta: 0.75, k: 2 }),
      flatten(),
      linear(5),
    ]);
    await compareLogits({ model, input: [7, 3, 4], batch: 2 }, 3);
  });
});

test('local response normalization over an even number of channels is refused', async () => {
  const network = sequential([localResponseNorm({ size: 4 }), flatten(), linear(2)]);
  const given: Case = { model: network, input: [5, 2, 2], batch: 1 };
  await expect(writeOnnx({ network, input: given.input, weights: randomWeights(given, 1) })).rejects.toThrow(
    'layer 0 normalizes over 4 channels, and ONNX only over an odd number',
  );
});
