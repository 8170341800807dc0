/** What studies are told: options of `createStudy`, `loadStudy` and `ask`, and outcomes for `tell`. */
import type { KnownKeys } from '../options.ts';
import type { Journal } from './journal.ts';
import type { Pruner } from './pruners.ts';
import type { Direction } from './records.ts';
import type { Sampler } from './samplers/sampler.ts';
import type { SearchSpace } from './search-space.ts';

export interface LoadStudyOptions {
  /** The journal or its path. */
  readonly journal: Journal | string;
  readonly name: string;
  /** What is searched. Without a space, `ask` returns the trials that were enqueued, with the values they were given. */
  readonly space?: SearchSpace;
  /** Random by default. */
  readonly sampler?: Sampler;
  /** None by default. */
  readonly pruner?: Pruner;
  /** The sampler's seed; 0 by default. */
  readonly seed?: number;
  /** Stored with each trial as `vgg:worker`, to find the trials of a dead worker. */
  readonly worker?: string;
}

export interface StudyOptions extends LoadStudyOptions {
  readonly direction: Direction;
  /** Whether to continue an existing study of this name; otherwise it is an error. */
  readonly loadIfExists?: boolean;
}

export interface AskOptions {
  /** No new configurations once the study has this many. Promotions, retries and enqueued trials still come. */
  readonly trials?: number;
}

/** How a trial ended: with a value, or without. A failed one is queued again, up to `retries` times (0 by default). */
export type Outcome =
  | number
  | { readonly state: 'pruned' }
  | { readonly state: 'fail'; readonly reason?: string; readonly retries?: number };

export const loadStudyKeys: KnownKeys<LoadStudyOptions> = {
  journal: 'required',
  name: 'required',
  space: 'optional',
  sampler: 'optional',
  pruner: 'optional',
  seed: 'optional',
  worker: 'optional',
};

export const studyKeys: KnownKeys<StudyOptions> = {
  ...loadStudyKeys,
  direction: 'required',
  loadIfExists: 'optional',
};
