/**
 * Event files for TensorBoard. A file is a chain of TFRecords (tensorflow/core/lib/io/record_writer.h),
 * each a protobuf message `Event` (tensorboard/compat/proto/event.proto, summary.proto); the few fields that are needed
 * are encoded by hand. Files only grow. A resumed run writes a new file, which first tells TensorBoard to discard the
 * steps that will be written again.
 */
import type { Folder } from '../files/folder.ts';
import { encodePng, type Raster } from '../images/png.ts';
import { inNode } from '../platform.ts';
import { bytes, double, float, integer, joinBytes, text } from '../protobuf.ts';

export interface EventWriter {
  /** The file being written. */
  readonly path: string;
  /** One point on each curve. */
  readonly scalars: (step: number, values: Readonly<Record<string, number>>) => void;
  readonly image: (step: number, tag: string, raster: Raster) => void;
  /** Writes everything since the last flush in one write. @throws VggError if it does not fit. */
  readonly flush: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface EventOptions {
  /** The first step that a resumed run writes again: TensorBoard discards everything from there on. */
  readonly startStep?: number;
}

let opened = 0;

/** Who writes, as a part of the file's name: host and process. */
function writer(): string {
  if (!inNode()) return 'browser.0';
  const host = process
    .getBuiltinModule('node:os')
    .hostname()
    .replace(/[^\w.-]/g, '_');
  return `${host}.${process.pid}`;
}

/** Opens a new event file in `folder`. */
export async function openEventsIn(folder: Folder, { startStep }: EventOptions = {}): Promise<EventWriter> {
  const names = await folder.names();
  // TensorBoard reads a folder's files in order of their names.
  const newest = Math.max(
    0,
    ...names.map((name) => Number(/^events\.out\.tfevents\.(\d{10})\./.exec(name)?.[1] ?? 0)),
  );
  const seconds = String(Math.max(Math.floor(Date.now() / 1000), newest + 1)).padStart(10, '0');
  opened += 1;
  const name = `events.out.tfevents.${seconds}.${writer()}.${opened}`;
  const file = await folder.append(name);
  let waiting: Uint8Array[] = [];
  const add = (...fields: Uint8Array[]): void => {
    waiting.push(record(message(double(1, Date.now() / 1000), ...fields)));
  };
  const flush = async (): Promise<void> => {
    if (waiting.length === 0) return;
    const joined = joinBytes(waiting);
    waiting = [];
    await file.append(joined);
  };
  add(text(3, 'brain.Event:2'));
  if (startStep !== undefined) add(...atStep(startStep), bytes(7, integer(1, sessionStart)));
  try {
    await flush();
  } catch (error) {
    await file.close();
    throw error;
  }
  return {
    path: folder.pathOf(name),
    scalars: (step, values) => {
      const entries = Object.entries(values).map(([tag, value]) => {
        return bytes(1, message(text(1, tag), float(2, value)));
      });
      if (entries.length > 0) add(...atStep(step), bytes(5, message(...entries)));
    },
    image: (step, tag, raster) => {
      const { width, height, channels } = raster;
      // Image.colorspace is the number of channels.
      const size = [integer(1, height), integer(2, width), integer(3, channels)];
      const image = message(...size, bytes(4, encodePng(raster)));
      add(...atStep(step), bytes(5, bytes(1, message(text(1, tag), bytes(4, image)))));
    },
    flush,
    close: async () => {
      try {
        await flush();
      } finally {
        await file.close();
      }
    },
  };
}

/** An event's step. 0 is protobuf's default value and is left out. */
const atStep = (step: number): readonly Uint8Array[] => (step === 0 ? [] : [integer(2, step)]);

/** The fields of a message. */
const message = (...fields: readonly Uint8Array[]): Uint8Array => joinBytes(fields);

/** SessionLog.START. */
const sessionStart = 1;

/** Length, its checksum, the data, its checksum. */
function record(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(8 + 4 + data.length + 4);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc(data), true);
  return out;
}

/** CRC-32C (Castagnoli), byte by byte; `node:zlib` has only the other CRC-32. */
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0x82f63b78 : 0);
  return value;
});

function maskedCrc(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = (crc >>> 8) ^ table[(crc ^ byte) & 0xff]!;
  crc = ~crc;
  // Rotated and shifted, as a checksum of data that holds its own checksum would be weak.
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
