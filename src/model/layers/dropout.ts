/**
 * Dropout (Srivastava et al., JMLR 2014), inverted as in PyTorch: in training, each value becomes 0 with probability p
 * and is multiplied by 1 / (1 − p) otherwise. In evaluation, values are unchanged.
 *
 * The mask depends only on seed, epoch, image, layer and the value's index. Sixteen values share a Philox block, one
 * byte each, which is compared with p · 256. If the byte equals the integer part of that, a separate random number is
 * compared with the fraction, so that every p is exact.
 */
import { philox, streams } from '../../data/random.ts';
import type { DropoutDraws, DropoutSpec, LayerKind, LayerPass, LayerPasses, Tensor } from '../layer.ts';
import { knownArguments, named, numberBelow } from './arguments.ts';

export interface DropoutOptions {
  /** Probability of dropping a value, 0 ≤ probability < 1; 0.5 by default. */
  readonly probability?: number;
  readonly name?: string;
}

/**
 * Randomly drops values in training: `dropout(0.5)` or `dropout({ probability: 0.5, name: 'drop' })`.
 * @throws UsageError if the probability is not ≥ 0 and < 1.
 */
export function dropout(probabilityOrOptions: number | DropoutOptions = {}): DropoutSpec {
  const options =
    typeof probabilityOrOptions === 'object' && probabilityOrOptions !== null
      ? probabilityOrOptions
      : { probability: probabilityOrOptions };
  knownArguments('dropout', options, ['probability', 'name']);
  return {
    kind: 'dropout',
    ...named('dropout', options.name),
    probability: numberBelow('dropout', 'probability', options.probability ?? 0.5, 0, 1),
  };
}

/** Distance between the random streams of a network's layers. */
const layerStep = 2 ** 16;
/** Blocks from this index on belong to one value each. */
const ownBlocks = 2 ** 31;

const counter = new Uint32Array(4);
const block = new Uint32Array(4);
const own = new Uint32Array(4);

/**
 * Fills `kept` with 1 for each value of an image that is kept and 0 for each dropped one, in PyTorch's order [C, H, W].
 * `sample` is the image's position in the data set.
 */
export function drawKept(
  kept: Uint8Array,
  probability: number,
  { seed, epoch, layer }: DropoutDraws,
  sample: number,
): void {
  const key0 = seed >>> 0;
  const key1 = Math.floor(seed / 2 ** 32) >>> 0;
  const limit = probability * 256;
  const whole = Math.floor(limit);
  const rest = (limit - whole) * 2 ** 32;
  counter[1] = streams.dropout + layerStep * layer;
  counter[2] = epoch;
  counter[3] = sample;
  for (let first = 0; first < kept.length; first += 16) {
    counter[0] = first >>> 4;
    philox(counter, key0, key1, block);
    const count = Math.min(16, kept.length - first);
    for (let i = 0; i < count; i++) {
      const byte = (block[i >> 2]! >>> (8 * (i & 3))) & 255;
      let stays = byte >= whole;
      if (byte === whole && rest > 0) {
        counter[0] = ownBlocks + first + i;
        philox(counter, key0, key1, own);
        stays = own[0]! >= rest;
      }
      kept[first + i] = stays ? 1 : 0;
    }
  }
}

/** Multiplies each value by 1 / (1 − p) or 0, image by image. */
function dropValues(spec: DropoutSpec, { shape, data }: Tensor, { draws, samples }: LayerPass): Tensor {
  const [batch = 0] = shape;
  const kept = new Uint8Array(data.length / batch);
  const scale = 1 / (1 - spec.probability);
  const result = new Float64Array(data.length);
  for (let n = 0; n < batch; n++) {
    drawKept(kept, spec.probability, draws, samples[n]!);
    for (const [i, stays] of kept.entries()) {
      const at = n * kept.length + i;
      result[at] = data[at]! * (stays ? scale : 0);
    }
  }
  return { shape, data: result };
}

export const dropoutKind: LayerKind<DropoutSpec> = {
  kind: 'dropout',
  role: 'pointwise',
  outputShape: (_spec, input) => input,
  parameters: () => [],
  multiplyAdds: () => 0,
};

export const dropoutPasses: LayerPasses<DropoutSpec> = {
  forward: (spec, input, _parameters, pass) => (pass.training ? dropValues(spec, input, pass) : input),
  backward: (spec, _input, _parameters, outputGradient, pass) => ({
    input: pass.training ? dropValues(spec, outputGradient, pass) : outputGradient,
    parameters: [],
  }),
};
