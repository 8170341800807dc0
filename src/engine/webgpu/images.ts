/**
 * Kernels that make the first map: bytes through the fused transform, or values. All draws are the CPU's, bit by bit, and
 * a byte becomes a value by the table that `fusedValue` fills on the host, so the map equals the CPU's.
 */

import { centerOffset } from '../../data/center.ts';
import { type FusedTransform, fusedValue, type Placement } from '../../data/fuse.ts';
import { streams } from '../../data/random.ts';
import { eachCell, type Kernel, philox, runStruct, stepNumbers } from './wgsl.ts';

/** Words of an image's placement: top, left, ±1, the hole's rows and columns, and a color shift (floats). */
export const placementWords = 12;

/** Values of bytes for each channel. */
export function levelsOf({ scale, offset }: FusedTransform): Float32Array<ArrayBuffer> {
  const levels = new Float32Array(scale.length * 256);
  for (let i = 0; i < levels.length; i++) {
    const channel = i >> 8;
    levels[i] = fusedValue(i & 255, scale[channel]!, offset[channel]!);
  }
  return levels;
}

/** Writes a placement that the host drew. */
export function storePlacement(
  words: Int32Array,
  at: number,
  { top, left, flip, hole, shift }: Placement,
): void {
  const [rows, columns] = [hole?.rows ?? [0, 0], hole?.columns ?? [0, 0]];
  words.set([top, left, flip ? -1 : 1, ...rows, ...columns], at);
  if (shift) new Float32Array(words.buffer, words.byteOffset).set(shift, at + 8);
}

/** Whether the device draws the placements of a transform: those of a color shift need logarithms in float64. */
export const drawsPlacements = ({ links }: FusedTransform): boolean =>
  links.every(({ kind }) => kind !== 'colorShift');

/** word / 2³² < p: true for the words below ⌈p · 2³²⌉. */
function isBelow(word: string, p: number): string {
  const limit = Math.ceil(p * 2 ** 32);
  return limit >= 2 ** 32 ? 'true' : `${word} < ${limit}u`;
}

/** Draws the placements of a step's images, as `place` in `data/fuse.ts`. */
export function placeKernel(fused: FusedTransform): Kernel {
  const lines: string[] = [];
  let used = 0;
  const word = (): string => {
    const block = used >> 2;
    if (used % 4 === 0)
      lines.push(
        `let w${block} = philox(vec4u(${block}u, ${streams.transform}u, run.epoch, sample), run.key);`,
      );
    return `w${block}.${'xyzw'[used++ & 3]}`;
  };
  // ⌊word / 2³² · bound⌋
  const integer = (bound: number): string => `i32(mulHigh(${word()}, ${bound}u))`;
  let [, height, width] = fused.source;
  for (const link of fused.links) {
    switch (link.kind) {
      case 'pad':
        lines.push(`top -= ${link.padding}; left -= turn * ${link.padding};`);
        height += 2 * link.padding;
        width += 2 * link.padding;
        break;
      case 'centerCrop':
        lines.push(
          `top += ${centerOffset(height, link.size[0])}; left += turn * ${centerOffset(width, link.size[1])};`,
        );
        [height, width] = link.size;
        break;
      case 'randomHorizontalFlip':
        lines.push(
          `if (${isBelow(word(), link.probability)}) { left += turn * ${width - 1}; turn = -turn; }`,
        );
        break;
      case 'randomCrop':
        lines.push(`top += ${integer(height - link.size[0] + 1)};`);
        lines.push(`left += turn * ${integer(width - link.size[1] + 1)};`);
        [height, width] = link.size;
        break;
      case 'colorShift':
        break;
      default:
        link satisfies never;
    }
  }
  const { cutout } = fused;
  if (cutout > 0) {
    const [, rows, columns] = fused.output;
    for (const [name, side] of [
      ['y', rows],
      ['x', columns],
    ] as const)
      lines.push(
        `let ${name} = ${integer(side)} - ${Math.floor(cutout / 2)};`,
        `let ${name}0 = max(${name}, 0); let ${name}1 = min(${name} + ${cutout}, ${side});`,
      );
  } else lines.push('let y0 = 0; let y1 = 0; let x0 = 0; let x1 = 0;');
  return {
    name: 'place images',
    bindings: ['run: Run', 'samples: array<u32>', 'placements: array<vec4i>, read_write'],
    shape: { words: placementWords / 4 },
    code: `${runStruct}${philox}${eachCell('1u')}
  let position = run.step * run.batch + d.first + cell;
  if (position >= run.total) { return; }
  let sample = samples[position];
  var top = 0; var left = 0; var turn = 1;
  ${lines.join('\n  ')}
  let at = (d.first + cell) * s.words;
  placements[at] = vec4i(top, left, turn, y0); placements[at + 1u] = vec4i(y1, x0, x1, 0);
  placements[at + 2u] = vec4i();
}`,
  };
}

export interface LoadShape {
  readonly source: readonly [channels: number, height: number, width: number];
  readonly height: number;
  readonly width: number;
  /** Of the map. */
  readonly stored: number;
  /** Whether pixels hold the whole data set; else the images of the step. */
  readonly byIndex: boolean;
  readonly mixes: boolean;
}

/** Mixes the image of a cell with its partner: `valueOf(image)` is a vec4 of channels. */
const mixed = (mixes: boolean): string =>
  mixes
    ? `
  let count = min(run.batch, run.total - run.step * run.batch);
  let share = table[(run.step - run.base) * s.tableStride + ${ownShareAt}u];
  var value = valueOf(image, y, x, channel);
  if (share != 1.0) { value = value * share + valueOf(count - 1u - image, y, x, channel) * (1.0 - share); }`
    : '\n  let value = valueOf(image, y, x, channel);';

/** Place of mixup's share in a row of the table of steps; the other numbers are in `optimizer.ts`. */
export const ownShareAt: number = stepNumbers - 1;

const eachPixel = `${eachCell('s.height * s.width * s.stored4')}
  let channel = cell % s.stored4 * 4u; let x = cell / s.stored4 % s.width;
  let y = cell / (s.stored4 * s.width) % s.height; let image = d.first + cell / (s.stored4 * s.width * s.height);`;

const mixBinding = (mixes: boolean): readonly string[] => (mixes ? ['table: array<f32>'] : []);

/** Bytes [N][channels][height][width] to the map [N][height][width][stored]. */
export const loadBytes = (
  { source, height, width, stored, byIndex, mixes }: LoadShape,
  tableStride: number,
): Kernel => ({
  name: 'load bytes',
  bindings: [
    'run: Run',
    'samples: array<u32>',
    'pixels: array<u32>',
    'placements: array<vec4i>',
    'levels: array<f32>',
    'map: array<vec4f>, read_write',
    ...mixBinding(mixes),
  ],
  shape: {
    sourceChannels: source[0],
    sourceHeight: source[1],
    sourceWidth: source[2],
    ...{ height, width, stored4: stored / 4, words: placementWords / 4, tableStride },
    byIndex: byIndex ? 1 : 0,
  },
  code: `${runStruct}
fn valueOf(image: u32, y: u32, x: u32, channel: u32) -> vec4f {
  let first = placements[image * s.words]; let second = placements[image * s.words + 1u];
  let shift = bitcast<vec4f>(placements[image * s.words + 2u]);
  if (i32(y) >= first.w && i32(y) < second.x && i32(x) >= second.y && i32(x) < second.z) { return vec4f(); }
  let sourceY = i32(y) + first.x; let sourceX = first.y + first.z * i32(x);
  let inside = sourceY >= 0 && sourceY < i32(s.sourceHeight) && sourceX >= 0 && sourceX < i32(s.sourceWidth);
  var index = image;
  if (s.byIndex == 1u) { index = samples[run.step * run.batch + image]; }
  var value = vec4f();
  for (var c = 0u; c < 4u && channel + c < s.sourceChannels; c++) {
    let plane = (index * s.sourceChannels + channel + c) * s.sourceHeight;
    let at = (plane + u32(max(sourceY, 0))) * s.sourceWidth + u32(max(sourceX, 0));
    var level = 0u;
    if (inside) { level = (pixels[at / 4u] >> (at % 4u * 8u)) & 255u; }
    value[c] = levels[(channel + c) * 256u + level] + shift[c];
  }
  return value;
}${eachPixel}
  if (run.step * run.batch + image >= run.total) { map[cell] = vec4f(); return; }${mixed(mixes)}
  map[cell] = value;
}`,
});

/** Values [N][channels][height][width] of a batch to the map; also gradients that a caller gives. */
export const loadValues = (
  { channels, height, width, stored }: { channels: number; height: number; width: number; stored: number },
  mixes: boolean,
  tableStride: number,
): Kernel => ({
  name: 'load values',
  bindings: [
    'values: array<f32>',
    'map: array<vec4f>, read_write',
    ...(mixes ? ['run: Run', 'table: array<f32>'] : []),
  ],
  shape: { channels, height, width, stored4: stored / 4, tableStride },
  code: `${mixes ? runStruct : ''}
fn valueOf(image: u32, y: u32, x: u32, channel: u32) -> vec4f {
  var value = vec4f();
  for (var c = 0u; c < 4u && channel + c < s.channels; c++) {
    value[c] = values[((image * s.channels + channel + c) * s.height + y) * s.width + x];
  }
  return value;
}${eachPixel}${mixed(mixes)}
  map[cell] = value;
}`,
});
