/** Every option and argument that is a path, in every command. */
import type { Argument, Command, Option } from 'commander';
import { expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { commands } from './main.ts';

const interruption = {
  signal: new AbortController().signal,
  kept: '',
  stopsItself: false,
  graceMilliseconds: 0,
};

const isPath = (text: string): boolean => /[<[](?:file|dir|path|run|weights|source)\W/.test(text);

/** Each path of a command and those below it, by its name. */
function pathsOf(command: Command): readonly (readonly [string, Option | Argument])[] {
  const options = command.options.flatMap((option) =>
    isPath(option.flags) ? [[`${command.name()} ${option.long}`, option] as const] : [],
  );
  const positional = command.registeredArguments.flatMap((argument) =>
    isPath(`<${argument.name()}>`) ? [[`${command.name()} <${argument.name()}>`, argument] as const] : [],
  );
  return [...options, ...positional, ...command.commands.flatMap(pathsOf)];
}

const loaded = await Promise.all(Object.values(commands).map((load) => load(interruption)));
const paths = loaded.flatMap(pathsOf);

test('are found', () => {
  const names = paths.map(([name]) => name);
  for (const name of ['train --run', 'train --resume', 'train --save', 'train --init', 'train --data'])
    expect(names).toContain(name);
  for (const name of ['train --config', 'evaluate <weights>', 'compare <run>', 'runs <dir>', 'status <dir>'])
    expect(names).toContain(name);
  for (const name of [
    'tune --study',
    'report --out',
    'export <source>',
    'export --output',
    'stats --plot',
    'download --directory',
  ])
    expect(names).toContain(name);
  expect(paths.length).toBeGreaterThan(25);
});

test.each(paths)('%s is not empty', (_, { parseArg }) => {
  for (const text of ['', ' ', '\t\n']) {
    expect(() => parseArg?.(text, undefined)).toThrow(UsageError);
    expect(() => parseArg?.(text, undefined)).toThrow(/ is empty; name a file or folder, or leave it out$/);
  }
  expect([parseArg?.(' a b', undefined)].flat()).toEqual([' a b']);
});

test('several arguments are collected', () => {
  const [, runs] = paths.find(([name]) => name === 'compare <run>')!;
  expect(runs.parseArg?.('b', ['a'])).toEqual(['a', 'b']);
});
