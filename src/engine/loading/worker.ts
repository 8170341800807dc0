/**
 * A worker that loads images: reads them, applies the first part of their transforms and writes them to a slot of a ring
 * in shared memory. Workers claim the images of a batch one by one; each image's draws depend only on seed, epoch and
 * position, so the assignment does not affect the result.
 */

import type { ImageShape } from '../../data/dataset.ts';
import { imagesOf } from '../../data/loader.ts';
import { random, streams } from '../../data/random.ts';
import { type KnownPlan, sampleBytes, sampleFloats } from '../../data/sampling.ts';
import type { KeptFiles, OpenImages, StoredFile } from '../../data/stored-node.ts';

/** Where images are; arrays are in shared memory. */
export type ImagePlace =
  | { readonly kind: 'memory'; readonly pixels: Uint8Array; readonly shape: ImageShape }
  | { readonly kind: 'file'; readonly images: StoredFile };

/** A part of the ring that holds a batch. */
export interface Slot {
  /** [N, …]: bytes before the fused pass, or transformed floats. */
  readonly images: Uint8Array | Float32Array;
  /** As `writePlacement` writes them; unused with floats. */
  readonly placements: Float64Array;
}

/** Everything that the batches of a pass have in common. */
export interface LoadingPass {
  readonly plan: KnownPlan;
  readonly from: ImagePlace;
  readonly seed: number;
  readonly epoch: number;
  readonly slots: readonly Slot[];
  /** Whether to stop, then for each slot the number of images that are claimed. */
  readonly control: Int32Array;
}

export type LoaderRequest =
  | { readonly kind: 'open'; readonly pass: LoadingPass }
  /** Loads the images with these positions in the data set. */
  | { readonly kind: 'load'; readonly slot: number; readonly indices: Uint32Array }
  | { readonly kind: 'end' };

/** A batch is loaded, as far as it is up to this worker; or a request failed with an error of this name: one batch or all. */
export type LoaderMessage =
  | { readonly kind: 'loaded'; readonly slot: number }
  | { readonly kind: 'refused'; readonly name: string; readonly message: string; readonly slot?: number };

/** Returns the handler of a loading worker's messages, which runs them in order. */
export function serveLoading(post: (message: LoaderMessage) => void): (request: LoaderRequest) => void {
  let pass: LoadingPass | undefined;
  let images: OpenImages | undefined;
  let kept: KeptFiles | undefined;
  const open = async (from: ImagePlace): Promise<OpenImages> => {
    if (from.kind === 'memory') return imagesOf(from.pixels, from.shape);
    kept ??= new (await import('../../data/stored-node.ts')).KeptFiles();
    return kept.open(from.images);
  };
  const handle = async (request: LoaderRequest): Promise<void> => {
    switch (request.kind) {
      case 'open':
        images?.close();
        pass = request.pass;
        images = await open(pass.from);
        return;
      case 'load':
        if (pass && images) loadClaimed(pass, images, request);
        return;
      case 'end':
        images?.close();
        images = undefined;
        return;
      default:
        request satisfies never;
    }
  };
  let last: Promise<void> = Promise.resolve();
  return (request) => {
    last = last
      .then(() => handle(request))
      .catch((error: unknown) => {
        const { name, message } = error as Error;
        post({ kind: 'refused', name, message, ...(request.kind === 'load' && { slot: request.slot }) });
      })
      .then(() => {
        // Also after an error: whoever ends the pass waits for the answer.
        if (request.kind === 'load') post({ kind: 'loaded', slot: request.slot });
      });
  };
}

function loadClaimed(
  { plan, seed, epoch, slots, control }: LoadingPass,
  images: OpenImages,
  { slot, indices }: Extract<LoaderRequest, { kind: 'load' }>,
): void {
  const { images: into, placements } = slots[slot]!;
  const { fused } = plan;
  const size = plan.output.reduce((product, side) => product * side);
  while (Atomics.load(control, 0) === 0) {
    const i = Atomics.add(control, slot + 1, 1);
    const index = indices[i];
    if (index === undefined) return;
    const draws = random(seed, streams.transform, epoch, index);
    const image = images.read(index);
    if (into instanceof Uint8Array)
      sampleBytes({ ...plan, fused: fused! }, image, draws, i, { pixels: into, placements });
    else sampleFloats(plan, image, draws, index, into.subarray(i * size, (i + 1) * size));
  }
}
