/**
 * Tests networks on labeled images of any sizes by a protocol of the paper. Images are read and resized ahead, on this
 * thread, while the device computes on its own; views of the same shape go through the network together.
 */
import { fusedValue, fuseTransform } from '../data/fuse.ts';
import { resizedSides } from '../data/resize.ts';
import { inputTransform } from '../data/transforms.ts';
import { DataError, UsageError } from '../errors.ts';
import { fitFor } from '../images/fit.ts';
import type { ModelInfo } from '../model/info.ts';
import type { Network } from '../model/layer.ts';
import { sizeOf } from '../model/network.ts';
import { checkArgument, checkOptions, shown } from '../options.ts';
import type { Model } from '../train/model.ts';
import { outputsFor } from './classes.ts';
import { ahead, type LabeledImages, type RawImage, scaledPlanes } from './labeled-images.ts';
import {
  type ChosenProtocol,
  chosenProtocol,
  type Protocol,
  protocolKeys,
  type View,
  viewsOf,
} from './protocol.ts';
import { Posterior, type ProtocolResult, Scores } from './scores.ts';

/** What is needed of a model. */
export type ProtocolModel = Pick<Model, 'network' | 'predict'> & { readonly info: ModelInfo };

export interface EvaluateProtocolOptions extends Protocol {
  /** Called after each group of images. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Stops after the current batch. */
  readonly signal?: AbortSignal | undefined;
}

/** Floats of the views that are sent to a device together: 64 MiB; and the most of them. */
const batchFloats = 2 ** 24;
const batchViews = 500;
/** Images whose views are grouped by shape, at first and at most, and their bytes. */
const fewestImages = 8;
const mostImages = 500;
const groupBytes = 2 ** 26;
/** Images that are decoded at the same time. */
const decodedTogether = 4;

/** A model with its protocol. */
interface Tested {
  readonly model: ProtocolModel;
  readonly network: Network;
  readonly protocol: ChosenProtocol;
  /** The float of each byte value, [channels][256]. */
  readonly floats: Float32Array;
  /** For each class of the data set, the network's output. */
  readonly outputs: readonly number[];
}

/** An image at a scale: planes of bytes. */
interface Scaled {
  readonly bytes: Uint8Array;
  /** Where the bytes begin in the resized image, and their sides. */
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/** An image with what all models see of it. */
interface Prepared {
  readonly label: number;
  readonly views: readonly (readonly View[])[];
  /** By channels, crop and scale. */
  readonly scaled: ReadonlyMap<string, Scaled>;
}

/**
 * Top-1, top-5, loss and confusions of one model, or of several whose probabilities are averaged (the paper's fusion).
 * Each model is tested by the protocol at its own size.
 * @throws UsageError if a model cannot be tested so; DataError if an image cannot be read or classes do not fit.
 */
export async function evaluateProtocol(
  models: readonly ProtocolModel[],
  images: LabeledImages,
  options: EvaluateProtocolOptions = {},
): Promise<ProtocolResult> {
  const where = 'evaluateProtocol';
  if (!Array.isArray(models) || models.length === 0)
    throw new UsageError(`${where}: ${shown(models)} is not a list of models`);
  checkArgument(
    where,
    'images',
    images,
    ['labels', 'read'],
    'a source of images; make one with labeledImages',
  );
  checkOptions<EvaluateProtocolOptions>(where, options, {
    ...protocolKeys,
    onProgress: 'optional',
    signal: 'optional',
  });
  const { onProgress, signal, ...protocol } = options;
  const { length, labels, name } = images;
  if (length === 0) throw new DataError(`${name} has no images to evaluate; choose another data set`);
  const tested = models.map((model) => testedOf(where, model, images, protocol));
  checkSameClasses(tested);
  const [{ network, outputs }] = tested as [Tested, ...Tested[]];
  const scores = new Scores(images.classes, outputs, network.output[0]!);
  const begun = performance.now();
  const reading = ahead(
    length,
    async (index) => {
      const image = await images.read(index);
      return image && prepare(tested, image, labels[index]!, `${name}, image ${index}`);
    },
    (image) => (image ? bytesOf(image) : 0),
    { together: decodedTogether, items: mostImages, bytes: groupBytes },
  );
  let done = 0;
  const lane = new Lane();
  for await (const group of grouped(reading)) {
    const posteriors = group.map(
      ({ label }) => new Posterior(network.output[0]!, outputs[label] ?? unknownLabel(label)),
    );
    for (const [i, one] of tested.entries())
      await predictViews(one, i, tested.length, group, posteriors, lane, signal);
    lane.add(() => {
      group.forEach(({ label }, i) => {
        scores.add(label, posteriors[i]!);
      });
      done += group.length;
      onProgress?.(done, length);
    });
  }
  await lane.free();
  if (done === 0)
    throw new DataError(`${name}: no image can be read; repair them, or choose another data set`);
  return scores.result((performance.now() - begun) / 1000);
}

function unknownLabel(label: number): never {
  throw new DataError(`evaluateProtocol: there is no class with label ${label}; give classes their names`);
}

function testedOf(
  where: string,
  model: ProtocolModel,
  { name, classes }: LabeledImages,
  protocol: Protocol,
): Tested {
  checkArgument(where, 'model', model, ['network', 'predict', 'info'], 'a model; make one with compile');
  const { network, info } = model;
  const { input } = network;
  if (input.length !== 3)
    throw new UsageError(`${where}: ${network.name} takes ${input.join('×')} values, not images`);
  const { normalization } = info;
  if (normalization === undefined) {
    throw new UsageError(
      `${where}: ${network.name} does not say how its images are normalized; give compile the normalization (null: none)`,
    );
  }
  const [channels = 1] = input;
  const { scale, offset } = fuseTransform(inputTransform(normalization ?? undefined), [channels, 1, 1])!;
  const floats = new Float32Array(channels * 256);
  for (let c = 0; c < channels; c++) {
    for (let byte = 0; byte < 256; byte++) floats[c * 256 + byte] = fusedValue(byte, scale[c]!, offset[c]!);
  }
  const outputs = outputsFor(network.name, network.output[0]!, info.classes, name, classes);
  return {
    ...{ model, network, floats, outputs },
    protocol: chosenProtocol(where, protocol, input, fitFor(input).resize),
  };
}

/** @throws UsageError if the probabilities of models cannot be averaged. */
function checkSameClasses(tested: readonly Tested[]): void {
  const [first, ...rest] = tested as [Tested, ...Tested[]];
  for (const other of rest) {
    const isSame =
      other.network.output[0] === first.network.output[0] && other.outputs.join() === first.outputs.join();
    if (isSame) continue;
    throw new UsageError(
      `evaluateProtocol: ${first.network.name} and ${other.network.name} have different classes, so their ` +
        'probabilities cannot be averaged; evaluate each by itself',
    );
  }
}

const bytesOf = ({ scaled }: Prepared): number =>
  [...scaled.values()].reduce((sum, { bytes }) => sum + bytes.length, 0);

/** The key of a view's image among those of all models: small networks see the center only. */
const keyOf = ({ network, protocol }: Tested, scale: number): string =>
  `${network.input[0]} ${isCenterOnly(protocol) ? network.input.join() : 'whole'} ${scale}`;

const isCenterOnly = ({ dense, crops }: ChosenProtocol): boolean => !dense && crops === 1;

/** Resizes an image to all scales of all models. */
function prepare(tested: readonly Tested[], image: RawImage, label: number, where: string): Prepared {
  const { height, width } = image;
  const sidesAt = (scale: number) => resizedSides([height, width], scale);
  const views = tested.map(({ protocol, network }) => viewsOf(protocol, network.input, sidesAt));
  const scaled = new Map<string, Scaled>();
  for (const [i, one] of tested.entries()) {
    for (const scale of one.protocol.scales) {
      const key = keyOf(one, scale);
      if (scaled.has(key)) continue;
      const sides = sidesAt(scale);
      const whole = { top: 0, left: 0, height: sides[0], width: sides[1] };
      const window = isCenterOnly(one.protocol) ? views[i]!.find((view) => view.scale === scale)! : whole;
      const { top, left, height: rows, width: columns } = window;
      const part = { top, left, height: rows, width: columns };
      scaled.set(key, { ...part, bytes: scaledPlanes(where, image, one.network.input[0]!, sides, part) });
    }
  }
  return { label, views, scaled };
}

/** One prediction after another; while one is computed, the next one's images are prepared. */
class Lane {
  #last: Promise<void> = Promise.resolve();

  /** Waits for all work so far. @throws what it threw. */
  free(): Promise<void> {
    return this.#last;
  }

  /** Adds work. */
  add(work: () => void | Promise<void>): void {
    this.#last = this.#last.then(work);
    // `free` throws it, too.
    this.#last.catch(() => undefined);
  }
}

/** Images in groups, whose sizes do not depend on time: small ones at first, so that a device need not wait long. */
async function* grouped(
  images: AsyncIterable<Prepared | undefined>,
): AsyncGenerator<readonly Prepared[], void, void> {
  let group: Prepared[] = [];
  let bytes = 0;
  let most = fewestImages;
  for await (const image of images) {
    if (!image) continue;
    group.push(image);
    bytes += bytesOf(image);
    if (group.length < most && bytes < groupBytes) continue;
    yield group;
    [group, bytes, most] = [[], 0, Math.min(mostImages, 2 * most)];
  }
  if (group.length > 0) yield group;
}

/** Adds a model's class probabilities of all views of a group of images. */
async function predictViews(
  tested: Tested,
  index: number,
  models: number,
  group: readonly Prepared[],
  posteriors: readonly Posterior[],
  lane: Lane,
  signal: AbortSignal | undefined,
): Promise<void> {
  const byShape = new Map<string, { readonly image: number; readonly view: View }[]>();
  for (const [image, { views }] of group.entries()) {
    for (const view of views[index]!) {
      const key = `${view.dense} ${view.height} ${view.width}`;
      const same = byShape.get(key) ?? [];
      same.push({ image, view });
      byShape.set(key, same);
    }
  }
  const { network, model } = tested;
  const [channels = 1] = network.input;
  const classes = network.output[0]!;
  for (const all of byShape.values()) {
    const { dense, height, width } = all[0]!.view;
    const shape = [channels, height, width];
    const size = sizeOf(shape);
    const most = Math.max(1, Math.min(batchViews, Math.floor(batchFloats / size)));
    for (let first = 0; first < all.length; first += most) {
      signal?.throwIfAborted();
      const some = all.slice(first, first + most);
      const values = new Float32Array(some.length * size);
      some.forEach(({ image, view }, i) => {
        fillView(tested, group[image]!, view, values.subarray(i * size, (i + 1) * size));
      });
      await lane.free();
      lane.add(async () => {
        const { logits } = await model.predict(values, { shape, dense });
        some.forEach(({ image, view }, i) => {
          posteriors[image]!.add(logits.subarray(i * classes, (i + 1) * classes), view.weight / models);
        });
      });
    }
  }
}

/** Writes the normalized floats of a view, [channels, height, width]. */
function fillView(tested: Tested, { scaled }: Prepared, view: View, out: Float32Array): void {
  const { floats, network } = tested;
  const source = scaled.get(keyOf(tested, view.scale))!;
  const [channels = 1] = network.input;
  const { height, width, flip } = view;
  const plane = source.height * source.width;
  let to = 0;
  for (let c = 0; c < channels; c++) {
    const table = floats.subarray(c * 256, (c + 1) * 256);
    for (let y = 0; y < height; y++) {
      const row = c * plane + (view.top - source.top + y) * source.width + view.left - source.left;
      for (let x = 0; x < width; x++) out[to++] = table[source.bytes[row + (flip ? width - 1 - x : x)]!]!;
    }
  }
}
