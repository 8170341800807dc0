import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { type Case, randomCase } from '../../../test/cases.ts';
import { isOnnx } from '../../../test/onnx.ts';
import { DataError, UsageError } from '../../errors.ts';
import { joinBytes } from '../../protobuf.ts';
import { vggNames } from '../family.ts';
import { initialWeights } from '../initialize.ts';
import type { Weights } from '../layer.ts';
import {
  avgPool2d,
  batchNorm1d,
  batchNorm2d,
  conv2d,
  dropout,
  flatten,
  linear,
  maxPool2d,
  relu,
} from '../layers/index.ts';
import { createModel } from '../models.ts';
import { buildNetwork, sequential, sizeOf, tensorsOf } from '../network.ts';
import { partValues } from '../weight-streams.ts';
import { type OnnxModel, type OnnxOptions, onnxFile, writeOnnx } from './onnx.ts';

/** The network of `test/golden/make_onnx.py`. */
const network = sequential(
  [
    conv2d({ out: 3, kernel: [3, 2], padding: [1, 0], name: 'conv1' }),
    batchNorm2d(),
    relu(),
    maxPool2d({ kernel: [2, 1] }),
    conv2d({ out: 4, kernel: 1, bias: false }),
    avgPool2d({ kernel: 2, stride: [1, 2], padding: 1 }),
    flatten(),
    dropout(0.5),
    linear({ out: 3, bias: false }),
    batchNorm1d({ affine: false, epsilon: 1e-3 }),
    linear(2),
  ],
  { name: 'tiny' },
);
const tiny: OnnxModel = {
  network,
  input: [2, 6, 5],
  dataset: 'pets',
  classes: ['cat', 'Käfer'],
  normalization: { mean: [0.5, 0.25], std: [0.25, 0.5] },
  weights: new Map(
    tensorsOf(buildNetwork(network, [2, 6, 5])).map(({ name, shape }, index) => {
      const values = Float32Array.from({ length: sizeOf(shape) }, (_, i) => {
        const step = (7 * i + 3 * index) % 11;
        return (name.endsWith('running_var') ? step + 1 : step - 5) / 8;
      });
      return [name, { shape, data: values }];
    }),
  ),
};

const withWeight = (name: string, data: Float32Array): OnnxModel => {
  const weights = tiny.weights as Weights;
  return { ...tiny, weights: new Map([...weights, [name, { shape: weights.get(name)!.shape, data }]]) };
};

/** A message of which nothing is known: the numbers of its fields, each with its values in their order. */
type Message = ReadonlyMap<number, readonly (number | Uint8Array)[]>;

function decode(bytes: Uint8Array): Message {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const fields = new Map<number, (number | Uint8Array)[]>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = view.getUint8(at++);
      value += (byte % 128) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const type = key % 8;
    let value: number | Uint8Array;
    if (type === 0) {
      value = varint();
    } else if (type === 5) {
      value = view.getFloat32(at, true);
      at += 4;
    } else {
      expect(type).toBe(2);
      const length = varint();
      expect(at + length).toBeLessThanOrEqual(bytes.length);
      value = bytes.subarray(at, at + length);
      at += length;
    }
    const field = Math.floor(key / 8);
    fields.set(field, [...(fields.get(field) ?? []), value]);
  }
  return fields;
}

const messages = (message: Message, field: number): readonly Message[] =>
  (message.get(field) ?? []).map((value) => decode(value as Uint8Array));
const texts = (message: Message, field: number): readonly string[] =>
  (message.get(field) ?? []).map((value) => new TextDecoder().decode(value as Uint8Array));
const graphOf = (bytes: Uint8Array): Message => messages(decode(bytes), 7)[0]!;
/** The types (10 is float16) and numbers of bytes of a model's tensors, by name. */
const tensorsIn = (bytes: Uint8Array): ReadonlyMap<string, readonly [unknown, number]> =>
  new Map(
    messages(graphOf(bytes), 5).map((tensor) => [
      texts(tensor, 8)[0]!,
      [tensor.get(2)![0], (tensor.get(9)![0] as Uint8Array).length],
    ]),
  );

describe('an ONNX model', () => {
  test.for([
    ['tiny.onnx', {}],
    ['tiny-half.onnx', { half: true, softmax: true, preprocess: true }],
  ] as const)('has the bytes that the onnx package writes: %s', async ([name, options]) => {
    const golden = await readFile(new URL(`../../../test/golden/${name}`, import.meta.url));
    const parts: Uint8Array[] = [];
    const file = onnxFile('test', tiny, options, 'golden');
    await file.write((bytes) => void parts.push(bytes.slice()));
    expect(file.byteLength).toBe(golden.length);
    expect(Buffer.from(joinBytes(parts)).toString('latin1')).toBe(golden.toString('latin1'));
  });

  test('chains its nodes from the images to the logits', async () => {
    const graph = graphOf(await writeOnnx(tiny));
    const nodes = messages(graph, 1);
    const known = new Set(['images', ...messages(graph, 5).flatMap((tensor) => texts(tensor, 8))]);
    for (const node of nodes) {
      for (const input of texts(node, 1)) expect(known).toContain(input);
      expect(known).not.toContain(texts(node, 2)[0]);
      known.add(texts(node, 2)[0]!);
    }
    expect(nodes.flatMap((node) => texts(node, 4))).toEqual(
      'Conv BatchNormalization Relu MaxPool Conv AveragePool Flatten Gemm BatchNormalization Gemm'.split(' '),
    );
    expect(messages(graph, 12).flatMap((value) => texts(value, 1))).toEqual(['logits']);
  });

  test('keeps what is known about the images', async () => {
    const metadata = (bytes: Uint8Array) =>
      Object.fromEntries(
        messages(decode(bytes), 14).map((entry) => [texts(entry, 1)[0], JSON.parse(texts(entry, 2)[0]!)]),
      );
    const { dataset, classes, normalization, input, weights } = tiny;
    expect(metadata(await writeOnnx(tiny, { preprocess: true }))).toEqual({
      dataset,
      classes,
      normalization,
      preprocess: true,
    });
    expect(metadata(await writeOnnx({ network, input, weights }))).toEqual({ preprocess: false });
    const unnormalized = await writeOnnx({ network, input, weights, normalization: null });
    expect(metadata(unnormalized)).toEqual({ preprocess: false, normalization: null });
  });

  test('with half precision, stores matrices in half the space, and vectors as they are', async () => {
    const tensors = tensorsIn(await writeOnnx(tiny, { half: true }));
    expect(tensors.get('conv1.weight')).toEqual([10, 2 * 36]);
    expect(tensors.get('8.weight')).toEqual([10, 2 * 144]);
    expect(tensors.get('1.running_var')).toEqual([1, 4 * 3]);
    expect(tensorsIn(await writeOnnx(tiny)).get('8.weight')).toEqual([1, 4 * 144]);
  });

  test('is written by parts', async () => {
    const large = sequential([flatten(), linear(1000)]);
    const weights = initialWeights(buildNetwork(large, [1, 1, 1000]), 1);
    let longest = 0;
    const source = {
      shapes: new Map([...weights].map(([name, { shape }]) => [name, shape])),
      read: async (name: string, from: number, into: Float32Array) => {
        into.set(weights.get(name)!.data.subarray(from, from + into.length));
      },
    };
    const parts: Uint8Array[] = [];
    await onnxFile('test', { network: large, input: [1, 1, 1000], weights: source }, {}).write(
      async (bytes) => {
        longest = Math.max(longest, bytes.length);
        parts.push(bytes.slice());
      },
    );
    expect(longest).toBe(4 * partValues);
    const whole = await writeOnnx({ network: large, input: [1, 1, 1000], weights });
    expect(Buffer.compare(joinBytes(parts), whole)).toBe(0);
    const [matrix] = messages(graphOf(whole), 5);
    expect(
      Buffer.compare(matrix!.get(9)![0] as Uint8Array, Buffer.from(weights.get('1.weight')!.data.buffer)),
    ).toBe(0);
  });
});

describe('no ONNX model', () => {
  const reject = async (
    model: OnnxModel,
    options: object,
    kind: typeof UsageError | typeof DataError,
    message: RegExp,
  ) => {
    const written = writeOnnx(model, options as OnnxOptions);
    await expect(written).rejects.toThrow(kind);
    await expect(written).rejects.toThrow(message);
  };

  test('above 2 GiB, which is known before any value is read', async () => {
    const huge = sequential([flatten(), linear({ out: 600_000, bias: false })]);
    const read = async (): Promise<void> => {
      throw new Error('read');
    };
    const shapes = new Map([['1.weight', [600_000, 1000]]]);
    const model = { network: huge, input: [1, 1, 1000], weights: { shapes, read } };
    const over =
      /the model would have 2400000\d\d\d bytes, above ONNX's limit of 2 GiB; store its weights in half precision, or use a smaller network/;
    await reject(model, {}, UsageError, over);
    expect(onnxFile('test', model, { half: true }).byteLength).toBeGreaterThan(1_200_000_000);
  });

  test('of weights that do not fit, or that half precision cannot hold', async () => {
    await reject({ ...tiny, weights: new Map() }, {}, DataError, /conv1\.weight \[3, 2, 3, 2\] is missing/);
    const large = withWeight('10.weight', Float32Array.of(1, 2, 3, -65_520, 5, 6));
    await writeOnnx(large);
    await reject(
      large,
      { half: true },
      UsageError,
      /^10\.weight has the value -65520, and half precision holds at most 65504/,
    );
    await writeOnnx(withWeight('10.weight', Float32Array.of(1, 2, 3, -65_519, Number.NaN, Infinity)), {
      half: true,
    });
  });

  test('that needs an unknown normalization', async () => {
    const { input, weights } = tiny;
    await reject(
      { network, input, weights },
      { preprocess: true },
      UsageError,
      /preprocess needs the normalization/,
    );
  });

  test('of wrong arguments', async () => {
    await reject(
      tiny,
      { halv: true },
      UsageError,
      /^writeOnnx: there is no option "halv"; did you mean "half"/,
    );
    await reject(tiny, { half: 1 }, UsageError, /half 1 is not true or false/);
    await reject(undefined as never, {}, UsageError, /model is undefined, not a model/);
    await reject({ ...tiny, classes: ['a'] }, {}, UsageError, /the network has 2 classes, not 1/);
    await reject({ ...tiny, normalization: { mean: [0], std: [0] } }, {}, UsageError, /deviations above 0/);
    const clash = sequential([linear({ out: 2, name: 'fc' })]);
    await reject(
      { network: clash, input: [2], weights: 3 as never },
      {},
      UsageError,
      /the weights are 3, not a Map/,
    );
  });
});

const python = process.env.PYTHON ?? '/usr/bin/python3';
const hasOnnx = spawnSync(python, ['-c', 'import onnx']).status === 0;

describe.skipIf(!hasOnnx)("the onnx package's checker (skipped without python3-onnx)", () => {
  let folder: string;
  afterAll(() => rm(folder, { recursive: true }));

  test('accepts random networks and the VGG family, and infers the shape of their output', async () => {
    folder = await mkdtemp(join(tmpdir(), 'vggnet-onnx-'));
    let count = 0;
    const family = vggNames.map((name): Case => {
      const input = [3, 64, 64];
      const options = { width: 1 / 16, hidden: 12 };
      return { model: createModel(name, { classes: 7, input, options }), input, batch: 2 };
    });
    const all = [...family, ...Array.from({ length: 40 }, (_, number) => randomCase(number))];
    for (const [number, given] of all.entries()) {
      if (!isOnnx(given)) continue;
      const { model, input } = given;
      const weights = initialWeights(buildNetwork(model, input), number);
      const options = { half: number % 2 === 1, softmax: number % 3 === 0, preprocess: number % 5 === 0 };
      const normalization = number % 10 === 0 ? null : { mean: [0.5], std: [0.2] };
      const bytes = await writeOnnx({ network: model, input, weights, normalization }, options);
      await writeFile(join(folder, `${number}.onnx`), bytes);
      count++;
    }
    const check = `
import glob, sys, onnx
for path in glob.glob(sys.argv[1] + "/*.onnx"):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    given = model.graph.output[0].type.tensor_type.shape
    model.graph.output[0].type.tensor_type.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.output[0].type.tensor_type.shape
    assert found == given and given.dim[0].dim_param == "n", (path, found, given)
    print(path)
`;
    const { stdout } = await promisify(execFile)(python, ['-c', check, folder]);
    expect(stdout.trim().split('\n')).toHaveLength(count);
  });
});
