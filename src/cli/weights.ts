/**
 * The options of commands that open trained weights: what a file does not say of itself. Files of `--save`, checkpoints
 * and run folders say everything; of PyTorch's files the networks of the paper are recognized.
 */
import type { Command } from 'commander';
import { cifarFormats } from '../data/cifar.ts';
import { imagenetClasses } from '../data/imagenet.ts';
import { UsageError } from '../errors.ts';
import { vggNames } from '../model/family.ts';
import { refuseContradictions } from '../model/info.ts';
import { networkOf, parseAssignments } from '../model/models.ts';
import { buildNetwork, type Sequential } from '../model/network.ts';
import { type PresetName, presetNames } from '../model/normalization-presets.ts';
import { parseNumber, parseWhole } from '../numbers.ts';
import { flagWithValue } from '../report/command.ts';
import type { FileFacts, GivenDescription } from '../runs/described-weights.ts';
import { modelOption, modelOptionOption, readModel } from './models.ts';
import { choiceOption, listOption, pathOption } from './values.ts';

export interface WeightOptions {
  readonly model?: string;
  readonly modelOption: readonly string[];
  readonly classes?: string;
  readonly input?: readonly number[];
  readonly normalization?: PresetName | 'none';
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  readonly key?: string;
}

const normalizations: readonly string[] = [...presetNames, 'none'];

/** Class names that are built in. */
const builtIn: Readonly<Record<string, readonly string[]>> = {
  imagenet: imagenetClasses,
  cifar10: cifarFormats.cifar10.classes,
  cifar100: cifarFormats.cifar100.classes,
};

/** Adds the options that say what a file does not. */
export function addWeightOptions(command: Command): Command {
  return command
    .optionsGroup('Files that do not say their network or images:')
    .addOption(modelOption())
    .addOption(modelOptionOption())
    .addOption(
      pathOption(
        '--classes <n>',
        `number of classes, or their names: ${Object.keys(builtIn).join(', ')} or a text file with one per line`,
      ),
    )
    .addOption(
      listOption(
        '--input <sizes>',
        'channels, height and width of an image, such as 3,224,224',
        parseWhole,
        'whole numbers',
      ),
    )
    .addOption(
      choiceOption(
        '--normalization <name>',
        'how images are normalized, as for the weights of',
        normalizations,
      ),
    )
    .addOption(
      listOption(
        '--mean <values>',
        'means of the channels, which normalize pixels scaled to 0–1',
        parseNumber,
        'numbers',
      ),
    )
    .addOption(listOption('--std <values>', 'deviations of the channels', parseNumber, 'numbers'))
    .addOption(pathOption('--key <name>', 'which state dict of a PyTorch checkpoint that has several'))
    .optionsGroup('Options:');
}

/**
 * Completes what the weight file `path` says of itself by options.
 * @throws UsageError if options contradict each other; `openDescribed` throws if one contradicts the file.
 */
export async function describedBy(path: string, options: WeightOptions): Promise<GivenDescription> {
  const { model, modelOption: assignments, classes, input, mean, std } = options;
  if ((mean === undefined) !== (std === undefined)) {
    throw new UsageError('--mean and --std go together; give both, or neither');
  }
  if (mean && options.normalization)
    throw new UsageError('--normalization and --mean say the same; leave one of them out');
  const counted = classes === undefined ? undefined : parseWhole(classes);
  const names = classes === undefined || counted !== undefined ? undefined : await classNames(classes);
  const count = counted ?? names?.length;
  const chosen = model === undefined ? undefined : await readModel(model);
  const modelOptions = parseAssignments(assignments);
  const network = ({ info, implied, classes: found }: FileFacts): Sequential | undefined => {
    if (info) {
      const given = {
        ...(chosen !== undefined && { model: chosen }),
        ...(assignments.length > 0 && { modelOptions }),
      };
      refuseContradictions(path, info, given, flagWithValue);
      const [outputs] = buildNetwork(info.network, info.input).output;
      if (count === undefined || count === outputs) return undefined;
      throw new UsageError(
        `${path}: its network has ${outputs} classes, which contradicts --classes with ${count}; leave that out`,
      );
    }
    if (chosen === undefined) {
      if (assignments.length > 0)
        throw new UsageError(`${path} does not say its network; --model-option needs --model`);
      if (count === undefined || !implied || count === found) return undefined;
      throw new UsageError(
        `${path}: its network has ${found} classes, which contradicts --classes with ${count}; leave that out`,
      );
    }
    // For a network of the paper, its tensors say the classifier and the width, too.
    const isMember = typeof chosen === 'string' && vggNames.some((name) => name === chosen);
    const own = isMember && implied ? implied.network.options : undefined;
    const shape = input ?? implied?.input;
    const classCount = count ?? found;
    if (classCount === 0)
      throw new UsageError(`${path} has no linear layer that says the number of classes; give --classes`);
    return networkOf(chosen, {
      classes: classCount,
      options: { ...own, ...modelOptions },
      ...(shape && { input: shape }),
    });
  };
  const { normalization } = options;
  return {
    network,
    ...(input && { input }),
    ...(names && { classes: names }),
    ...(mean && std && { normalization: { mean, std } }),
    ...(normalization && { normalization: normalization === 'none' ? null : normalization }),
  };
}

/** The most bytes of a file of class names. */
const mostNames = 1 << 20;

/** Names that are built in, or the lines of a file without empty ones. */
async function classNames(place: string): Promise<readonly string[]> {
  if (Object.hasOwn(builtIn, place)) return builtIn[place]!;
  const { readWhole } = await import('../files/files.ts');
  const text = new TextDecoder().decode(await readWhole(place, mostNames));
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((name) => name !== '');
}
