/** `vgg cache`: lists the prepared images of data sets and their sizes, and removes them. */
import { Command } from 'commander';
import type { CachedSet } from '../data/folders/cached.ts';
import { DataError } from '../errors.ts';
import { counted, grouped } from '../words.ts';
import { note, print, printJson, printTable } from './output.ts';
import { pathOption } from './values.ts';

const examples = `
Examples:
  $ vgg cache                        what is in the cache
  $ vgg cache --clear                remove all of it
  $ vgg cache --clear folder:photos  remove the images of one data set, all sizes
  $ vgg cache --json                 one JSON object per line

The first command that needs the images of a folder or a table prepares them and keeps them in the cache. What is removed is prepared again when it is needed. Images that no command has used for 60 days are removed when others are prepared.`;

interface CacheOptions {
  readonly clear?: string | true;
  readonly json?: true;
}

export function cacheCommand(): Command {
  return new Command('cache')
    .description('list the prepared images of data sets, or remove them')
    .addOption(pathOption('--clear [dataset]', 'remove the images of a data set (default: of all)'))
    .option('--json', 'print one JSON object per data set and size; with --clear, those that were removed')
    .addHelpText('after', examples)
    .action(cache);
}

async function cache({ clear, json }: CacheOptions): Promise<void> {
  const { listCached, preparedDirectory } = await import('../data/folders/cached.ts');
  const sets = await listCached();
  if (clear !== undefined) return remove(sets, clear, json === true);
  if (json) {
    for (const set of sets) printJson(facts(set));
    return;
  }
  if (sets.length === 0) return note(`There are no prepared images in ${preparedDirectory()}.`);
  const rows = sets.map(({ folder, content, bytes, used }) => [
    content?.root ?? `${folder} (damaged)`,
    content === undefined ? '' : String(content.side),
    content === undefined ? '' : grouped(content.images),
    sizeText(bytes),
    used.toISOString().slice(0, 10),
  ]);
  const total = ['', '', '', sizeText(sumOf(sets)), ''];
  printTable([['folder of the images', 'side', 'images', 'size', 'last used'], ...rows, total], 1, true);
}

async function remove(sets: readonly CachedSet[], dataset: string | true, json: boolean): Promise<void> {
  const { cachedOf, preparedDirectory, removeCached } = await import('../data/folders/cached.ts');
  const { imageFilesOf } = await import('../data/named.ts');
  const path = dataset === true ? undefined : (imageFilesOf(dataset)?.path ?? dataset);
  const chosen = path === undefined ? sets : cachedOf(sets, path);
  if (path !== undefined && chosen.length === 0) {
    throw new DataError(
      `${dataset}: the cache ${preparedDirectory()} has no images of this data set; vgg cache lists those it has`,
    );
  }
  const removed: CachedSet[] = [];
  for (const set of chosen) {
    if (await removeCached(set)) removed.push(set);
    else note(`${set.content?.root ?? set.folder} is being prepared by another process and stays.`);
  }
  if (json) {
    for (const set of removed) printJson(facts(set));
    return;
  }
  print(`Removed the images of ${counted(removed.length, 'data set')}: ${sizeText(sumOf(removed))}.`);
}

const sumOf = (sets: readonly CachedSet[]): number => sets.reduce((sum, { bytes }) => sum + bytes, 0);

const sizeText = (bytes: number): string =>
  bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${grouped(bytes / 1e6)} MB`;

const facts = ({ folder, bytes, used, content }: CachedSet): object => ({
  folder,
  bytes,
  used: used.toISOString(),
  ...(content ?? { damaged: true }),
});
