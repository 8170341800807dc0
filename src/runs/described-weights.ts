/**
 * Opens a weight file together with what is known of its network and images (Node only): what is given beside it, what it
 * says of itself, and otherwise what its tensors imply.
 */
import { imagenetClasses } from '../data/imagenet.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import { UsageError } from '../errors.ts';
import { classesIn, type ImpliedModel, impliedModel } from '../model/implied.ts';
import { checkLoaded, type DataInfo, infoOf, type ModelInfo } from '../model/info.ts';
import type { Network, Shape } from '../model/layer.ts';
import { models } from '../model/models.ts';
import { buildNetwork, type Sequential } from '../model/network.ts';
import { normalizationPresets, type PresetName, presetNames } from '../model/normalization-presets.ts';
import { redFirst } from '../model/red-first.ts';
import { type OpenWeightsOptions, openWeights, type WeightFile } from '../model/weight-files.ts';
import { unknownName } from '../suggest.ts';
import { knownData } from '../train/model.ts';

/** What a file says or implies. */
export interface FileFacts {
  readonly info: ModelInfo | undefined;
  readonly implied: ImpliedModel | undefined;
  /** The rows of its head, or of its last matrix. */
  readonly classes: number;
}

/** What is known beside a file. */
export interface GivenDescription {
  /** The network of a file that does not say it, or a function that chooses it from what the file says. */
  readonly network?: Sequential | ((facts: FileFacts) => Sequential | undefined);
  /** [channels, height, width] of one image. */
  readonly input?: Shape;
  /** Of images scaled to 0–1; a preset's name, or null if they are not normalized. */
  readonly normalization?: PresetName | ChannelStatistics | null;
  /** Class names. */
  readonly classes?: readonly string[];
}

export interface DescribedWeights extends WeightFile {
  readonly network: Network;
  /** Complete, except that the normalization and the classes may be unknown. */
  readonly info: ModelInfo;
}

/**
 * Opens a weight file. Reports to `onNotice` what is assumed.
 * @throws DataError if the file cannot be read or does not fit, UsageError if it contradicts what is given, or neither
 * says nor implies its network.
 */
export async function openDescribed(
  path: string,
  given: GivenDescription,
  options: OpenWeightsOptions & { readonly onNotice: (line: string) => void },
): Promise<DescribedWeights> {
  let network: Network | undefined;
  let implied: ImpliedModel | undefined;
  const file = await openWeights(
    path,
    (said, found) => {
      implied = said ? undefined : impliedModel(found);
      network = networkFor(path, given, { info: said, implied, classes: classesIn(found) });
      return network;
    },
    options,
  );
  try {
    const own = network!;
    const preset = presetOf(given.normalization);
    const data: DataInfo = {
      ...(given.classes && { classes: given.classes }),
      ...(given.normalization !== undefined && {
        normalization: preset
          ? { mean: preset.mean, std: preset.std }
          : (given.normalization as ChannelStatistics | null),
      }),
    };
    const known = knownData('the description of the weights', own, data);
    if (file.info) checkLoaded(path, file.info, infoOf(own, {}), known);
    const assumed = file.info ? {} : assumptions(path, own, implied, known, options.onNotice);
    const info = infoOf(own, { ...assumed, ...dataOf(file.info), ...known });
    // Whatever says its normalization was turned before.
    const isTurned = file.info?.normalization === undefined && preset?.blueFirst === true;
    return { ...file, ...(isTurned && redFirst(file, own)), network: own, info };
  } catch (error) {
    await file.close();
    throw error;
  }
}

const dataOf = (info: ModelInfo | undefined): DataInfo => {
  const { network: _, input: __, ...data } = info ?? ({} as Partial<ModelInfo>);
  return data;
};

/** @throws UsageError for an unknown preset. */
function presetOf(normalization: GivenDescription['normalization']) {
  if (typeof normalization !== 'string') return undefined;
  const name = presetNames.find((own) => own === normalization);
  if (!name) throw new UsageError(unknownName('normalization', normalization, presetNames));
  return normalizationPresets[name];
}

/** @throws UsageError if nothing says the network or the shape of its images. */
function networkFor(path: string, { network, input }: GivenDescription, facts: FileFacts): Network {
  const known = facts.info ?? facts.implied;
  const chosen = (typeof network === 'function' ? network(facts) : network) ?? known?.network;
  if (chosen === undefined) {
    throw new UsageError(
      `${path} does not say its network, and its tensors are not those of a known one; name it: ` +
        "--model and --model-option, or openModel's option network",
    );
  }
  const usual = Object.hasOwn(models, chosen.name) ? models[chosen.name]!.usual.input : undefined;
  const shape = input ?? known?.input ?? usual;
  if (shape === undefined) {
    throw new UsageError(
      `${path} does not say the shape of its images; give channels, height and width: --input 3,32,32, or ` +
        "openModel's option input",
    );
  }
  return buildNetwork(chosen, shape);
}

/** What is usual for a network of the paper with ImageNet's classes, if nothing says otherwise. */
function assumptions(
  path: string,
  { name, input, output }: Network,
  implied: ImpliedModel | undefined,
  known: DataInfo,
  onNotice: (line: string) => void,
): DataInfo {
  if (!implied || output[0] !== imagenetClasses.length || input[0] !== 3) return {};
  const { mean, std } = normalizationPresets.torchvision;
  if (known.normalization === undefined) {
    onNotice(
      `${path}: ${name}, 1000 classes; assuming ImageNet's classes and torchvision's normalization ` +
        `(others: --classes, --normalization${name === 'vgg11' ? '; with LRN: --model vgg11-lrn' : ''})`,
    );
  }
  return { classes: imagenetClasses, normalization: { mean, std } };
}
