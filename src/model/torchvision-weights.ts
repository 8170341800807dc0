/**
 * The weights that torchvision publishes for VGG networks, trained on ImageNet: names, checksums and accuracies from
 * torchvision's documentation. A file's name ends in the first eight digits of its SHA-256.
 */
import type { VggName } from './family.ts';

export interface PublishedWeights {
  readonly model: VggName;
  /** The file's name. */
  readonly file: string;
  /** The first digits of its SHA-256. */
  readonly sha256: string;
  /** Accuracy on ImageNet's validation images, center crop, in percent. */
  readonly accuracy: { readonly top1: number; readonly top5: number };
}

const published = (model: VggName, sha256: string, top1: number, top5: number): PublishedWeights => ({
  model,
  file: `${model.replace('-', '_')}-${sha256}.pth`,
  sha256,
  accuracy: { top1, top5 },
});

export const torchvisionWeights: readonly PublishedWeights[] = [
  published('vgg11', '8a719046', 69.02, 88.628),
  published('vgg11-bn', '6002323d', 70.37, 89.81),
  published('vgg13', '19584684', 69.928, 89.246),
  published('vgg13-bn', 'abd245e5', 71.586, 90.374),
  published('vgg16', '397923af', 71.592, 90.382),
  published('vgg16-bn', '6c64b313', 73.36, 91.516),
  published('vgg19', 'dcbb9e9d', 72.376, 90.876),
  published('vgg19-bn', 'c79401a0', 74.218, 91.842),
];

/** Where torchvision publishes its weights. */
export const torchvisionUrl = 'https://download.pytorch.org/models/';

/** The published weights with this SHA-256, in hexadecimal digits. */
export const weightsWithChecksum = (sha256: string): PublishedWeights | undefined =>
  torchvisionWeights.find((weights) => sha256.startsWith(weights.sha256));
