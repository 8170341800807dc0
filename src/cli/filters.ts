/** `vgg filters`: the filters of a network's first convolution as an image. */
import { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { note, printJson } from './output.ts';
import { pathArgument, wholeNumberOption } from './values.ts';

const examples = `
Examples:
  $ vgg filters runs/a/best.safetensors filters.png
  $ vgg filters vgg7.safetensors filters.png --columns 16

Each filter is a square, in color if the images have three channels. Middle gray is 0; each filter is scaled by its largest weight.`;

interface FiltersOptions {
  readonly columns?: number;
  readonly json?: true;
}

export function filtersCommand(): Command {
  return new Command('filters')
    .description('draw the filters of the first convolution as a PNG image')
    .addArgument(pathArgument('<weights>', 'weight file or checkpoint of vgg'))
    .addArgument(pathArgument('<image>', 'PNG file to write'))
    .addOption(
      wholeNumberOption('--columns <n>', 'filters in a row (default: as many as rows)', { most: 1000 }),
    )
    .option('--json', 'print one JSON object: layer, shape, width, height')
    .addHelpText('after', examples)
    .action(filters);
}

async function filters(path: string, file: string, { columns, json }: FiltersOptions): Promise<void> {
  const [{ openWeights }, { buildNetwork, sizeOf }, { filterImage }, { encodePng }, { writeWhole }] =
    await Promise.all([
      import('../model/weight-files.ts'),
      import('../model/network.ts'),
      import('../images/explained.ts'),
      import('../images/png.ts'),
      import('../files/files.ts'),
    ]);
  await using weights = await openWeights(path, (info) => {
    if (info?.network && info.input) return buildNetwork(info.network, info.input);
    throw new UsageError(`${path} does not store its network; save the weights with vgg train --save`);
  });
  const { network, input } = weights.info!;
  const { layers } = buildNetwork(network, input);
  const first = layers.find(({ spec }) => spec.kind === 'conv2d');
  if (!first) throw new UsageError(`${path}: ${network.name} has no convolution, and so no filters`);
  const { name, shape } = first.parameters[0]!;
  const data = new Float32Array(sizeOf(shape));
  await weights.read(name, 0, data);
  const image = filterImage({ shape, data }, columns === undefined ? {} : { columns });
  await writeWhole(file, encodePng(image));
  const { width, height } = image;
  if (json) return printJson({ layer: first.name, shape, width, height });
  note(`${shape[0]} filters of ${first.name}, ${shape.slice(1).join('×')} each, are in ${file}.`);
}
