/** `vgg report`: runs as one HTML file, with the network in it. */
import { join } from 'node:path';
import { Command } from 'commander';
import type { DeviceName } from '../engine/backend.ts';
import { deviceNames } from '../engine/backend.ts';
import { checkWritable } from './keep.ts';
import { note, print, printJson } from './output.ts';
import { choiceOption, pathArgument, pathOption } from './values.ts';

interface ReportCommandOptions {
  readonly out?: string;
  readonly data?: string;
  readonly device: DeviceName;
  readonly brief?: true;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg report runs/vgg7-cifar100-…                  writes report.html into the run's folder
  $ vgg report runs/a runs/b --out comparison.html   several runs, compared; the best one in full
  $ vgg report runs/three                            the seeds of vgg train --seeds, compared
  $ vgg report runs/a --brief                        small, and made in seconds: no network in it

The file needs no network and opens from disk. It holds the network itself: drop a picture on the page and it is
classified there. vgg train makes the report at its end; this makes it anew, while a run is under way, too.`;

export function reportCommand(): Command {
  return new Command('report')
    .description('one HTML file on a run, or several compared; the network in it classifies pictures')
    .addArgument(pathArgument('<run...>', 'run folders, or names of runs in runs/; or one folder of --seeds'))
    .addOption(pathOption('--out <file>', "the file (default: report.html in the first run's folder)"))
    .addOption(
      pathOption('--data <path>', 'folder or archive with the files of CIFAR, where they are elsewhere now'),
    )
    .addOption(choiceOption('--device <name>', 'what evaluates the network', deviceNames).default('auto'))
    .option('--brief', 'leave out the network, what it sees, and the data')
    .option('--json', 'print {"report":…}')
    .addHelpText('after', examples)
    .action(report);
}

async function report(folders: readonly string[], options: ReportCommandOptions): Promise<void> {
  const { json, ...rest } = options;
  if (options.out !== undefined) await checkWritable(options.out, '--out');
  const [{ reportRuns }, { isSeries, listRuns, runFiles, runPlace }] = await Promise.all([
    import('../report/from-run.ts'),
    import('../runs/folder.ts'),
  ]);
  const places = folders.map(runPlace);
  const [first] = places;
  const series = places.length === 1 && isSeries(first!) ? first : undefined;
  // Seeds that are still to come have nothing to report; what is damaged is said.
  const seeds = series === undefined ? [] : await listRuns(series);
  const told = seeds.filter((run) => 'problem' in run || run.epochs.length > 0);
  const path = await reportRuns(told.length > 0 ? told.map(({ folder }) => folder) : places, {
    ...(series !== undefined && { out: join(series, runFiles.report) }),
    ...rest,
    onProgress: note,
  });
  if (json) printJson({ report: path });
  else print(`The report is in ${path}; open it in a browser.`);
}
