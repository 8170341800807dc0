/**
 * What all commands' help and errors have in common: laid out for the terminal's width, `--[no-]flag` for a boolean
 * option, commands as they are called here, and close names for what is not known.
 */
import type { Command, CommanderError, Option } from 'commander';
import { UsageError } from '../errors.ts';
import { localCommands, program } from '../invocation-node.ts';
import { closeName } from '../suggest.ts';
import { hanging, widthOf, wrap } from './output.ts';

/** Columns of help: the terminal's, but not so many that lines are hard to read; 80 elsewhere. */
function helpWidth(): number {
  const width = widthOf(process.stdout);
  return width === Infinity ? 80 : Math.min(width, 120);
}

/** Makes `command` show help and errors in this project's way. Errors are thrown, as UsageErrors. */
export function withCommonHelp(command: Command): void {
  command
    .helpOption('-h, --help', 'print this help')
    .configureHelp({
      optionTerm: (option) => (isSwitch(command, option) ? `--[no-]${option.name()}` : option.flags),
      commandUsage: (own) => usageOf(own),
    })
    .configureOutput({
      getOutHelpWidth: helpWidth,
      writeOut: (text) => process.stdout.write(layOut(localCommands(text), helpWidth())),
      writeErr: (text) => process.stderr.write(layOut(localCommands(text), helpWidth())),
      outputError: () => undefined,
    })
    .exitOverride((error) => {
      throw error.exitCode === 0 || error.code.startsWith('commander.help')
        ? error
        : usageError(command, error);
    });
}

/** An option that has a second, hidden flag to turn it off. */
const isSwitch = (command: Command, { long, negate }: Option): boolean =>
  !negate && command.options.some(({ hidden, long: other }) => hidden && other === `--no-${long?.slice(2)}`);

function usageOf(command: Command): string {
  const names: string[] = [];
  for (let at: Command | null = command; at?.parent; at = at.parent) names.unshift(at.name());
  return [program(), ...names, command.usage()].join(' ');
}

/** What Commander refuses, in the words of all messages. */
function usageError(command: Command, { code, message }: CommanderError): UsageError {
  const words = message.replace(/^error: /, '');
  const [, name = ''] = /'(.*)'/.exec(words) ?? [];
  const called = usageOf(command).replace(/ \[.*/, '');
  if (code === 'commander.unknownOption') {
    const flags = command.options.flatMap(({ long }) => long ?? []);
    const close = closeName(name, flags) ?? flagFor(name.slice(2), flags);
    return new UsageError(`there is no option ${name}${ways(close, `${called} --help lists the options`)}`);
  }
  const stray = command.args[0];
  const isUnknown = code === 'commander.excessArguments' && command.commands.length > 0;
  if ((code === 'commander.unknownCommand' || isUnknown) && stray !== undefined) {
    const names = command.commands.map((one) => one.name());
    return new UsageError(
      `there is no command ${stray}${ways(closeName(stray, names), `${called} --help lists the commands`)}`,
    );
  }
  return new UsageError(`${words.replace(/\.$/, '')}; ${called} --help explains the command`);
}

const ways = (close: string | undefined, help: string): string =>
  close === undefined ? `; ${help}` : `; did you mean ${close}? (${help})`;

/** Another tool's word for an option, such as `--learning-rate`. */
function flagFor(name: string, flags: readonly string[]): string | undefined {
  const found = closeName(
    name,
    flags.map((flag) => flag.slice(2).replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase())),
  );
  return found && `--${found.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/**
 * Help for a width: paragraphs are filled, and in indented lists what does not fit beside its term continues below.
 * Lists that fit stay as they are.
 */
export function layOut(text: string, width: number): string {
  const blocks: string[][] = [];
  let before = '';
  for (const line of text.split('\n')) {
    const kind = line === '' ? 'empty' : line.startsWith(' ') ? 'list' : 'text';
    if (kind !== before || kind === 'empty') blocks.push([]);
    blocks.at(-1)!.push(line);
    before = kind;
  }
  return blocks
    .flatMap((lines) => {
      if (lines.every((line) => line.length <= width) && lines[0]!.startsWith(' ')) return lines;
      return lines[0]!.startsWith(' ') ? listOf(lines, width) : [wrap(lines.join(' '), width)];
    })
    .join('\n');
}

/** Lines `  term   words` again, with the words of all in one column, or below a term that is too long. */
function listOf(lines: readonly string[], width: number): readonly string[] {
  const items = lines.map((line) => /^( +\S.*?)(?: {2,}(\S.*))?$/.exec(line) ?? [line, line, undefined]);
  const terms = items.map(([, term = '']) => term.length).filter((length) => length <= 0.6 * width);
  const column = Math.max(8, ...terms) + 2;
  return items.flatMap(([, term = '', words]) => {
    if (words === undefined) return [wrap(term, width)];
    if (term.length + 2 <= column) return [hanging(term, words, column, width)];
    return [wrap(term, width), hanging('', words, column, width)];
  });
}
