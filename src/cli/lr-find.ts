/** `vgg lr-find`: which learning rate to begin with. */
import { Command } from 'commander';
import type { RatePoint } from '../train/lr-find.ts';
import { addConfigOptions, chosenConfig } from './config-options.ts';
import type { Interruption } from './interrupt.ts';
import { checkWritable } from './keep.ts';
import { note, print, printJson } from './output.ts';
import { numberOption, pathOption, wholeNumberOption } from './values.ts';

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

The rate rises by the same factor each step while the network trains; nothing is kept. Two rates are named: where the
smoothed loss falls fastest, and a tenth of the rate at which it is lowest. Options are those of vgg train, but for
epochs, learning rate, schedule and what follows from them; a recipe or a file may have them, to no effect.`;

/** What a sweep has of its own, or ends before it would begin. */
const without = [
  ...(['epochs', 'steps', 'lr', 'schedule', 'lrStep', 'lrGamma', 'milestones', 'patience', 'minLr'] as const),
  ...(['warmup', 'averageDecay', 'earlyStopping', 'logEvery'] as const),
];

export function lrFindCommand(interruption: Interruption): Command {
  const command = new Command('lr-find').description('sweep the learning rate and look at the loss');
  addConfigOptions(command, without)
    .addOption(numberOption('--from <x>', 'the first rate', { above: 0 }).default(1e-6))
    .addOption(numberOption('--to <x>', 'the last rate', { above: 0 }).default(1))
    .addOption(wholeNumberOption('--sweep <n>', 'steps between them', { least: 10 }).default(200))
    .addOption(pathOption('--plot <file>', 'draw loss and rates as SVG'))
    .option('--json', 'print one object with all points');
  return command
    .addHelpText('after', examples)
    .action((options: FindCommandOptions) => find(command, options, interruption));
}

async function find(
  command: Command,
  options: FindCommandOptions,
  interruption: Interruption,
): Promise<void> {
  // A file may end a training sooner than its first step of the optimizer; a sweep ends by itself.
  const { steps: _, ...config } = await chosenConfig(command);
  if (options.plot !== undefined) await checkWritable(options.plot, '--plot');
  const [{ findLearningRate }, { fitOptionsOf, prepareTraining }] = await Promise.all([
    import('../train/lr-find.ts'),
    import('../runs/training.ts'),
  ]);
  const training = await prepareTraining(config, note);
  await using model = training.model;
  const { optimizer, accumulate = 1, labelSmoothing = 0, clipNorm = 0, mixup = 0 } = fitOptionsOf(training);
  interruption.stopsItself = true;
  interruption.kept = 'A sweep keeps nothing.';
  const found = await findLearningRate({
    ...{ accumulate, labelSmoothing, clipNorm, mixup },
    model,
    loader: training.trainLoader,
    optimizer,
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
    await writeWhole(options.plot, rateChartSvg(found, `${config.model} on ${config.dataset}`));
    note(`The picture is in ${options.plot}.`);
  }
  if (options.json) return printJson(found);
  const { points, steepest, tenthOfLowest } = found;
  if (points.length < options.sweep) {
    print(
      `The loss went beyond all bounds after ${points.at(-1)?.lr.toExponential(1)}: the sweep ended there.`,
    );
  }
  print(
    steepest === undefined
      ? 'The loss never fell: begin the sweep lower, or look at the network and the data.'
      : `The loss falls fastest at a learning rate of ${steepest.toExponential(1)}; ` +
          `a tenth of where it is lowest is ${tenthOfLowest.toExponential(1)}.`,
  );
}

/** Ten lines over a sweep. */
function sparse(steps: number): (step: number, point: RatePoint) => void {
  const each = Math.ceil(steps / 10);
  return (step, { lr, smoothed }) => {
    if (step % each === 0)
      print(`step ${step}/${steps}  learning rate ${lr.toExponential(2)}  loss ${smoothed.toFixed(4)}`);
  };
}
