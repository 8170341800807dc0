/** `vgg download`: fetches a data set once, so that commands find it without `--data`. */
import { Argument, Command } from 'commander';
import type { CifarName } from '../data/cifar.ts';
import type { DownloadProgress } from '../data/download.ts';
import { UsageError } from '../errors.ts';
import { unknownName } from '../suggest.ts';
import type { Interruption } from './interrupt.ts';
import { grouped, note, print, printJson } from './output.ts';
import { pathOption } from './values.ts';

interface DownloadCommandOptions {
  readonly directory?: string;
  readonly json?: true;
}

const names = ['cifar10', 'cifar100'] as const satisfies readonly CifarName[];

const examples = `
Examples:
  $ vgg download cifar10
  $ vgg download cifar100 --directory ~/data    then: vgg train --dataset cifar100 --data ~/data

About 170 MB each, from the data sets' home page. A transfer that broke off is resumed; the archive must have the
official checksum. Without --directory the files go to $VGGNET_DATA, else to the cache directory, where every
command looks for them.`;

export function downloadCommand(interruption: Interruption): Command {
  return new Command('download')
    .description('fetch CIFAR-10 or CIFAR-100')
    .addArgument(
      new Argument('<name>', names.join(' or ')).argParser((text: string): CifarName => {
        const name = names.find((candidate) => candidate === text);
        if (!name) throw new UsageError(unknownName('data set', text, names));
        return name;
      }),
    )
    .addOption(pathOption('--directory <dir>', 'folder that receives the files'))
    .option('--json', 'print {"dataset":…,"folder":…,"present":…}')
    .addHelpText('after', examples)
    .action((name: CifarName, options: DownloadCommandOptions) => run(name, options, interruption));
}

async function run(
  name: CifarName,
  { directory, json }: DownloadCommandOptions,
  interruption: Interruption,
): Promise<void> {
  const { download } = await import('../data/download.ts');
  interruption.stopsItself = true;
  interruption.kept = 'What was transferred is kept, and the next vgg download goes on from there.';
  const { folder, present } = await download(name, {
    ...(directory !== undefined && { directory }),
    onProgress: progressTo(process.stderr),
    signal: interruption.signal,
  });
  if (json) return printJson({ dataset: name, folder, present });
  print(present ? `${folder} is there already.` : `${name} is in ${folder}.`);
  note(`Train on it: vgg train --dataset ${name}${directory === undefined ? '' : ` --data ${directory}`}`);
}

/** A line that is rewritten on a terminal; elsewhere a line each tenth part. */
function progressTo(stream: NodeJS.WriteStream): (progress: DownloadProgress) => void {
  const start = performance.now();
  let first: number | undefined;
  let shown = 0;
  let tenth = -1;
  return ({ phase, bytes, total }) => {
    if (phase !== 'transfer') {
      const doing = phase === 'check' ? 'checking the archive' : 'unpacking';
      stream.write(stream.isTTY ? `\r\x1b[K${doing} …${phase === 'unpack' ? '\n' : ''}` : `${doing}\n`);
      return;
    }
    first ??= bytes;
    const now = performance.now();
    const rate = (bytes - first) / Math.max(1e-3, (now - start) / 1000);
    const amount = `${megabytes(bytes)}${total === undefined ? '' : ` of ${megabytes(total)}`} MB`;
    if (stream.isTTY) {
      if (now - shown < 100 && bytes !== total) return;
      shown = now;
      const left = total === undefined || rate === 0 ? '' : `, ${Math.ceil((total - bytes) / rate)} s left`;
      stream.write(`\r\x1b[K${amount}, ${megabytes(rate)} MB/s${left}`);
      return;
    }
    const part = total === undefined ? Math.floor(bytes / 20e6) : Math.floor((10 * bytes) / total);
    if (part === tenth) return;
    tenth = part;
    stream.write(`${amount}\n`);
  };
}

const megabytes = (bytes: number): string =>
  bytes < 9.95e6 ? (bytes / 1e6).toFixed(1) : grouped(Math.round(bytes / 1e6));
