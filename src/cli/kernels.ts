/** `vgg kernels`: the CPU's kernels, and the code that one becomes. */
import { Command, Option } from 'commander';
import { UsageError } from '../errors.ts';
import { unknownName } from '../suggest.ts';
import { print } from './output.ts';
import { choiceOption } from './values.ts';

const examples = `
Examples:
  $ vgg kernels
  $ vgg kernels winograd4Input        as C, for the vectors of this machine
  $ vgg kernels winograd4Input --wat  as WebAssembly`;

export function kernelsCommand(): Command {
  return new Command('kernels')
    .description("list the CPU's kernels, or print one as C or WebAssembly")
    .argument('[name]', 'a kernel (default: all names with what they do)')
    .addOption(new Option('--c', 'print C').conflicts('wat'))
    .option('--wat', "print WebAssembly's text format")
    .addOption(
      choiceOption(
        '--target <name>',
        'vectors of the C code (default: those of this machine)',
        targets,
      ).conflicts('wat'),
    )
    .addHelpText('after', examples)
    .action(kernels);
}

const targets = ['avx512', 'avx', 'sse', 'neon'] as const;

interface KernelsOptions {
  readonly c?: true;
  readonly wat?: true;
  readonly target?: (typeof targets)[number];
}

async function kernels(name: string | undefined, { wat, target }: KernelsOptions): Promise<void> {
  const { kernelNames, nativeTargets, recordKernel, recordKernels, wasmTarget } = await import(
    '../kernels/catalogue.ts'
  );
  if (name === undefined) {
    const width = Math.max(...kernelNames.map((known) => known.length));
    for (const kernel of recordKernels(wasmTarget)) print(`${kernel.name.padEnd(width)}  ${kernel.summary}`);
    return;
  }
  const known = kernelNames.find((kernel) => kernel === name);
  if (known === undefined) throw new UsageError(unknownName('kernel', name, kernelNames));
  if (wat) {
    const { formatWat } = await import('../kernels/wasm.ts');
    print(formatWat(recordKernel(known, wasmTarget), true).trimEnd());
    return;
  }
  const { formatC } = await import('../kernels/c.ts');
  print(formatC(recordKernel(known, nativeTargets[target ?? (await ownTarget())])).trimEnd());
}

/** Vectors of this machine, or the narrowest where no compiler tells. */
async function ownTarget(): Promise<(typeof targets)[number]> {
  const { findCompiler } = await import('../engine/cpu/native-node.ts');
  try {
    return (await findCompiler()).target;
  } catch {
    return process.arch === 'arm64' ? 'neon' : 'sse';
  }
}
