/**
 * Decodes common JPEG files to RGB, a few rows at a time, to the bytes of libjpeg-turbo and so of Pillow, in about two
 * thirds of the time that sharp takes. Only files without any fault are decoded; all others are left to sharp, which
 * decides what is damaged. The codes are read in WebAssembly's own memory, so a file cannot do harm.
 *
 * Memory grows with the file's size and the image's width, not with its height: two rows of MCUs are kept, since chroma
 * is interpolated between rows.
 */
import { type Kernels, openKernels } from '../../kernels/wasm-builder.ts';
import { type BaselineJpeg, type Component, zigzag } from './baseline.ts';
import { blockKernels, blockState, scanState, zigzagBytes, zigzagTable } from './block-kernels.ts';
import { colorKernels, groupBytes } from './color-kernels.ts';
import { huffmanTable } from './huffman.ts';
import { copyScan, type Interval } from './scan.ts';

/** Takes rows of RGB from row `first` on, in order; the bytes are valid during the call. */
export type TakeRows = (rows: Uint8Array, first: number, count: number) => void;

export interface JpegDecoder {
  /** Whether the image was decoded; if not, rows that were given are not valid. */
  readonly decode: (jpeg: BaselineJpeg, file: Uint8Array, take: TakeRows) => boolean;
  /** Bytes of its memory. */
  readonly bytes: () => number;
}

type KernelName = 'decodeBlocks' | 'transformBlocks' | 'grayToRgb' | 'wholeToRgb' | 'halfToRgb';

/** MCUs decoded at a time, so that coefficients stay in the first-level cache. */
const chunkMcus = 16;
/** Reads beyond a damaged scan end here: an MCU has at most six blocks of 64 codes of 27 bits. */
const scanSlack = chunkMcus * 6 * 64 * 4;
const blockBytes = 128;
/** Room before a row, of which one byte is used: the sample left of the first one. */
const lead = 16;
/** Kernels read so much beyond a row. */
const trail = 32;

/** The rows of a component: a ring of two rows of MCUs. */
interface Plane extends Component {
  /** The first pixel. */
  readonly at: number;
  readonly rowBytes: number;
  /** Rows in the ring, and rows of an MCU. */
  readonly ring: number;
  readonly mcuRows: number;
  /** Samples that are part of the image. */
  readonly width: number;
  readonly height: number;
  readonly quantizationAt: number;
  /** Its first block in an MCU. */
  readonly block: number;
}

/** What is in memory for one image. */
interface Layout {
  readonly planes: readonly Plane[];
  readonly across: number;
  readonly down: number;
  readonly blocks: number;
  readonly state: number;
  readonly program: number;
  readonly coefficients: number;
  readonly rgb: number;
  readonly intervals: readonly Interval[];
}

export function openJpegDecoder(): JpegDecoder {
  const kernels = openKernels<KernelName>([...blockKernels(), ...colorKernels()]);
  const zigzagAt = kernels.place(zigzagBytes);
  new Uint8Array(kernels.memory.buffer, zigzagAt).set(zigzagTable(zigzag));
  const start = kernels.place(0);
  return {
    bytes: () => kernels.memory.buffer.byteLength,
    decode: (jpeg, file, take) => {
      kernels.free(start);
      const layout = layOut(kernels, jpeg, file);
      if (layout === undefined) return false;
      const scan = openScan(kernels, layout, jpeg.restartInterval);
      const rows = openRows(kernels, layout, jpeg, take);
      for (let y = 0; y < layout.down; y++) {
        for (let x = 0; x < layout.across; x += chunkMcus) {
          const count = Math.min(chunkMcus, layout.across - x);
          if (!scan.decode(count)) return false;
          for (const plane of layout.planes) transform(kernels, layout, plane, x, y, count);
        }
        rows.give(y);
      }
      return true;
    },
  };
}

/** Places tables, rows and scan; undefined if codes or scan are not valid. */
function layOut(
  { memory, place }: Kernels<KernelName>,
  { width, height, components, restartInterval, scanStart }: BaselineJpeg,
  file: Uint8Array,
): Layout | undefined {
  const { horizontal, vertical } = components[0]!;
  const across = Math.ceil(width / (8 * horizontal));
  const down = Math.ceil(height / (8 * vertical));
  const copy = (list: Int32Array | Uint16Array): number => {
    const at = place(list.byteLength);
    new Uint8Array(memory.buffer).set(new Uint8Array(list.buffer, list.byteOffset, list.byteLength), at);
    return at;
  };
  const state = place(scanState.size);
  const blocks = components.reduce((sum, part) => sum + part.horizontal * part.vertical, 0);
  const program = new Int32Array((blocks * blockState.size) / 4);
  const planes: Plane[] = [];
  let block = 0;
  for (const component of components) {
    const [dc, ac] = [huffmanTable(component.dc, 'dc'), huffmanTable(component.ac, 'ac')];
    if (dc === undefined || ac === undefined) return undefined;
    const [own, mcuRows] = [component.horizontal * component.vertical, 8 * component.vertical];
    const last = place(4);
    const [dcAt, acAt] = [copy(dc), copy(ac)];
    for (let i = block; i < block + own; i++) program.set([dcAt, acAt, last], (i * blockState.size) / 4);
    const rowBytes = lead + across * component.horizontal * 8 + trail;
    planes.push({
      ...component,
      ...{ rowBytes, mcuRows, block, ring: 2 * mcuRows },
      at: place(2 * mcuRows * rowBytes) + lead,
      width: Math.ceil((width * component.horizontal) / horizontal),
      height: Math.ceil((height * component.vertical) / vertical),
      quantizationAt: copy(component.quantization),
    });
    block += own;
  }
  const programAt = copy(program);
  const coefficients = place(chunkMcus * blocks * blockBytes);
  // A row of MCUs, and the row before that waits for it.
  const rgb = place((8 * vertical + 1) * 3 * width + groupBytes);
  const scanAt = place(file.length - scanStart + scanSlack);
  const target = new Uint8Array(memory.buffer, scanAt);
  const parts = restartInterval === 0 ? 1 : Math.ceil((across * down) / restartInterval);
  const intervals = copyScan(file, scanStart, target, parts);
  if (intervals === undefined) return undefined;
  return {
    ...{ planes, across, down, blocks, state, coefficients, rgb, program: programAt },
    intervals: intervals.map(({ start, end }) => ({ start: scanAt + start, end: scanAt + end })),
  };
}

/** Reads the scan's codes from its start. */
function openScan(
  { call, memory }: Kernels<KernelName>,
  { planes, blocks, state, program, coefficients, intervals, across, down }: Layout,
  restartInterval: number,
): { readonly decode: (mcus: number) => boolean } {
  const words = new DataView(memory.buffer);
  const lasts = planes.map(({ block }) =>
    words.getInt32(program + block * blockState.size + blockState.last, true),
  );
  let next = 0;
  let left = 0;
  const begin = (): void => {
    for (const at of lasts) words.setInt32(at, 0, true);
    for (const at of [scanState.bits, scanState.bits + 4, scanState.count, scanState.bad])
      words.setInt32(state + at, 0, true);
    words.setInt32(state + scanState.at, intervals[next++]!.start, true);
    left = restartInterval === 0 ? across * down : restartInterval;
  };
  /** Whether all is well: at the end of an interval, less than a byte is left. */
  const isValid = (isEnd: boolean): boolean => {
    if (words.getInt32(state + scanState.bad, true) !== 0) return false;
    const read =
      8 * words.getInt32(state + scanState.at, true) - words.getInt32(state + scanState.count, true);
    const rest = 8 * intervals[next - 1]!.end - read;
    return rest >= 0 && (!isEnd || rest < 8);
  };
  let total = across * down;
  return {
    decode: (mcus) => {
      for (let done = 0; done < mcus; ) {
        if (left === 0) begin();
        const count = Math.min(left, mcus - done);
        call.decodeBlocks(state, program, blocks, count, coefficients + done * blocks * blockBytes);
        done += count;
        left -= count;
        total -= count;
        if (!isValid(left === 0 || total === 0)) return false;
      }
      return true;
    },
  };
}

/** A component's blocks of `count` MCUs from MCU `x` of row `y` on, to pixels. */
function transform(
  { call }: Kernels<KernelName>,
  { blocks, coefficients }: Layout,
  { at, rowBytes, mcuRows, horizontal, vertical, quantizationAt, block }: Plane,
  x: number,
  y: number,
  count: number,
): void {
  for (let v = 0; v < vertical; v++) {
    for (let h = 0; h < horizontal; h++) {
      const from = coefficients + (block + v * horizontal + h) * blockBytes;
      const to = at + ((y % 2) * mcuRows + 8 * v) * rowBytes + (x * horizontal + h) * 8;
      call.transformBlocks(from, blocks * blockBytes, count, quantizationAt, to, 8 * horizontal, rowBytes);
    }
  }
}

/** Rounding of interpolated chroma, even and odd columns in sixteenths, for whole and half height; 128 is 0. */
const biases = { whole: [4 - 2048, 8 - 2048], half: [8 - 2048, 7 - 2048] } as const;

/** Gives rows as soon as they are complete. */
function openRows(
  { call, memory }: Kernels<KernelName>,
  { planes, down, rgb }: Layout,
  { width, height }: BaselineJpeg,
  take: TakeRows,
): { readonly give: (mcuRow: number) => void } {
  const [luma, cb, cr] = planes as readonly [Plane, Plane?, Plane?];
  const bytes = new Uint8Array(memory.buffer);
  const groups = Math.ceil(width / 16);
  const rowAt = ({ at, rowBytes, ring }: Plane, y: number): number => at + (y % ring) * rowBytes;
  const isHalf = luma.horizontal === 2;
  const isLow = luma.vertical === 2;
  const [even, odd] = isLow ? biases.half : biases.whole;
  const colors = (y: number, out: number): void => {
    const lumaAt = rowAt(luma, y);
    if (cb === undefined || cr === undefined) {
      call.grayToRgb(lumaAt, groups, out);
      return;
    }
    if (!isHalf) {
      call.wholeToRgb(lumaAt, rowAt(cb, y), rowAt(cr, y), groups, out);
      return;
    }
    const near = isLow ? y >> 1 : y;
    // The row above an even row, the row below an odd one; at the edges the row itself.
    const beside = isLow ? near + (y % 2 === 0 ? -1 : 1) : near;
    const far = Math.min(Math.max(beside, 0), cb.height - 1);
    const chroma = [cb, cr].flatMap((plane) => [rowAt(plane, near), rowAt(plane, far)]);
    call.halfToRgb(lumaAt, ...chroma, groups, even, odd, out);
  };
  let next = 0;
  return {
    give: (mcuRow) => {
      if (isHalf) for (const plane of [cb!, cr!]) repeatEdges(bytes, plane, mcuRow);
      // The last row of half chroma waits for the first one of the next MCUs.
      const isLast = mcuRow === down - 1;
      const end = isLast ? height : (mcuRow + 1) * luma.mcuRows - (isLow ? 1 : 0);
      const first = next;
      for (; next < end; next++) colors(next, rgb + (next - first) * 3 * width);
      take(bytes.subarray(rgb, rgb + (end - first) * 3 * width), first, end - first);
    },
  };
}

/** Samples left and right of the image are those at its edges. */
function repeatEdges(bytes: Uint8Array, { at, rowBytes, mcuRows, width }: Plane, mcuRow: number): void {
  for (let i = 0; i < mcuRows; i++) {
    const row = at + ((mcuRow % 2) * mcuRows + i) * rowBytes;
    bytes[row - 1] = bytes[row]!;
    bytes[row + width] = bytes[row + width - 1]!;
  }
}
