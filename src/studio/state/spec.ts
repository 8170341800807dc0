/**
 * What a training of the studio is: a config, as everywhere in vggnet, and what only the studio does to its data. Links
 * carry it in their fragment, which the browser never sends anywhere. A link comes from anyone, so it is checked here
 * for its form, and by the worker for its values, before anything is computed.
 */
import type { TrainConfigInput } from '../../train/config-table.ts';

export interface RunSpec {
  readonly config: TrainConfigInput;
  /** Training images keep their labels, but in another order: an experiment. */
  readonly shuffledLabels?: boolean;
  /** Only so many training images are used, from the first on: an experiment. */
  readonly trainImages?: number;
}

/** The studio's own start: a small network that learns `shapes` in well under a minute. */
export const usualConfig: TrainConfigInput = {
  model: 'simplified',
  dataset: 'shapes',
  epochs: 8,
  batchSize: 100,
  optimizer: 'sgd',
  lr: 0.02,
  momentum: 0.9,
  weightDecay: 0,
  schedule: 'constant',
  augment: false,
  seed: 0,
};

export const usualSpec: RunSpec = { config: usualConfig };

/** Options that a link carries, and the type of their values: all but paths, threads and what only changes files. */
const carried = {
  model: 'word or json',
  modelOptions: 'json',
  dataset: 'word',
  labels: 'word',
  validation: 'number',
  normalize: 'switch',
  augment: 'switch',
  normalization: 'word or json',
  size: 'number',
  crop: 'word',
  skipBroken: 'switch',
  rotation: 'number',
  colorJitter: 'number',
  colorShift: 'number',
  cutout: 'number',
  mixup: 'number',
  shuffle: 'switch',
  batchSize: 'number',
  accumulate: 'number',
  epochs: 'number',
  steps: 'number',
  optimizer: 'word',
  lr: 'number',
  beta1: 'number',
  beta2: 'number',
  epsilon: 'number',
  momentum: 'number',
  otherLr: 'number',
  nesterov: 'switch',
  weightDecay: 'number',
  schedule: 'word',
  lrStep: 'number',
  lrGamma: 'number',
  milestones: 'list',
  patience: 'number',
  minLr: 'number',
  warmup: 'number',
  lrGroups: 'json',
  freeze: 'list',
  unfreezeAfter: 'number',
  unfreezeLr: 'number',
  labelSmoothing: 'number',
  clipNorm: 'number',
  averageDecay: 'number',
  earlyStopping: 'number',
  seed: 'number',
  changes: 'list',
  device: 'word',
} as const satisfies Partial<
  Record<keyof TrainConfigInput, 'word' | 'number' | 'switch' | 'json' | 'word or json' | 'list'>
>;
type Carried = keyof typeof carried;

/** The most characters of a link's fragment: a network of a hundred layers fits. */
export const longestLink = 16_000;

/** A problem with a link, in words. */
export class LinkProblem extends Error {}

/** The options of a link that opens this training. */
export function specToQuery({ config, shuffledLabels, trainImages }: RunSpec): string {
  const query = new URLSearchParams();
  for (const key of Object.keys(carried) as Carried[]) {
    const value = config[key];
    if (value === undefined) continue;
    query.set(key, typeof value === 'object' ? JSON.stringify(value) : String(value));
  }
  if (shuffledLabels) query.set('shuffledLabels', 'true');
  if (trainImages !== undefined) query.set('trainImages', String(trainImages));
  return query.toString();
}

/** The training of a link; undefined if it names none. @throws LinkProblem if it is damaged. */
export function specFromQuery(text: string): RunSpec | undefined {
  if (text.length > longestLink)
    throw new LinkProblem(`it has ${text.length} characters, more than ${longestLink}`);
  const query = new URLSearchParams(text);
  const config: Record<string, unknown> = {};
  const extra: { shuffledLabels?: boolean; trainImages?: number } = {};
  for (const [key, value] of query) {
    if (Object.hasOwn(config, key) || Object.hasOwn(extra, key)) throw new LinkProblem(`it has ${key} twice`);
    if (key === 'shuffledLabels') extra.shuffledLabels = switchOf(key, value);
    else if (key === 'trainImages') extra.trainImages = numberOf(key, value);
    else if (Object.hasOwn(carried, key)) config[key] = parsedValue(key as Carried, value);
    else throw new LinkProblem(`it has an unknown option ${key.slice(0, 40)}`);
  }
  if (query.size === 0) return undefined;
  return { config: { ...usualConfig, ...config }, ...extra };
}

function parsedValue(key: Carried, text: string): unknown {
  const type = carried[key];
  switch (type) {
    case 'word':
      return wordOf(key, text);
    case 'number':
      return numberOf(key, text);
    case 'switch':
      return switchOf(key, text);
    case 'json':
      return objectOf(key, text);
    case 'list':
      return listOf(key, text);
    case 'word or json':
      return text.startsWith('{') ? objectOf(key, text) : wordOf(key, text);
    default:
      return type satisfies never;
  }
}

function numberOf(key: string, text: string): number {
  const number = Number(text);
  if (text.trim() !== '' && Number.isFinite(number)) return number;
  throw new LinkProblem(`${key}=${text.slice(0, 40)} is not a number`);
}

function wordOf(key: string, text: string): string {
  if (/^[\w-]{1,40}$/.test(text) || (key === 'dataset' && /^folder:[^\p{C}]{1,100}$/u.test(text)))
    return text;
  throw new LinkProblem(`${key}=${text.slice(0, 40)} is not a name`);
}

function switchOf(key: string, text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new LinkProblem(`${key}=${text.slice(0, 40)} is neither true nor false`);
}

function listOf(key: string, text: string): readonly unknown[] {
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value)) return value;
  } catch {
    // The message below says it.
  }
  throw new LinkProblem(`${key} is not a list in JSON`);
}

function objectOf(key: string, text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch {
    // The message below says it.
  }
  throw new LinkProblem(`${key} is not an object in JSON`);
}
