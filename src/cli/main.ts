/**
 * The command `vgg`: finds the command, runs it and turns whatever ends it into an exit code.
 * 0 done; 1 failed (files, memory, a loss that is no number); 2 used wrongly; 130 and 143 interrupted.
 * Only the command that is called is loaded, and its heavy modules when it runs: the first training step comes soon.
 */
import { Command, CommanderError } from 'commander';
import { reason, VggError } from '../errors.ts';
import { isTooManyOpenFiles, tooManyOpenFiles } from '../open-files.ts';
import { endInterrupted, Interrupted, type Interruption, listenForInterrupts } from './interrupt.ts';
import { guardOutput } from './output.ts';
import { packageVersion } from './version.ts';

const examples = `
Examples:
  $ vgg train                              the lecture's network on the built-in shapes
  $ vgg download cifar10                   fetch CIFAR-10 once
  $ vgg train --recipe lecture             the lecture's whole program: 80 epochs
  $ vgg train --resume runs/…              go on with a run that was interrupted
  $ vgg summary vgg7 --dataset cifar100    layers, parameters, memory
  $ vgg doctor                             what this machine has; whether its kernels are right and fast
Each command explains its options: vgg train --help`;

/** Each command's module is loaded where it is called, or where all are listed; here is their order. */
export const commands: Readonly<Record<string, (interruption: Interruption) => Promise<Command>>> = {
  train: async (interruption) => (await import('./train.ts')).trainCommand(interruption),
  evaluate: async () => (await import('./evaluate.ts')).evaluateCommand(),
  'lr-find': async (interruption) => (await import('./lr-find.ts')).lrFindCommand(interruption),
  tune: async (interruption) => (await import('./tune.ts')).tuneCommand(interruption),
  report: async () => (await import('./report.ts')).reportCommand(),
  runs: async () => (await import('./runs.ts')).runsCommand(),
  compare: async () => (await import('./runs.ts')).compareCommand(),
  summary: async () => (await import('./summary.ts')).summaryCommand(),
  stats: async () => (await import('./stats.ts')).statsCommand(),
  download: async (interruption) => (await import('./download.ts')).downloadCommand(interruption),
  kernels: async () => (await import('./kernels.ts')).kernelsCommand(),
  doctor: async () => (await import('./doctor.ts')).doctorCommand(),
};

/** Runs the command line `argv` (with the program's own two words in front). */
export async function main(argv: readonly string[]): Promise<void> {
  guardOutput();
  const interruption = listenForInterrupts();
  const program = new Command('vgg')
    .description('Train, evaluate and explain VGG networks.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .addHelpText('after', examples);
  const called = argv[2] ?? '';
  const loaders = Object.hasOwn(commands, called) ? [commands[called]!] : Object.values(commands);
  for (const load of loaders) program.addCommand(await load(interruption));
  for (const command of [program, ...program.commands.flatMap((one) => [one, ...one.commands])]) {
    command.exitOverride().showHelpAfterError('(--help lists the options)').showSuggestionAfterError();
  }
  try {
    await program.parseAsync(argv);
  } catch (error) {
    if (error instanceof Interrupted) endInterrupted(error, interruption);
    process.exitCode = report(error);
  }
}

/** Writes what went wrong and yields the exit code. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof VggError) {
    process.stderr.write(`error: ${error.message}\n`);
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
  process.stderr.write(
    `${stack}\nThis is a mistake in vgg itself: please report it with the command used.\n`,
  );
  return 1;
}
