/**
 * From layers to operations. A convolution absorbs the ReLU and the max-pool after it, a linear layer and a batch
 * normalization their ReLU; flatten is only a view. Each operation also gets its algorithm and the address and layout of
 * its parameters. These depend only on network and cache, so that all plans of a session share them.
 *
 * Every activation is a map [height][width][channels], channels last; a vector is a 1×1 map. Channels are padded with
 * zeros to a multiple of the granule, except in the image that a first convolution reads.
 */
import { directUnroll } from '../../../kernels/direct.ts';
import { granule } from '../../../kernels/language.ts';
import { bytePositions } from '../../../kernels/pooling.ts';
import type { Scheme } from '../../../kernels/winograd-schemes.ts';
import type {
  BatchNormSpec,
  Conv2dSpec,
  DropoutSpec,
  LinearSpec,
  MaxPool2dSpec,
  Network,
  NetworkLayer,
  Shape,
} from '../../../model/layer.ts';
import { cheapestScheme } from '../lower/convolution/cost.ts';

/** Size of a map; `stored` channels are in memory, of which the first `channels` are used. */
export interface MapShape {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly stored: number;
}

/**
 * The layout of a layer's parameters, in floats from the start of the parameters: one row per output,
 * [out][taps][stored input channels], rows `rowStride` apart; biases start at `bias`, `biasStep` apart.
 */
export interface MatrixLayout {
  readonly weightName: string;
  readonly biasName: string | undefined;
  readonly offset: number;
  readonly rowStride: number;
  /** Rows including padding, a multiple of the granule. */
  readonly storedOut: number;
  readonly out: number;
  /** The row of each output, if rows are not in the outputs' order. */
  readonly rows?: Int32Array;
  /** Kernel positions; for a linear layer, positions of its input map. */
  readonly taps: number;
  readonly channels: number;
  readonly stored: number;
  readonly bias: number;
  readonly biasStep: number;
  /** Total floats, including biases. */
  readonly length: number;
  /** Whether the rows are written to memory of the moment, at offset 0, and not kept. */
  readonly staged: boolean;
}

interface Shared {
  /** Names of the layers that it computes, in order. */
  readonly layers: readonly string[];
  readonly input: MapShape;
  readonly output: MapShape;
}

export interface Convolution extends Shared {
  readonly kind: 'convolution';
  readonly spec: Conv2dSpec;
  /** The convolution's output before the pool. */
  readonly full: MapShape;
  readonly relu: boolean;
  readonly pool: MaxPool2dSpec | undefined;
  readonly forward: 'winograd' | 'direct' | 'im2col';
  /** `sparse` visits only the winners of the pool. */
  readonly backward: 'winograd' | 'direct' | 'im2col' | 'sparse';
  /** The scheme of `winograd`; absent if neither pass uses it. */
  readonly scheme: Scheme | undefined;
  readonly matrix: MatrixLayout;
}

export interface Linear extends Shared {
  readonly kind: 'linear';
  readonly spec: LinearSpec;
  readonly relu: boolean;
  /** Split over the threads by output instead of by image. */
  readonly split: boolean;
  readonly matrix: MatrixLayout;
}

export interface Pool extends Shared {
  readonly kind: 'pool';
  readonly spec: MaxPool2dSpec;
}

export interface Relu extends Shared {
  readonly kind: 'relu';
}

export interface BatchNorm extends Shared {
  readonly kind: 'batchNorm';
  readonly spec: BatchNormSpec;
  readonly relu: boolean;
  /** The input's shape for normalization: after flatten one pixel, with a channel for each stored value. */
  readonly view: MapShape;
  /** The index of each channel in vectors of `view.stored`. */
  readonly places: Int32Array;
  /** Full names of its buffers. */
  readonly running: readonly [mean: string, variance: string];
  /** Weights as rows of one value, then biases; absent if not affine. */
  readonly matrix: MatrixLayout | undefined;
}

export interface Dropout extends Shared {
  readonly kind: 'dropout';
  readonly spec: DropoutSpec;
  /** Index of the layer in the network, which its draws depend on. */
  readonly layer: number;
}

export type Operation = Convolution | Linear | Pool | Relu | BatchNorm | Dropout;

export interface Operations {
  readonly network: Network;
  readonly predictsOnly: boolean;
  readonly input: MapShape;
  readonly list: readonly Operation[];
  /** Floats of all parameters. */
  readonly parameterLength: number;
  /** Floats of the first of them, whose gradients are summed in slots. */
  readonly slotLength: number;
  /** Floats of the batch normalizations' parameters, which follow; the rest belongs to split layers. */
  readonly normalizationLength: number;
  /** Floats of a core's second-level cache, which blocks of work must fit. */
  readonly cacheFloats: number;
}

/** Used if the machine's size is unknown: 1 MiB. */
export const usualCacheBytes: number = 1 << 20;

/** A linear layer with at least this many weights is split by output, because a gradient slot would cost too much. */
const splitFrom = 131_072;

/** Rows of patches and of their weights are a multiple of this length, so that the widest vectors have no tail. */
const columnMultiple = 16;

/** Strides of a multiple of eight cache lines use few sets of the cache, so these strides get one more line. */
export const unevenStride = (floats: number): number => (floats % 128 === 0 ? floats + 16 : floats);

export const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

export function isPoolOfTiles(pool: MaxPool2dSpec | undefined): pool is MaxPool2dSpec {
  if (!pool) return false;
  const [size] = pool.kernel;
  return (
    [...pool.kernel, ...pool.stride].every((value) => value === size) &&
    pool.padding.every((value) => value === 0)
  );
}

/** Whether the direct algorithm applies: it reads images, whose channels are stored without padding. */
const canBeDirect = (spec: Conv2dSpec, { stored }: MapShape): boolean =>
  stored % granule !== 0 && (spec.kernel[1] * stored) % directUnroll === 0;

function chooseAlgorithms(
  spec: Conv2dSpec,
  pool: MaxPool2dSpec | undefined,
  input: MapShape,
  full: MapShape,
  cacheFloats: number,
): Pick<Convolution, 'forward' | 'backward' | 'scheme'> {
  const scheme = cheapestScheme(spec, input, full, cacheFloats);
  const dense = scheme ? 'winograd' : canBeDirect(spec, input) ? 'direct' : 'im2col';
  // In a window of n values one has a gradient; Winograd saves about a factor of 3 on all of them, more with many
  // channels.
  const { stored } = input;
  const positions = isPoolOfTiles(pool) ? pool.kernel[0] ** 2 : 0;
  const sparse = stored % granule === 0 && positions >= 8 && positions <= bytePositions && stored <= 64;
  return { forward: dense, backward: sparse ? 'sparse' : dense, scheme };
}

/**
 * Groups the layers of a network into operations. With `predictsOnly` the weights of convolutions are not kept, since
 * the forward pass reads only what is derived from them.
 */
export function planOperations(
  network: Network,
  cacheBytes: number = usualCacheBytes,
  predictsOnly = false,
): Operations {
  const cacheFloats = cacheBytes / 4;
  const mapOf = ([channels = 1, height = 1, width = 1]: Shape): MapShape => ({
    channels,
    height,
    width,
    stored: roundUp(channels, granule),
  });
  const { layers } = network;
  const image = mapOf(network.input);
  const input = layers[0]?.spec.kind === 'conv2d' ? { ...image, stored: image.channels } : image;

  /** The layout of a layer's parameters, relative to their start. */
  const layOut = (
    layer: NetworkLayer,
    from: MapShape,
    storedOut: number,
    taps: number,
    bias: 'column' | 'vector',
  ): MatrixLayout => {
    const weight = layer.parameters[0]!;
    const values = taps * from.stored;
    const rowStride = bias === 'column' ? roundUp(values + 1, columnMultiple) : unevenStride(values);
    const matrixLength = storedOut * rowStride;
    return {
      weightName: weight.name,
      biasName: layer.parameters[1]?.name,
      offset: 0,
      rowStride,
      storedOut,
      out: weight.shape[0]!,
      taps,
      channels: from.channels,
      stored: from.stored,
      bias: bias === 'column' ? values : matrixLength,
      biasStep: bias === 'column' ? rowStride : 1,
      staged: false,
      length: matrixLength + (bias === 'column' ? 0 : storedOut),
    };
  };

  /** The same for a weight and a bias at each of `rows`. */
  const layOutVectors = (layer: NetworkLayer, { stored }: MapShape, rows: Int32Array): MatrixLayout => ({
    weightName: layer.parameters[0]!.name,
    biasName: layer.parameters[1]!.name,
    offset: 0,
    rowStride: 1,
    storedOut: stored,
    out: rows.length,
    rows,
    taps: 1,
    channels: 1,
    stored: 1,
    bias: stored,
    biasStep: 1,
    staged: false,
    length: 2 * stored,
  });

  const list: Operation[] = [];
  let from = input;
  for (let i = 0; i < layers.length; ) {
    const first = i;
    const layer = layers[i++]!;
    const named = (): string[] => layers.slice(first, i).map(({ name }) => name);
    const next = <K extends NetworkLayer['spec']['kind']>(kind: K) => {
      const spec = layers[i]?.spec;
      if (spec?.kind !== kind) return undefined;
      i++;
      return spec as Extract<NetworkLayer['spec'], { kind: K }>;
    };
    const { spec } = layer;
    switch (spec.kind) {
      case 'conv2d': {
        const relu = next('relu') !== undefined;
        const pool = next('maxPool2d');
        const full = mapOf(layer.output);
        const algorithms = chooseAlgorithms(spec, pool, from, full, cacheFloats);
        const bias = algorithms.forward === 'winograd' ? 'vector' : 'column';
        const matrix = layOut(layer, from, full.stored, spec.kernel[0] * spec.kernel[1], bias);
        const output = mapOf(layers[i - 1]!.output);
        list.push({
          kind: 'convolution',
          layers: named(),
          input: from,
          output,
          spec,
          full,
          relu,
          pool,
          ...algorithms,
          matrix,
        });
        break;
      }
      case 'linear': {
        const relu = next('relu') !== undefined;
        const output = mapOf(layer.output);
        const taps = from.height * from.width;
        const split = output.stored * taps * from.stored >= splitFrom;
        const matrix = layOut(layer, from, output.stored, taps, 'vector');
        list.push({ kind: 'linear', layers: named(), input: from, output, spec, relu, split, matrix });
        break;
      }
      case 'maxPool2d':
        list.push({ kind: 'pool', layers: named(), input: from, output: mapOf(layer.output), spec });
        break;
      case 'relu':
        list.push({ kind: 'relu', layers: named(), input: from, output: from });
        break;
      case 'batchNorm': {
        const relu = next('relu') !== undefined;
        const [mean, variance] = layer.buffers;
        const running = [mean!.name, variance!.name] as const;
        const values = from.height * from.width * from.stored;
        const behindFlatten = layer.input.length === 1;
        const view = behindFlatten ? { height: 1, width: 1, channels: values, stored: values } : from;
        const places = flattenedPlaces(behindFlatten ? from : { ...from, height: 1, width: 1 });
        const matrix = spec.affine ? layOutVectors(layer, view, places) : undefined;
        list.push({
          kind: 'batchNorm',
          layers: named(),
          input: from,
          output: from,
          spec,
          relu,
          view,
          places,
          running,
          matrix,
        });
        break;
      }
      case 'dropout':
        // Dropout with p = 0 needs no operation.
        if (spec.probability === 0) continue;
        list.push({ kind: 'dropout', layers: named(), input: from, output: from, spec, layer: first });
        break;
      case 'flatten':
        // A view: the map stays unchanged, and the next layer's weights are stored in its order.
        continue;
      default:
        spec satisfies never;
    }
    from = list.at(-1)!.output;
  }

  // Parameters whose gradients need slots come first, then those of normalizations, then those of split layers.
  const offsets = new Map<Operation, number>();
  let length = 0;
  const isStaged = ({ kind }: Operation): boolean => predictsOnly && kind === 'convolution';
  const keptLength = (operation: Operation, { length: all, biasStep, storedOut }: MatrixLayout): number =>
    isStaged(operation) ? (biasStep === 1 ? storedOut : 0) : all;
  const layOutAll = (chosen: (operation: Operation) => boolean): number => {
    for (const operation of list.filter(chosen)) {
      const matrix = matrixOf(operation);
      if (!matrix) continue;
      offsets.set(operation, length);
      length = roundUp(length + keptLength(operation, matrix), 16);
    }
    return length;
  };
  const slotLength = layOutAll((operation) => !onWholeBatch(operation));
  const normalizationLength = layOutAll(({ kind }) => kind === 'batchNorm') - slotLength;
  layOutAll(isSplit);
  const place = <T extends Operation>(operation: T): T => {
    const matrix = matrixOf(operation);
    if (!matrix) return operation;
    const offset = offsets.get(operation)!;
    if (isStaged(operation)) {
      const bias = matrix.biasStep === 1 ? offset : matrix.bias;
      return { ...operation, matrix: { ...matrix, staged: true, bias } };
    }
    return { ...operation, matrix: { ...matrix, offset, bias: matrix.bias + offset } };
  };
  return {
    network,
    predictsOnly,
    input,
    list: list.map(place),
    parameterLength: length,
    slotLength,
    normalizationLength,
    cacheFloats,
  };
}

/** The layout of an operation's parameters, if it has any. */
export const matrixOf = (operation: Operation): MatrixLayout | undefined =>
  'matrix' in operation ? operation.matrix : undefined;

/** Whether an operation is a linear layer that processes the whole batch at once. */
export const isSplit = (operation: Operation | undefined): boolean =>
  operation?.kind === 'linear' && operation.split;

/** Whether an operation's gradients are computed for the whole batch at once, without slots. */
export const onWholeBatch = (operation: Operation | undefined): boolean =>
  isSplit(operation) || operation?.kind === 'batchNorm';

/**
 * Whether an operation reads each image as one vector, so that its input and the input's gradient have no halo.
 */
export const readsVector = (operation: Operation | undefined): boolean =>
  operation?.kind === 'linear' || (operation?.kind === 'batchNorm' && operation.view !== operation.input);

/** Offsets of an image's values from the first one, in the order of torch.flatten. */
export function flattenedPlaces(
  { channels, height, width, stored }: MapShape,
  rowStride: number = width * stored,
): Int32Array {
  const places = new Int32Array(channels * height * width);
  let i = 0;
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) places[i++] = y * rowStride + x * stored + c;
    }
  }
  return places;
}
