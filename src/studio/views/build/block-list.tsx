/** The blocks from image to output: moved by handle or arrow keys, widened, removed; a chosen one shows its settings. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { formatShape } from '../../../model/layers/arguments.ts';
import { Icon } from '../../parts/icons.tsx';
import { compact, grouped } from '../../parts/words.ts';
import { text } from '../../state/settings.ts';
import { BlockControls } from './block-controls.tsx';
import { type Block, type Figures, type Impossible, mostBlocks, nextWidth } from './blocks.ts';
import { kindName, settingsText } from './names.ts';
import { Palette } from './palette.tsx';
import {
  canUndo,
  changeBlock,
  draft,
  images,
  measured,
  moveBlock,
  removeBlock,
  repair,
  selected,
  undo,
} from './state.ts';

/** Tells screen readers what an action did. */
type Announce = (words: string) => void;

export function BlockList({ announce }: { readonly announce: Announce }): JSX.Element {
  const { build } = text.value;
  const list = useRef<HTMLOListElement>(null);
  const { blocks } = draft.value;
  const { figures, impossible } = measured.value;
  const total = (of: 'parameters' | 'multiplyAdds'): number =>
    Math.max(
      1,
      figures.reduce((sum, row) => sum + row[of], 0),
    );
  const totals = { parameters: total('parameters'), multiplyAdds: total('multiplyAdds') };
  /** The block whose handle gets the focus back after it has moved. */
  const held = useSignal<number | undefined>(undefined);
  useLayoutEffect(() => {
    if (held.value === undefined) return;
    list.current?.querySelector<HTMLElement>(`[data-id="${held.value}"] .handle`)?.focus();
    held.value = undefined;
  });
  const move = (block: Block, to: number): void => {
    if (!moveBlock(block.id, to)) return;
    held.value = block.id;
    announce(build.moved(kindName(block), to + 1, blocks.length));
  };
  return (
    <section class="card" aria-labelledby="blocks-title">
      <div class="heading-row">
        <h2 id="blocks-title">{build.blocks}</h2>
        <button type="button" class="plain" id="undo" disabled={!canUndo.value} onClick={undo}>
          {build.undo}
        </button>
      </div>
      <p class="note">
        {build.blocksHelp} {build.bars}
      </p>
      <Palette announce={announce} />
      <ol class="blocks" ref={list}>
        {blocks.map((block, at) => (
          <Row
            key={block.id}
            block={block}
            at={at}
            figures={figures[at]}
            totals={totals}
            impossible={impossible?.at === at ? impossible : undefined}
            onMove={(to) => move(block, to)}
            onRemove={() => {
              removeBlock(block.id);
              announce(build.removed(kindName(block)));
            }}
          />
        ))}
      </ol>
      {impossible && impossible.at >= blocks.length && <Problem impossible={impossible} />}
      {blocks.length >= mostBlocks && <p class="note">{build.most(mostBlocks)}</p>}
    </section>
  );
}

interface RowProps {
  readonly block: Block;
  readonly at: number;
  /** Undefined behind a block that does not fit. */
  readonly figures: Figures | undefined;
  readonly totals: Pick<Figures, 'parameters' | 'multiplyAdds'>;
  readonly impossible: Impossible | undefined;
  readonly onMove: (to: number) => void;
  readonly onRemove: () => void;
}

function Row({ block, at, figures, totals, impossible, onMove, onRemove }: RowProps): JSX.Element {
  const { build } = text.value;
  const name = kindName(block);
  const open = selected.value === block.id;
  const settings = settingsText(block, images.value.classes);
  return (
    <li class={`block ${block.kind} ${impossible ? 'bad' : ''} ${open ? 'open' : ''}`} data-id={block.id}>
      <div class="block-row">
        <Handle label={build.handle(name, at + 1)} at={at} onMove={onMove} />
        <button
          type="button"
          class="block-name"
          aria-expanded={open}
          onClick={() => {
            selected.value = open ? undefined : block.id;
          }}
          onKeyDown={(event) => {
            if (event.key === 'Delete') onRemove();
          }}
        >
          <b>{name}</b> <span>{settings}</span>
        </button>
        <Widen block={block} name={name} />
        <Numbers figures={figures} totals={totals} />
        <button type="button" class="quiet remove" aria-label={build.remove(name)} onClick={onRemove}>
          <Icon name="close" />
        </button>
      </div>
      {open && (
        <div class="block-open">
          <p class="note">{build.about[block.kind]}</p>
          <BlockControls block={block} onChange={(content) => changeBlock(block.id, content)} />
        </div>
      )}
      {impossible && <Problem impossible={impossible} />}
    </li>
  );
}

/** Dragged by a pointer, or moved with the arrow keys. */
function Handle(props: {
  readonly label: string;
  readonly at: number;
  readonly onMove: (to: number) => void;
}): JSX.Element {
  const { label, at, onMove } = props;
  return (
    <button
      type="button"
      class="quiet handle"
      aria-label={label}
      title={label}
      onKeyDown={(event) => {
        if (event.key !== 'ArrowUp' && event.key !== 'ArrowDown') return;
        event.preventDefault();
        onMove(at + (event.key === 'ArrowUp' ? -1 : 1));
      }}
      onPointerDown={({ currentTarget, pointerId }) => currentTarget.setPointerCapture(pointerId)}
      onPointerMove={({ currentTarget, pointerId, clientY }) => {
        if (!currentTarget.hasPointerCapture(pointerId)) return;
        const to = placeUnder(currentTarget, clientY);
        if (to === at) return;
        onMove(to);
        // A moved element loses the pointer.
        requestAnimationFrame(() => {
          if (currentTarget.isConnected) currentTarget.setPointerCapture(pointerId);
        });
      }}
    >
      <Icon name="grip" />
    </button>
  );
}

/** The place in the list that is at a height of the screen. */
function placeUnder(handle: Element, y: number): number {
  const rows = [...(handle.closest('ol')?.children ?? [])];
  const own = rows.indexOf(handle.closest('li')!);
  const middle = (row: Element): number => {
    const { top, height } = row.getBoundingClientRect();
    return top + height / 2;
  };
  const above = rows.findIndex((row, i) => i < own && y < middle(row));
  if (above >= 0) return above;
  const below = rows.findLastIndex((row, i) => i > own && y > middle(row));
  return below >= 0 ? below : own;
}

function Widen({ block, name }: { readonly block: Block; readonly name: string }): JSX.Element {
  const { build } = text.value;
  if (block.kind !== 'conv' && block.kind !== 'linear') return <span class="widen" />;
  const change = (direction: 1 | -1): void =>
    changeBlock(block.id, { ...block, out: nextWidth(block.out, direction) });
  return (
    <span class="widen">
      <button type="button" class="quiet" aria-label={build.narrower(name)} onClick={() => change(-1)}>
        −
      </button>
      <output>{grouped(block.out)}</output>
      <button type="button" class="quiet" aria-label={build.wider(name)} onClick={() => change(1)}>
        +
      </button>
    </span>
  );
}

function Numbers({ figures, totals }: Pick<RowProps, 'figures' | 'totals'>): JSX.Element {
  const { build } = text.value;
  if (!figures) return <p class="block-numbers note">{build.after}</p>;
  const { output, parameters, multiplyAdds } = figures;
  const share = (value: number, of: number): string => (value / of).toFixed(4);
  return (
    <dl class="block-numbers">
      <div>
        <dt>{build.output}</dt>
        <dd class="shape">{formatShape(output)}</dd>
      </div>
      <div>
        <dt>{build.parameters}</dt>
        <dd>
          {parameters > 0 ? compact(parameters) : '–'}
          <i class="bar parameters" style={{ '--v': share(parameters, totals.parameters) }} />
        </dd>
      </div>
      <div>
        <dt>{build.multiplyAdds}</dt>
        <dd>
          {multiplyAdds > 0 ? compact(multiplyAdds) : '–'}
          <i class="bar multiply-adds" style={{ '--v': share(multiplyAdds, totals.multiplyAdds) }} />
        </dd>
      </div>
    </dl>
  );
}

/** Why the network is impossible, at the place, and what would repair it. */
function Problem({ impossible }: { readonly impossible: Impossible }): JSX.Element {
  const { build } = text.value;
  const way = impossible.repair;
  return (
    <div class="problem" role="alert">
      <p>
        <strong>{build.impossible}.</strong> {build.because[way ?? 'other']}
      </p>
      <p class="note">
        {build.reason}{' '}
        <q lang="en" class="mono">
          {impossible.message}
        </q>
      </p>
      {way && (
        <button type="button" onClick={() => repair(impossible)}>
          {build.repairs[way]}
        </button>
      )}
    </div>
  );
}
