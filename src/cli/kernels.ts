/** `vgg kernels`: the CPU's kernels, and the code that one becomes. */
import { Command, Option } from 'commander';
import { UsageError } from '../errors.ts';
import type { KernelName } from '../kernels/catalogue.ts';
import { unknownName } from '../suggest.ts';
import { print, printJson } from './output.ts';
import { choiceOption } from './values.ts';

const examples = `
Examples:
  $ vgg kernels
  $ vgg kernels winograd4Input        as C, for the vectors of this machine
  $ vgg kernels winograd4Input --wat  as WebAssembly
  $ vgg kernels --json                names, summaries and parameters, one object a line`;

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
    .option('--json', 'print an object for each kernel; with a name also its code')
    .addHelpText('after', examples)
    .action(kernels);
}

const targets = ['avx512', 'avx2', 'sse', 'neon'] as const;

interface KernelsOptions {
  readonly c?: true;
  readonly wat?: true;
  readonly target?: (typeof targets)[number];
  readonly json?: true;
}

async function kernels(name: string | undefined, options: KernelsOptions): Promise<void> {
  const { kernelNames, kernelParameters, nativeTargets, recordKernel, recordKernels, wasmTarget } =
    await import('../kernels/catalogue.ts');
  const { wat, target, json } = options;
  if (name === undefined) {
    const idle = (['c', 'wat', 'target'] as const).find((flag) => options[flag] !== undefined);
    if (idle)
      throw new UsageError(`--${idle} prints one kernel's code: name the kernel, as in vgg kernels relu`);
    if (json) {
      for (const { name: own, summary } of recordKernels(wasmTarget))
        printJson({ name: own, summary, parameters: kernelParameters[own as KernelName] });
      return;
    }
    const width = Math.max(...kernelNames.map((known) => known.length));
    for (const kernel of recordKernels(wasmTarget)) print(`${kernel.name.padEnd(width)}  ${kernel.summary}`);
    return;
  }
  const known = kernelNames.find((kernel) => kernel === name);
  if (known === undefined) throw new UsageError(unknownName('kernel', name, kernelNames));
  const form = wat ? 'wat' : (target ?? (await ownTarget()));
  const recorded = recordKernel(known, form === 'wat' ? wasmTarget : nativeTargets[form]);
  const code =
    form === 'wat'
      ? (await import('../kernels/wasm.ts')).formatWat(recorded, true)
      : (await import('../kernels/c.ts')).formatC(recorded);
  if (json) {
    const { summary } = recorded;
    printJson({ name: known, summary, parameters: kernelParameters[known], form, code });
  } else print(code.trimEnd());
}

/** Vectors of this machine, or the narrowest where no compiler tells. */
async function ownTarget(): Promise<(typeof targets)[number]> {
  const { findCompiler } = await import('../engine/cpu/compiler-node.ts');
  try {
    return (await findCompiler()).target;
  } catch {
    return process.arch === 'arm64' ? 'neon' : 'sse';
  }
}
