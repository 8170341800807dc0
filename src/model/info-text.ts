/** Writes and reads the metadata in weight files (`info.ts`). Files are untrusted, so everything read is checked. */
import * as z from 'zod';
import { check } from '../check.ts';
import { DataError, UsageError, VggError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { packageVersion } from '../version.ts';
import { checkClasses, checkNormalization, type ModelInfo } from './info.ts';
import { largestSize, mostLayers } from './layers/arguments.ts';
import { createModel } from './models.ts';
import { buildNetwork, type Sequential, sequential } from './network.ts';

/** The key in a file's `__metadata__`. */
export const infoKey = 'vggnet';

/** The most characters of the metadata; enough for all allowed class names. */
const longestText = 4 * 2 ** 20;

const value = z.union([z.number(), z.string().max(100), z.array(z.number()).max(100)]);
const named = z.object({
  model: z.string().max(100),
  classes: z.int().min(1).max(largestSize),
  options: z.record(z.string(), value),
});
const own = z.object({
  name: z.string().max(200),
  layers: z.array(z.record(z.string(), z.unknown())).max(mostLayers),
});
const schema = z.object({
  version: z.string().max(100),
  network: z.union([named, own]),
  input: z.array(z.int().min(1).max(largestSize)).min(1).max(3),
  dataset: z.string().max(200).optional(),
  labels: z.enum(['fine', 'coarse']).optional(),
  classes: z.array(z.string()).max(largestSize).optional(),
  normalization: z
    .object({ mean: z.array(z.number()).max(largestSize), std: z.array(z.number()).max(largestSize) })
    .nullable()
    .optional(),
});

/** Formats metadata as JSON. @throws UsageError if `parseInfo` would reject it. */
export function formatInfo({ network, input, ...data }: ModelInfo): string {
  const classes = buildNetwork(network, input).output[0]!;
  const text = JSON.stringify({
    version: packageVersion(),
    network: networkData(network, classes),
    input,
    ...data,
  });
  try {
    parseInfo(text);
  } catch (error) {
    throw error instanceof DataError ? new UsageError(`weights: ${error.message}`, { cause: error }) : error;
  }
  return text;
}

/** A named model is stored by name and options, any other network by its layers. */
function networkData({ name, layers, options }: Sequential, classes: number): unknown {
  if (options === undefined) return { name, layers };
  const rebuilt = createModel(name, { classes, options });
  return JSON.stringify(rebuilt.layers) === JSON.stringify(layers)
    ? { model: name, classes, options }
    : { name, layers };
}

/** Parses a file's metadata; undefined if it has none, like PyTorch's files. @throws DataError naming value and rule. */
export function infoIn(metadata: Readonly<Record<string, string>>): ModelInfo | undefined {
  return Object.hasOwn(metadata, infoKey) ? parseInfo(metadata[infoKey]!) : undefined;
}

function parseInfo(text: string): ModelInfo {
  if (text.length > longestText) {
    throw invalid(`it has ${text.length} characters, above the limit of ${longestText}`);
  }
  const { value: parsed, problem } = parseJson(text, { depth: 8, unique: true });
  if (problem !== undefined) throw invalid(`it ${problem}`);
  const checked = check(schema, parsed);
  if (checked.problems) throw invalid(checked.problems.slice(0, 6).join('; '));
  const { network: data, input, dataset, labels, classes, normalization } = checked.value;
  try {
    const network =
      'model' in data
        ? createModel(data.model, { classes: data.classes, options: data.options })
        : sequential(data.layers as never, { name: data.name });
    const [outputs = 0] = buildNetwork(network, input).output;
    if (classes) checkClasses('classes', classes, outputs);
    if (normalization !== undefined) checkNormalization('normalization', normalization, input);
    return {
      network,
      input,
      ...(dataset !== undefined && { dataset }),
      ...(labels && { labels }),
      ...(classes && { classes }),
      ...(normalization !== undefined && { normalization }),
    };
  } catch (error) {
    throw error instanceof VggError ? invalid(error.message, error) : error;
  }
}

const invalid = (problem: string, cause?: unknown): DataError =>
  new DataError(`metadata (__metadata__.${infoKey}) is invalid: ${problem}`, { cause });
