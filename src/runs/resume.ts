/**
 * What changes when a run resumes: its options, its learning rates, and the machine, which `env.json`
 * records.
 */
import type { DatasetSplits } from '../data/dataset.ts';
import { stepsIn } from '../data/dataset-facts.ts';
import { type AnyDataset, isStored } from '../data/stored.ts';
import { DataError, UsageError } from '../errors.ts';
import { joinBytes } from '../protobuf.ts';
import { changedRate, settingsAt } from '../train/changes.ts';
import { parseConfig, refuseUnused } from '../train/config.ts';
import type { TrainConfig, TrainConfigInput } from '../train/config-table.ts';
import { checkLength, lastStep } from '../train/length.ts';
import { type LoopState, placeOf } from '../train/loop-state.ts';
import { counted, shellWord } from '../words.ts';
import { type Place, scheduleOf, type Training } from './prepare.ts';
import { kernelsIn, type RunEnvironment } from './records.ts';
import { type Run, readEnvironment } from './run-folder.ts';

/** The options that a resumed run may change. */
const changeable = ['epochs', 'steps', 'device', 'threads', 'data', 'checkpointEvery', 'logEvery'] as const;

/**
 * The config of a run that resumes after `stepsDone` steps with the `given` changes; equal options are no change.
 * @throws UsageError for a change that is not allowed, and for an end before `stepsDone`.
 */
export function resumedConfigAt(
  place: Place,
  stored: TrainConfig,
  given: TrainConfigInput,
  stepsDone = 0,
): TrainConfig {
  // Runs of older versions have paths as they were typed.
  const [config, changes] = [place.withAbsolutePaths(stored), place.withAbsolutePaths(given)];
  const differs = ([key, value]: [string, unknown]): boolean =>
    JSON.stringify(value) !== JSON.stringify(config[key as keyof TrainConfig]);
  const changed = Object.fromEntries(Object.entries(changes).filter(differs)) as TrainConfigInput;
  const refused = Object.keys(changed).find((key) => !(changeable as readonly string[]).includes(key));
  if (refused !== undefined) {
    throw new UsageError(
      `--resume keeps the run's ${refused}; only ${changeable.join(', ')} may be changed. ` +
        'To train differently from here, start a new run with --init RUN/last.safetensors',
    );
  }
  refuseUnused(changed, config, '--resume');
  const resumed = parseConfig({ ...config, ...changed }, '--resume');
  // The images may have moved, and are then only where the changes say.
  const perEpoch = stepsIn(place.facts(resumed), resumed);
  const extentOf = (of: TrainConfig) => ({ ...of, stepsPerEpoch: perEpoch });
  if ('epochs' in changed || 'steps' in changed) checkLength(extentOf(resumed));
  const [end, before] = [lastStep(extentOf(resumed)), lastStep(extentOf(config))];
  if (end < stepsDone && end < before) {
    const limit = resumed.steps !== undefined && resumed.steps < stepsDone ? 'steps' : 'epochs';
    throw new UsageError(
      `--${limit} ${resumed[limit]} ends the run after ${counted(end, 'step')}, but it has already done ${stepsDone}; ` +
        `use a larger value, or leave out --${limit}`,
    );
  }
  return resumed;
}

/**
 * Writes `env.json` and a line of the log, at the start of a run and each time it resumes. `training` is the one that
 * follows, and `from` its position if there is a checkpoint.
 * @throws DataError if a run would continue on other images: places in an epoch would mean others.
 */
export async function recordEnvironment(
  place: Place,
  run: Run,
  { config, model, trainLoader, splits }: Pick<Training, 'config' | 'model' | 'trainLoader' | 'splits'>,
  from: LoopState | undefined,
  notice: (line: string) => void,
): Promise<void> {
  const { device, description, threads, tiles, cacheBytes } = model;
  const now = await place.environment({ device, description, threads });
  const env = await readEnvironment(run.files);
  const name = kernelsIn(description);
  const images = await identityOf(splits);
  if (env?.images !== undefined && images !== env.images && from) {
    throw new DataError(
      `${run.folder}: the images of ${config.dataset} are not those that the run started with, so it cannot continue; restore them, or start a new run with --init ${shellWord(`${run.folder}/last.safetensors`)}`,
    );
  }
  const own = {
    ...(images && { images }),
    ...(tiles && { tiles }),
    ...(cacheBytes !== undefined && { cacheBytes }),
  };
  const rates = from && bentCourse(run.config, config, trainLoader.length, from, notice);
  if (env && !from) await run.log(`starting again on ${description}: no checkpoint was written yet`);
  if (!env || !from) {
    await run.writeEnvironment({ ...now, kernels: [{ after: 0, name }], ...own });
    return;
  }
  const differs = differences(env, now);
  const { epoch, step, totalSteps } = from;
  await run.log(`resuming ${placeOf(from)}, on ${description}`);
  // Older versions did not store kernels, and each resume replaced the description.
  const before = env.kernels ?? (env.resumed ? undefined : [{ after: 0, name: kernelsIn(env.description) }]);
  // Leave out the kernels of steps that will be done again.
  const kernels = before?.filter(({ after }) => after < totalSteps);
  if (kernels && kernels.at(-1)?.name !== name) kernels.push({ after: totalSteps, name });
  const entry = {
    at: now.started,
    epoch,
    step,
    description,
    ...(differs && { differs }),
    ...(rates && { rates }),
  };
  if (differs) {
    notice(
      `The run started with other kernels or versions, so its results may differ in the last bits: ${differs}.`,
    );
  }
  // The next resume compares with the latest environment.
  const { vggnet, processor, hostname } = now;
  const { node: _, v8: __, browser: ___, ...rest } = env;
  await run.writeEnvironment({
    ...rest,
    ...programOf(now),
    ...{ vggnet, processor, hostname, device, description, threads },
    ...(kernels && { kernels }),
    ...own,
    resumed: [...(env.resumed ?? []), entry],
  });
}

/** Node and its V8, or the browser. */
const programOf = ({
  node,
  v8,
  browser,
}: RunEnvironment): Pick<RunEnvironment, 'node' | 'v8' | 'browser'> => ({
  ...(node !== undefined && { node }),
  ...(v8 !== undefined && { v8 }),
  ...(browser !== undefined && { browser }),
});

/** Identifies the images of a data set of files, and their order; undefined for one that cannot change. */
async function identityOf(splits: DatasetSplits<AnyDataset>): Promise<string | undefined> {
  const parts: Uint8Array[] = [];
  for (const split of [splits.train, splits.validation, splits.test]) {
    if (split === undefined) continue;
    if (!isStored(split)) return undefined;
    parts.push(new TextEncoder().encode(`${split.length},`), bytesIn(split.labels));
    if (split.images.checksums) parts.push(bytesIn(split.images.checksums));
  }
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', joinBytes(parts)));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const bytesIn = ({ buffer, byteOffset, byteLength }: Uint16Array | Uint32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

type Rates = NonNullable<NonNullable<RunEnvironment['resumed']>[number]['rates']>;

/**
 * Learning rates of the last step and the next one, if new `epochs` or `steps` change the schedule's curve from here on;
 * undefined otherwise.
 */
function bentCourse(
  before: TrainConfig,
  now: TrainConfig,
  stepsPerEpoch: number,
  { totalSteps, counters: { plateaus = 0 }, changes = [] }: LoopState,
  notice: (line: string) => void,
): Rates | undefined {
  const lengthOf = (config: TrainConfig): number => lastStep({ ...config, stepsPerEpoch });
  const rateAt = (config: TrainConfig, total: number): number => {
    const [epoch, step] = [Math.floor(total / stepsPerEpoch) + 1, total % stepsPerEpoch];
    const rate = scheduleOf(config)({
      ...{ epoch, step, stepsPerEpoch, epochs: config.epochs, totalSteps: lengthOf(config), plateaus },
    });
    return changedRate(rate, config.lr, settingsAt(changes, total));
  };
  const rates = { before: rateAt(before, Math.max(0, totalSteps - 1)), now: rateAt(now, totalSteps) };
  if (rateAt(before, totalSteps) === rates.now) return undefined;
  notice(
    `With ${counted(lengthOf(now), 'step')} instead of ${lengthOf(before)}, ${now.schedule} follows another curve: the learning rate ` +
      `was ${rates.before.toPrecision(3)} in the last step and is ${rates.now.toPrecision(3)} in the next one.`,
  );
  return rates;
}

/** Browsers do not tell the version of their JavaScript engine. */
const programName = ({ node, browser = `Node ${node}` }: RunEnvironment): string => browser;

/** Why bits may differ, in words; undefined if nothing that could change them differs. */
function differences(before: RunEnvironment, now: RunEnvironment): string | undefined {
  const pairs: readonly (readonly [string, string, string])[] = [
    ['kernels', kernelsIn(before.description), kernelsIn(now.description)],
    ['vggnet', before.vggnet, now.vggnet],
    // V8's logarithm computes the loss.
    before.v8 !== undefined && now.v8 !== undefined
      ? ['V8', before.v8, now.v8]
      : ['program', programName(before), programName(now)],
  ];
  const changed = pairs.filter(([, old, fresh]) => old !== fresh);
  return changed.length === 0
    ? undefined
    : changed.map(([what, old, fresh]) => `${what} ${old} before, ${fresh} now`).join('; ');
}
