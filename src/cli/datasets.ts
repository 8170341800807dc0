/** The options that choose a data set. */
import { type Command, Option } from 'commander';
import { checkSpec, type DatasetChoice, datasetForms } from '../data/named.ts';
import { choiceOption, pathOption } from './values.ts';

export type DatasetOptions = DatasetChoice;

/** `--dataset`: a name, or a kind and a path. */
export const datasetOption = (description: string, suffix = ''): Option =>
  new Option('--dataset <name>', `${description}: ${datasetForms.join(', ')}${suffix}`).argParser(checkSpec);

/** Adds `--dataset`, `--data`, `--labels` and `--skip-broken`. */
export function addDatasetOptions(command: Command): Command {
  return command
    .addOption(datasetOption('data set').default('shapes'))
    .addOption(
      pathOption(
        '--data <path>',
        'folder or archive with the CIFAR files; no other place is searched (default: $VGGNET_DATA or the cache). Of image files, their folder, if it is not where the data set says',
      ),
    )
    .option('--skip-broken', 'leave out image files that are broken')
    .addOption(
      choiceOption('--labels <kind>', 'class labels of cifar100 (default: fine)', ['fine', 'coarse']),
    );
}
