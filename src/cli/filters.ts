/** `vgg filters`: the filters of a network's first convolution as an image. */
import { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { note, printJson } from './output.ts';
import { checkPng } from './output-images.ts';
import { pathArgument, wholeNumberOption } from './values.ts';
import { addWeightOptions, describedBy, type WeightOptions } from './weights.ts';

const examples = `
Examples:
  $ vgg filters runs/a filters.png
  $ vgg filters vgg16-397923af.pth filters.png
  $ vgg filters vgg7.safetensors filters.png --columns 16

Each filter is a square, in color if the images have three channels. Middle gray is 0; each filter is scaled by its largest weight.`;

interface FiltersOptions extends WeightOptions {
  readonly columns?: number;
  readonly json?: true;
}

export function filtersCommand(): Command {
  const command = new Command('filters')
    .description('draw the filters of the first convolution as a PNG image')
    .addArgument(pathArgument('<weights>', 'weight file, checkpoint, run folder or name of a run in runs/'))
    .addArgument(pathArgument('<image>', 'PNG file to write'))
    .addOption(
      wholeNumberOption('--columns <n>', 'filters in a row (default: as many as rows)', { most: 1000 }),
    );
  return addWeightOptions(command)
    .option('--json', 'print one JSON object: layer, shape, width, height')
    .addHelpText('after', examples)
    .action(filters);
}

async function filters(place: string, file: string, options: FiltersOptions): Promise<void> {
  const { columns, json } = options;
  const [{ openDescribed }, { namedWeights }, { sizeOf }, { filterImage }, { encodePng }, { writeWhole }] =
    await Promise.all([
      import('../runs/described-weights.ts'),
      import('../runs/folder.ts'),
      import('../model/network.ts'),
      import('../images/explained.ts'),
      import('../images/png.ts'),
      import('../files/files.ts'),
    ]);
  const path = await namedWeights(place);
  await checkPng(file, 'filters:', [path]);
  const given = await describedBy(path, options);
  await using weights = await openDescribed(path, given, { key: options.key, onNotice: note });
  const { layers, name: model } = weights.network;
  const first = layers.find(({ spec }) => spec.kind === 'conv2d');
  if (!first) throw new UsageError(`${path}: ${model} has no convolution, and so no filters`);
  const { name, shape } = first.parameters[0]!;
  const data = new Float32Array(sizeOf(shape));
  await weights.read(name, 0, data);
  const image = filterImage({ shape, data }, columns === undefined ? {} : { columns });
  await writeWhole(file, encodePng(image));
  const { width, height } = image;
  if (json) return printJson({ layer: first.name, shape, width, height });
  note(`${shape[0]} filters of ${first.name}, ${shape.slice(1).join('×')} each, are in ${file}.`);
}
