/**
 * The reference driver: the layers' naive loops in float64, on the calling thread. It is the oracle of the tests and far
 * too slow for anything else. Arithmetic is float64; parameters and moments are rounded to float32 at the end of a step,
 * so that a saved state is the whole state. The optimizers are PyTorch's.
 */
import { VggError } from '../errors.ts';
import { averageShare, clippingScale } from '../kernels/optimizer.ts';
import { sourceOfInitial } from '../model/initialize.ts';
import type {
  LayerGradients,
  LayerPass,
  Network,
  NetworkLayer,
  ParameterSpec,
  Shape,
  Tensor,
} from '../model/layer.ts';
import { passesOf } from '../model/layers/passes.ts';
import { type CrossEntropy, crossEntropy, type SoftTargets } from '../model/loss.ts';
import { sizeOf } from '../model/network.ts';
import type { WeightSource } from '../model/weight-streams.ts';
import type { MomentName, OpenSession, OptimizerOptions } from './backend.ts';
import type {
  Command,
  Driver,
  FeaturesBackward,
  FeaturesCommand,
  ImageSource,
  TensorGroup,
} from './driver.ts';
import { largestEvaluation, sessionsOf } from './session.ts';
import { type Step, stepOf, type TrainPass } from './step.ts';
import { variantOf } from './variant.ts';

/** Parameters, or anything with their sizes, layer by layer. */
type ByLayer = readonly (readonly Float64Array[])[];

/** What the random draws of a training pass depend on. */
interface Draws {
  readonly seed: number;
  readonly epoch: number;
  /** Position in the data set of each image of the batch. */
  readonly samples: ArrayLike<number>;
}

type Values = Extract<ImageSource, { kind: 'values' }>;

/** Opens the float64 reference, which ignores `batchSize` and `threads`. */
export const openReference: OpenSession = sessionsOf(async (network) => {
  const maps = network.layers.reduce((sum, { output }) => sum + sizeOf(output), sizeOf(network.input));
  const bytes = 8 * (maps + 4 * network.parameterCount);
  if (bytes <= mostBytes) return new Reference(network);
  throw new VggError(
    `${network.name}: training on the reference needs at least ${(bytes / 2 ** 30).toFixed(1)} GiB, above the limit of ` +
      '4 GiB; use fewer channels or hidden units, or smaller images',
  );
});

/** For parameters with gradients and moments, and one image's maps. */
const mostBytes = 2 ** 32;

class Reference implements Driver {
  readonly description = 'reference, float64, 1 thread';
  readonly device = 'reference';
  readonly threads = 1;
  readonly evaluationBatch = largestEvaluation;
  readonly loadsImages = false;
  readonly #network: Network;
  #parameters: ByLayer;
  /** Running moments of batch normalizations. */
  #buffers: ByLayer;
  /** Empty for frozen layers, like their gradients. */
  #moments: Partial<Record<MomentName, ByLayer>> = {};
  #frozen: ReadonlySet<number> = new Set();
  /** Sum of the accumulated batches' gradients; after `gradients`, of its batch. */
  #gradients: ByLayer;
  #aborted = false;
  #rested = performance.now();

  constructor(network: Network) {
    this.#network = network;
    this.#parameters = this.#zeros();
    this.#gradients = this.#zeros();
    this.#buffers = network.layers.map(() => []);
  }

  buffer(bytes: number): ArrayBuffer {
    return new ArrayBuffer(bytes);
  }

  async initialize(seed: number): Promise<void> {
    await this.write('weights', sourceOfInitial(this.#network, seed));
  }

  async write(group: TensorGroup, source: WeightSource): Promise<void> {
    if (group !== 'weights') {
      this.#moments[group] = await readLayers(this.#learning(), source);
      return;
    }
    this.#parameters = await readLayers(
      this.#network.layers.map((layer) => layer.parameters),
      source,
    );
    this.#buffers = await readLayers(
      this.#network.layers.map((layer) => layer.buffers),
      source,
    );
  }

  async freeze(layers: readonly number[]): Promise<void> {
    this.#frozen = new Set(layers);
    this.#moments = {};
    this.#gradients = this.#zeros();
  }

  /** The parameters of each layer that learn. */
  #learning(): readonly (readonly ParameterSpec[])[] {
    return this.#network.layers.map(({ parameters }, layer) => (this.#frozen.has(layer) ? [] : parameters));
  }

  #zeros(): ByLayer {
    return this.#learning().map((specs) => specs.map(({ shape }) => new Float64Array(sizeOf(shape))));
  }

  tensors(group: TensorGroup | 'gradients'): WeightSource {
    const valuesOf = (layer: number): readonly Float64Array[] =>
      group === 'weights'
        ? [...this.#parameters[layer]!, ...this.#buffers[layer]!]
        : (group === 'gradients' ? this.#gradients : this.#moments[group]!)[layer]!;
    const learning = this.#learning();
    const named = new Map(
      this.#network.layers.flatMap(({ parameters, buffers }, layer) =>
        (group === 'weights' ? [...parameters, ...buffers] : learning[layer]!).map((spec, i) => [
          spec.name,
          { shape: spec.shape, data: () => valuesOf(layer)[i]! },
        ]),
      ),
    );
    return {
      shapes: new Map([...named].map(([name, { shape }]) => [name, shape])),
      read: async (name, from, into) =>
        into.set(
          named
            .get(name)!
            .data()
            .subarray(from, from + into.length),
        ),
    };
  }

  async start(moments: readonly MomentName[]): Promise<void> {
    for (const name of moments) {
      this.#moments[name] =
        name === 'average'
          ? this.#parameters.map((tensors, layer) =>
              this.#frozen.has(layer) ? [] : tensors.map((values) => values.slice()),
            )
          : this.#zeros();
    }
  }

  async swapAverage(): Promise<void> {
    const [own, average] = [this.#parameters, this.#moments.average!];
    const isFrozen = (layer: number): boolean => this.#frozen.has(layer);
    this.#parameters = own.map((tensors, layer) => (isFrozen(layer) ? tensors : average[layer]!));
    this.#moments.average = own.map((tensors, layer) => (isFrozen(layer) ? [] : tensors));
  }

  async run(command: Command, onProgress?: (done: number) => void): Promise<number> {
    switch (command.kind) {
      case 'train':
        return this.#train(command, onProgress);
      case 'evaluate':
        return this.#evaluate(command, onProgress);
      case 'features':
        return this.#features(command, onProgress);
      case 'gradients': {
        const { input, labels, samples } = this.#batch(command.source, 0, command.batchSize);
        const draws = { ...command.source, samples };
        const batch = await this.#backward(input, labels, draws);
        this.#gradients = batch.gradients;
        addTotals(command.totals, batch, command.batchSize);
        return 1;
      }
      default:
        return command satisfies never;
    }
  }

  abort(asked: boolean): void {
    this.#aborted = asked;
  }

  async close(): Promise<void> {
    this.#parameters = [];
    this.#buffers = [];
    this.#gradients = [];
    this.#moments = {};
  }

  async #train(pass: TrainPass, onProgress?: (done: number) => void): Promise<number> {
    const { source, from, to, losses, correct } = pass;
    for (let index = from; index < to; index++) {
      const step = stepOf(pass, index);
      const { input, labels, samples } = this.#batch(source, step.first, step.count);
      const { ownShare } = step;
      const mixes = ownShare !== 1;
      const batch = await this.#backward(
        mixes ? mixed(input, ownShare) : input,
        labels,
        { ...source, samples },
        {
          smoothing: pass.options.labelSmoothing,
          ...(mixes && { others: { labels: labels.toReversed(), ownShare } }),
        },
      );
      losses[index - from] = batch.loss;
      correct[index - from] = batch.correct;
      if (!Number.isFinite(batch.loss)) return index - from + 1;
      this.#updateBuffers(batch.values);
      this.#applyBatch(pass, step, batch.gradients);
      onProgress?.(index - from + 1);
      await eventLoop();
      if (step.updates && this.#aborted) return index - from + 1;
    }
    return to - from;
  }

  /** Adds a batch's gradients to its group's, and ends the group with an optimizer step. */
  #applyBatch({ optimizer, options, rateFactors }: TrainPass, step: Step, gradients: ByLayer): void {
    if (step.accumulated !== 'more') this.#gradients = this.#zeros();
    const sum = this.#gradients;
    addScaled(sum, gradients, step.count * step.gradientScale);
    if (!step.updates) return;
    if (options.clipNorm > 0) {
      const squares = sum.flat().map((values) => values.reduce((total, g) => total + g * g, 0));
      const norm = Math.sqrt(squares.reduce((total, square) => total + square, 0));
      addScaled(sum, sum, clippingScale(norm, options.clipNorm) - 1);
    }
    this.#apply(sum, { ...optimizer, lr: step.rate }, rateFactors, step.optimizerSteps);
    if (options.averageDecay > 0) this.#moveAverage(averageShare(options.averageDecay, step.optimizerSteps));
  }

  async #evaluate(
    { source, batchSize, images, totals, logits, variant }: Extract<Command, { kind: 'evaluate' }>,
    onProgress?: (done: number) => void,
  ): Promise<number> {
    const network = variant ? variantOf(this.#network, variant) : this.#network;
    let batches = 0;
    for (let first = 0; first < images; first += batchSize) {
      const count = Math.min(batchSize, images - first);
      const { input, labels } = this.#batch(source, first, count, network.input);
      const output = await this.#forward(network, input);
      addTotals(totals, crossEntropy(output, labels), count);
      if (logits.length > 0) logits.set(output.data, first * this.#network.output[0]!);
      batches++;
      onProgress?.(batches);
      await eventLoop();
      if (this.#aborted) return batches;
    }
    return batches;
  }

  async #features(
    { source, batchSize, images, layers, values, backward }: FeaturesCommand,
    onProgress?: (done: number) => void,
  ): Promise<number> {
    let batches = 0;
    const last = Math.max(...layers, ...(backward?.layers ?? []));
    for (let first = 0; first < images; first += batchSize) {
      const count = Math.min(batchSize, images - first);
      const inputs = [this.#batch(source, first, count).input];
      for (let i = 0; i <= last; i++) inputs.push(await this.#forwardLayer(i, inputs[i]!));
      for (const [i, layer] of layers.entries()) {
        const { data } = inputs[layer + 1]!;
        values[i]!.set(data, first * (data.length / count));
      }
      if (backward) await this.#backwardTo(backward, inputs, first, count);
      batches++;
      onProgress?.(batches);
      await eventLoop();
      if (this.#aborted) return batches;
    }
    return batches;
  }

  /** The gradient of images `first` … `first + count`; `inputs` are those of the layers. */
  async #backwardTo(
    { layers, given, to, gradient }: FeaturesBackward,
    inputs: readonly Tensor[],
    first: number,
    count: number,
  ): Promise<void> {
    let current: Tensor | undefined;
    for (let i = Math.max(...layers); i >= to; i--) {
      const { shape } = inputs[i + 1]!;
      const size = sizeOf(shape.slice(1));
      const data = current?.data ?? new Float64Array(count * size);
      const own = layers.indexOf(i);
      if (own >= 0) {
        const part = given[own]!.subarray(first * size, (first + count) * size);
        for (const [at, value] of part.entries()) data[at]! += value;
      }
      if (i === to) gradient.set(data, first * size);
      else current = (await this.#backwardLayer(i, inputs[i]!, { shape, data })).input;
    }
  }

  /** Images `first` … `first + count` of a source. */
  #batch(
    source: ImageSource,
    first: number,
    count: number,
    shape: Shape = this.#network.input,
  ): { readonly input: Tensor; readonly labels: number[]; readonly samples: Uint32Array } {
    const { values, labels, samples } = source as Values;
    const size = sizeOf(shape);
    const data = Float64Array.from(values.subarray(first * size, (first + count) * size));
    return {
      input: { shape: [count, ...shape], data },
      labels: Array.from(labels.subarray(first, first + count)),
      samples: samples.subarray(first, first + count),
    };
  }

  /** The pass through layer `layer`: training with `draws`, evaluation without; frozen normalizations evaluate. */
  #pass(layer: number, draws?: Draws): LayerPass {
    const { seed, epoch, samples } = draws ?? { seed: 0, epoch: 0, samples: [] };
    const buffers = this.#buffers[layer] ?? [];
    const normalizes = this.#network.layers[layer]?.spec.kind === 'batchNorm';
    const training = draws !== undefined && !(normalizes && this.#frozen.has(layer));
    return { training, buffers, draws: { seed, epoch, layer }, samples };
  }

  /** Logits of the network or of a variant, whose layers have the same tensors. */
  async #forward({ layers }: Network, input: Tensor): Promise<Tensor> {
    const tensorOf = ({ parameters, buffers }: NetworkLayer): string | undefined =>
      [...parameters, ...buffers][0]?.name;
    const owners = new Map(this.#network.layers.map((layer, i) => [tensorOf(layer), i]));
    let value = input;
    for (const layer of layers) {
      const tensor = tensorOf(layer);
      const owner = tensor === undefined ? -1 : owners.get(tensor)!;
      value = await this.#forwardLayer(owner, value, undefined, layer);
    }
    return value;
  }

  /** Layer `i`, or one with its tensors; −1 for one without tensors. */
  async #forwardLayer(
    i: number,
    input: Tensor,
    draws?: Draws,
    layer: NetworkLayer = this.#network.layers[i]!,
  ): Promise<Tensor> {
    const { spec } = layer;
    const parts: Tensor[] = [];
    for (const [part, own] of this.#turns(layer, input, draws)) {
      parts.push(passesOf(spec).forward(spec, part(input), this.#parameters[i] ?? [], this.#pass(i, own)));
      await this.#breathe();
    }
    return joined(parts);
  }

  async #backwardLayer(i: number, input: Tensor, gradient: Tensor, draws?: Draws): Promise<LayerGradients> {
    const layer = this.#network.layers[i]!;
    const { spec } = layer;
    const parts: Tensor[] = [];
    let parameters: readonly Float64Array[] | undefined;
    for (const [part, own] of this.#turns(layer, input, draws)) {
      const pass = this.#pass(i, own);
      const result = passesOf(spec).backward(spec, part(input), this.#parameters[i]!, part(gradient), pass);
      parts.push(result.input);
      if (parameters) addScaled([parameters], [result.parameters], 1);
      else parameters = result.parameters;
      await this.#breathe();
    }
    return { input: joined(parts), parameters: parameters ?? [] };
  }

  /**
   * The parts of a batch that a layer processes one by one, so that signals are handled in between; all images at once if
   * that is fast, or if they depend on each other.
   */
  *#turns<D extends Draws | undefined>(
    { spec, multiplyAdds }: NetworkLayer,
    { shape: [count = 0] }: Tensor,
    draws: D,
  ): Generator<readonly [part: (whole: Tensor) => Tensor, draws: D]> {
    const fits = Math.max(1, Math.floor(mostMultiplyAdds / multiplyAdds));
    if (spec.kind === 'batchNorm' || count <= fits) return yield [(whole) => whole, draws];
    for (let first = 0; first < count; first += fits) {
      const end = Math.min(count, first + fits);
      yield [
        ({ shape: [, ...shape], data }) => {
          const size = sizeOf(shape);
          return { shape: [end - first, ...shape], data: data.subarray(first * size, end * size) };
        },
        draws && { ...draws, samples: Array.from(draws.samples).slice(first, end) },
      ];
    }
  }

  /** Lets timers and signals run if they have waited long enough. */
  async #breathe(): Promise<void> {
    if (performance.now() - this.#rested < restEvery) return;
    await eventLoop();
    this.#rested = performance.now();
  }

  /** `values` are the layers' inputs, and the logits. */
  async #backward(
    input: Tensor,
    labels: ArrayLike<number>,
    draws: Draws,
    targets?: SoftTargets,
  ): Promise<CrossEntropy & { readonly values: readonly Tensor[]; readonly gradients: ByLayer }> {
    const { layers } = this.#network;
    const values = [input];
    for (const i of layers.keys()) {
      values.push(await this.#forwardLayer(i, values[i]!, draws));
    }
    const result = crossEntropy(values[layers.length]!, labels, targets);
    let { gradient } = result;
    const gradients: (readonly Float64Array[])[] = layers.map(() => []);
    const learning = this.#learning();
    const first = learning.findIndex((specs) => specs.length > 0);
    for (let i = layers.length - 1; first >= 0 && i >= first; i--) {
      const layer = await this.#backwardLayer(i, values[i]!, gradient, draws);
      if (learning[i]!.length > 0) gradients[i] = layer.parameters;
      gradient = layer.input;
    }
    return { ...result, values, gradients };
  }

  /** Updates buffers from the layers' `inputs` in the last step. Rounded like the parameters. */
  #updateBuffers(inputs: readonly Tensor[]): void {
    this.#buffers = this.#network.layers.map(({ spec }, i) => {
      const buffers = this.#buffers[i]!;
      if (this.#frozen.has(i)) return buffers;
      const updated = passesOf(spec).updatedBuffers?.(spec, inputs[i]!, buffers) ?? buffers;
      return updated.map((values) => values.map(Math.fround));
    });
  }

  /** Optimizer step number `step`, from 1. `factors` are those of the layers' rates; all 1 if empty. */
  #apply(gradients: ByLayer, optimizer: OptimizerOptions, factors: readonly number[], step: number): void {
    const { weightDecay } = optimizer;
    const rateOf = (layer: number): number => optimizer.lr * (factors[layer] ?? 1);
    if (optimizer.kind === 'sgd') {
      const { momentum, nesterov } = optimizer;
      this.#update(gradients, ['momentum'], (parameter, gradient, [moved], layer) => {
        const lr = rateOf(layer);
        const g = gradient + weightDecay * parameter;
        const m = momentum * moved! + g;
        return [parameter - lr * (nesterov ? g + momentum * m : m), m];
      });
      return;
    }
    const { kind, epsilon } = optimizer;
    const [beta1, beta2] = optimizer.betas;
    const correction1 = 1 - beta1 ** step;
    const correction2 = Math.sqrt(1 - beta2 ** step);
    const names = ['firstMoment', 'secondMoment'] as const;
    this.#update(gradients, names, (parameter, gradient, [first, second], layer) => {
      const lr = rateOf(layer);
      const stepSize = lr / correction1;
      const g = kind === 'adam' ? gradient + weightDecay * parameter : gradient;
      const kept = kind === 'adamw' ? parameter * (1 - lr * weightDecay) : parameter;
      const m = beta1 * first! + (1 - beta1) * g;
      const v = beta2 * second! + (1 - beta2) * g * g;
      return [kept - (stepSize * m) / (Math.sqrt(v) / correction2 + epsilon), m, v];
    });
  }

  /** Updates each parameter and its moments by `rule`. */
  #update(
    gradients: ByLayer,
    moments: readonly MomentName[],
    rule: (
      parameter: number,
      gradient: number,
      moments: readonly number[],
      layer: number,
    ) => readonly number[],
  ): void {
    const kept = moments.map((name) => this.#moments[name]!);
    for (const [i, tensors] of gradients.entries()) {
      for (const [j, gradient] of tensors.entries()) {
        const parameter = this.#parameters[i]![j]!;
        const own = kept.map((values) => values[i]![j]!);
        for (let k = 0; k < gradient.length; k++) {
          const [value, ...after] = rule(
            parameter[k]!,
            gradient[k]!,
            own.map((values) => values[k]!),
            i,
          );
          parameter[k] = Math.fround(value!);
          for (const [m, values] of own.entries()) values[k] = Math.fround(after[m]!);
        }
      }
    }
  }

  #moveAverage(share: number): void {
    for (const [i, tensors] of this.#moments.average!.entries()) {
      for (const [j, average] of tensors.entries()) {
        const parameter = this.#parameters[i]![j]!;
        for (let k = 0; k < average.length; k++) {
          average[k] = Math.fround(average[k]! + (parameter[k]! - average[k]!) * share);
        }
      }
    }
  }
}

/** Reads each layer's tensors. */
async function readLayers(
  specs: readonly (readonly ParameterSpec[])[],
  source: WeightSource,
): Promise<ByLayer> {
  const layers: Float64Array[][] = [];
  for (const own of specs) {
    const tensors: Float64Array[] = [];
    for (const { name, shape } of own) {
      const values = new Float32Array(sizeOf(shape));
      await source.read(name, 0, values);
      tensors.push(Float64Array.from(values));
    }
    layers.push(tensors);
  }
  return layers;
}

function addTotals(totals: Float64Array, { loss, correct, topFive }: CrossEntropy, images: number): void {
  totals[0]! += loss * images;
  totals[1]! += correct;
  totals[2]! += topFive;
}

/** sum += gradients · scale. */
function addScaled(sum: ByLayer, gradients: ByLayer, scale: number): void {
  for (const [i, tensors] of gradients.entries()) {
    for (const [j, gradient] of tensors.entries()) {
      const total = sum[i]![j]!;
      for (let k = 0; k < total.length; k++) total[k]! += gradient[k]! * scale;
    }
  }
}

/** Mixes each image i of a batch with the i-th from the end. */
function mixed({ shape, data }: Tensor, ownShare: number): Tensor {
  const [batch = 1] = shape;
  const size = data.length / batch;
  return {
    shape,
    data: data.map((value, i) => {
      const other = (batch - 1 - Math.floor(i / size)) * size + (i % size);
      return value * ownShare + data[other]! * (1 - ownShare);
    }),
  };
}

/** Multiply-adds that a layer computes at a time: a fraction of a second. */
const mostMultiplyAdds = 5e7;

/** The images of several tensors in one. */
function joined(parts: readonly Tensor[]): Tensor {
  const [first] = parts;
  if (first === undefined || parts.length === 1) return first ?? { shape: [0], data: new Float64Array(0) };
  const [, ...shape] = first.shape;
  const data = new Float64Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return { shape: [data.length / sizeOf(shape), ...shape], data };
}

/** Milliseconds of computing before timers and signals may run. */
const restEvery = 50;

function eventLoop(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
