/**
 * Parsers of option values for Commander: each takes the text and gives the value, or throws a UsageError that
 * names the option, the text and the rule.
 */
import { Argument, Option } from 'commander';
import { UsageError } from '../errors.ts';
import { checkPath } from '../paths.ts';
import { unknownName } from '../suggest.ts';

/** An option whose value is a whole number from `least` to `most`. */
export function wholeNumberOption(
  flags: string,
  description: string,
  { least = 1, most = Number.MAX_SAFE_INTEGER }: { readonly least?: number; readonly most?: number } = {},
): Option {
  const rule = `a whole number ${most === Number.MAX_SAFE_INTEGER ? `≥ ${least}` : `from ${least} to ${most}`}`;
  return parsedOption(flags, description, rule, (text) => {
    const value = /^[+]?\d+$/.test(text) ? Number(text) : Number.NaN;
    return value >= least && value <= most ? value : undefined;
  });
}

/** An option whose value is a number above `above` or from `least` on, and below `below`; with `fraction`, `1/3` is one. */
export function numberOption(
  flags: string,
  description: string,
  {
    above,
    least,
    below = Infinity,
    fraction = false,
  }: {
    readonly above?: number;
    readonly least?: number;
    readonly below?: number;
    readonly fraction?: boolean;
  } = {},
): Option {
  const lower = above === undefined ? `of at least ${least}` : `above ${above}`;
  const upper = below === Infinity ? '' : ` and below ${below}`;
  const rule = `a number ${lower}${upper}${fraction ? ', such as 0.1 or 1/3' : ''}`;
  return parsedOption(flags, description, rule, (text) => {
    const parts = text.split('/');
    if (parts.length > (fraction ? 2 : 1) || parts.some((part) => part.trim() === '')) return undefined;
    const [numerator = Number.NaN, denominator = 1] = parts.map(Number);
    const value = numerator / denominator;
    return (above === undefined ? value >= least! : value > above) && value < below ? value : undefined;
  });
}

/** An option whose value is one of a few words. */
export function choiceOption(flags: string, description: string, choices: readonly string[]): Option {
  const option = new Option(flags, `${description}: ${choices.join(', ')}`);
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

/** `text` where it is one of `choices`. @throws UsageError with the nearest one where it is not. */
export function checkChoice<Choice extends string>(
  what: string,
  text: string,
  choices: readonly Choice[],
): Choice {
  const choice = choices.find((known) => known === text);
  if (choice === undefined) throw new UsageError(unknownName(what, text, choices));
  return choice;
}

/** An option that may be given several times; its values are collected. */
export function repeatedOption(flags: string, description: string): Option {
  return new Option(flags, description)
    .default([], 'none')
    .argParser((text: string, before: readonly string[]) => [...before, text]);
}

function parsedOption(
  flags: string,
  description: string,
  rule: string,
  parse: (text: string) => number | undefined,
): Option {
  const option = new Option(flags, description);
  return option.argParser((text: string) => {
    const value = parse(text);
    if (value === undefined) throw new UsageError(`${option.long} ${text} is not ${rule}`);
    return value;
  });
}
