/**
 * The network as papers on VGG draw it: each block's output is a box in perspective, whose front is as high as the map and
 * as long as there are channels. Sides grow with square roots, so that 224 and 7, 3 and 512 fit into one drawing.
 */
import type { JSX } from 'preact';
import type { Shape } from '../../../model/layer.ts';
import { grouped } from '../../parts/words.ts';
import { text } from '../../state/settings.ts';
import type { Block } from './blocks.ts';
import { kindName } from './names.ts';
import { draft, images, measured, selected } from './state.ts';

const largest = 118;
const slant = 0.42;
const rise = 0.23;
const baseline = 172;
/** Advance of a caption's character. */
const character = 6.2;

interface Box {
  readonly id: number | undefined;
  readonly kind: Block['kind'] | 'input';
  readonly title: string;
  readonly caption: readonly string[];
  readonly height: number;
  readonly depth: number;
  readonly length: number;
  readonly gap: number;
}

export function Drawing(): JSX.Element {
  const { build } = text.value;
  const boxes = boxesOf();
  let x = 12;
  const placed = boxes.map((box) => {
    x += box.gap;
    const at = x;
    const caption = Math.max(0, ...box.caption.map((line) => line.length * character + 4));
    x += Math.max(box.length + box.depth * slant, caption);
    return { box, at };
  });
  const width = Math.ceil(x + 12);
  return (
    <div class="card drawing">
      <h2 id="drawing-title">{build.drawing}</h2>
      <p class="note">{build.drawingHelp}</p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: an area that scrolls must be reachable by keyboard */}
      <section class="drawing-scroll" tabIndex={0} aria-labelledby="drawing-title">
        <svg viewBox={`0 0 ${width} 216`} width={width} height="216" role="img" aria-label={described(boxes)}>
          {placed.map(({ box, at }) => (
            <BoxShape key={box.id ?? 'input'} box={box} x={at} />
          ))}
        </svg>
      </section>
    </div>
  );
}

const described = (boxes: readonly Box[]): string => boxes.map(({ title }) => title).join('; ');

function boxesOf(): readonly Box[] {
  const { build } = text.value;
  const { input } = images.value;
  const [, height = 1] = input;
  const scale = largest / Math.sqrt(height);
  const make = (kind: Box['kind'], name: string, shape: Shape, id: number | undefined, gap: number): Box => {
    const [c = 1, h = 1, w = 1] = shape;
    const title = `${name} ${shape.join('×')}`;
    if (shape.length === 1) {
      const rod = Math.min(largest, Math.max(18, 6 * Math.sqrt(c)));
      return { id, kind, title, caption: [grouped(c)], height: rod, depth: 7, length: 8, gap: 14 };
    }
    return {
      ...{ id, kind, title, caption: [`${h}×${w}`, `×${c}`], gap },
      height: Math.max(5, scale * Math.sqrt(h)),
      depth: Math.max(5, scale * Math.sqrt(w)),
      length: Math.max(3, 1.7 * Math.sqrt(c)),
    };
  };
  const boxes = [make('input', build.kinds.input, input, undefined, 0)];
  const { blocks } = draft.value;
  for (const [at, { output }] of measured.value.figures.entries()) {
    const block = blocks[at];
    if (!block || block.kind === 'dropout' || block.kind === 'other') continue;
    const gap = block.kind === 'conv' && boxes.at(-1)?.kind === 'conv' ? 5 : 12;
    const box = make(block.kind, kindName(block), output, block.id, gap);
    // Equal maps in a row have one caption, which saves room.
    const last = boxes.findLast(({ caption }) => caption.length > 0);
    boxes.push(last && last.caption.join() === box.caption.join() ? { ...box, caption: [] } : box);
  }
  return boxes;
}

function BoxShape({ box, x }: { readonly box: Box; readonly x: number }): JSX.Element {
  const { id, kind, title, caption, height, depth, length } = box;
  const [dx, dy] = [depth * slant, -depth * slant * 2 * rise];
  const top = baseline - height;
  const n = (value: number): string => value.toFixed(1);
  return (
    // The list below has the same blocks as buttons for the keyboard.
    // biome-ignore lint/a11y/noStaticElementInteractions: a shortcut for pointers
    <g
      class={`box ${kind} ${id !== undefined && id === selected.value ? 'chosen' : ''}`}
      onClick={() => {
        if (id !== undefined) selected.value = id;
      }}
    >
      <title>{title}</title>
      <path
        class="side"
        d={`M${n(x + length)} ${n(top)}l${n(dx)} ${n(dy)}v${n(height)}l${n(-dx)} ${n(-dy)}z`}
      />
      <path class="lid" d={`M${n(x)} ${n(top)}l${n(dx)} ${n(dy)}h${n(length)}l${n(-dx)} ${n(-dy)}z`} />
      <path class="front" d={`M${n(x)} ${n(top)}h${n(length)}v${n(height)}h${n(-length)}z`} />
      {caption.map((line, i) => (
        <text key={line} x={x} y={baseline + 17 + 14 * i}>
          {line}
        </text>
      ))}
    </g>
  );
}
