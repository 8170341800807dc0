/** `vgg report`: writes one HTML file about runs, with the network in it. */
import { join } from 'node:path';
import { Command } from 'commander';
import type { DeviceName } from '../engine/backend.ts';
import { deviceNames } from '../engine/backend.ts';
import { note, print, printJson } from './output.ts';
import { choiceOption, pathArgument, pathOption } from './values.ts';
import { checkWritable } from './weight-saver.ts';

interface ReportCommandOptions {
  readonly out?: string;
  readonly data?: string;
  readonly device: DeviceName;
  readonly brief?: true;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg report runs/a                           write runs/a/report.html
  $ vgg report runs/a runs/b --out both.html    compare runs, the best one in full
  $ vgg report runs/three                       compare the seeds of a series
  $ vgg report runs/a --brief                   a small report in seconds
  $ vgg report a.zip                            a run from a browser: write a.html

The file opens from disk and loads nothing. It contains the trained network and classifies images that you drop on the page. vgg train writes the report at its end; this command writes it again, also while a run is still training.`;

export function reportCommand(): Command {
  return new Command('report')
    .description('write an HTML report about one run, or comparing several')
    .addArgument(
      pathArgument(
        '<run...>',
        'run folders, zip archives of runs, names of runs in runs/, or the folder of a --seeds series',
      ),
    )
    .addOption(pathOption('--out <file>', "file to write (default: report.html in the first run's folder)"))
    .addOption(
      pathOption(
        '--data <path>',
        'folder or archive with the CIFAR files, or folder of the images, if they have moved since',
      ),
    )
    .addOption(
      choiceOption('--device <name>', 'device that evaluates the network', deviceNames).default('auto'),
    )
    .option('--brief', 'leave out the network, its feature maps and the data')
    .option('--json', 'print one JSON object: report')
    .addHelpText('after', examples)
    .action(report);
}

async function report(folders: readonly string[], options: ReportCommandOptions): Promise<void> {
  const { json, ...rest } = options;
  if (options.out !== undefined) await checkWritable(options.out, '--out');
  const [{ reportRuns }, { isSeries, listRuns, runFiles, runPlace }, { isZip, unpacked }] = await Promise.all(
    [import('../report/from-run.ts'), import('../runs/folder.ts'), import('../runs/run-zip-files.ts')],
  );
  await using zips = await unpacked(folders);
  const places = zips.folders.map(runPlace);
  const [first] = places;
  const series = places.length === 1 && isSeries(first!) ? first : undefined;
  // Seeds that have not started have nothing to report; damaged ones are reported as such.
  const seeds = series === undefined ? [] : await listRuns(series);
  const told = seeds.filter((run) => 'problem' in run || run.epochs.length > 0);
  const path = await reportRuns(told.length > 0 ? told.map(({ folder }) => folder) : places, {
    ...(series !== undefined && { out: join(series, runFiles.report) }),
    ...(isZip(folders[0]!) && { out: folders[0]!.replace(/\.zip$/i, '.html') }),
    ...rest,
    onProgress: note,
  });
  if (json) printJson({ report: path });
  else print(`The report is in ${path}. Open it in a browser.`);
}
