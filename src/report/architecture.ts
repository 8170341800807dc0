/**
 * Draws a network as papers on VGG do: each feature map is a labeled box in perspective whose front is H×W and whose
 * length is C; linear layers are rods. Heights grow with the square root of a map's side and lengths with the square
 * root of its channels, so that 224 and 7, 3 and 512 fit into one drawing.
 */
import type { Network, NetworkLayer } from '../model/layer.ts';
import { escapeHtml, grouped, type Markup, raw } from './markup.ts';

interface Box {
  readonly kind: 'input' | 'conv' | 'pool' | 'linear' | 'other';
  readonly title: string;
  /** Under the box, a line each. */
  readonly caption: readonly string[];
  readonly height: number;
  readonly depth: number;
  readonly length: number;
  /** Pixels before it. */
  readonly gap: number;
}

const largest = 150;
const slant = 0.42;
const baseline = 190;

/** The drawing as SVG, with a title and a description. */
export function architectureSvg(network: Network): Markup {
  const boxes = boxesOf(network);
  const parts: string[] = [];
  let x = 16;
  for (const box of boxes) {
    x += box.gap;
    parts.push(draw(box, x));
    x += Math.max(box.length + box.depth * slant, widest(box.caption));
  }
  const width = Math.ceil(x + 16);
  const description = boxes.map(({ title }) => title).join('; ');
  return raw(
    `<svg class="architecture" role="img" aria-labelledby="arch-title arch-desc" viewBox="0 0 ${width} 252" width="${width}" height="252">` +
      `<title id="arch-title">${escapeHtml(network.name)}, from image to class scores</title>` +
      `<desc id="arch-desc">${escapeHtml(description)}.</desc>${parts.join('')}</svg>`,
  );
}

const widest = (lines: readonly string[]): number => Math.max(...lines.map((line) => line.length * 6.1 + 8));

function boxesOf(network: Network): readonly Box[] {
  const [channels = 1, height = 1, width = 1] = network.input;
  const map = (kind: Box['kind'], title: string, layer: readonly number[], gap: number): Box => {
    const [c = 1, h = 1, w = 1] = layer;
    const scale = largest / Math.sqrt(Math.max(height, width));
    return {
      kind,
      title: `${title}: ${c} maps of ${h}×${w}`,
      caption: [`${h}×${w}`, `×${c}`],
      height: Math.max(5, scale * Math.sqrt(h)),
      depth: Math.max(5, scale * Math.sqrt(w)),
      length: Math.max(3, 2.2 * Math.sqrt(c)),
      gap,
    };
  };
  const boxes = [map('input', 'image', [channels, height, width], 0)];
  for (const layer of network.layers) {
    const box = boxOf(layer, map, boxes.at(-1)!);
    if (box) boxes.push(box);
  }
  return boxes;
}

function boxOf(
  { spec, name, output }: NetworkLayer,
  map: (kind: Box['kind'], title: string, layer: readonly number[], gap: number) => Box,
  before: Box,
): Box | undefined {
  switch (spec.kind) {
    case 'conv2d':
      return map('conv', `convolution ${name}`, output, before.kind === 'conv' ? 4 : 18);
    case 'maxPool2d':
      return map('pool', `max-pool ${name}`, output, 6);
    case 'avgPool2d':
    case 'adaptiveAvgPool2d':
      return map('pool', `average pool ${name}`, output, 6);
    case 'linear': {
      const count = output[0] ?? 0;
      return {
        kind: 'linear',
        title: `linear ${name}: ${count} values`,
        caption: [grouped(count)],
        height: Math.max(24, 7 * Math.sqrt(count)) > largest ? largest : Math.max(24, 7 * Math.sqrt(count)),
        depth: 8,
        length: 9,
        gap: 20,
      };
    }
    case 'relu':
    case 'batchNorm':
    case 'localResponseNorm':
    case 'dropout':
    case 'flatten':
      return undefined;
    default:
      return spec satisfies never;
  }
}

/** Front, top and side of a box that stands on the baseline. */
function draw({ kind, title, caption, height, depth, length }: Box, x: number): string {
  const dx = depth * slant;
  const dy = -depth * slant * 0.55;
  const top = baseline - height;
  const n = (value: number): string => String(Math.round(value * 10) / 10);
  // The long side faces the reader, H×W recedes to the right.
  const front = `M${n(x)} ${n(top)}h${n(length)}v${n(height)}h${n(-length)}z`;
  const lid = `M${n(x)} ${n(top)}l${n(dx)} ${n(dy)}h${n(length)}l${n(-dx)} ${n(-dy)}z`;
  const side = `M${n(x + length)} ${n(top)}l${n(dx)} ${n(dy)}v${n(height)}l${n(-dx)} ${n(-dy)}z`;
  const lines = caption.map(
    (line, i) => `<text x="${n(x)}" y="${baseline + 18 + 15 * i}">${escapeHtml(line)}</text>`,
  );
  return (
    `<g class="box ${kind}"><title>${escapeHtml(title)}</title><path class="side" d="${side}"/>` +
    `<path class="lid" d="${lid}"/><path class="front" d="${front}"/></g>${lines.join('')}`
  );
}
