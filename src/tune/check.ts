/** What all trials of a search would fail on alike, found before the first (Node only). */
import { random, streams } from '../data/random.ts';
import { prepareTraining } from '../runs/training.ts';
import { parseConfig } from '../train/config.ts';
import { type Distribution, type ParamValue, valueAt } from './distributions.ts';
import { drawRandom } from './samplers/random.ts';
import { drawPossible } from './search-space.ts';
import { configOf, type TuneSpace } from './space.ts';

const lowest = (distribution: Distribution): ParamValue =>
  distribution.kind === 'categorical' ? valueAt(distribution, 0) : distribution.low;

/**
 * Prepares one training of the space, with its lowest values where they go together: reads its pictures and lays out
 * its network, as each trial does first.
 * @throws what `vgg train` does: data that is missing, a device that is not there, a batch larger than the set.
 */
export async function checkTrials(space: TuneSpace, onNotice: (line: string) => void): Promise<void> {
  const params =
    drawPossible(space, {}, ({ distribution }) => lowest(distribution), 1) ??
    drawRandom({
      space,
      direction: 'maximize',
      trials: [],
      fixed: {},
      seed: 0,
      random: random(0, streams.search, 0),
    });
  const config = parseConfig(configOf(space, params), 'the space');
  const { model } = await prepareTraining({ ...config, threads: 1 }, onNotice);
  await model.close();
}
