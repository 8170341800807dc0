/** A sampler is a function of the history: equal histories give equal proposals on every machine. */
import type { Random } from '../../data/random.ts';
import type { Params } from '../distributions.ts';
import type { Direction } from '../records.ts';
import type { FrozenTrial } from '../replay.ts';
import type { SearchSpace } from '../search-space.ts';

export interface SampleRequest {
  readonly space: SearchSpace;
  readonly direction: Direction;
  /** All trials so far, by number. They do not change during the call. */
  readonly trials: readonly FrozenTrial[];
  /** Values that are already given. */
  readonly fixed: Params;
  /** The study's. */
  readonly seed: number;
  /** A random stream from the study's seed and the trial's number. */
  readonly random: Random;
}

export interface Sampler {
  readonly name: string;
  /** @throws UsageError if the sampler cannot search the space. Called before anything is written. */
  readonly check?: (space: SearchSpace) => void;
  /**
   * A complete and possible point, or undefined if all have been proposed. Called under the journal's lock.
   * @throws UsageError if the sampler cannot search the space, or the space has no possible point.
   */
  sample(request: SampleRequest): Params | undefined;
}
