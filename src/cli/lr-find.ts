/** `vgg lr-find`: finds a learning rate to start with. */
import { Command } from 'commander';
import { modelName } from '../model/models.ts';
import type { RatePoint } from '../train/lr-find.ts';
import { addConfigOptions, chosenConfig } from './config-options.ts';
import type { Interruption } from './interrupt.ts';
import { note, print, printJson } from './output.ts';
import { preparing } from './preparing.ts';
import { numberOption, pathOption, wholeNumberOption } from './values.ts';
import { checkWritable } from './weight-saver.ts';

interface FindCommandOptions {
  readonly from: number;
  readonly to: number;
  readonly sweep: number;
  readonly plot?: string;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg lr-find
  $ vgg lr-find --model vgg7 --dataset cifar100 --normalize --optimizer sgd --to 3 --plot rates.svg

The rate rises by the same factor in each step while the network trains; nothing is saved. The result is two rates: where the smoothed loss falls fastest, and a tenth of the rate where it is lowest.

The options are those of vgg train, except epochs, learning rate, schedule and what belongs to them. In a recipe or a config file, these have no effect.`;

/** Options that a sweep sets itself or that would end it. */
const without = [
  ...(['epochs', 'steps', 'lr', 'schedule', 'lrStep', 'lrGamma', 'milestones', 'patience', 'minLr'] as const),
  ...(['warmup', 'changes', 'averageDecay', 'earlyStopping', 'checkpointEvery', 'logEvery'] as const),
];

export function lrFindCommand(interruption: Interruption): Command {
  const command = new Command('lr-find').description(
    'find a learning rate: raise it step by step and watch the loss',
  );
  addConfigOptions(command, without)
    .optionsGroup('Sweep:')
    .addOption(numberOption('--from <x>', 'first rate', { above: 0 }).default(1e-6))
    .addOption(numberOption('--to <x>', 'last rate', { above: 0 }).default(1))
    .addOption(wholeNumberOption('--sweep <n>', 'number of steps', { least: 10 }).default(200))
    .addOption(pathOption('--plot <file>', 'draw the loss over the rates as SVG'))
    .option('--json', 'print one JSON object with all points');
  return command
    .addHelpText('after', examples)
    .action((options: FindCommandOptions) => find(command, options, interruption));
}

async function find(
  command: Command,
  options: FindCommandOptions,
  interruption: Interruption,
): Promise<void> {
  // A sweep has its own number of steps.
  const { steps: _, ...config } = await chosenConfig(command);
  if (options.plot !== undefined) await checkWritable(options.plot, '--plot');
  const [{ findLearningRate }, { stepOptionsOf }, { optimizerOf }, { prepareTraining }] = await Promise.all([
    import('../train/lr-find.ts'),
    import('../train/step-options.ts'),
    import('../runs/prepare.ts'),
    import('../runs/place-node.ts'),
  ]);
  interruption.stopsItself = true;
  const { progress, end } = preparing();
  const training = await prepareTraining(config, note, interruption.signal, progress);
  end();
  await using model = training.model;
  interruption.kept = 'A sweep saves nothing.';
  const found = await findLearningRate({
    ...stepOptionsOf(training.config),
    model,
    loader: training.trainLoader,
    optimizer: optimizerOf(training.config),
    from: options.from,
    to: options.to,
    steps: options.sweep,
    signal: interruption.signal,
    onStep: options.json ? () => undefined : sparse(options.sweep),
  });
  if (options.plot !== undefined) {
    const [{ rateChartSvg }, { writeWhole }] = await Promise.all([
      import('../report/rate-chart.ts'),
      import('../files/files.ts'),
    ]);
    await writeWhole(options.plot, rateChartSvg(found, `${modelName(config.model)} on ${config.dataset}`));
    note(`The plot is in ${options.plot}.`);
  }
  if (options.json) return printJson(found);
  const { points, steepest, tenthOfLowest } = found;
  if (points.length < options.sweep) {
    print(`The sweep stopped at ${points.at(-1)?.lr.toExponential(1)}, where the loss diverged.`);
  }
  print(
    steepest === undefined
      ? 'The loss never fell. Start the sweep at a lower rate, or check the network and the data.'
      : `The loss falls fastest at a learning rate of ${steepest.toExponential(1)}; ` +
          `a tenth of the rate where it is lowest is ${tenthOfLowest.toExponential(1)}.`,
  );
}

/** Prints ten lines over a sweep. */
function sparse(steps: number): (step: number, point: RatePoint) => void {
  const each = Math.ceil(steps / 10);
  return (step, { lr, smoothed }) => {
    if (step % each === 0)
      print(`step ${step}/${steps}  learning rate ${lr.toExponential(2)}  loss ${smoothed.toFixed(4)}`);
  };
}
