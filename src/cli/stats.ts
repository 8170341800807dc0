/** `vgg stats`: the statistics of a data set that the lecture's normalization (equation 5.9) uses. */
import { Command } from 'commander';
import { loadDataset } from '../data/load.ts';
import { addDatasetOptions, type DatasetOptions } from './datasets.ts';
import type { Interruption } from './interrupt.ts';
import { note, print, printJson } from './output.ts';
import { preparingOptions } from './preparing.ts';
import { pathOption } from './values.ts';

interface StatsOptions extends DatasetOptions {
  readonly json?: true;
  readonly plot?: string;
}

const examples = `
Examples:
  $ vgg stats --dataset cifar10
  $ vgg stats --dataset cifar100 --plot histograms.svg
  $ vgg stats --dataset folder:photos

Pixels are scaled to 0–1. The standard deviation is that of the population, as in the lecture.`;

export function statsCommand(interruption: Interruption): Command {
  const command = new Command('stats').description(
    'mean and standard deviation of each color channel over all training pixels',
  );
  return addDatasetOptions(command)
    .addOption(
      pathOption('--plot <file>', "draw the channels' histograms before and after normalization as SVG"),
    )
    .option(
      '--json',
      'print one JSON object: mean, std; of image files also images and broken, all broken files',
    )
    .addHelpText('after', examples)
    .action((options: StatsOptions) => stats(options, interruption));
}

async function stats(options: StatsOptions, interruption: Interruption): Promise<void> {
  interruption.stopsItself = true;
  const { end, ...prepare } = preparingOptions(interruption);
  const splits = await loadDataset(options, prepare);
  end();
  const { train } = splits;
  const { channelHistograms, channelStatistics } = await import('../data/statistics.ts');
  const { mean, std } = channelStatistics(train);
  if (options.plot !== undefined) {
    const { histogramsSvg } = await import('../report/histograms.ts');
    const svg = histogramsSvg(channelHistograms(train), { mean, std }, { dataset: train.name });
    await (await import('../files/files.ts')).writeWhole(options.plot, svg);
    note(`The histograms are in ${options.plot}.`);
  }
  if (options.json) {
    const broken = 'broken' in splits ? splits.broken : undefined;
    return printJson({ mean, std, ...(broken !== undefined && { images: train.length, broken }) });
  }
  print('channel  mean          standard deviation');
  for (const [c, channelMean] of mean.entries()) {
    const name = channelNames[c] ?? `channel ${c + 1}`;
    print(`${name.padEnd(9)}${channelMean.toFixed(10)}  ${std[c]!.toFixed(10)}`);
  }
}

/** All data sets of the command line have these channels. */
const channelNames = ['red', 'green', 'blue'];
