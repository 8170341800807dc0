/** The sum behind one value of a feature map: what a convolution multiplies and adds, or where a pool takes it from. */
import { UsageError } from '../../errors.ts';
import type { Conv2dSpec, NetworkLayer, PoolSpec } from '../../model/layer.ts';
import type { Model } from '../../train/model.ts';
import type { Question, ValueSum } from './protocol.ts';

type Asked = Extract<Question, { kind: 'sum' }>;

/** Inputs of a window at `corner` of a map [H, W]; outside of it, padding is 0. */
function windowOf(
  map: Float32Array,
  [height, width]: readonly [number, number],
  [top, left]: readonly [number, number],
  [rows, columns]: readonly [number, number],
): Float32Array {
  const inputs = new Float32Array(rows * columns);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const [row, column] = [top + y, left + x];
      if (row < 0 || row >= height || column < 0 || column >= width) continue;
      inputs[y * columns + x] = map[row * width + column]!;
    }
  }
  return inputs;
}

/** The convolution or pool that makes the map behind layer `shown`: the layers after it work on each value alone. */
function makerOf(layers: readonly NetworkLayer[], shown: number): number {
  let index = shown;
  while (index >= 0 && !isMaker(layers[index]!)) index--;
  if (index < 0 || layers[shown]!.output.length !== 3)
    throw new UsageError(`no convolution or pool makes the map after layer ${shown}`);
  return index;
}

const isMaker = ({ spec }: NetworkLayer): boolean =>
  spec.kind === 'conv2d' || spec.kind === 'maxPool2d' || spec.kind === 'avgPool2d';

export async function sumBehind(model: Model, image: Float32Array, asked: Asked): Promise<ValueSum> {
  const { layers, input } = model.network;
  const { layer: shown, channel, place } = asked;
  const maker = makerOf(layers, shown);
  const {
    spec,
    name,
    input: from,
    output,
  } = layers[maker]! as NetworkLayer & {
    readonly spec: Conv2dSpec | PoolSpec;
  };
  const [channels = 0, height = 0, width = 0] = output;
  const [y, x] = place;
  const inside = channel >= 0 && channel < channels && y >= 0 && y < height && x >= 0 && x < width;
  if (![channel, y, x].every(Number.isInteger) || !inside)
    throw new UsageError(
      `the map has ${channels}×${height}×${width} values, but none at ${channel}, ${y}, ${x}`,
    );
  const wanted = [...new Set([...(maker > 0 ? [maker - 1] : []), maker, shown])];
  const features = await model.features(image, wanted);
  const before = maker > 0 ? features.get(maker - 1)!.data : image;
  const at = (channel * height + y) * width + x;
  const [inputs = input[0]!, rows = 1, columns = 1] = from;
  const { kernel, stride, padding } = spec;
  const corner = [y * stride[0] - padding[0], x * stride[1] - padding[1]] as const;
  const windowIn = (c: number): Float32Array =>
    windowOf(before.subarray(c * rows * columns, (c + 1) * rows * columns), [rows, columns], corner, kernel);
  const common = {
    layer: shown,
    channel,
    place,
    corner,
    kernel,
    sum: features.get(maker)!.data[at]!,
    value: features.get(shown)!.data[at]!,
    relu: layers.slice(maker + 1, shown + 1).some((next) => next.spec.kind === 'relu'),
  };
  if (spec.kind !== 'conv2d') {
    const window = windowIn(channel);
    return { ...common, kind: spec.kind, bias: 0, terms: [{ channel, inputs: window, sum: common.sum }] };
  }
  const area = kernel[0] * kernel[1];
  const weights = new Float32Array(inputs * area);
  const bias = new Float32Array(1);
  await model.readWeights(async (source) => {
    await source.read(`${name}.weight`, channel * weights.length, weights);
    if (spec.bias) await source.read(`${name}.bias`, channel, bias);
  });
  const terms = Array.from({ length: inputs }, (_, c) => {
    const window = windowIn(c);
    const own = weights.slice(c * area, (c + 1) * area);
    return {
      channel: c,
      inputs: window,
      weights: own,
      sum: window.reduce((sum, value, i) => sum + value * own[i]!, 0),
    };
  });
  return { ...common, kind: 'conv2d', bias: bias[0]!, terms };
}
