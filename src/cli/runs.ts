/** `vgg runs` and `vgg compare`: lists runs, and shows how they differ. */
import { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { computedBy, dataSetWarning, kernelsIn } from '../runs/records.ts';
import { bestEpoch, choosingMetric } from '../train/records.ts';
import { fixed, percent } from '../words.ts';
import { meanText, note, printJson, printTable } from './output.ts';
import { clock } from './progress.ts';
import { pathArgument } from './values.ts';

const runsExamples = `
Examples:
  $ vgg runs                 the runs in $VGGNET_RUNS or runs/
  $ vgg runs experiments     the runs in another folder
  $ vgg runs --json          one JSON object per line

The runs of a --seeds series are followed by a summary: the number of finished seeds, and the mean ± sample standard deviation of their test accuracy.

The test accuracy column is that of the last epoch. The best epoch column is the accuracy that selected the best weights: on the validation images if --validation holds some out, otherwise on the test images, which is slightly optimistic.`;

export function runsCommand(): Command {
  return new Command('runs')
    .description('list runs with their state, epochs, accuracy, time and kernels')
    .addArgument(pathArgument('[dir]', 'folder of run folders'))
    .option('--json', 'print one JSON object per line')
    .addHelpText('after', runsExamples)
    .action(listCommand);
}

async function listCommand(dir: string | undefined, { json }: { readonly json?: true }): Promise<void> {
  const [{ runsRoot }, { listWithSeries }] = await Promise.all([
    import('../runs/folder.ts'),
    import('../runs/series-folder.ts'),
  ]);
  const root = dir ?? runsRoot();
  const runs = await listWithSeries(root);
  if (json) {
    for (const run of runs) {
      printJson('config' in run ? { ...facts(run), folder: run.folder, config: run.config } : run);
    }
    return;
  }
  if (runs.length === 0) return note(`There are no runs in ${root}. Create one with:\n  vgg train`);
  const rows = runs.map((run) => {
    if ('problem' in run) return [run.name, 'damaged', '', '', '', '', ''];
    if ('seeds' in run) {
      return [run.name, `${run.testAccuracy.length} of ${run.seeds} seeds`, '', meanText(run), '', '', ''];
    }
    const { state, epochs, totalEpochs, testAccuracy, seconds, description } = facts(run);
    const best = bestEpoch(run.epochs);
    const chosen = best && choosingMetric(best);
    return [
      run.name,
      state,
      `${epochs}/${totalEpochs}`,
      percent(testAccuracy),
      chosen ? `${percent(chosen.value)} (${chosen.metric === 'testAccuracy' ? 'test' : 'validation'})` : '–',
      seconds === undefined ? '' : clock(seconds),
      description === undefined ? '' : kernelsIn(description),
    ];
  });
  const head = ['run', 'state', 'epochs', 'test accuracy', 'best epoch', 'time', 'kernels'];
  printTable([head, ...rows], 2);
  for (const run of runs) if ('problem' in run) note(run.problem);
}

const compareExamples = `
Examples:
  $ vgg compare runs/a runs/b
  $ vgg compare runs/* --json
  $ vgg report runs/a runs/b --out both.html    with curves, as HTML`;

export function compareCommand(): Command {
  return new Command('compare')
    .description('compare the options and results of runs')
    .addArgument(pathArgument('<run...>', 'two or more run folders, or names of runs in runs/'))
    .option('--json', 'print one JSON object')
    .addHelpText('after', compareExamples)
    .action(compare);
}

async function compare(folders: readonly string[], { json }: { readonly json?: true }): Promise<void> {
  const { isSeries, readRun, requireDifferent, runPlace } = await import('../runs/folder.ts');
  // For a series, readRun names the runs in it.
  if (folders.length < 2 && !folders.map(runPlace).some(isSeries))
    throw new UsageError('compare: name two runs or more, as in vgg compare runs/a runs/b');
  const runs = await Promise.all(folders.map((folder) => readRun(runPlace(folder))));
  requireDifferent(folders.map(runPlace), 'compare');
  const warning = dataSetWarning(runs.map(({ config }) => config));
  if (warning !== undefined) note(warning);
  const configs = runs.map(({ config }) => config as unknown as Record<string, unknown>);
  const keys = [...new Set(configs.flatMap(Object.keys))].filter(
    (key) => new Set(configs.map((config) => JSON.stringify(config[key]))).size > 1,
  );
  if (json) {
    printJson({
      runs: runs.map(({ name }) => name),
      differences: Object.fromEntries(keys.map((key) => [key, configs.map((config) => config[key] ?? null)])),
      results: runs.map(facts),
    });
    return;
  }
  const show = (value: unknown): string =>
    value === undefined ? '–' : typeof value === 'string' ? value : JSON.stringify(value);
  const results: readonly (readonly [string, (run: (typeof runs)[number]) => string])[] = [
    ['state', ({ state }) => state],
    ['epochs done', (run) => `${facts(run).epochs} of ${facts(run).totalEpochs}`],
    ['test accuracy, last epoch', (run) => percent(facts(run).testAccuracy)],
    ['top-5 accuracy, last epoch', (run) => percent(run.epochs.at(-1)?.testTopFive)],
    ['test loss, last epoch', (run) => fixed(run.epochs.at(-1)?.testLoss)],
    ['training loss, last epoch', (run) => fixed(run.epochs.at(-1)?.trainLoss)],
    ['best epoch', (run) => String(facts(run).bestEpoch ?? '–')],
    ['best epoch chosen by', (run) => chosenBy(run)],
    ['validation accuracy, best epoch', (run) => percent(facts(run).bestValidationAccuracy)],
    ['test accuracy, best epoch', (run) => percent(facts(run).bestAccuracy)],
    ['time', (run) => (facts(run).seconds === undefined ? '–' : clock(facts(run).seconds!))],
    ['computed by', (run) => facts(run).description ?? '–'],
  ];
  const rows = [
    ...keys.map((key) => [key, ...configs.map((config) => show(config[key]))]),
    ...results.map(([what, of]) => [what, ...runs.map(of)]),
  ];
  printTable([['', ...runs.map(({ name }) => name)], ...rows], 1);
}

const chosenBy = ({ epochs }: ReadRun): string => {
  const best = bestEpoch(epochs);
  return best ? choosingMetric(best).words : '–';
};

type ReadRun = Awaited<ReturnType<typeof import('../runs/folder.ts').readRun>>;

function facts({ name, state, config, env, epochs, status }: ReadRun) {
  const last = epochs.at(-1);
  const best = bestEpoch(epochs);
  return {
    name,
    state,
    epochs: epochs.length,
    totalEpochs: config.epochs,
    testAccuracy: last?.testAccuracy,
    validationAccuracy: last?.validationAccuracy,
    bestEpoch: best?.epoch,
    bestMetric: best && choosingMetric(best).metric,
    bestAccuracy: best?.testAccuracy,
    bestValidationAccuracy: best?.validationAccuracy,
    seconds: status?.seconds,
    description: env && computedBy(env, status?.step ?? 0),
  };
}
