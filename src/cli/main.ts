/**
 * The command `vgg`: finds the command, runs it and turns its end into an exit code.
 * 0 done; 1 failed (files, memory, a loss that is not a number); 2 wrong usage; 129, 130 and 143 interrupted.
 * Only the called command is loaded, and its heavy modules when it runs, so that the first training step comes soon.
 */
import { Command, CommanderError } from 'commander';
import { isTooManyOpenFiles, tooManyOpenFiles, VggError } from '../errors.ts';
import { reason } from '../reason.ts';
import { packageVersion } from '../version.ts';
import { withCommonHelp } from './help.ts';
import { endInterrupted, Interrupted, type Interruption, listenForInterrupts } from './interrupt.ts';
import { guardOutput, note, printJson } from './output.ts';

const examples = `
Examples:
  $ vgg train                             train the lecture's network on the built-in images
  $ vgg download cifar10                  download CIFAR-10 once
  $ vgg train --recipe lecture            the lecture's program: 80 epochs on CIFAR-10
  $ vgg train --resume runs/…             continue an interrupted run
  $ vgg predict cat.jpg --weights runs/a  classify images
  $ vgg summary vgg7                      layers, parameters and memory
  $ vgg doctor                            check this machine and its kernels

Run vgg COMMAND --help for a command's options.`;

/** A module is loaded when its command is called, or when all commands are listed, in this order. */
export const commands: Readonly<Record<string, (interruption: Interruption) => Promise<Command>>> = {
  train: async (interruption) => (await import('./train.ts')).trainCommand(interruption),
  evaluate: async () => (await import('./evaluate.ts')).evaluateCommand(),
  predict: async () => (await import('./predict.ts')).predictCommand(),
  'lr-find': async (interruption) => (await import('./lr-find.ts')).lrFindCommand(interruption),
  tune: async (interruption) => (await import('./tune.ts')).tuneCommand(interruption),
  export: async (interruption) => (await import('./export.ts')).exportCommand(interruption),
  report: async () => (await import('./report.ts')).reportCommand(),
  runs: async () => (await import('./runs.ts')).runsCommand(),
  compare: async () => (await import('./runs.ts')).compareCommand(),
  filters: async () => (await import('./filters.ts')).filtersCommand(),
  summary: async () => (await import('./summary.ts')).summaryCommand(),
  stats: async (interruption) => (await import('./stats.ts')).statsCommand(interruption),
  weights: async (interruption) => (await import('./weights-check.ts')).weightsCommand(interruption),
  download: async (interruption) => (await import('./download.ts')).downloadCommand(interruption),
  cache: async () => (await import('./cache.ts')).cacheCommand(),
  kernels: async () => (await import('./kernels.ts')).kernelsCommand(),
  doctor: async () => (await import('./doctor.ts')).doctorCommand(),
};

/** Runs the command line `argv`, which begins with the program's own two words. */
export async function main(argv: readonly string[]): Promise<void> {
  guardOutput();
  const interruption = listenForInterrupts();
  const program = new Command('vgg')
    .description('Train, evaluate and explain VGG networks.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', examples);
  const called = argv[2] ?? '';
  const loaders = Object.hasOwn(commands, called) ? [commands[called]!] : Object.values(commands);
  for (const load of loaders) program.addCommand(await load(interruption));
  for (const command of [program, ...program.commands.flatMap((one) => [one, ...one.commands])]) {
    withCommonHelp(command);
  }
  try {
    await program.parseAsync(argv);
  } catch (error) {
    if (error instanceof Interrupted) endInterrupted(error, interruption);
    process.exitCode = report(error);
  }
}

/** Prints what went wrong; returns the exit code. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof VggError) {
    // The message lists the first broken images only.
    if ('broken' in error && process.argv.includes('--json')) printJson({ broken: error.broken });
    note(`error: ${error.message}`);
    return error.exitCode;
  }
  if (isTooManyOpenFiles(error)) {
    process.stderr.write(`error: ${tooManyOpenFiles}\n`);
    return 1;
  }
  // What the system refused, wherever it was.
  if (error instanceof Error && 'syscall' in error) {
    const { path, syscall } = error as NodeJS.ErrnoException;
    process.stderr.write(`error: ${path ?? syscall}: ${reason(error)}\n`);
    return 1;
  }
  const stack = error instanceof Error ? error.stack : String(error);
  process.stderr.write(`${stack}\nThis is a bug in vgg. Please report it with the command you used.\n`);
  return 1;
}
