/** Reads the golden files that `golden/make_normalized.py` writes: short trainings with normalizations, dropout and average pools. */
import { readFileSync } from 'node:fs';
import { type Dataset, fromArrays } from '../src/data/dataset.ts';
import type { LayerSpec, Network, Shape, Weights } from '../src/model/layer.ts';
import { buildNetwork, sequential } from '../src/model/network.ts';
import { readSafetensors } from '../src/model/safetensors.ts';

export interface NormalizedCase {
  readonly name: string;
  readonly input: Shape;
  readonly batch: number;
  readonly images: number;
  readonly seed: number;
  readonly classes: number;
  readonly layers: readonly LayerSpec[];
  /** Of each step of epoch 1. */
  readonly losses: readonly number[];
}

const folder = new URL('./golden/', import.meta.url);
const file = JSON.parse(readFileSync(new URL('normalized.json', folder), 'utf8')) as {
  lr: number;
  cases: readonly NormalizedCase[];
};
const { tensors } = readSafetensors(readFileSync(new URL('normalized.safetensors', folder)));

export const normalizedGoldens: readonly NormalizedCase[] = file.cases;
export const normalizedRate: number = file.lr;

export const normalizedNetwork = ({ name, input, layers }: NormalizedCase): Network =>
  buildNetwork(sequential(layers, { name }), input);

/** For instance `loss` of the first batch, or `evaluated after`. */
export function normalizedTensor({ name }: NormalizedCase, tensor: string): Float32Array {
  const found = tensors.get(`${name}/${tensor}`);
  if (found === undefined) throw new Error(`no golden tensor ${name}/${tensor}`);
  return found.data;
}

/** `before` or `after` training, or `gradient`. */
export function normalizedWeights({ name }: NormalizedCase, group: string): Weights {
  const prefix = `${name}/${group}/`;
  return new Map(
    [...tensors].flatMap(([key, weight]) =>
      key.startsWith(prefix) ? [[key.slice(prefix.length), weight] as const] : [],
    ),
  );
}

export function normalizedDataset(golden: NormalizedCase): Dataset {
  const labels = Uint16Array.from(normalizedTensor(golden, 'labels'));
  const pixels = Uint8Array.from(normalizedTensor(golden, 'pixels'));
  return fromArrays(pixels, labels, golden.input as [number, number, number], {
    name: golden.name,
    classes: Array.from({ length: golden.classes }, (_, i) => String(i)),
  });
}
