/**
 * Exercise 4 of the lecture: find the best channels and max-pool strides with the library's hyperparameter search. The
 * sampler proposes configurations, the objective trains them, and the pruner stops bad trials early.
 *
 *     npx vgg download cifar100
 *     node examples/05-tune.ts
 *
 * `--small` searches two options of the lecture's network on the built-in shapes, in a temporary folder. `vgg tune`
 * does the same with several processes or on a Slurm cluster, and resumes interrupted trials.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lectureLines, parseConfig } from '../src/index.ts';
import { runTraining } from '../src/node.ts';
import {
  configOf,
  createStudy,
  exerciseSpace,
  medianPruner,
  parseSpace,
  TrialPruned,
  tpeSampler,
} from '../src/tune.ts';

const small = process.argv.includes('--small');
const space = small
  ? parseSpace(
      {
        model: 'simplified',
        dataset: 'shapes',
        epochs: 1,
        batchSize: 100,
        weightDecay: { choices: [0, 0.001] },
        lr: { float: [0.0005, 0.02], log: true },
      },
      'the small space',
    )
  : exerciseSpace();
const folder = small ? await mkdtemp(join(tmpdir(), 'vggnet-exercise-4-')) : 'exercise-4';

using study = await createStudy({
  journal: join(folder, 'journal.log'),
  name: 'exercise 4',
  direction: 'maximize',
  space,
  sampler: tpeSampler(),
  pruner: medianPruner(),
  loadIfExists: true,
});

await study.optimize(
  async (trial) => {
    const config = parseConfig(configOf(space, trial.params), 'exercise 4');
    const stop = new AbortController();
    const { training, last } = await runTraining(config, {
      signal: stop.signal,
      callbacks: [
        lectureLines(),
        {
          async epoch({ epoch, epochs, validationAccuracy, testAccuracy }) {
            await trial.report(validationAccuracy ?? testAccuracy, epoch);
            if (epoch < epochs && trial.shouldPrune()) stop.abort(new TrialPruned());
          },
        },
      ],
    });
    await training.model.close();
    // Score trials on validation images if the space has them; selecting by test accuracy would be too optimistic.
    const accuracy = last!.validationAccuracy ?? last!.testAccuracy;
    console.log(`Trial ${trial.number}: ${(100 * accuracy).toFixed(2)} %`, { ...trial.params });
    return accuracy;
  },
  { trials: small ? 3 : 20 },
);

const { bestTrial } = study;
const best = `${(100 * (bestTrial?.value ?? 0)).toFixed(2)} %`;
console.log(`Best of ${study.trials.length} trials: ${best}`, { ...bestTrial?.params });
if (small) await rm(folder, { recursive: true });
