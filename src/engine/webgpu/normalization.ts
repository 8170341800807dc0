/** Batch normalization as an operation; its kernels are in `batch-norm.ts`. */
import type { BatchNormNode } from '../graph.ts';
import type { MapShape } from '../map-shape.ts';
import {
  gradientSums,
  groupsAcross,
  joinMoments,
  joinSums,
  moments,
  normalize,
  normalizeGradient,
  normVectors,
  partialVectors,
  runningNorm,
  stretchesOf,
  updateRunning,
} from './batch-norm.ts';
import { all, type Bindable, cells, type Dispatch, type Piece } from './dispatch.ts';
import type { Passes, Place, Shared } from './operations.ts';
import { channelsOf } from './parameters.ts';
import type { Kernel } from './wgsl.ts';

export function batchNorm(shared: Shared, node: BatchNormNode, input: MapShape, place: Place): Passes {
  const { memory, parameters, run, stretches: scratch, slots } = shared;
  const { spec, last, layers } = node;
  const layer = layers[0]!;
  const { stored } = channelsOf(node);
  // Behind a flatten each value of the map is a channel.
  const view = node.flattened ? { height: 1, width: 1, channels: stored, stored } : input;
  const running = parameters.running.get(layer.buffers[0]!.name)!;
  const matrix = spec.affine ? parameters.matrices.get(layer.parameters[0]!.name)! : undefined;
  const ofBatch = place.trains && !parameters.isFrozen(last - layers.length + 1);
  const norm = memory.buffer(4 * normVectors * stored, `norm of ${layer.name}`);
  const weights = matrix ? [matrix.parts[0]!.arrays.get('weights')!] : [];
  const [places, vectors] = [view.height * view.width, stored / 4];
  /** Dispatches that collect the stretches of each piece, and how many stretches they are. */
  const collect = (
    pieces: readonly Piece[],
    kernel: (stretches: number, first: number) => Kernel,
    buffers: (i: number) => readonly Bindable[],
  ): { readonly list: readonly Dispatch[]; readonly stretches: number } => {
    let stretches = 0;
    const list = pieces.map((piece): Dispatch => {
      const own = stretchesOf(piece.count * places);
      const dispatch = {
        ...{ kernel: kernel(own, stretches), buffers: buffers(piece.index), piece },
        ...{ groups: [groupsAcross(view), own, 1] as const, operations: 4 * piece.count * places * stored },
      };
      stretches += own;
      return dispatch;
    });
    scratch.require(16 * partialVectors * vectors * stretches);
    return { list, stretches };
  };
  return {
    matrix,
    endsInRelu: node.relu,
    forward(pieces) {
      const collected = collect(
        pieces,
        (stretches, first) => moments(view, stretches, first),
        (i) => [place.input[i]!, scratch],
      );
      const made = ofBatch
        ? [
            ...collected.list,
            cells(joinMoments(view, spec, collected.stretches), [scratch, norm], all, vectors),
          ]
        : [cells(runningNorm(view, spec), [running.buffer, norm], all, vectors)];
      const kernel = normalize(view, spec, node.relu);
      const each = pieces.map((piece) => {
        const buffers = [place.input[piece.index]!, norm, place.output[piece.index]!, ...weights];
        return cells(kernel, buffers, piece, places * vectors);
      });
      return [...made, ...each];
    },
    backward(pieces, { gradient, inputGradient, masked, learns, finish }) {
      const list: Dispatch[] = [];
      if (ofBatch || learns) {
        slots.require(32 * vectors);
        const collected = collect(
          pieces,
          (stretches, first) => gradientSums(view, stretches, first),
          (i) => [gradient[i]!, place.input[i]!, norm, scratch],
        );
        const joined = cells(joinSums(view, collected.stretches), [scratch, slots], all, vectors);
        list.push(...collected.list, joined);
      }
      const kernel = normalizeGradient(view, spec, { ofBatch, masked });
      for (const piece of inputGradient ? pieces : []) {
        const own = [place.input[piece.index]!];
        const read = ofBatch ? [run, slots, ...own] : masked ? own : [];
        const buffers = [gradient[piece.index]!, norm, inputGradient![piece.index]!, ...read, ...weights];
        list.push(cells(kernel, buffers, piece, places * vectors));
      }
      return learns && matrix ? [...list, ...finish(matrix.parts[0]!, matrix, 1)] : list;
    },
    after: () =>
      ofBatch ? [cells(updateRunning(view, spec), [run, norm, running.buffer], all, vectors)] : [],
  };
}
