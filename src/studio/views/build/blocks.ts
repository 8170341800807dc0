/**
 * A network as a list of blocks that a user edits. A block is a layer with what usually follows it: a convolution with its
 * normalization and ReLU, a linear layer with its ReLU. Blocks become the layers of a network's description, as in
 * `vgg train --model FILE`; shapes, counts and errors are the library's own.
 */
import { ShapeError, VggError } from '../../../errors.ts';
import type { LayerSpec, Network, Shape } from '../../../model/layer.ts';
import { checkedSpec, kindOf } from '../../../model/layers/index.ts';
import type { NetworkDescription } from '../../../model/models.ts';
import { buildNetwork, type Sequential, sequential, sizeOf } from '../../../model/network.ts';

export type BlockContent =
  | {
      readonly kind: 'conv';
      /** Output channels. */
      readonly out: number;
      readonly kernel: number;
      readonly stride: number;
      readonly padding: number;
      readonly norm: boolean;
      readonly relu: boolean;
    }
  | { readonly kind: 'pool'; readonly kernel: number; readonly stride: number }
  /** Averages each map to size × size values. */
  | { readonly kind: 'average'; readonly size: number }
  | { readonly kind: 'flatten' }
  | { readonly kind: 'linear'; readonly out: number; readonly relu: boolean }
  | { readonly kind: 'dropout'; readonly probability: number }
  /** The linear layer whose outputs are the classes. */
  | { readonly kind: 'output' }
  /** A layer that has no controls here. */
  | { readonly kind: 'other'; readonly spec: LayerSpec };

export type Block = BlockContent & {
  /** Stays with the block when it moves. */
  readonly id: number;
};

export type BlockKind = BlockContent['kind'];

/** A block as it is added. */
export const fresh: Readonly<Record<Exclude<BlockKind, 'other'>, BlockContent>> = {
  conv: { kind: 'conv', out: 32, kernel: 3, stride: 1, padding: 1, norm: false, relu: true },
  pool: { kind: 'pool', kernel: 2, stride: 2 },
  average: { kind: 'average', size: 1 },
  flatten: { kind: 'flatten' },
  linear: { kind: 'linear', out: 64, relu: true },
  dropout: { kind: 'dropout', probability: 0.5 },
  output: { kind: 'output' },
};

let nextId = 1;

export const withId = (content: BlockContent): Block => ({ ...content, id: nextId++ });

/** A layer of a description: a constructor's options, and `out: "classes"` for the number of classes. */
type Described = NetworkDescription['layers'][number];

function layersOfBlock(block: BlockContent): readonly Described[] {
  switch (block.kind) {
    case 'conv': {
      const { out, kernel, stride, padding } = block;
      return [
        {
          kind: 'conv2d',
          out,
          kernel,
          ...(stride !== 1 && { stride }),
          ...(padding !== 0 && { padding }),
        },
        ...(block.norm ? [{ kind: 'batchNorm', dimensions: 2 }] : []),
        ...(block.relu ? [{ kind: 'relu' }] : []),
      ];
    }
    case 'pool':
      return [{ kind: 'maxPool2d', kernel: block.kernel, stride: block.stride }];
    case 'average':
      return [{ kind: 'adaptiveAvgPool2d', size: block.size }];
    case 'flatten':
      return [{ kind: 'flatten' }];
    case 'linear':
      return [{ kind: 'linear', out: block.out }, ...(block.relu ? [{ kind: 'relu' }] : [])];
    case 'dropout':
      return [{ kind: 'dropout', probability: block.probability }];
    case 'output':
      return [{ kind: 'linear', out: 'classes' }];
    case 'other':
      return [{ ...block.spec }];
    default:
      return block satisfies never;
  }
}

/** The network as a config and a link carry it. */
export const descriptionOf = (name: string, blocks: readonly BlockContent[]): NetworkDescription => ({
  name,
  layers: blocks.flatMap(layersOfBlock),
});

/** The blocks of a network whose last layer has `classes` outputs. */
export function blocksOf({ layers }: Sequential, classes: number): readonly Block[] {
  const blocks: BlockContent[] = [];
  for (let at = 0; at < layers.length; ) {
    const { block, taken } = blockAt(layers, at, classes);
    blocks.push(block);
    at += taken;
  }
  return blocks.map(withId);
}

/** The block that begins at a layer, and the number of its layers. */
function blockAt(
  layers: readonly LayerSpec[],
  at: number,
  classes: number,
): { readonly block: BlockContent; readonly taken: number } {
  const spec = layers[at]!;
  const kindAfter = (more: number): string | undefined => layers[at + more]?.kind;
  const square = (...pairs: readonly (readonly [number, number])[]): boolean =>
    pairs.every(([a, b]) => a === b);
  switch (spec.kind) {
    case 'conv2d': {
      const { out, kernel, stride, padding, bias } = spec;
      if (!bias || !square(kernel, stride, padding)) break;
      const norm = isUsualNorm(layers[at + 1]);
      const relu = kindAfter(norm ? 2 : 1) === 'relu';
      return {
        block: { kind: 'conv', out, kernel: kernel[0], stride: stride[0], padding: padding[0], norm, relu },
        taken: 1 + Number(norm) + Number(relu),
      };
    }
    case 'maxPool2d': {
      const { kernel, stride, padding } = spec;
      if (!square(kernel, stride) || padding.some((side) => side !== 0)) break;
      return { block: { kind: 'pool', kernel: kernel[0], stride: stride[0] }, taken: 1 };
    }
    case 'adaptiveAvgPool2d':
      if (!square(spec.size)) break;
      return { block: { kind: 'average', size: spec.size[0] }, taken: 1 };
    case 'flatten':
      return { block: { kind: 'flatten' }, taken: 1 };
    case 'dropout':
      return { block: { kind: 'dropout', probability: spec.probability }, taken: 1 };
    case 'linear': {
      if (!spec.bias) break;
      if (at === layers.length - 1 && spec.out === classes) return { block: { kind: 'output' }, taken: 1 };
      const relu = kindAfter(1) === 'relu';
      return { block: { kind: 'linear', out: spec.out, relu }, taken: relu ? 2 : 1 };
    }
    case 'relu':
    case 'batchNorm':
    case 'avgPool2d':
    case 'localResponseNorm':
      break;
    default:
      return spec satisfies never;
  }
  // Names could collide with those of layers that are added.
  const { name: _, ...unnamed } = spec;
  return { block: { kind: 'other', spec: unnamed }, taken: 1 };
}

const isUsualNorm = (spec: LayerSpec | undefined): boolean =>
  spec?.kind === 'batchNorm' &&
  spec.dimensions === 2 &&
  spec.momentum === 0.1 &&
  spec.epsilon === 1e-5 &&
  spec.affine;

/** What a block does to one image. */
export interface Figures {
  readonly input: Shape;
  readonly output: Shape;
  readonly parameters: number;
  /** For one image, forward. */
  readonly multiplyAdds: number;
}

/** Why a network is impossible; `at` is the block, or the number of blocks for what is missing at the end. */
export interface Impossible {
  readonly at: number;
  /** The library's own words. */
  readonly message: string;
  /** What would repair it. */
  readonly repair: 'flatten' | 'output' | 'padding' | undefined;
}

export interface Measured {
  /** For the blocks up to the first that does not fit. */
  readonly figures: readonly Figures[];
  readonly network: Network | undefined;
  readonly impossible: Impossible | undefined;
}

/** Builds the network block by block, for images of a shape and a number of classes. Allocates nothing. */
export function measure(
  name: string,
  blocks: readonly BlockContent[],
  input: Shape,
  classes: number,
): Measured {
  const figures: Figures[] = [];
  const specs: LayerSpec[] = [];
  let shape = input;
  for (const [at, block] of blocks.entries()) {
    try {
      const from = shape;
      let [parameters, multiplyAdds] = [0, 0];
      for (const described of layersOfBlock(block)) {
        const spec = checkedSpec(described.out === 'classes' ? { ...described, out: classes } : described);
        const kind = kindOf(spec);
        const pooledBefore = specs.some((before) => kindOf(before).role === 'pool');
        const output = kind.outputShape(spec, shape, { position: at + 1, pooledBefore });
        parameters += kind.parameters(spec, shape).reduce((sum, tensor) => sum + sizeOf(tensor.shape), 0);
        multiplyAdds += kind.multiplyAdds(spec, shape);
        specs.push(spec);
        shape = output;
      }
      figures.push({ input: from, output: shape, parameters, multiplyAdds });
    } catch (error) {
      if (!(error instanceof VggError)) throw error;
      return {
        figures,
        network: undefined,
        impossible: { at, message: error.message, repair: repairOf(block, shape, error) },
      };
    }
  }
  return { figures, ...built(name, specs, input, shape, classes) };
}

/** The network, if its end fits the classes. */
function built(
  name: string,
  specs: readonly LayerSpec[],
  input: Shape,
  output: Shape,
  classes: number,
): Pick<Measured, 'network' | 'impossible'> {
  const at = Number.POSITIVE_INFINITY;
  try {
    const network = buildNetwork(sequential(specs, { name }), input);
    if (sizeOf(network.output) === classes) return { network, impossible: undefined };
    throw new ShapeError(
      `${name}: its output has ${sizeOf(network.output)} values, but there are ${classes} classes; end with linear(${classes})`,
    );
  } catch (error) {
    if (!(error instanceof VggError)) throw error;
    const repair = output.length === 3 ? 'flatten' : 'output';
    return { network: undefined, impossible: { at, message: error.message, repair } };
  }
}

function repairOf(block: BlockContent, shape: Shape, error: VggError): Impossible['repair'] {
  if (!(error instanceof ShapeError)) return undefined;
  const isMap = shape.length === 3;
  if ((block.kind === 'linear' || block.kind === 'output') && isMap) return 'flatten';
  return block.kind === 'conv' && isMap ? 'padding' : undefined;
}

/** Applies the repair of an impossible network. */
export function repaired(blocks: readonly Block[], { at, repair }: Impossible): readonly Block[] {
  const place = Math.min(at, blocks.length);
  switch (repair) {
    case 'flatten': {
      const missingOutput = place === blocks.length;
      const added = missingOutput ? [fresh.flatten, fresh.output] : [fresh.flatten];
      return blocks.toSpliced(place, 0, ...added.map(withId));
    }
    case 'output':
      return [...blocks, withId(fresh.output)];
    case 'padding':
      return blocks.map((block, i) =>
        i === place && block.kind === 'conv' ? { ...block, padding: Math.floor(block.kernel / 2) } : block,
      );
    case undefined:
      return blocks;
    default:
      return repair satisfies never;
  }
}

/** All channels and hidden units times a factor, at least 1. */
export const widened = (blocks: readonly Block[], factor: number): readonly Block[] =>
  blocks.map((block) =>
    block.kind === 'conv' || block.kind === 'linear'
      ? { ...block, out: Math.min(mostWidth, Math.max(1, Math.round(block.out * factor))) }
      : block,
  );

/** Channels that the controls go up to; the library's own limit is far beyond what a page can train. */
export const mostWidth = 8192;
/** Blocks of a network here. */
export const mostBlocks = 64;

/** The next width that a button offers: powers of two and the halves between them. */
export function nextWidth(width: number, direction: 1 | -1): number {
  const steps = Array.from({ length: 14 }, (_, i) => 2 ** i).flatMap((power) => [power, power * 1.5]);
  const whole = [...new Set(steps.filter(Number.isInteger))].filter((step) => step <= mostWidth);
  return direction > 0
    ? (whole.find((step) => step > width) ?? width)
    : (whole.findLast((step) => step < width) ?? width);
}
