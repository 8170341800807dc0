/** The data of a report's page, stored in it as JSON: written by `report.ts`, read by the script in `page/`. */
import type { ImageShape } from '../data/dataset.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import type { TensorList } from '../model/half.ts';
import type { Sequential } from '../model/network.ts';
import type { Groups } from './predictions.ts';

export interface PageData {
  readonly network: Sequential;
  /** Shape of the images, as the network sees them. */
  readonly input: ImageShape;
  /** Class names by label, for display. */
  readonly classes: readonly string[];
  /** Mean and deviation used for normalization, if any. */
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
