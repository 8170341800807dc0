/** What `vgg evaluate` tests: weights as they describe themselves and as options complete them, and their test images. */
import { dirname } from 'node:path';
import type { Command } from 'commander';
import type { ImageShape } from '../data/dataset.ts';
import type { FoundSplit } from '../data/folders/found.ts';
import { loadDataset } from '../data/load.ts';
import {
  type DatasetChoice,
  type DatasetName,
  datasetForms,
  imageFilesOf,
  isDatasetSpec,
} from '../data/named.ts';
import type { AnyDataset } from '../data/stored.ts';
import { UsageError, VggError } from '../errors.ts';
import { joinedImages, type LabeledImages, labeledImages } from '../evaluation/labeled-images.ts';
import { type Chosen, type ModelInfo, refuseContradictions } from '../model/info.ts';
import { openWeights, readInfo } from '../model/weight-files.ts';
import { readAll } from '../model/weight-streams.ts';
import { flagWithValue } from '../report/command.ts';
import { isRun, namedWeights, readConfig, runPlace } from '../runs/folder.ts';
import { normalizationOf } from '../runs/loaders.ts';
import { type OpenedModel, openModel } from '../runs/open-model.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { notFinite } from '../train/finite.ts';
import { counted } from '../words.ts';
import type { EvaluateOptions, Split } from './evaluate.ts';
import { imagesOf } from './evaluate-output.ts';
import { note } from './output.ts';
import { preparingOptions } from './preparing.ts';
import { describedBy } from './weights.ts';

/** Weights, what they say of themselves, and the config of the run that they are in. */
export interface Source {
  readonly path: string;
  readonly info: ModelInfo | undefined;
  readonly config: TrainConfig | undefined;
  readonly choice: DatasetChoice;
}

/** The weights that a user names, with the data set that each is tested on. @throws UsageError if they contradict options. */
export async function namedSources(
  command: Command,
  places: readonly string[],
  options: EvaluateOptions,
): Promise<readonly Source[]> {
  const given = (name: keyof EvaluateOptions): boolean => command.getOptionValueSource(name) === 'cli';
  if (options.normalize !== undefined && (options.normalization !== undefined || options.mean)) {
    throw new UsageError(
      '--normalize measures the training images, and --normalization and --mean say other values; give one of them',
    );
  }
  const chosen: Chosen = {
    ...(given('dataset') && { dataset: options.dataset }),
    ...(options.labels && { labels: options.labels }),
    ...(options.normalize !== undefined && { normalize: options.normalize }),
  };
  const sources: Source[] = [];
  for (const place of places) {
    const path = await namedWeights(place);
    const folder = [runPlace(place), dirname(path)].find(isRun);
    const config = folder === undefined ? undefined : await readConfig(folder);
    const info = await readInfo(path);
    sources.push({ path, info, config, choice: choiceOf(path, info, config, chosen, options) });
  }
  const [first, ...rest] = sources as [Source, ...Source[]];
  for (const { path, choice } of rest) {
    const [one, other] = [imagesIn(first.choice), imagesIn(choice)];
    if (one === other) continue;
    throw new UsageError(
      `${first.path} was trained on ${one}, and ${path} on ${other}; ` +
        'name the data set to test both on: --dataset',
    );
  }
  return sources;
}

/** The images of a data set in words. Those of CIFAR are the same wherever their files are. */
function imagesIn({ dataset, labels, data }: DatasetChoice): string {
  const place = data === undefined || !imageFilesOf(dataset) ? '' : ` in ${data}`;
  return `${dataset}${labels === undefined ? '' : `, ${labels} labels`}${place}`;
}

/** The data set that weights are tested on. */
function choiceOf(
  path: string,
  info: ModelInfo | undefined,
  config: TrainConfig | undefined,
  chosen: Chosen,
  options: EvaluateOptions,
): DatasetChoice {
  const known = isDatasetSpec(info?.dataset) ? info.dataset : undefined;
  if (info) {
    // A data set of a program's own has a name that no flag can repeat.
    const { dataset: _, labels: __, ...own } = info;
    refuseContradictions(path, known ? info : own, chosen, flagWithValue);
    if (info.dataset !== undefined && !known && chosen.dataset === undefined) {
      throw new UsageError(
        `${path}: its weights were trained on ${info.dataset}, which is none of ${datasetForms.join(', ')}; ` +
          'name one of them with --dataset',
      );
    }
  }
  const isGiven = chosen.dataset !== undefined;
  const labels = chosen.labels ?? (isGiven ? undefined : (config?.labels ?? (known && info?.labels)));
  const data = options.data ?? (isGiven ? undefined : config?.data);
  return {
    dataset: isGiven ? options.dataset : (config?.dataset ?? known ?? options.dataset),
    ...(data !== undefined && { data }),
    ...(labels && { labels }),
    ...((options.skipBroken || (!isGiven && config?.skipBroken)) && { skipBroken: true }),
  };
}

/** A data set as an evaluation uses it. */
export interface TestSet {
  readonly images: LabeledImages;
  /** Of all its images; undefined if they are files of any size. */
  readonly shape: ImageShape | undefined;
  /** The training images, whose mean and deviation may normalize. Image files are prepared for it. */
  train(): Promise<AnyDataset>;
  /** Says at the end how many more broken images were left out than were named. */
  readonly noteBroken: () => void;
}

/** The images to test. @throws UsageError if the data set has no such images. */
export async function testSetOf([first]: readonly Source[], options: EvaluateOptions): Promise<TestSet> {
  const { choice } = first!;
  const { split } = options;
  const isFiles = imageFilesOf(choice.dataset) !== undefined;
  const splits = isFiles ? undefined : await loadDataset(choice as DatasetChoice & { dataset: DatasetName });
  const broken = brokenNotes();
  const all = splits
    ? { train: labeledImages(splits.train), validation: undefined, test: labeledImages(splits.test) }
    : await filesOf(choice, split, broken.add);
  const chosen = split === 'all' ? [all.train, all.validation, all.test] : [all[split]];
  const [some, ...more] = chosen.filter((images) => images !== undefined);
  if (!some)
    throw new UsageError(`${choice.dataset} has no ${split} images of its own; choose another --split`);
  return {
    images: joinedImages([some, ...more]),
    shape: splits?.train.shape,
    noteBroken: broken.end,
    async train() {
      if (splits) return splits.train;
      const { end, ...prepare } = preparingOptions(undefined);
      const prepared = await loadDataset(choice, { ...prepare, threads: options.threads });
      end();
      return prepared.train;
    },
  };
}

/** Broken images that are named; of more, the number says enough. */
const mostBroken = 10;

function brokenNotes(): { readonly add: (problem: string) => void; readonly end: () => void } {
  let count = 0;
  return {
    add(problem) {
      if (++count <= mostBroken) note(`${problem}; left out`);
    },
    end() {
      if (count > mostBroken)
        note(`${counted(count, 'broken image')} are left out; the first ten are listed above.`);
    },
  };
}

/** The splits of a data set of image files, which are decoded as they are needed. */
async function filesOf(
  choice: DatasetChoice,
  split: Split,
  onBroken: (problem: string) => void,
): Promise<Record<'train' | 'test', LabeledImages> & { readonly validation: LabeledImages | undefined }> {
  const [{ scanImages }, { labeledImageFiles }] = await Promise.all([
    import('../data/facts.ts'),
    import('../evaluation/labeled-image-files.ts'),
  ]);
  const { root, classes, splits, notices } = scanImages(choice);
  // They say which images are held out.
  if (split !== 'all') for (const line of notices) note(line);
  const { skipBroken = false } = choice;
  const part = ({ paths, labels }: FoundSplit): LabeledImages =>
    labeledImageFiles(
      {
        name: choice.dataset,
        classes,
        labels: Uint16Array.from(labels),
        length: paths.length,
        images: { sources: paths.map((path) => `${root}/${path}`) },
      },
      { ...(skipBroken && { onBroken }) },
    );
  return {
    train: part(splits.train),
    validation: splits.validation && part(splits.validation),
    test: part(splits.test),
  };
}

/** Opens weights. What they do not say comes from options, and for data sets of small images from these. */
export async function openSource(
  { path, info, config }: Source,
  testSet: TestSet,
  options: EvaluateOptions,
): Promise<OpenedModel> {
  const { device, threads, key } = options;
  const { shape } = testSet;
  const described = await describedBy(path, options);
  const knowsNormalization = described.normalization !== undefined || info?.normalization !== undefined;
  const normalize = options.normalize ?? config?.normalize ?? (shape ? false : undefined);
  const measured =
    knowsNormalization || normalize === undefined
      ? undefined
      : normalize
        ? normalizationOf(await testSet.train(), { normalize })
        : null;
  return openModel(path, {
    ...described,
    ...(info === undefined && described.input === undefined && shape && { input: shape }),
    ...(measured !== undefined && { normalization: measured }),
    device,
    ...(threads !== undefined && { threads }),
    ...(key !== undefined && { key }),
    purpose: 'predict',
    onNotice: note,
  });
}

/** The error for a loss that is not finite; it names the weight that is not, if there is one. */
export async function lossError(
  sources: readonly Source[],
  models: readonly OpenedModel[],
  { key, split }: EvaluateOptions,
  loss: number,
): Promise<VggError> {
  for (const [i, { path }] of sources.entries()) {
    await using file = await openWeights(path, models[i]!.compiled.network, { key });
    const found = notFinite(await readAll(file));
    if (found === undefined) continue;
    return new VggError(
      `${path}: the loss on ${imagesOf(split)} is ${loss}, because its weights are not finite (${found}); evaluate other weights`,
    );
  }
  const paths = sources.map(({ path }) => path).join(', ');
  return new VggError(`${paths}: the loss on ${imagesOf(split)} is ${loss}; evaluate other weights`);
}
