/**
 * Parsers of option values for Commander: each takes the text and gives the value, or throws a UsageError that
 * names the option, the text and the rule.
 */
import { Argument, Option } from 'commander';
import { UsageError } from '../errors.ts';
import { type Bounds, numberProblem, parseNumber, parseWhole } from '../numbers.ts';
import { checkPath, isBlank } from '../paths.ts';
import { unknownName } from '../suggest.ts';

/** An option whose value is a whole number from `least` to `most`. */
export function wholeNumberOption(
  flags: string,
  description: string,
  { least = 1, most = Number.MAX_SAFE_INTEGER }: Pick<Bounds, 'least' | 'most'> = {},
): Option {
  const rule = `a whole number ≥ ${least}`;
  return numericOption(flags, description, parseWhole, rule, { least, most });
}

/** An option whose value is a number in `bounds`, which may be a fraction such as `1/3`. */
export function numberOption(flags: string, description: string, bounds: Bounds): Option {
  const { above, least, below, most } = bounds;
  const limits = [
    ...(above === undefined ? [] : [`above ${above}`]),
    ...(least === undefined || least === -Infinity ? [] : [`of at least ${least}`]),
    ...(below === undefined ? [] : [`below ${below}`]),
    ...(most === undefined ? [] : [`at most ${most}`]),
  ];
  const rule = ['a number', limits.join(' and ')].join(' ').trim();
  return numericOption(flags, description, parseNumber, rule, bounds);
}

/** An option whose value is one of `choices`, which stand in the description, before its `suffix`. */
export function choiceOption(
  flags: string,
  description: string,
  choices: readonly string[],
  suffix = '',
): Option {
  const option = new Option(flags, `${description}: ${choices.join(', ')}${suffix}`);
  return option.argParser((text: string) => checkChoice(option.name(), text, choices));
}

/** An option whose value is a path: not an empty one, as `--run "$UNSET"` gives. */
export function pathOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser((text: string) => checkPath(option.long ?? flags, text));
}

/** An argument that is a path, or several: `<run...>`. */
export function pathArgument(name: string, description: string): Argument {
  const argument = new Argument(name, description);
  return argument.argParser<string | readonly string[]>((text, before = []) => {
    const path = checkPath(argument.name(), text);
    return argument.variadic ? [...before, path] : path;
  });
}

/** Returns `text` if it is one of `choices`. @throws UsageError that suggests a close one. */
export function checkChoice<Choice extends string>(
  what: string,
  text: string,
  choices: readonly Choice[],
): Choice {
  const choice = choices.find((known) => known === text);
  if (choice === undefined) throw new UsageError(unknownName(what, text, choices));
  return choice;
}

/** An option whose value is a list of numbers, separated by commas. `rule` says of what kind. */
export function listOption(
  flags: string,
  description: string,
  parse: (text: string) => number | undefined,
  rule: string,
): Option {
  const option = new Option(flags, description);
  return option.argParser((text: string): readonly number[] => {
    if (isBlank(text))
      throw new UsageError(`${option.long} is empty; give ${rule}, separated by commas, or leave it out`);
    const values = text.split(',').map((item) => parse(item.trim()));
    if (values.every((value) => value !== undefined && Number.isFinite(value))) return values as number[];
    throw new UsageError(`${option.long} ${text} is not a list of ${rule}, separated by commas`);
  });
}

/** An option whose values are names or patterns of layers, separated by commas; it may be repeated. */
export function layersOption(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser((text: string, before: readonly string[] = []): readonly string[] => {
    const names = text.split(',').map((part) => part.trim());
    if (names.every((name) => name !== '')) return [...before, ...names];
    const problem = isBlank(text) ? 'is empty' : `${text} has an empty name`;
    throw new UsageError(`${option.long} ${problem}; name layers, separated by commas, or leave it out`);
  });
}

/** An option that may be repeated; its values are collected. */
export function repeatedOption(flags: string, description: string, shownDefault: string): Option {
  return new Option(flags, description)
    .default([], shownDefault)
    .argParser((text: string, before: readonly string[]) => [...before, text]);
}

/** The two flags of a boolean option, `--shuffle` and `--no-shuffle`; the help shows them as `--[no-]shuffle`. */
export function switchOptions(flag: string, description: string): readonly Option[] {
  return [new Option(flag, description), new Option(`--no-${flag.slice(2)}`, description).hideHelp()];
}

function numericOption(
  flags: string,
  description: string,
  parse: (text: string) => number | undefined,
  rule: string,
  bounds: Bounds,
): Option {
  const option = new Option(flags, description);
  return option.argParser((text: string) => {
    const value = parse(text);
    const problem = numberProblem(text, value, rule, bounds);
    if (problem !== undefined) throw new UsageError(`${option.long} ${problem}`);
    return value;
  });
}
