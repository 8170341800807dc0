/**
 * The command `vgg`: finds the command, runs it and turns whatever ends it into an exit code.
 * 0 done; 1 failed (files, memory, a loss that is no number); 2 used wrongly; 130 and 143 interrupted.
 * A command's heavy modules are loaded only when it runs, so that the first training step comes soon.
 */
import { Command, CommanderError } from 'commander';
import { VggError } from '../errors.ts';
import { doctorCommand } from './doctor.ts';
import { downloadCommand } from './download.ts';
import { evaluateCommand } from './evaluate.ts';
import { endInterrupted, Interrupted, listenForInterrupts } from './interrupt.ts';
import { kernelsCommand } from './kernels.ts';
import { lrFindCommand } from './lr-find.ts';
import { reportCommand } from './report.ts';
import { compareCommand, runsCommand } from './runs.ts';
import { statsCommand } from './stats.ts';
import { summaryCommand } from './summary.ts';
import { trainCommand } from './train.ts';
import { tuneCommand } from './tune.ts';
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

/** Runs the command line `argv` (with the program's own two words in front). */
export async function main(argv: readonly string[]): Promise<void> {
  // A reader that has seen enough, as in `vgg train | head`, ends the command quietly.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
  const interruption = listenForInterrupts();
  const program = new Command('vgg')
    .description('Train, evaluate and explain VGG networks.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .addHelpText('after', examples);
  program
    .addCommand(trainCommand(interruption))
    .addCommand(evaluateCommand())
    .addCommand(lrFindCommand(interruption))
    .addCommand(tuneCommand(interruption))
    .addCommand(reportCommand())
    .addCommand(runsCommand())
    .addCommand(compareCommand())
    .addCommand(summaryCommand())
    .addCommand(statsCommand())
    .addCommand(downloadCommand(interruption))
    .addCommand(kernelsCommand())
    .addCommand(doctorCommand());
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
  const stack = error instanceof Error ? error.stack : String(error);
  process.stderr.write(
    `${stack}\nThis is a mistake in vgg itself: please report it with the command used.\n`,
  );
  return 1;
}
