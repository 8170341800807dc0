/** Checks a config's network: the name of a model, or the layers of one's own. */
import * as z from 'zod';
import { check } from '../check.ts';
import { UsageError } from '../errors.ts';
import { mostLayers } from '../model/layers/arguments.ts';
import { models, type NetworkDescription } from '../model/models.ts';
import { shown } from '../options.ts';
import { hintFor } from '../suggest.ts';

const modelNames: readonly string[] = Object.keys(models);

const networkSchema = z.strictObject({
  name: z.string().min(1).max(200),
  layers: z.array(z.record(z.string(), z.unknown())).min(1).max(mostLayers),
});

/** The name of a model, or a network's description; a union would not say what is wrong with either. */
export const modelSchema: z.ZodType<string | NetworkDescription> = z
  .custom<string | NetworkDescription>()
  .superRefine((value, context) => {
    if (typeof value !== 'string') {
      for (const message of check(networkSchema, value).problems ?? [])
        context.addIssue({ code: 'custom', message });
    } else if (!modelNames.includes(value)) {
      const message = `${shown(value)} is not one of ${modelNames.join(', ')}${hintFor('model', value, modelNames)}`;
      context.addIssue({ code: 'custom', message });
    }
  });

/** Checks a network's description. @throws UsageError that names `where`, the value and the rule. */
export function parseNetwork(input: unknown, where: string): NetworkDescription {
  const checked = check(networkSchema, input);
  if (checked.problems) throw new UsageError(`${where}: ${checked.problems.join('; ')}`);
  return checked.value;
}
