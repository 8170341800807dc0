/** `vgg download`: downloads a data set once, so that commands find it without `--data`. */
import { Argument, Command } from 'commander';
import type { CifarName } from '../data/cifar.ts';
import type { DownloadProgress } from '../data/download.ts';
import { UsageError } from '../errors.ts';
import { unknownName } from '../suggest.ts';
import { grouped, shellWord } from '../words.ts';
import type { Interruption } from './interrupt.ts';
import { note, print, printJson, secondsLeft } from './output.ts';
import { pathOption } from './values.ts';

interface DownloadCommandOptions {
  readonly directory?: string;
  readonly json?: true;
}

const names = ['cifar10', 'cifar100'] as const satisfies readonly CifarName[];

const examples = `
Examples:
  $ vgg download cifar10
  $ vgg download cifar100 --directory ~/data

Downloads about 170 MB from the home page of the data sets and checks the official checksum. An interrupted download continues. Without --directory, the files go to $VGGNET_DATA or the cache directory, where every command finds them.`;

export function downloadCommand(interruption: Interruption): Command {
  return new Command('download')
    .description('download CIFAR-10 or CIFAR-100')
    .addArgument(
      new Argument('<name>', names.join(' or ')).argParser((text: string): CifarName => {
        const name = names.find((candidate) => candidate === text);
        if (!name) throw new UsageError(unknownName('dataset', text, names));
        return name;
      }),
    )
    .addOption(pathOption('--directory <dir>', 'folder for the files'))
    .option('--json', 'print one JSON object: dataset, folder, present')
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
  const into = directory === undefined ? '' : ` --directory ${shellWord(directory)}`;
  interruption.kept = `The downloaded part is kept. Continue with:\n  vgg download ${name}${into}`;
  const { folder, present } = await download(name, {
    ...(directory !== undefined && { directory }),
    onProgress: progressTo(process.stderr),
    signal: interruption.signal,
  });
  if (json) return printJson({ dataset: name, folder, present });
  print(present ? `${name} is already in ${folder}.` : `${name} is in ${folder}.`);
  const data = directory === undefined ? '' : ` --data ${shellWord(directory)}`;
  note(`Train on it with:\n  vgg train --dataset ${name}${data}`);
}

/** Redraws one line on a terminal; elsewhere prints a line for each tenth. */
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
      const seconds =
        total === undefined ? undefined : secondsLeft(bytes - first, total - bytes, now - start);
      const left = seconds === undefined ? '' : `, ${Math.ceil(seconds)} s left`;
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
