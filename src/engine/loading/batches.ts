/**
 * The batches of a pass whose images the device does not read itself: loaded ahead by workers, or, for custom functions
 * and without shared memory, on the calling thread. Both give the same values.
 */
import { placementNumbers } from '../../data/fuse.ts';
import { openImages } from '../../data/loader.ts';
import { random, streams } from '../../data/random.ts';
import { isKnownPlan, type SamplePlan, sampleBytes, sampleFloats } from '../../data/sampling.ts';
import { isStored } from '../../data/stored.ts';
import { sizeOf } from '../../model/network.ts';
import type { BatchSource } from '../backend.ts';
import type { Driver, ImageSource } from '../driver.ts';
import { isShared, shareable } from '../shared-arrays.ts';
import { LoadingPool } from './pool.ts';
import type { ImagePlace } from './worker.ts';

export interface Batches {
  /** Seconds spent in `next` so far. */
  readonly waitSeconds: number;
  /** The next batch, in memory that the next call may reuse. */
  next(): Promise<ImageSource>;
  /** Must be called, also after an error. */
  end(): Promise<void>;
}

type Maker = Omit<Batches, 'waitSeconds'>;

/** Opens the batches of a session's passes; it owns the workers that load. */
export class BatchLoader {
  readonly #driver: Driver;
  #pool: LoadingPool | undefined;

  constructor(driver: Driver) {
    this.#driver = driver;
  }

  /** Batches of `batchSize` images: those from image `first` to `end` of the source's order. */
  async open(
    source: BatchSource,
    plan: SamplePlan,
    { batchSize, first, end }: { readonly batchSize: number; readonly first: number; readonly end: number },
  ): Promise<Batches> {
    const batches: Uint32Array[] = [];
    for (let at = first; at < end; at += batchSize)
      batches.push(source.order.slice(at, Math.min(end, at + batchSize)));
    const maker =
      (await this.#pooled(source, plan, batches)) ?? (await this.#onThisThread(source, plan, batches));
    let waitSeconds = 0;
    return {
      get waitSeconds() {
        return waitSeconds;
      },
      async next() {
        const start = performance.now();
        const batch = await maker.next();
        waitSeconds += (performance.now() - start) / 1000;
        return batch;
      },
      end: () => maker.end(),
    };
  }

  async close(): Promise<void> {
    await this.#pool?.close();
  }

  /** Undefined if workers cannot do it. */
  async #pooled(
    source: BatchSource,
    plan: SamplePlan,
    batches: readonly Uint32Array[],
  ): Promise<Maker | undefined> {
    if (!isKnownPlan(plan) || !isShared(new Uint8Array(this.#driver.buffer(0)))) return undefined;
    this.#pool ??= new LoadingPool(this.#driver.threads);
    const { seed, epoch } = source;
    const { fused, output } = plan;
    const loading = await this.#pool.open({
      ...{ plan, seed, epoch, batches, from: placeOf(source), asBytes: fused !== undefined },
      imageSize: sizeOf(fused?.source ?? output),
    });
    return {
      next: async () => {
        const { slot, indices } = await loading.next();
        const { images, placements } = slot;
        return this.#source(source, plan, indices, images, placements);
      },
      end: () => loading.end(),
    };
  }

  async #onThisThread(
    source: BatchSource,
    plan: SamplePlan,
    batches: readonly Uint32Array[],
  ): Promise<Maker> {
    const { dataset, seed, epoch } = source;
    const images = await openImages(dataset);
    const { loadsImages } = this.#driver;
    const fused = loadsImages ? plan.fused : undefined;
    const size = sizeOf(fused?.source ?? plan.output);
    let at = 0;
    return {
      next: async () => {
        const indices = batches[at++]!;
        const { length } = indices;
        const pixels = new Uint8Array(this.#driver.buffer(fused ? length * size : 0));
        const placements = new Float64Array(this.#driver.buffer(fused ? length * placementNumbers * 8 : 0));
        const values = new Float32Array(this.#driver.buffer(fused ? 0 : length * size * 4));
        indices.forEach((index, i) => {
          const draws = random(seed, streams.transform, epoch, index);
          const image = images.read(index);
          if (fused) sampleBytes({ ...plan, fused }, image, draws, i, { pixels, placements });
          else sampleFloats(plan, image, draws, index, values.subarray(i * size, (i + 1) * size));
        });
        return this.#source(source, plan, indices, fused ? pixels : values, placements);
      },
      end: async () => images.close(),
    };
  }

  #source(
    { dataset, seed, epoch }: BatchSource,
    plan: SamplePlan,
    samples: Uint32Array,
    images: Uint8Array | Float32Array,
    placements: Float64Array,
  ): ImageSource {
    const labels = new Uint16Array(this.#driver.buffer(samples.length * 2));
    labels.set(Array.from(samples, (index) => dataset.labels[index]!));
    const common = { labels, samples, seed, epoch };
    return images instanceof Uint8Array
      ? { kind: 'bytes', pixels: images, fused: plan.fused!, placements, ...common }
      : { kind: 'values', values: images, ...common };
  }
}

function placeOf({ dataset }: BatchSource): ImagePlace {
  if (!isStored(dataset)) return { kind: 'memory', pixels: shareable(dataset.pixels), shape: dataset.shape };
  const { file, bytes, starts, sizes, checksums } = dataset.images;
  const images = {
    ...(bytes && { bytes: shareable(bytes) }),
    ...{ file, starts: shareable(starts), sizes: shareable(sizes) },
    ...(checksums && { checksums: shareable(checksums) }),
  };
  return { kind: 'file', images };
}
