/**
 * Weights, images and labels that come from a formula, for networks too large for golden files and for the benchmark:
 * 138 million values take about a second. `golden/make_vgg.py` has the same formula; keep the two in step.
 */
import { type Dataset, fromArrays } from '../src/data/dataset.ts';
import type { Network, Shape } from '../src/model/layer.ts';
import { dropout, flatten, linear, relu } from '../src/model/layers/index.ts';
import { parametersOf, type Sequential, sequential, sizeOf } from '../src/model/network.ts';
import { configurations, type VggLetter, vggFeatures } from '../src/model/vgg.ts';
import type { WeightSource } from '../src/model/weight-streams.ts';

const classes = 1000;
/** Streams of draws. A parameter has its position in the network, plus 64 for each time that a filter was drawn again. */
const streams = { cells: 1_000_000, noise: 1_000_001, labels: 1_000_002, places: 1_000_003 } as const;

/** The paper's network with torchvision's names: three linear layers, dropout behind the first two. */
export function vggOf(letter: VggLetter, options: { readonly dropout: number }): Sequential {
  const hidden = (index: number) => [
    linear({ out: 4096, name: `classifier.${index}` }),
    relu({ name: `classifier.${index + 1}` }),
    dropout({ probability: options.dropout, name: `classifier.${index + 2}` }),
  ];
  const features = vggFeatures(configurations[letter]);
  const classifier = [...hidden(0), ...hidden(3), linear({ out: classes, name: 'classifier.6' })];
  return sequential([...features, flatten(), ...classifier], { name: `VGG ${letter}` });
}

/** A 32-bit integer hash: lowbias32 of Chris Wellons' hash-prospector. */
function mix(x: number): number {
  let bits = x ^ (x >>> 16);
  bits = Math.imul(bits, 0x7feb352d);
  bits ^= bits >>> 15;
  bits = Math.imul(bits, 0x846ca68b);
  return (bits ^ (bits >>> 16)) >>> 0;
}

const draw = (stream: number, index: number): number => mix(index ^ mix(stream));

/**
 * Values from `from` on of a parameter: uniform in ±sqrt(6 / fan in), which keeps the size of values (He et al. 2015);
 * biases in ±0.1. `attempts` says how often each filter was drawn again.
 */
export function fillFormula(
  { parameter, shape }: { readonly parameter: number; readonly shape: Shape },
  from: number,
  into: Float32Array,
  attempts?: ArrayLike<number>,
): void {
  const size = sizeOf(shape.slice(1));
  const scale = Math.fround(shape.length === 1 ? 0.1 : Math.sqrt(6 / size));
  const end = from + into.length;
  for (let at = from; at < end; ) {
    const filter = Math.floor(at / size);
    const key = mix(parameter + 64 * (attempts?.[filter] ?? 0));
    // 24 bits times a float32 is exact in float64, so the only rounding is to float32, as in the script.
    for (const stop = Math.min(end, (filter + 1) * size); at < stop; at++) {
      into[at - from] = ((mix(at ^ key) >>> 8) / 2 ** 23 - 1) * scale;
    }
  }
}

/** All parameters by name, computed as they are read. */
export function formulaWeights(network: Network): WeightSource {
  const parameters = parametersOf(network);
  const places = new Map(parameters.map(({ name, shape }, parameter) => [name, { parameter, shape }]));
  return {
    shapes: new Map(parameters.map(({ name, shape }) => [name, shape])),
    read: async (name, from, into) => fillFormula(places.get(name)!, from, into),
  };
}

/** Two images in turns, with a label each: a pattern of 8×8 cells in each channel, under noise. */
export function formulaDataset(count: number, side: number): Dataset {
  const size = 3 * side * side;
  const pixels = new Uint8Array(count * size);
  for (let at = 0; at < Math.min(count, 2) * size; at++) {
    const plane = Math.floor(at / side ** 2);
    const y = Math.floor(at / side) % side;
    const cell = (plane * 8 + Math.floor((8 * y) / side)) * 8 + Math.floor((8 * (at % side)) / side);
    pixels[at] = (draw(streams.cells, cell) % 64) + (draw(streams.noise, at) % 192);
  }
  for (let image = 2; image < count; image++)
    pixels.copyWithin(image * size, (image % 2) * size, ((image % 2) + 1) * size);
  const labels = Array.from({ length: count }, (_, image) => draw(streams.labels, image) % classes);
  return fromArrays(pixels, labels, [3, side, side], { name: 'formula' });
}

/** `count` indices of values, distinct or not, of a parameter with `size` values. */
export function formulaPlaces(parameter: number, size: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => draw(streams.places, 64 * parameter + i) % size);
}
