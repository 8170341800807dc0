/**
 * The runs that `vgg studio` shows (Node only): those in the folders that the user named. A run is named by an ID that
 * only this list gives, so no request leads to another folder. Links out of a folder are not followed.
 */
import { createHash } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join, resolve, sep } from 'node:path';
import { shortName } from '../data/named.ts';
import { UsageError, VggError } from '../errors.ts';
import { cannotRead, isMissing, isThere } from '../files/files.ts';
import { lockHolder } from '../files/lock.ts';
import { isRun, isSeries, type RunRecord, readRun, runFiles, runName, runPlace } from '../runs/folder.ts';
import { acceptedBy, liveFiles, requireNoLink } from '../runs/live-files.ts';
import type { Metrics } from '../runs/table.ts';
import { readMetrics } from '../runs/table-files.ts';
import { bestEpoch, choosingMetric } from '../train/records.ts';
import { shellWord } from '../words.ts';
import type { RunDetail, RunSummary, StepPoint } from './api.ts';

/** A folder that the user named. */
export interface Place {
  readonly kind: 'run' | 'series' | 'study' | 'folder';
  /** Absolute. */
  readonly folder: string;
}

/** The most runs that are listed. */
export const mostRuns = 5000;
/** The most steps of a run that are sent at once. */
const mostPoints = 4000;
/** What a study's folder has (`tune/folder.ts`, which loads much). */
const [studyFile, studyRuns] = ['study.json', 'runs'];

const isStudy = (folder: string): boolean => isThere(join(folder, studyFile));

/**
 * The folder that a user names: of a run, of a series of seeds, of a study, or of several of these. A name alone is also
 * looked up in runs/.
 * @throws UsageError if there is none.
 */
export function placeNamed(given: string): Place {
  const folder = resolve(runPlace(given));
  const kind = isStudy(folder) ? 'study' : isSeries(folder) ? 'series' : isRun(folder) ? 'run' : 'folder';
  if (kind === 'folder' && !isThere(folder)) {
    throw new UsageError(
      `${given} is neither a run nor a folder of runs; name one, or leave it out to see all runs in runs/`,
    );
  }
  return { kind, folder };
}

/** A run's folder, and what it belongs to. */
interface FoundRun {
  readonly id: string;
  readonly folder: string;
  readonly group?: RunSummary['group'];
  /** Why it is not read. */
  readonly problem?: string;
}

interface Known {
  readonly found: FoundRun;
  /** Of the files that the summary was read from. */
  readonly signature: string;
  readonly summary: RunSummary;
}

export class Catalog {
  readonly #places: readonly Place[];
  #known: ReadonlyMap<string, Known> = new Map();
  #scanning: Promise<unknown> = Promise.resolve();

  constructor(places: readonly Place[]) {
    this.#places = places;
  }

  get runs(): readonly RunSummary[] {
    return [...this.#known.values()].map(({ summary }) => summary);
  }

  /** Reads what changed. Scans run one after the other. */
  scan(): Promise<{ readonly changed: readonly RunSummary[]; readonly gone: readonly string[] }> {
    const result = this.#scanning.then(() => this.#scan());
    this.#scanning = result.catch(() => undefined);
    return result;
  }

  async #scan(): Promise<{ readonly changed: readonly RunSummary[]; readonly gone: readonly string[] }> {
    const before = this.#known;
    const all = (await Promise.all(this.#places.map(runsIn))).flat();
    // A run may be in several of the places; the first one counts.
    const first = new Map<string, FoundRun>();
    for (const run of all) if (!first.has(run.id)) first.set(run.id, run);
    const found = [...first.values()].slice(0, mostRuns);
    const known = new Map<string, Known>();
    const changed: RunSummary[] = [];
    for (const run of found) {
      const last = before.get(run.id);
      const signature = run.problem ?? (await signatureOf(run.folder));
      // A training that was killed changes no file.
      const isSame = last?.signature === signature && last.summary.state !== 'running';
      const summary = isSame ? last.summary : await summaryOf(run);
      known.set(run.id, { found: run, signature, summary });
      if (JSON.stringify(summary) !== JSON.stringify(last?.summary)) changed.push(summary);
    }
    this.#known = known;
    return { changed, gone: [...before.keys()].filter((id) => !known.has(id)) };
  }

  /** The folder of a run in the list; undefined for an unknown ID, or a run that is not read. */
  folderOf(id: string): string | undefined {
    const run = this.#known.get(id)?.found;
    return run?.problem === undefined ? run?.folder : undefined;
  }

  /** Undefined for an unknown ID. */
  async detailOf(id: string): Promise<RunDetail | undefined> {
    const found = this.#known.get(id)?.found;
    if (!found) return undefined;
    const summary = await summaryOf(found);
    const damaged = { summary, steps: [], epochs: [], changes: [] };
    if (summary.state === 'damaged') return damaged;
    try {
      const { config } = await readRun(found.folder);
      const metrics = await readMetrics(join(found.folder, runFiles.metrics)).catch((error: unknown) => {
        if (isMissing(error)) return { steps: [], epochs: [] };
        throw error;
      });
      const { stepsPerEpoch, totalSteps } = lengthsOf(config, metrics);
      return {
        summary,
        config,
        ...(stepsPerEpoch !== undefined && { stepsPerEpoch }),
        ...(totalSteps !== undefined && { totalSteps }),
        steps: thinned(metrics.steps.map(pointOf)),
        epochs: metrics.epochs,
        changes: config.changes ?? [],
      };
    } catch (error) {
      if (!(error instanceof VggError)) throw error;
      return { ...damaged, summary: { ...summary, state: 'damaged', reason: error.message } };
    }
  }
}

export const pointOf = ({ step, trainLoss, lr }: Metrics['steps'][number]): StepPoint => [
  step,
  Number.isFinite(trainLoss) ? trainLoss : null,
  lr,
];

/** An even selection of the points, with the last one. */
export function thinned(points: readonly StepPoint[]): readonly StepPoint[] {
  if (points.length <= mostPoints) return points;
  const every = points.length / mostPoints;
  return Array.from({ length: mostPoints }, (_, i) => points[Math.ceil((i + 1) * every) - 1]!);
}

/** As far as a whole epoch tells it. */
function lengthsOf(
  { epochs, steps = Infinity }: RunRecord['config'],
  { epochs: [first] }: Metrics,
): { readonly stepsPerEpoch?: number; readonly totalSteps?: number } {
  const stepsPerEpoch = first && first.step / first.epoch;
  if (!Number.isInteger(stepsPerEpoch)) return {};
  return { stepsPerEpoch: stepsPerEpoch!, totalSteps: Math.min(steps, epochs * stepsPerEpoch!) };
}

/** The runs of a place. @throws VggError if it cannot be read. */
async function runsIn({ kind, folder }: Place): Promise<readonly FoundRun[]> {
  switch (kind) {
    case 'run':
      // A training may be about to create it.
      return isRun(folder) ? [found(folder)] : [];
    case 'series':
      return (await foldersIn(folder)).map((run) => withGroup(run, 'series', basename(folder)));
    case 'study':
      return (await foldersIn(join(folder, studyRuns!))).map((run) =>
        withGroup(run, 'study', basename(folder)),
      );
    case 'folder': {
      const children = await foldersIn(folder, true);
      const runs = await Promise.all(
        children.map(async (child): Promise<readonly FoundRun[]> => {
          if (child.problem !== undefined) return [child];
          if (isStudy(child.folder)) return runsIn({ kind: 'study', folder: child.folder });
          if (isSeries(child.folder)) return runsIn({ kind: 'series', folder: child.folder });
          return isRun(child.folder) ? [child] : [];
        }),
      );
      return runs.flat();
    }
    default:
      return kind satisfies never;
  }
}

/** The ID of the run in a folder, an absolute path. */
export const runId = (folder: string): string =>
  createHash('sha256').update(folder).digest('hex').slice(0, 16);

const found = (folder: string): FoundRun => ({ id: runId(folder), folder });

const withGroup = (run: FoundRun, kind: 'series' | 'study', name: string): FoundRun => ({
  ...run,
  group: { kind, name },
});

/** The folders in a folder, sorted by name: those of runs, or all. Empty if it does not exist. */
async function foldersIn(root: string, all = false): Promise<readonly FoundRun[]> {
  let entries: readonly Dirent[];
  let place: string;
  try {
    entries = await readdir(root, { withFileTypes: true });
    place = await realpath(root);
  } catch (error) {
    if (isMissing(error)) return [];
    throw cannotRead(root, error);
  }
  const runs: FoundRun[] = [];
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const folder = join(root, entry.name);
    if (entry.isSymbolicLink()) {
      const target = await realpath(folder).catch(() => undefined);
      if (target === undefined || !isThere(join(target, runFiles.config))) continue;
      if (!target.startsWith(place + sep)) {
        const way = `name it as well: vgg studio ${shellWord(target)}`;
        runs.push({
          ...found(folder),
          problem: `${folder} is a link out of ${root}, which is not followed; ${way}`,
        });
        continue;
      }
    } else if (!entry.isDirectory()) continue;
    if (all || isRun(folder)) runs.push(found(folder));
  }
  return runs;
}

const summarized = [runFiles.config, runFiles.environment, runFiles.state, runFiles.metrics, 'lock'] as const;

async function signatureOf(folder: string): Promise<string> {
  const parts = await Promise.all(
    [...summarized, liveFiles.control].map(async (name) => {
      const stats = await stat(join(folder, name)).catch(() => undefined);
      // A watched training's control file is touched all the time.
      return stats && (name === liveFiles.control ? name : `${stats.ino} ${stats.size} ${stats.mtimeMs}`);
    }),
  );
  return parts.join();
}

async function summaryOf(run: FoundRun): Promise<RunSummary> {
  const { id, folder, group, problem } = run;
  const common = { id, name: runName(folder), folder, ...(group && { group }) };
  const damaged = (reason: string): RunSummary => ({
    ...common,
    ...{ state: 'damaged', reason, model: '', dataset: '', epochs: 0, totalEpochs: 0 },
  });
  if (problem !== undefined) return damaged(problem);
  try {
    for (const name of summarized) {
      await requireNoLink(join(folder, name)).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
    }
    const { config, env, state, status, epochs } = await readRun(folder);
    const [best, last] = [bestEpoch(epochs), epochs.at(-1)];
    const live = (await lockHolder(folder)) && (await acceptedBy(folder));
    return {
      ...common,
      state,
      ...(status?.reason !== undefined && { reason: status.reason }),
      ...(live && { live }),
      model: typeof config.model === 'string' ? config.model : config.model.name,
      dataset: shortName(config.dataset),
      epochs: last?.epoch ?? 0,
      totalEpochs: config.epochs,
      ...(last && { testAccuracy: last.testAccuracy }),
      ...(best && {
        best: {
          epoch: best.epoch,
          accuracy: choosingMetric(best).value,
          metric: choosingMetric(best).metric,
        },
      }),
      ...(status && { seconds: status.seconds }),
      ...(env && { started: env.started }),
    };
  } catch (error) {
    if (!(error instanceof VggError)) throw error;
    return damaged(error.message);
  }
}
