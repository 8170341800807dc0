/**
 * The paper's networks A, B, D and E against PyTorch (`golden/make_vgg.py`): logits, gradients, and the weights after a
 * step of SGD. Every run has all four at 32² and 64², and VGG-16 at 224². `VGGNET_TEST_VGG=1` adds the others at 224²,
 * and WebAssembly at 64² and 224²: some minutes and 6 GB of memory.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { dataLoader } from '../src/data/loader.ts';
import type { Network, Weights } from '../src/model/layer.ts';
import { buildNetwork, parametersOf } from '../src/model/network.ts';
import { readSafetensors } from '../src/model/safetensors.ts';
import type { VggLetter } from '../src/model/vgg.ts';
import type { WeightSource } from '../src/model/weight-streams.ts';
import { compile, type Model } from '../src/train/model.ts';
import { sgd } from '../src/train/optimizers.ts';
import { expectAllClose } from './allclose.ts';
import { noNative } from './native.ts';
import { fillFormula, formulaDataset, formulaPlaces, vggOf } from './vgg-formula.ts';

const golden = readSafetensors(readFileSync(new URL('golden/vgg.safetensors', import.meta.url)));
const settings = JSON.parse(golden.metadata.settings!) as {
  readonly sides: readonly number[];
  readonly images: number;
  readonly samples: number;
  readonly step: {
    readonly side: number;
    readonly images: number;
    readonly lr: number;
    readonly momentum: number;
  };
};

interface Case {
  readonly letter: VggLetter;
  readonly side: number;
}

const everything = process.env.VGGNET_TEST_VGG !== undefined;
const cases = settings.sides.flatMap((side) =>
  (['A', 'B', 'D', 'E'] as const).map((letter): Case => ({ letter, side })),
);

/** For instance `D/biases` or `A/32/logits`. */
function goldenTensor(name: string): Float32Array {
  const found = golden.tensors.get(name);
  if (found === undefined) throw new Error(`no golden tensor ${name}`);
  return found.data;
}

/** The parameters: the formula's, except what is stored of the convolutions. */
function goldenWeights(letter: VggLetter, network: Network): WeightSource {
  const biases = goldenTensor(`${letter}/biases`);
  const attempts = goldenTensor(`${letter}/attempts`);
  const hidden = goldenTensor(`${letter}/hidden`);
  const fills = new Map<string, (from: number, into: Float32Array) => void>();
  let channel = 0;
  for (const [parameter, { name, shape }] of parametersOf(network).entries()) {
    const end = channel + shape[0]!;
    const own = name.startsWith('features') ? attempts.subarray(channel, end) : undefined;
    if (own && name.endsWith('bias')) {
      const values = biases.subarray(channel, end);
      fills.set(name, (from, into) => into.set(values.subarray(from, from + into.length)));
      channel = end;
    } else {
      const drawn = { 'classifier.0.bias': hidden[0], 'classifier.3.bias': hidden[1] }[name];
      const draws = drawn === undefined ? own : new Float32Array(shape[0]!).fill(drawn);
      fills.set(name, (from, into) => fillFormula({ parameter, shape }, from, into, draws));
    }
  }
  return {
    shapes: new Map(parametersOf(network).map(({ name, shape }) => [name, shape])),
    read: async (name, from, into) => fills.get(name)!(from, into),
  };
}

/** A row for each parameter: norm, largest absolute value, samples. */
function goldenRows(name: string): { norm: number; largest: number; samples: Float32Array }[] {
  const values = goldenTensor(name);
  const length = 2 + settings.samples;
  return Array.from({ length: values.length / length }, (_, row) => {
    const [norm = 0, largest = 0, ...samples] = values.subarray(row * length, (row + 1) * length);
    return { norm, largest, samples: Float32Array.from(samples) };
  });
}

function openModel(
  { letter, side }: Case,
  options: { device: 'native' | 'wasm'; purpose: 'predict' | 'train'; batchSize: number; dropout: number },
): Promise<Model> {
  const { dropout, ...rest } = options;
  const network = vggOf(letter, { dropout });
  const input = [3, side, side] as const;
  const weights = goldenWeights(letter, buildNetwork(network, input));
  return compile(network, { input, weights, threads: 2, ...rest });
}

/** Norm, largest value and samples of each tensor, relative to its largest value. */
function expectRows(
  actual: Weights,
  expected: ReturnType<typeof goldenRows>,
  tolerance: number,
  what: string,
): void {
  expect(actual.size, `${what}: number of tensors`).toBe(expected.length);
  for (const [parameter, [name, { data }]] of [...actual].entries()) {
    const { norm, largest, samples } = expected[parameter]!;
    let squares = 0;
    let most = 0;
    for (let i = 0; i < data.length; i++) {
      squares += data[i]! ** 2;
      most = Math.max(most, Math.abs(data[i]!));
    }
    const places = formulaPlaces(parameter, data.length, samples.length);
    const found = places.map((place) => data[place]!);
    expectAllClose(found, samples, tolerance, `${what} of ${name}`, largest);
    expectAllClose([Math.sqrt(squares)], [norm], tolerance, `norm of the ${what} of ${name}`);
    expectAllClose([most], [largest], tolerance, `largest ${what} of ${name}`);
  }
}

const minutes = (count: number): { timeout: number } => ({ timeout: count * 60_000 });

describe.each(['native', 'wasm'] as const)('%s', (device) => {
  const unavailable = device === 'native' && noNative !== undefined;
  const skipped = ({ letter, side }: Case): boolean => {
    const always = side === 32 || (device === 'native' && (side === 64 || letter === 'D'));
    return unavailable || !(always || everything);
  };

  for (const of of cases) {
    const { letter, side } = of;
    const key = `${letter}/${side}`;
    const dataset = (count: number) => formulaDataset(count, side);
    const imagesOf = (pixels: Uint8Array): Float32Array => Float32Array.from(pixels, (pixel) => pixel / 255);

    test.skipIf(skipped(of))(`logits of ${letter} at ${side}²`, minutes(10), async () => {
      // Dropout changes training only.
      await using model = await openModel(of, {
        device,
        purpose: 'predict',
        batchSize: settings.images,
        dropout: 0.5,
      });
      const { logits } = await model.predict(imagesOf(dataset(settings.images).pixels));
      // Absolute: PyTorch's logits of up to 0.3 are themselves up to 2e-6 away from float64.
      expectAllClose(logits, goldenTensor(`${key}/logits`), 1e-5, 'logits', 1);
    });

    test.skipIf(skipped(of))(`gradients of ${letter} at ${side}²`, minutes(10), async () => {
      await using model = await openModel(of, {
        device,
        purpose: 'train',
        batchSize: settings.images,
        dropout: 0,
      });
      const { pixels, labels } = dataset(settings.images);
      const { loss, gradients } = await model.gradients(imagesOf(pixels), labels);
      expectAllClose([loss], goldenTensor(`${key}/loss`), 1e-5, 'loss');
      expectRows(gradients, goldenRows(`${key}/gradients`), 1e-4, 'gradient');
    });
  }

  for (const of of cases.filter(({ side }) => side === settings.step.side)) {
    const { letter, side } = of;
    test.skipIf(skipped(of))(`a step of SGD of ${letter} at ${side}²`, minutes(10), async () => {
      const { images, lr, momentum } = settings.step;
      await using model = await openModel(of, { device, purpose: 'train', batchSize: images, dropout: 0 });
      const loader = dataLoader(formulaDataset(images, side), { batchSize: images });
      const { losses } = await model.train(loader, { epoch: 1, optimizer: sgd({ lr, momentum }) });
      expectAllClose(losses, goldenTensor(`${letter}/${side}/step/loss`), 1e-5, 'loss');
      const weights = await model.weights();
      expectRows(weights, goldenRows(`${letter}/${side}/step/weights`), 1e-6, 'weight');
      const before = goldenWeights(letter, model.network);
      for (const [name, { data }] of weights) {
        const start = new Float32Array(data.length);
        await before.read(name, 0, start);
        for (let i = 0; i < data.length; i++) data[i]! -= start[i]!;
      }
      expectRows(weights, goldenRows(`${letter}/${side}/step/updates`), 1e-4, 'update');
    });
  }
});
