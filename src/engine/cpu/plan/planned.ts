/** The operations of a network for training batches of a size: larger chunks of small maps suit other algorithms. */
import type { Network } from '../../../model/layer.ts';
import { type Operations, planOperations } from './operations.ts';
import { slotCount } from './parameters.ts';
import { chunkImages, timelineOf } from './timeline.ts';

export interface PlannedOptions {
  /** The largest training batch. */
  readonly batch: number;
  readonly cacheBytes?: number | undefined;
  readonly predictsOnly?: boolean | undefined;
  readonly panelColumns?: number | undefined;
}

/** They depend neither on frozen layers nor on threads: all plans of a session share them. */
export function plannedFor(
  network: Network,
  { batch, cacheBytes, predictsOnly, panelColumns }: PlannedOptions,
): Operations {
  const usual = planOperations(network, cacheBytes, predictsOnly, panelColumns);
  const { segments } = timelineOf(usual.list, batch, {
    inference: false,
    backwardFrom: 0,
    isFrozen: () => false,
  });
  const group = batch / slotCount(batch, usual.slotLength);
  const images = new Map(
    segments.flatMap(({ levels }) =>
      levels.flatMap((level) => level.operations.map((i) => [i, Math.min(level.images, group)] as const)),
    ),
  );
  if (predictsOnly || [...images.values()].every((count) => count <= chunkImages)) return usual;
  return planOperations(network, cacheBytes, predictsOnly, panelColumns, (i) =>
    Math.max(chunkImages, images.get(i) ?? 0),
  );
}
