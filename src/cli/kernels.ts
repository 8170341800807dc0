/** `vgg kernels`: the CPU's kernels, and the code that one becomes. */
import { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { unknownName } from '../suggest.ts';
import { print } from './output.ts';

const examples = `
Examples:
  $ vgg kernels
  $ vgg kernels winogradInput`;

export function kernelsCommand(): Command {
  return new Command('kernels')
    .description("list the CPU's kernels, or print the WebAssembly text of one")
    .argument('[name]', 'a kernel (default: all names with what they do)')
    .addHelpText('after', examples)
    .action(kernels);
}

async function kernels(name: string | undefined): Promise<void> {
  const { kernelNames, recordKernel, recordKernels, wasmTarget } = await import('../kernels/catalogue.ts');
  if (name === undefined) {
    const width = Math.max(...kernelNames.map((known) => known.length));
    for (const kernel of recordKernels(wasmTarget)) print(`${kernel.name.padEnd(width)}  ${kernel.summary}`);
    return;
  }
  const known = kernelNames.find((kernel) => kernel === name);
  if (known === undefined) throw new UsageError(unknownName('kernel', name, kernelNames));
  const { formatWat } = await import('../kernels/wasm.ts');
  print(formatWat(recordKernel(known, wasmTarget)).trimEnd());
}
