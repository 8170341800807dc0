/** `vgg weights check`: what a weight file holds, which network it is of, and whether it is a published one. */
import { Command } from 'commander';
import { counted, grouped } from '../words.ts';
import type { Interruption } from './interrupt.ts';
import { print, printJson } from './output.ts';
import { pathArgument, pathOption } from './values.ts';

interface CheckOptions {
  readonly key?: string;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg weights check vgg16-397923af.pth
  $ vgg weights check runs/a/best.safetensors --json

Names the format, the network that its tensors belong to, and torchvision's file if it is one: the first eight digits of its SHA-256 decide, as in torchvision's names, not the name of the file. Weights that are not finite numbers are reported, and the exit code is then 1.`;

export function weightsCommand(interruption: Interruption): Command {
  return new Command('weights').description('examine weight files').addCommand(
    new Command('check')
      .description('say what a weight file holds, and whether it is a published one')
      .addArgument(pathArgument('<file>', 'safetensors file, checkpoint or file of torch.save'))
      .addOption(pathOption('--key <name>', 'which state dict of a PyTorch checkpoint that has several'))
      .option('--json', 'print one JSON object')
      .addHelpText('after', examples)
      .action((file: string, options: CheckOptions) => check(file, options, interruption)),
  );
}

async function check(file: string, { key, json }: CheckOptions, interruption: Interruption): Promise<void> {
  const { examineWeights } = await import('../runs/examine-weights.ts');
  interruption.stopsItself = true;
  const found = await examineWeights(file, {
    signal: interruption.signal,
    ...(key !== undefined && { key }),
  });
  if (found.notFinite !== undefined) process.exitCode = 1;
  if (json) return printJson(found);
  const { format, tensors, values, network, input, classes, published, sha256, notFinite, normalization } =
    found;
  print(`${file}: ${format}, ${counted(tensors, 'tensor')}, ${grouped(values)} values`);
  print(
    network === undefined
      ? 'Network: none of the known ones'
      : `Network: ${network}, ${grouped(classes ?? 0)} classes, images of ${input!.join('×')}`,
  );
  if (normalization !== undefined) print(`Normalization: ${normalization}`);
  print(`SHA-256: ${sha256}`);
  print(
    published === undefined
      ? "Published: no, it is none of torchvision's files"
      : `Published: torchvision's ${published.file} (ImageNet: ${published.top1} % top-1, ${published.top5} % top-5)`,
  );
  if (notFinite !== undefined) print(`Not finite: ${notFinite}`);
}
