/**
 * Layers chosen by patterns of their names, for freezing and for learning rates. A pattern is a name in which `*` stands
 * for any characters. It chooses a layer by its own name (`features.0`), the start of it up to a dot (`features`), the
 * literature's name (`conv1_*`), or the names of all of its parameters (`features.0.*`). Layers are chosen whole.
 */
import { UsageError } from '../errors.ts';
import { isObject, shown } from '../options.ts';
import { hintFor } from '../suggest.ts';
import type { Network, NetworkLayer } from './layer.ts';
import { layerNames } from './layer-names.ts';
import { hasState } from './network.ts';

/** The most patterns, and the most characters of one. */
export const mostPatterns = 1000;
export const longestPattern = 200;

/** Whether a name has a pattern's parts, between its `*`s, in their order. In linear time, whatever the pattern is. */
function matches(pattern: string, name: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  if (rest.length === 0) return name === pattern;
  if (!name.startsWith(first)) return false;
  const last = rest.pop()!;
  let at = first.length;
  for (const part of rest) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return name.length - last.length >= at && name.endsWith(last);
}

/** `features.0`: `features` and `features.0`. */
const pathsOf = (name: string): string[] =>
  name.split('.').map((_, i, parts) => parts.slice(0, i + 1).join('.'));

/** All names by which each layer is chosen. */
function namesOf(network: Network): readonly (readonly string[])[] {
  const names = network.layers.map(({ name }) => pathsOf(name));
  for (const [name, layer] of layerNames(network)) names[layer]!.push(name);
  return names;
}

/** The layers (ascending indices, with parameters or buffers) of one pattern. */
function layersOf(where: string, network: Network, pattern: unknown): number[] {
  if (typeof pattern !== 'string' || pattern === '' || pattern.length > longestPattern) {
    throw new UsageError(
      `${where}: ${shown(pattern)} is not a name or pattern of layers, such as 'features' or 'conv1_*'`,
    );
  }
  const names = namesOf(network);
  const chosen = network.layers.flatMap((layer, i) =>
    names[i]!.some((name) => matches(pattern, name)) || matchesParameters(where, layer, pattern) ? [i] : [],
  );
  if (chosen.length === 0) throw unknownPattern(where, network, pattern, names);
  const own = chosen.filter((i) => hasState(network.layers[i]!));
  if (own.length > 0) return own;
  const found = network.layers[chosen[0]!]!;
  throw new UsageError(
    `${where}: "${pattern}" chooses only layers without parameters, such as ${found.name} (${found.spec.kind}); ` +
      'name convolutions, linear layers or normalizations',
  );
}

/** @throws UsageError if the pattern has only some of the layer's parameters. */
function matchesParameters(where: string, { name, parameters }: NetworkLayer, pattern: string): boolean {
  const [some, ...others] = parameters.filter((parameter) => matches(pattern, parameter.name));
  if (!some || others.length + 1 === parameters.length) return some !== undefined;
  throw new UsageError(
    `${where}: "${pattern}" chooses ${some.name}, but not all parameters of layer ${name}; layers are chosen ` +
      `whole: write ${name}`,
  );
}

function unknownPattern(
  where: string,
  network: Network,
  pattern: string,
  names: readonly (readonly string[])[],
): UsageError {
  const known = [...new Set(names.flatMap((own, i) => (hasState(network.layers[i]!) ? own : [])))];
  const hint = hintFor('layer', pattern.replaceAll('*', ''), known);
  return new UsageError(
    `${where}: ${network.name} has no layer "${pattern}"${hint}${hint.endsWith('?') ? '' : '.'} ` +
      `Layers: ${known.join(', ')}`,
  );
}

/**
 * The layers that patterns choose: ascending indices of those with parameters or buffers. `where` is for messages.
 * @throws UsageError for a pattern that chooses none, with a suggestion, or only some parameters of a layer.
 */
export function layersMatching(where: string, network: Network, patterns: readonly string[]): number[] {
  if (!Array.isArray(patterns) || patterns.length > mostPatterns) {
    throw new UsageError(`${where}: ${shown(patterns)} is not a list of names or patterns of layers`);
  }
  const chosen = new Set(patterns.flatMap((pattern) => layersOf(where, network, pattern)));
  return [...chosen].sort((a, b) => a - b);
}

/**
 * For each layer, the factor of its learning rate: that of the last pattern which chooses it, otherwise 1.
 * @throws UsageError as `layersMatching`, and for a factor that is not above 0.
 */
export function rateFactorsOf(
  where: string,
  network: Network,
  groups: Readonly<Record<string, number>>,
): number[] {
  if (!isObject(groups)) {
    throw new UsageError(`${where}: ${shown(groups)} is not an object such as { features: 0.1 }`);
  }
  const factors = network.layers.map(() => 1);
  for (const [pattern, factor] of Object.entries(groups)) {
    checkFactor(where, pattern, factor);
    for (const layer of layersOf(where, network, pattern)) factors[layer] = factor;
  }
  return factors;
}

/** @throws UsageError for a factor that is not above 0. */
export function checkFactor(where: string, pattern: string, factor: number): void {
  if (typeof factor === 'number' && factor > 0 && factor < Infinity) return;
  const wayOut =
    factor === 0 ? '; to keep these layers as they are, freeze them (--freeze, option freeze)' : '';
  throw new UsageError(
    `${where}: the factor ${shown(factor)} of "${pattern}" is not a finite number above 0${wayOut}`,
  );
}
