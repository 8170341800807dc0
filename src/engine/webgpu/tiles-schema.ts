/** Checks tables of tiles that are read from files. */
import * as z from 'zod';
import { type TileTable, tilesProblem } from './tiles.ts';

const whole = z.number().int().min(1);
const side = whole.max(1024);
export const tilesSchema: z.ZodType<TileTable> = z
  .object({
    name: z.string().regex(/^[\w .×-]{1,60}$/),
    adapter: z.string().max(500).optional(),
    tiles: z
      .array(z.object({ bm: side, bn: side, bk: side, tm: side, tn: side }))
      .min(1)
      .max(16),
    groups: whole.max(65_535),
    sliceLength: whole.max(2 ** 24),
  })
  .superRefine((table, context) => {
    const problem = tilesProblem(table);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
  });
