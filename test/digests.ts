/** What is compared of two runs that must end with the same bytes. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Digests of a run's last and best checkpoints. */
export async function digests(run: string): Promise<Readonly<Record<string, string>>> {
  const hash = async (name: string): Promise<string> =>
    createHash('sha256')
      .update(await readFile(join(run, name)))
      .digest('hex');
  return { last: await hash('last.safetensors'), best: await hash('best.safetensors') };
}
