/** `vgg kernels`: lists the CPU's kernels, and prints one as C or WebAssembly. */
import { Command, Option } from 'commander';
import { UsageError } from '../errors.ts';
import type { KernelName } from '../kernels/catalogue.ts';
import { unknownName } from '../suggest.ts';
import { hanging, printJson, printVerbatim, widthOf } from './output.ts';
import { choiceOption } from './values.ts';

const examples = `
Examples:
  $ vgg kernels
  $ vgg kernels relu           as C, for this machine's vectors
  $ vgg kernels relu --wat     as WebAssembly
  $ vgg kernels --json         names, summaries and parameters`;

export function kernelsCommand(): Command {
  return new Command('kernels')
    .description("list the CPU's kernels, or print one as C or WebAssembly")
    .argument('[name]', 'kernel (default: list all)')
    .addOption(new Option('--c', 'print C').conflicts('wat'))
    .option('--wat', 'print the WebAssembly text format')
    .addOption(
      choiceOption('--target <name>', "vectors of the C code (default: this machine's)", targets).conflicts(
        'wat',
      ),
    )
    .option('--json', 'print one JSON object per kernel; with a name, also its code')
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
      throw new UsageError(`--${idle} prints one kernel's code; name the kernel, as in vgg kernels relu`);
    if (json) {
      for (const { name: own, summary } of recordKernels(wasmTarget))
        printJson({ name: own, summary, parameters: kernelParameters[own as KernelName] });
      return;
    }
    const width = Math.max(...kernelNames.map((known) => known.length));
    for (const kernel of recordKernels(wasmTarget))
      printVerbatim(hanging(kernel.name, kernel.summary, width + 2, widthOf(process.stdout)));
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
  } else printVerbatim(code.trimEnd());
}

/** This machine's vectors, or the narrowest if there is no compiler to ask. */
async function ownTarget(): Promise<(typeof targets)[number]> {
  const { findCompiler } = await import('../engine/cpu/kernels/compiler-node.ts');
  try {
    return (await findCompiler()).target;
  } catch {
    return process.arch === 'arm64' ? 'neon' : 'sse';
  }
}
