/**
 * Reads the golden files that `golden/make.py` writes, and draws again what they leave out: images, labels and
 * filters come from the project's generator, with streams of their own. Keep the two in step.
 */
import { readFileSync } from 'node:fs';
import { type Dataset, fromArrays } from '../src/data/dataset.ts';
import { random } from '../src/data/random.ts';
import type { LayerSpec, Network, Shape, Weight, Weights } from '../src/model/layer.ts';
import { buildNetwork, parametersOf, sequential, sizeOf } from '../src/model/network.ts';
import { readSafetensors } from '../src/model/safetensors.ts';

/** Streams of `random`; the project's own are below 1000. */
const streams = { filters: 1000, images: 1001, labels: 1002, patterns: 1003, noise: 1004 } as const;

/** Smallest distance of a ReLU's or pool's decision from the other one, over the layer's largest value. */
export const goldenMargin = 1e-4;

export interface GoldenCase {
  readonly name: string;
  readonly input: Shape;
  readonly batch: number;
  /** Number of different images; the batch repeats them. */
  readonly distinct: number;
  readonly seed: number;
  readonly layers: readonly LayerSpec[];
  /** Where gradients are too large to be stored whole: the distance of the values that are. */
  readonly sample?: number;
}

export interface GoldenCurve {
  readonly model: 'simplified' | 'vgg7';
  readonly seed: number;
  /** Strength of the classes' patterns and of the noise over them, in steps of a byte. */
  readonly pattern: number;
  readonly noise: number;
  readonly losses: readonly number[];
}

const folder = new URL('./golden/', import.meta.url);
const { cases, curves } = JSON.parse(readFileSync(new URL('cases.json', folder), 'utf8')) as {
  cases: readonly GoldenCase[];
  curves: readonly GoldenCurve[];
};
const { tensors } = readSafetensors(readFileSync(new URL('gradients.safetensors', folder)));

export const goldenCases: readonly GoldenCase[] = cases;
export const goldenCurves: readonly GoldenCurve[] = curves;

export function goldenNetwork(golden: GoldenCase): Network {
  return buildNetwork(sequential(golden.layers, { name: golden.name }), golden.input);
}

/** What PyTorch computed: `loss`, `logits`, `gradient/conv1.weight`, … */
export function goldenTensor(golden: GoldenCase, name: string): Float32Array {
  const tensor = tensors.get(`${golden.name}/${name}`);
  if (tensor === undefined) throw new Error(`no golden tensor ${golden.name}/${name}`);
  return tensor.data;
}

/** Biases are stored; each filter is drawn by its number and the attempt at which its decisions had the margin. */
export function goldenWeights(golden: GoldenCase): Weights {
  return new Map(
    parametersOf(goldenNetwork(golden)).map(({ name, shape }, parameter): [string, Weight] => {
      const [layer, kind] = [name.slice(0, name.lastIndexOf('.')), name.slice(name.lastIndexOf('.') + 1)];
      if (kind === 'bias') return [name, { shape, data: goldenTensor(golden, `bias/${layer}`) }];
      const attempts = tensors.get(`${golden.name}/attempts/${layer}`)?.data;
      const [filters = 0, ...rest] = shape;
      const size = sizeOf(rest);
      const scale = 2.5 / Math.sqrt(size);
      const data = new Float32Array(filters * size);
      for (let filter = 0; filter < filters; filter++) {
        const source = random(
          golden.seed,
          streams.filters,
          parameter,
          filter + 4096 * (attempts?.[filter] ?? 0),
        );
        for (let i = 0; i < size; i++) data[filter * size + i] = (2 * source.uniform() - 1) * scale;
      }
      return [name, { shape, data }];
    }),
  );
}

/** [batch, C, H, W], uniform in [0, 1). */
export function goldenImages({ input, batch, distinct, seed }: GoldenCase): Float32Array {
  const size = sizeOf(input);
  const images = new Float32Array(batch * size);
  for (let n = 0; n < batch; n++) {
    const source = random(seed, streams.images, 0, n % distinct);
    for (let i = 0; i < size; i++) images[n * size + i] = source.uniform();
  }
  return images;
}

export function goldenLabels(golden: GoldenCase): readonly number[] {
  const source = random(golden.seed, streams.labels);
  const [classes = 0] = goldenNetwork(golden).output;
  return Array.from({ length: golden.batch }, () => source.integer(classes));
}

const curveImages = 2000;
const curveClasses = 10;

/** The images of a loss curve: a coarse pattern for each class under noise. */
export function curveDataset({ seed, pattern: strength, noise }: GoldenCurve): Dataset {
  const labelSource = random(seed, streams.labels);
  const labels = Uint16Array.from({ length: curveImages }, () => labelSource.integer(curveClasses));
  const patterns = Array.from({ length: curveClasses }, (_, label) => {
    const source = random(seed, streams.patterns, 0, label);
    return Uint8Array.from({ length: 3 * 8 * 8 }, () => source.integer(strength));
  });
  const pixels = new Uint8Array(curveImages * 3 * 32 * 32);
  let at = 0;
  for (let n = 0; n < curveImages; n++) {
    const source = random(seed, streams.noise, 0, n);
    const pattern = patterns[labels[n]!]!;
    for (let channel = 0; channel < 3; channel++) {
      for (let y = 0; y < 32; y++) {
        for (let x = 0; x < 32; x++) {
          pixels[at++] = pattern[(channel * 8 + (y >> 2)) * 8 + (x >> 2)]! + source.integer(noise);
        }
      }
    }
  }
  return fromArrays(pixels, labels, [3, 32, 32], { name: 'curve' });
}
