/** `vgg stats`: what the lecture's normalisation (equation 5.9) needs to know of a data set. */
import { Command } from 'commander';
import { addDatasetOptions, type DatasetOptions, loadDataset } from './datasets.ts';
import { print, printJson } from './output.ts';

interface StatsOptions extends DatasetOptions {
  readonly json?: true;
  readonly plot?: string;
}

const examples = `
Examples:
  $ vgg stats --dataset cifar10
  $ vgg stats --dataset cifar100 --plot histograms.svg

Pixels are scaled to 0–1. The deviation is that of the whole population, as in the lecture.`;

export function statsCommand(): Command {
  const command = new Command('stats').description(
    'mean and standard deviation of each colour channel over all training pixels',
  );
  return addDatasetOptions(command)
    .option('--plot <file>', 'draw the histograms of the channels before and after normalisation as SVG')
    .option('--json', 'print {"mean":[…],"std":[…]}')
    .addHelpText('after', examples)
    .action(stats);
}

async function stats(options: StatsOptions): Promise<void> {
  const { train } = await loadDataset(options);
  const { channelStatistics, channelHistograms } = await import('../data/statistics.ts');
  const { mean, std } = channelStatistics(train);
  if (options.json) printJson({ mean, std });
  else {
    print('channel  mean          standard deviation');
    for (const [c, name] of channelNames(mean.length).entries()) {
      print(`${name.padEnd(9)}${mean[c]!.toFixed(10).padEnd(14)}${std[c]!.toFixed(10)}`);
    }
  }
  if (options.plot === undefined) return;
}
