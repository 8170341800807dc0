/** How images are normalized for published weights: the mean and deviation of images scaled to 0–1, red first. */
import type { ChannelStatistics } from '../data/statistics.ts';

export interface NormalizationPreset extends ChannelStatistics {
  /** Whether the first convolution reads blue first; its weights are then turned round when they are read. */
  readonly blueFirst: boolean;
}

export const presetNames = ['torchvision', 'caffe-rgb', 'caffe-bgr'] as const;
export type PresetName = (typeof presetNames)[number];

/** Caffe's weights read bytes minus the mean of ImageNet, not scaled. */
const std = [1 / 255, 1 / 255, 1 / 255];

export const normalizationPresets: Readonly<Record<PresetName, NormalizationPreset>> = {
  torchvision: {
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    blueFirst: false,
  },
  'caffe-rgb': {
    mean: [0.48235, 0.45882, 0.40784],
    std,
    blueFirst: false,
  },
  'caffe-bgr': {
    mean: [123.68 / 255, 116.779 / 255, 103.939 / 255],
    std,
    blueFirst: true,
  },
};
