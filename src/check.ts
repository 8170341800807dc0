/**
 * Error messages for values that a schema rejects: `cores: "two" is not a whole number ≥ 0`. Messages that a schema
 * defines itself are kept.
 */
import * as z from 'zod';
import { blankPath, isBlank } from './paths.ts';
import { hintFor, nearest } from './suggest.ts';

export type Path = readonly PropertyKey[];

export interface CheckOptions {
  /** Path of the value inside a larger one. */
  readonly at?: Path;
  /** What the keys of objects are called. */
  readonly keys?: string;
}

/** Returns the value with its schema's defaults, or a list of problems, each with its path and rule. */
export function check<T>(
  schema: z.ZodType<T>,
  input: unknown,
  { at = [], keys = 'key' }: CheckOptions = {},
): { readonly value: T; readonly problems?: undefined } | { readonly problems: readonly string[] } {
  const result = schema.safeParse(input, { error: (issue) => problemOf(issue, keys, at) });
  if (result.success) return { value: result.data };
  const problems = result.error.issues.map(({ path, message }) => {
    const name = pathName([...at, ...path]);
    return name === '' ? message : `${name}: ${message}`;
  });
  // A whole number beyond both its own limit and the limit of all whole numbers is reported twice.
  return { problems: [...new Set(problems)] };
}

/** A path in a config. */
export const pathSchema: z.ZodString = z.string().refine((text) => !isBlank(text), blankPath);

/** Formats `['modelOptions', 'channels', 0]` as `modelOptions.channels[0]`. */
export const pathName = (path: Path): string =>
  path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? String(part) : `.${String(part)}`))
    .join('');

function problemOf(issue: z.core.$ZodRawIssue, keys: string, at: Path): string {
  const { schema } = issue;
  if (issue.code === 'unrecognized_keys' && schema instanceof z.ZodObject) {
    const known = Object.keys(schema.shape);
    return issue.keys.map((key) => nearest(keys, key, known)).join('; ');
  }
  const beyond = beyondLimit(issue);
  if (beyond !== undefined) return beyond;
  // For a discriminated union, report the value of its discriminator.
  const key = issue.code === 'invalid_union' ? issue.discriminator : undefined;
  const value = key === undefined ? issue.input : (issue.input as Readonly<Record<string, unknown>>)[key];
  const choices = choicesOf(schema);
  const rule = choices.length > 0 && issue.code !== 'invalid_type' ? oneOf(choices) : ruleOf(schema);
  if (value === undefined) return `is missing; set it to ${rule}`;
  const [kind] = [...at, ...(issue.path ?? [])];
  const hint = typeof value === 'string' && choices.length > 0 ? hintFor(String(kind), value, choices) : '';
  return `${shown(value)} is not ${rule}${hint}`;
}

/** The message for a number above its schema's upper limit, or below the limit of all whole numbers. */
function beyondLimit(issue: z.core.$ZodRawIssue): string | undefined {
  const { schema, input } = issue;
  if (!(schema instanceof z.ZodNumber)) return undefined;
  if (issue.code === 'too_big' && issue.inclusive) {
    return `${shown(input)} is above the limit of ${schema.maxValue}`;
  }
  if (issue.code === 'too_small' && schema.minValue === Number.MIN_SAFE_INTEGER) {
    return `${shown(input)} is below the limit of ${schema.minValue}`;
  }
  return undefined;
}

const oneOf = (choices: readonly string[]): string => `one of ${choices.join(', ')}`;

/** The values that an enum or literal allows; for a discriminated union, the values of its discriminator. */
function choicesOf(schema: unknown): readonly string[] {
  if (schema instanceof z.ZodEnum) return schema.options.map(String);
  if (schema instanceof z.ZodLiteral) return [...schema.values].map(String);
  if (!(schema instanceof z.ZodDiscriminatedUnion)) return [];
  const { options, discriminator } = schema.def;
  return options.flatMap((option) =>
    option instanceof z.ZodObject ? choicesOf(option.shape[discriminator]) : [],
  );
}

/** What a schema requires: `a number above 0`. */
function ruleOf(schema: unknown): string {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodOptional) return ruleOf(schema.def.innerType);
  if (schema instanceof z.ZodEnum || schema instanceof z.ZodLiteral) return oneOf(choicesOf(schema));
  if (schema instanceof z.ZodNumberFormat) return `a whole number${boundsOf(schema, '≥ ')}`;
  if (schema instanceof z.ZodNumber) return `a number${boundsOf(schema, 'of at least ')}`;
  if (schema instanceof z.ZodBoolean) return 'true or false';
  if (schema instanceof z.ZodString) return textRuleOf(schema);
  if (schema instanceof z.ZodArray) return `a list in which each element is ${ruleOf(schema.element)}`;
  if (schema instanceof z.ZodTuple) return `a list of ${schema.def.items.length}`;
  if (schema instanceof z.ZodDiscriminatedUnion) return `an object with ${schema.def.discriminator}`;
  if (schema instanceof z.ZodUnion) return schema.options.map(ruleOf).join(' or ');
  if (schema instanceof z.ZodObject || schema instanceof z.ZodRecord) return 'an object';
  return 'plain JSON';
}

/** `text of the form /^\d+$/`. */
function textRuleOf({ def: { checks = [] }, minLength }: z.ZodString): string {
  const patterns = checks.flatMap(({ _zod: { def } }) =>
    'pattern' in def && def.pattern instanceof RegExp ? [String(def.pattern)] : [],
  );
  return [(minLength ?? 0) > 0 ? 'text with a character or more' : 'text', ...patterns].join(' of the form ');
}

/** ` above 0 and below 1`; `least` is the word before an inclusive lower bound. */
function boundsOf({ def: { checks = [] } }: z.ZodNumber, least: string): string {
  const words = checks.map((own) => {
    const { check: kind, value, inclusive } = own._zod.def as z.core.$ZodCheckGreaterThanDef;
    if ((kind as string) === 'less_than') return `${inclusive ? 'at most' : 'below'} ${value}`;
    return kind === 'greater_than' ? `${inclusive ? least : 'above '}${value}` : '';
  });
  const text = words.filter(Boolean).join(' and ');
  return text === '' ? '' : ` ${text}`;
}

/** A value as JSON, cut after 60 characters. */
function shown(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
