/** The options that choose a data set. */
import type { Command } from 'commander';
import { type DatasetChoice, datasetNames } from '../data/named.ts';
import { choiceOption, pathOption } from './values.ts';

export type DatasetOptions = DatasetChoice;

/** Adds `--dataset`, `--data` and `--labels`. */
export function addDatasetOptions(command: Command): Command {
  return command
    .addOption(choiceOption('--dataset <name>', 'data set', datasetNames).default('shapes'))
    .addOption(
      pathOption(
        '--data <path>',
        'folder or archive with the CIFAR files; no other place is searched (default: $VGGNET_DATA or the cache)',
      ),
    )
    .addOption(
      choiceOption('--labels <kind>', 'class labels of cifar100 (default: fine)', ['fine', 'coarse']),
    );
}
