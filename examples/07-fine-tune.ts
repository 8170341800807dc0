/**
 * Fine-tunes published weights on a folder of photos, one folder per class: first the new head alone, then all layers at
 * a lower rate. Then it classifies a photo.
 *
 *     npx vgg download vgg16
 *     node examples/07-fine-tune.ts photos vgg16-397923af.pth
 *
 * `--small` needs neither: it draws 200 images of four figures, and starts from a narrow network that it first trains on
 * the built-in shapes. `vgg train --recipe fine-tune` does the same with a report.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accuracyLine, lectureLines, recipes, type TrainConfigInput } from '../src/index.ts';
import { openModel, runTraining } from '../src/node.ts';
import { makeShapesFolder } from './make-shapes-folder.ts';

const small = process.argv.includes('--small');
const folder = await mkdtemp(join(tmpdir(), 'vggnet-fine-tune-'));
const [, , photos = '', weights = ''] = small ? ['', '', join(folder, 'photos')] : process.argv;

/** Trains in a run folder; returns the file of the best weights. */
async function train(run: string, config: TrainConfigInput): Promise<string> {
  const { training, testAccuracy } = await runTraining(config, { folder: run, callbacks: [lectureLines()] });
  await training.model.close();
  console.log(accuracyLine(testAccuracy ?? Number.NaN));
  return join(run, 'best.safetensors');
}

const network: TrainConfigInput = small
  ? { model: 'vgg11-bn', modelOptions: { width: 0.25, head: 'linear' } }
  : { model: 'vgg16', modelOptions: { head: 'imagenet' } };
let init = weights;
if (small) {
  await makeShapesFolder(photos);
  init = await train(join(folder, 'shapes'), { ...network, dataset: 'shapes', epochs: 2, lr: 0.002 });
}
const best = await train(join(folder, 'photos-run'), {
  ...recipes['fine-tune']!.config,
  ...network,
  init,
  dataset: `folder:${photos}`,
  // Figures differ more from the shapes than photos do from ImageNet, so all layers must learn faster.
  ...(small && { size: 64, crop: 'random', epochs: 10, lr: 0.02, unfreezeAfter: 2, unfreezeLr: 0.5 }),
});
if (small) {
  await using model = await openModel(best, { purpose: 'predict' });
  const file = join(photos, 'cross', 'cross-001.jpg');
  for (const { class: name, probability } of (await model.classify([file], { top: 1 })).flat())
    console.log(`${file} is a ${name}, with probability ${probability.toFixed(2)}`);
  await rm(folder, { recursive: true });
} else console.log(`The best weights are in ${best}`);
