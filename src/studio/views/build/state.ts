/** The network that is being built. It outlives the view, and each change can be undone. */
import { computed, type ReadonlySignal, type Signal, signal } from '@preact/signals';
import type { Shape } from '../../../model/layer.ts';
import { goTo, linkTo } from '../../state/route.ts';
import { session } from '../../state/session.ts';
import { type RunSpec, specToQuery, usualConfig } from '../../state/spec.ts';
import {
  type Block,
  type BlockContent,
  descriptionOf,
  type Impossible,
  type Measured,
  measure,
  mostBlocks,
  repaired,
  widened,
  withId,
} from './blocks.ts';
import { namedModel, type PresetName, presetBlocks } from './presets.ts';

/** The images that the network is for: those of the present training, or ImageNet's, to look at the paper's networks. */
export type ImagesName = 'data' | 'imagenet';

export interface Images {
  readonly name: ImagesName;
  readonly dataset: string;
  readonly input: Shape;
  readonly classes: number;
  readonly batchSize: number;
}

export interface Draft {
  readonly blocks: readonly Block[];
  /** The preset that it still is. */
  readonly preset: PresetName | undefined;
}

export const imagesName: Signal<ImagesName> = signal('data');

export const images: ReadonlySignal<Images> = computed(() => {
  if (imagesName.value === 'imagenet')
    return { name: 'imagenet', dataset: 'ImageNet', input: [3, 224, 224], classes: 1000, batchSize: 32 };
  const facts = session.facts.value;
  return {
    name: 'data',
    dataset: facts?.dataset ?? 'shapes',
    input: facts?.shape ?? [3, 32, 32],
    classes: facts?.classes.length ?? 10,
    batchSize: facts?.batchSize ?? usualConfig.batchSize!,
  };
});

const draftOf = (preset: PresetName): Draft => ({
  preset,
  blocks: presetBlocks(preset, images.peek().classes, images.peek().input),
});

const drafts: Signal<readonly Draft[]> = signal([draftOf('simplified')]);
const mostDrafts = 100;

export const draft: ReadonlySignal<Draft> = computed(() => drafts.value.at(-1)!);
export const canUndo: ReadonlySignal<boolean> = computed(() => drafts.value.length > 1);
/** The block whose controls are shown. */
export const selected: Signal<number | undefined> = signal(undefined);

export const networkName = 'my-network';

export const measured: ReadonlySignal<Measured> = computed(() =>
  measure(draft.value.preset ?? networkName, draft.value.blocks, images.value.input, images.value.classes),
);

function put(next: Draft): void {
  drafts.value = [...drafts.value.slice(-mostDrafts), next];
}

const putBlocks = (blocks: readonly Block[]): void => put({ blocks, preset: undefined });

export function undo(): void {
  if (canUndo.value) drafts.value = drafts.value.slice(0, -1);
}

/** Starts from a preset; one of the paper's whole networks is shown with ImageNet's images if `of` says so. */
export function choosePreset(preset: PresetName, of: ImagesName = imagesName.value): void {
  imagesName.value = of;
  selected.value = undefined;
  put(draftOf(preset));
}

/** Other images; a preset chooses its classifier from them. */
export function chooseImages(name: ImagesName): void {
  imagesName.value = name;
  const { preset } = draft.value;
  if (preset) put(draftOf(preset));
}

/** Adds a block behind the selected one, or before the output. */
export function addBlock(content: BlockContent): void {
  const { blocks } = draft.value;
  if (blocks.length >= mostBlocks) return;
  const after = blocks.findIndex(({ id }) => id === selected.value);
  const output = blocks.at(-1)?.kind === 'output' ? blocks.length - 1 : blocks.length;
  const block = withId(content);
  putBlocks(blocks.toSpliced(after >= 0 ? after + 1 : placeFor(content, blocks, output), 0, block));
  selected.value = block.id;
}

/** Where a block is at home if none is selected: maps before the flatten, vectors before the output. */
function placeFor({ kind }: BlockContent, blocks: readonly Block[], output: number): number {
  const flatten = blocks.findIndex((block) => block.kind === 'flatten');
  const isOfMaps = kind === 'conv' || kind === 'pool' || kind === 'average';
  return isOfMaps && flatten >= 0 ? flatten : kind === 'output' ? blocks.length : output;
}

export function removeBlock(id: number): void {
  const { blocks } = draft.value;
  const at = blocks.findIndex((block) => block.id === id);
  if (at < 0) return;
  putBlocks(blocks.toSpliced(at, 1));
  if (selected.value === id) selected.value = undefined;
}

/** Moves a block to a place; returns whether it moved. */
export function moveBlock(id: number, to: number): boolean {
  const { blocks } = draft.value;
  const from = blocks.findIndex((block) => block.id === id);
  if (from < 0 || to < 0 || to >= blocks.length || to === from) return false;
  putBlocks(blocks.toSpliced(from, 1).toSpliced(to, 0, blocks[from]!));
  return true;
}

export function changeBlock(id: number, content: BlockContent): void {
  putBlocks(draft.value.blocks.map((block) => (block.id === id ? { ...content, id } : block)));
}

export const widenAll = (factor: number): void => putBlocks(widened(draft.value.blocks, factor));
export const repair = (impossible: Impossible): void => putBlocks(repaired(draft.value.blocks, impossible));

/** The present training with this network, from the start. */
export function specOfDraft(): RunSpec {
  const { blocks, preset } = draft.value;
  const { config } = session.spec.value;
  const { changes: _, modelOptions: __, ...others } = config;
  const model = (preset && namedModel(preset)) ?? { model: descriptionOf(networkName, blocks) };
  return { config: { ...others, ...model } };
}

/** Opens a training in Learn, with an address that opens it again. */
export function learn(spec: RunSpec): void {
  const query = specToQuery(spec);
  const isOpen = location.hash === linkTo('learn', query);
  if (isOpen) session.open(spec);
  else goTo('learn', query);
}
