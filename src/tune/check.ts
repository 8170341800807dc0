/** Finds what would make every trial of a search fail, before the first one starts (Node only). */
import { random, streams } from '../data/random.ts';
import { prepareTraining } from '../runs/place-node.ts';
import { parseConfig } from '../train/config.ts';
import { type Distribution, type ParamValue, valueAt } from './distributions.ts';
import { drawRandom } from './samplers/random.ts';
import { drawPossible } from './search-space.ts';
import { configOf, type TuneSpace } from './space.ts';

const lowest = (distribution: Distribution): ParamValue =>
  distribution.kind === 'categorical' ? valueAt(distribution, 0) : distribution.low;

/**
 * Prepares one training of the space, with its lowest values if they form a possible point: reads the images and builds
 * the network, as each trial does first.
 * @throws what `vgg train` throws: missing data, a device that is not available, a batch larger than the data set.
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
