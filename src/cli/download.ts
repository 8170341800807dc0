/** `vgg download`: downloads a data set or published weights once, so that commands find them. */
import { Argument, Command } from 'commander';
import type { CifarName } from '../data/cifar.ts';
import type { DownloadProgress } from '../data/download.ts';
import { UsageError } from '../errors.ts';
import { torchvisionWeights } from '../model/torchvision-weights.ts';
import { unknownName } from '../suggest.ts';
import { grouped, shellWord } from '../words.ts';
import type { Interruption } from './interrupt.ts';
import { note, print, printJson, secondsLeft } from './output.ts';
import { pathOption } from './values.ts';

interface DownloadCommandOptions {
  readonly directory?: string;
  readonly json?: true;
}

const datasets = ['cifar10', 'cifar100'] as const satisfies readonly CifarName[];
const networks = torchvisionWeights.map(({ model }) => model);
const names: readonly string[] = [...datasets, ...networks];

const accuracies = torchvisionWeights
  .map(
    ({ model, accuracy: { top1, top5 } }) =>
      `  ${model.padEnd(10)} ${top1.toFixed(1)} %  ${top5.toFixed(1)} %`,
  )
  .join('\n');

const examples = `
Examples:
  $ vgg download cifar10
  $ vgg download cifar100 --directory ~/data
  $ vgg download vgg16

A data set takes about 170 MB and comes from its home page. Weights take 530 to 575 MB and come from torchvision; they were trained on ImageNet and classify its 1000 classes, with this accuracy of the best class and of the best five:

${accuracies}

The official checksum is checked. An interrupted download continues. Without --directory, the files go to $VGGNET_DATA or the cache directory, where every command finds data sets.`;

export function downloadCommand(interruption: Interruption): Command {
  return new Command('download')
    .description('download CIFAR-10, CIFAR-100 or weights of VGG networks')
    .addArgument(
      new Argument(
        '<name>',
        `data set (${datasets.join(', ')}) or network (${networks.join(', ')})`,
      ).argParser((text: string): string => {
        if (!names.includes(text)) throw new UsageError(unknownName('dataset or network', text, names));
        return text;
      }),
    )
    .addOption(pathOption('--directory <dir>', 'folder for the files'))
    .option('--json', 'print one JSON object: dataset and folder, or network and file; and present')
    .addHelpText('after', examples)
    .action((name: string, options: DownloadCommandOptions) => run(name, options, interruption));
}

async function run(
  name: string,
  { directory, json }: DownloadCommandOptions,
  interruption: Interruption,
): Promise<void> {
  interruption.stopsItself = true;
  const into = directory === undefined ? '' : ` --directory ${shellWord(directory)}`;
  interruption.kept = `The downloaded part is kept. Continue with:\n  vgg download ${name}${into}`;
  const options = {
    ...(directory !== undefined && { directory }),
    onProgress: progressTo(process.stderr),
    signal: interruption.signal,
  };
  const dataset = datasets.find((own) => own === name);
  if (dataset === undefined) {
    const { downloadWeights } = await import('../model/download-weights.ts');
    const { path, present } = await downloadWeights(name, options);
    if (json) return printJson({ network: name, file: path, present });
    print(present ? `${path} is already there.` : `${path} is complete.`);
    note(`Classify an image with it:\n  vgg predict IMAGE --weights ${shellWord(path)}`);
    return;
  }
  const { download } = await import('../data/download.ts');
  const { folder, present } = await download(dataset, options);
  if (json) return printJson({ dataset, folder, present });
  print(present ? `${dataset} is already in ${folder}.` : `${dataset} is in ${folder}.`);
  const data = directory === undefined ? '' : ` --data ${shellWord(directory)}`;
  note(`Train on it with:\n  vgg train --dataset ${dataset}${data}`);
}

/** Redraws one line on a terminal; elsewhere prints a line for each tenth. */
function progressTo(stream: NodeJS.WriteStream): (progress: DownloadProgress) => void {
  const start = performance.now();
  let first: number | undefined;
  let shown = 0;
  let tenth = -1;
  return ({ phase, bytes, total }) => {
    if (phase !== 'transfer') {
      const doing = phase === 'check' ? 'checking the file' : 'unpacking';
      stream.write(stream.isTTY ? `\r\x1b[K${doing} …\n` : `${doing}\n`);
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
