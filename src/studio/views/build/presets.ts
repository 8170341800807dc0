/** Networks to start from: the lecture's, the paper's configurations, and the winner of exercise 4's search. */
import type { Shape } from '../../../model/layer.ts';
import { createModel } from '../../../model/models.ts';
import type { RunSpec } from '../../state/spec.ts';
import { type Block, type BlockContent, blocksOf, fresh, withId } from './blocks.ts';

export type PresetName =
  | 'simplified'
  | 'vgg7'
  | 'vgg7-bn'
  | 'winner'
  | 'three-3x3'
  | 'one-7x7'
  | 'vgg11'
  | 'vgg11-lrn'
  | 'vgg13'
  | 'vgg16-c'
  | 'vgg16'
  | 'vgg19';

export type PresetGroup = 'lecture' | 'paper';

export const presetGroups: Readonly<Record<PresetGroup, readonly PresetName[]>> = {
  lecture: ['simplified', 'vgg7', 'vgg7-bn', 'winner', 'three-3x3', 'one-7x7'],
  paper: ['vgg11', 'vgg11-lrn', 'vgg13', 'vgg16-c', 'vgg16', 'vgg19'],
};

export const isPreset = (name: string): name is PresetName =>
  Object.values(presetGroups).some((names) => (names as readonly string[]).includes(name));

/** The model and options of a config that name the same network; undefined if it has no name. */
export type NamedModel = Pick<RunSpec['config'], 'model' | 'modelOptions'> & { readonly model: string };

const named: Partial<Record<PresetName, NamedModel>> = {
  simplified: { model: 'simplified' },
  vgg7: { model: 'vgg7' },
  'vgg7-bn': { model: 'vgg7-bn', modelOptions: { channels: [16, 32], hidden: 64 } },
  // docs/exercise-4.md, trial 12.
  winner: { model: 'vgg7', modelOptions: { channels: [32, 128], poolKernels: [3, 2] } },
};

/** The name of a preset's network in a config. */
export function namedModel(preset: PresetName): NamedModel | undefined {
  if (preset === 'three-3x3' || preset === 'one-7x7') return undefined;
  return named[preset] ?? { model: preset };
}

/** Two networks that see the same 7×7 pixels at a time: three layers of 3×3 against one of 7×7, with 32 channels. */
function receptiveField(preset: 'three-3x3' | 'one-7x7'): readonly BlockContent[] {
  const conv = { ...fresh.conv, out: 32 } as BlockContent;
  const seen =
    preset === 'three-3x3' ? [conv, conv, conv] : [{ ...conv, kernel: 7, padding: 3 } as BlockContent];
  return [conv, ...seen, { kind: 'pool', kernel: 4, stride: 4 }, fresh.flatten, fresh.output];
}

export function presetBlocks(preset: PresetName, classes: number, input: Shape): readonly Block[] {
  if (preset === 'three-3x3' || preset === 'one-7x7') return receptiveField(preset).map(withId);
  const { model, modelOptions } = namedModel(preset)!;
  return blocksOf(createModel(model, { classes, input, options: modelOptions ?? {} }), classes);
}
