/** What a report's page knows, as JSON in the page: written by `report.ts`, read by the script under `page/`. */
import type { ImageShape } from '../data/dataset.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import { compose, normalize, type Transform, toTensor } from '../data/transforms.ts';
import type { TensorList } from '../model/half.ts';
import type { Sequential } from '../model/network.ts';
import type { Groups } from './predictions.ts';

export interface PageData {
  readonly network: Sequential;
  /** Of the pictures, as the network sees them. */
  readonly input: ImageShape;
  /** Classes by label, as people read them. */
  readonly classes: readonly string[];
  /** By which pictures are normalised, where they are. */
  readonly normalization?: ChannelStatistics;
  /** The order of the values in the element `weightsId`. */
  readonly tensors: TensorList;
  /** Groups of classes, and the whole confusion matrix [true class][answer], where the page shows groups first. */
  readonly groups?: Groups;
  readonly confusion?: readonly number[];
}

/** Ids of the elements that hold data: `PageData` as JSON, and weights as halves in base64. */
export const dataId = 'report-data';
export const weightsId = 'report-weights';

/** What pictures go through before the network sees them, in a test and in the page. */
export function testTransform(normalization: ChannelStatistics | undefined): Transform {
  return normalization ? compose([toTensor(), normalize(normalization.mean, normalization.std)]) : toTensor();
}
