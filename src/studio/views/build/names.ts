/** Blocks in words. */
import { grouped, percent } from '../../parts/words.ts';
import { text } from '../../state/settings.ts';
import type { BlockContent } from './blocks.ts';

/** What a block is, shortly: `Convolution`. */
export const kindName = (block: BlockContent): string =>
  block.kind === 'other' ? block.spec.kind : text.value.build.kinds[block.kind];

/** Its settings: `3×3, 64 maps`. */
export function settingsText(block: BlockContent, classes: number): string {
  const { titles } = text.value.build;
  switch (block.kind) {
    case 'conv':
      return titles.conv(block.kernel, grouped(block.out), block.norm);
    case 'pool':
      return titles.pool(block.kernel, block.stride);
    case 'average':
      return titles.average(block.size);
    case 'linear':
      return titles.linear(grouped(block.out));
    case 'dropout':
      return titles.dropout(percent(block.probability, 0));
    case 'output':
      return titles.output(grouped(classes));
    case 'flatten':
    case 'other':
      return '';
    default:
      return block satisfies never;
  }
}
