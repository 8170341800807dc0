/**
 * The options of commands that open trained weights: what a file does not say of itself. Files of `--save`, checkpoints
 * and run folders say everything.
 */
import type { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { type ModelInfo, refuseContradictions } from '../model/info.ts';
import type { Shape } from '../model/layer.ts';
import { createModel, models, parseAssignments } from '../model/models.ts';
import { buildNetwork } from '../model/network.ts';
import { parseNumber, parseWhole } from '../numbers.ts';
import { flagWithValue } from '../report/command.ts';
import type { OpenModelOptions } from '../runs/open-model.ts';
import { modelOptionOption } from './models.ts';
import { choiceOption, listOption, pathOption } from './values.ts';

export interface WeightOptions {
  readonly model?: string;
  readonly modelOption: readonly string[];
  readonly classes?: string;
  readonly input?: readonly number[];
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

/** Adds `--model`, `--model-option`, `--classes`, `--input`, `--mean` and `--std`. */
export function addWeightOptions(command: Command): Command {
  return command
    .addOption(choiceOption('--model <name>', 'network of a file that does not say it', Object.keys(models)))
    .addOption(modelOptionOption())
    .addOption(
      pathOption('--classes <n>', 'number of classes, or a text file with their names, one per line'),
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
      listOption(
        '--mean <values>',
        'means of the channels, which normalize pixels scaled to 0–1',
        parseNumber,
        'numbers',
      ),
    )
    .addOption(listOption('--std <values>', 'deviations of the channels', parseNumber, 'numbers'));
}

/** What `openModel` needs beside the file. */
export type Described = Pick<OpenModelOptions, 'network' | 'input' | 'normalization' | 'classes'>;

/**
 * Completes what the weight file `path` says of itself by options.
 * @throws UsageError if an option contradicts the file, or one is missing.
 */
export async function describedBy(path: string, options: WeightOptions): Promise<Described> {
  const { classes, input, mean, std } = options;
  if ((mean === undefined) !== (std === undefined)) {
    throw new UsageError('--mean and --std go together; give both, or neither');
  }
  const { readInfo } = await import('../model/weight-files.ts');
  const info = await readInfo(path);
  if (info?.normalization === undefined && mean === undefined) {
    throw new UsageError(
      `${path} does not say how its images are normalized; give --mean and --std, for instance ` +
        "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 (torchvision's networks) or --mean 0 --std 1 (not at all)",
    );
  }
  const counted = classes === undefined ? undefined : parseWhole(classes);
  const names = classes === undefined || counted !== undefined ? undefined : await classNames(classes);
  const count = counted ?? names?.length;
  if (info) checkAgainst(path, info, options, count);
  return {
    ...(!info && missingNetwork(path, options, count)),
    ...(input && { input }),
    ...(names && { classes: names }),
    ...(mean && std && { normalization: { mean, std } }),
  };
}

/** The most bytes of a file of class names. */
const mostNames = 1 << 20;

/** Lines are names; empty lines are skipped. */
async function classNames(path: string): Promise<readonly string[]> {
  const { readWhole } = await import('../files/files.ts');
  const text = new TextDecoder().decode(await readWhole(path, mostNames));
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((name) => name !== '');
}

/** Whatever `openModel` does not compare itself. @throws UsageError */
function checkAgainst(
  path: string,
  info: ModelInfo,
  { model, modelOption }: WeightOptions,
  count: number | undefined,
): void {
  const modelOptions = parseAssignments(modelOption);
  refuseContradictions(
    path,
    info,
    { ...(model !== undefined && { model }), ...(modelOption.length > 0 && { modelOptions }) },
    flagWithValue,
  );
  const [outputs] = buildNetwork(info.network, info.input).output;
  if (count === undefined || count === outputs) return;
  throw new UsageError(
    `${path}: its network has ${outputs} classes, which contradicts --classes with ${count}; leave that out`,
  );
}

/** The network of a file that does not say it. @throws UsageError if an option is missing. */
function missingNetwork(
  path: string,
  { model, modelOption, input }: WeightOptions,
  count: number | undefined,
): { readonly network: ReturnType<typeof createModel>; readonly input: Shape } {
  if (model === undefined || count === undefined || input === undefined) {
    const missing = Object.entries({ '--model': model, '--classes': count, '--input': input })
      .filter(([, value]) => value === undefined)
      .map(([flag]) => flag);
    throw new UsageError(
      `${path} does not say its network; give ${missing.join(' and ')}, ` +
        'for instance --model vgg7 --classes 10 --input 3,32,32',
    );
  }
  const options = parseAssignments(modelOption);
  return { network: createModel(model, { classes: count, options }), input };
}
