/** `vgg studio`, and the page of `vgg train --open`: a server on this machine that shows runs and steers trainings. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { Place } from '../serve/catalog.ts';
import type { StudioServer } from '../serve/server.ts';
import type { Interruption } from './interrupt.ts';
import { note, print, printJson } from './output.ts';
import { pathArgument, wholeNumberOption } from './values.ts';

const examples = `
Examples:
  $ vgg studio                     the runs in $VGGNET_RUNS or runs/, and the page itself
  $ vgg studio --open              also opens a browser
  $ vgg studio runs/a runs/b       two runs side by side
  $ vgg studio study               the trials of a study
  $ vgg studio --port 4173         always the same port, for instance behind ssh -L 4173:127.0.0.1:4173
  $ vgg train --open               the page of one training, as long as it trains

The page shows the curves of all runs as they grow. Trainings of vgg train can be paused, continued, stepped and stopped there, and their learning rate, momentum and weight decay changed; each change is recorded in the run's config, which repeats it.

The server listens on 127.0.0.1 only. The link holds a token, without which nothing is shown; keep it to yourself. Ctrl-C ends the server, not the trainings.`;

interface StudioOptions {
  readonly port?: number;
  readonly open?: true;
  readonly json?: true;
}

export function studioCommand(interruption: Interruption): Command {
  return new Command('studio')
    .description('show runs in a page, live, and steer their trainings')
    .addArgument(
      pathArgument(
        '[run...]',
        'runs, series of seeds, studies, or folders of these (default: all runs in runs/)',
      ),
    )
    .addOption(
      wholeNumberOption('--port <n>', 'port of the server (default: any free one)', { most: 65_535 }),
    )
    .option('--open', 'open the page in a browser')
    .option('--json', 'print the link as a JSON object')
    .addHelpText('after', examples)
    .action((runs: readonly string[], options: StudioOptions) => studio(runs, options, interruption));
}

async function studio(
  runs: readonly string[],
  { port, open, json }: StudioOptions,
  interruption: Interruption,
): Promise<void> {
  const [{ placeNamed }, { runsRoot }] = await Promise.all([
    import('../serve/catalog.ts'),
    import('../runs/folder.ts'),
  ]);
  const places: readonly Place[] =
    runs.length > 0 ? runs.map(placeNamed) : [{ kind: 'folder', folder: resolve(runsRoot()) }];
  const server = await serve(places, { port, open: open === true, json: json === true });
  // Ctrl-C is how it ends.
  interruption.stopsItself = true;
  interruption.graceMilliseconds = 3000;
  const { signal } = interruption;
  if (!signal.aborted)
    await new Promise<void>((end) => signal.addEventListener('abort', () => end(), { once: true }));
  await server.close('vgg studio was ended');
}

/** Starts the server of the page, prints its link and, with `open`, opens it. */
async function serve(
  places: readonly Place[],
  options: {
    readonly port?: number | undefined;
    readonly run?: string;
    readonly open: boolean;
    readonly json: boolean;
  },
): Promise<StudioServer> {
  const [{ Catalog }, { startStudio }, { studioFiles }, { openBrowser }] = await Promise.all([
    import('../serve/catalog.ts'),
    import('../serve/server.ts'),
    import('../serve/studio-files.ts'),
    import('../serve/open-browser.ts'),
  ]);
  const { port, run, open, json } = options;
  const server = await startStudio({
    catalog: new Catalog(places),
    files: await studioFiles(note),
    ...(port !== undefined && { port }),
    ...(run !== undefined && { run }),
    onNotice: note,
  });
  if (json) printJson({ event: 'studio', link: server.link });
  else print(`Studio: ${server.link}`);
  if (open) openBrowser(server.newLink(), note);
  return server;
}

/** Shows a training's run or series while `body` trains, beside the other runs. */
export async function shownInStudio<T>(
  place: Place,
  { json }: { readonly json: boolean },
  body: () => Promise<T>,
): Promise<T> {
  const [{ isRun, runsRoot }, { runId }, { openBrowser }] = await Promise.all([
    import('../runs/folder.ts'),
    import('../serve/catalog.ts'),
    import('../serve/open-browser.ts'),
  ]);
  const folder = resolve(place.folder);
  const places: readonly Place[] = [
    { ...place, folder },
    { kind: 'folder', folder: resolve(runsRoot()) },
  ];
  const isSingle = place.kind === 'run';
  const server = await serve(places, { open: false, json, ...(isSingle && { run: runId(folder) }) });
  // The page asks for the run at once, so it must be there.
  const opening = setInterval(() => {
    if (isSingle && !isRun(folder)) return;
    clearInterval(opening);
    openBrowser(server.newLink(), note);
  }, 50);
  let why = 'the training has ended';
  try {
    return await body();
  } catch (error) {
    why = `the training has ended: ${error instanceof Error ? error.message : error}`;
    throw error;
  } finally {
    clearInterval(opening);
    await server.close(why);
  }
}
