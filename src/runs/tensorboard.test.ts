import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { diskFolder } from '../files/disk.ts';
import { encodePng, type Raster } from '../images/png.ts';
import { filterRaster } from '../images/rasters.ts';
import { parseConfig } from '../train/config.ts';
import { runFiles } from './folder.ts';
import { type EventOptions, type EventWriter, openEventsIn } from './tensorboard.ts';
import { runTraining } from './training.ts';

const python = '/usr/bin/python3';
const hasProtobuf = spawnSync(python, ['-c', 'import google.protobuf']).status === 0;

async function openEvents(folder: string, options?: EventOptions): Promise<EventWriter> {
  mkdirSync(folder, { recursive: true });
  return openEventsIn(diskFolder(folder), options);
}

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-events-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** What protobuf gives of an event with an image; a step of 0 is left out. */
interface ImageEvent {
  readonly step?: string;
  readonly summary?: {
    readonly value: readonly {
      readonly tag: string;
      readonly image?: { readonly encoded_image_string: string };
    }[];
  };
}

/** The events of a file as Google's protobuf reads them, without their times. */
function decode(path: string): readonly object[] {
  const script = fileURLToPath(new URL('../../test/tensorboard.py', import.meta.url));
  const { status, stdout, stderr } = spawnSync(python, [script, path], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  const now = Date.now() / 1000;
  return stdout
    .trim()
    .split('\n')
    .map((line) => {
      const { wall_time: time, ...event } = JSON.parse(line) as { wall_time: number };
      expect(Math.abs(now - time)).toBeLessThan(600);
      return event;
    });
}

/** Of each of a run's event files, the oldest first. */
async function eventsOf(run: string): Promise<readonly (readonly object[])[]> {
  const names = (await readdir(run)).filter((file) => file.includes('tfevents')).toSorted();
  return names.map((name) => decode(join(run, name)));
}

const imagesIn = (events: readonly ImageEvent[]) =>
  events.flatMap(({ step = '0', summary }) =>
    (summary?.value ?? []).flatMap(({ tag, image }) => (image ? [{ step: Number(step), tag, image }] : [])),
  );

describe.skipIf(!hasProtobuf)('an event file, read by protobuf (skipped without python3-protobuf)', () => {
  test('holds the version, scalars and images', async () => {
    const events = await openEvents(join(folder, 'new', 'folder'));
    const image: Raster = {
      width: 300,
      height: 2,
      channels: 3,
      bytes: Uint8Array.from({ length: 300 * 2 * 3 }, (_, i) => i % 251),
    };
    events.scalars(1, { 'loss/train': 0.1, größe: -1e-30 });
    events.scalars(2 ** 40, { a: Number.NaN, b: Number.POSITIVE_INFINITY, c: 0 });
    events.scalars(3, {});
    await events.flush();
    events.image(3, 'confusion', image);
    await events.close();
    expect(decode(events.path)).toEqual([
      { file_version: 'brain.Event:2' },
      {
        step: '1',
        summary: {
          value: [
            { tag: 'loss/train', simple_value: expect.closeTo(0.1, 7) },
            { tag: 'größe', simple_value: expect.closeTo(-1e-30, 37) },
          ],
        },
      },
      {
        step: String(2 ** 40),
        summary: {
          value: [
            { tag: 'a', simple_value: 'NaN' },
            { tag: 'b', simple_value: 'Infinity' },
            { tag: 'c', simple_value: 0 },
          ],
        },
      },
      {
        step: '3',
        summary: {
          value: [
            {
              tag: 'confusion',
              image: {
                height: 2,
                width: 300,
                colorspace: 3,
                encoded_image_string: Buffer.from(encodePng(image)).toString('base64'),
              },
            },
          ],
        },
      },
    ]);
  });

  test('of a run has training images, and the filters after each epoch', {
    timeout: 120_000,
  }, async () => {
    const config = parseConfig({ dataset: 'shapes', batchSize: 5000, epochs: 2, device: 'wasm' }, 'test');
    const run = join(folder, 'run');
    const { training } = await runTraining(config, { folder: run, onNotice: () => {} });
    await using model = training.model;
    const steps = training.trainLoader.length;
    const images = imagesIn((await eventsOf(run)).at(-1)!);
    expect(images.map(({ step, tag }) => [step, tag])).toEqual([
      [0, 'training images'],
      [0, 'filters of conv1'],
      [steps, 'filters of conv1'],
      [2 * steps, 'filters of conv1'],
    ]);
    const last = filterRaster((await model.weights()).get('conv1.weight')!, 8);
    expect(images.at(-1)!.image).toEqual({
      width: last.width,
      height: last.height,
      colorspace: 4,
      encoded_image_string: Buffer.from(encodePng(last)).toString('base64'),
    });
    const filters = images.slice(1).map(({ image }) => image.encoded_image_string);
    expect(new Set(filters).size).toBe(3);
  });

  test('of a run that was interrupted before its first step has each image once', {
    timeout: 60_000,
  }, async () => {
    const config = parseConfig({ dataset: 'shapes', batchSize: 5000, device: 'wasm' }, 'test');
    const run = join(folder, 'left');
    const begin = async (where: { readonly folder: string } | { readonly resume: string }) => {
      const left = new AbortController();
      const reason = new Error('left');
      const options = {
        ...where,
        signal: left.signal,
        onStart: () => left.abort(reason),
        onNotice: () => {},
      };
      await expect(runTraining(config, options)).rejects.toBe(reason);
      const events = (await eventsOf(run)).at(-1)!;
      return { start: events[1], images: imagesIn(events).map(({ step, tag }) => [step, tag]) };
    };
    const all = [
      [0, 'training images'],
      [0, 'filters of conv1'],
    ];
    expect((await begin({ folder: run })).images).toEqual(all);
    const resumed = await begin({ resume: run });
    expect(resumed).toEqual({ start: { step: '1', session_log: { status: 'START' } }, images: [] });

    // As if it was killed before its first checkpoint: TensorBoard discards everything.
    await rm(join(run, runFiles.last));
    await rm(join(run, runFiles.previous), { force: true });
    const again = await begin({ resume: run });
    expect(again).toEqual({ start: { session_log: { status: 'START' } }, images: all });
  });

  test('of a resumed run makes TensorBoard discard repeated steps', async () => {
    await (await openEvents(folder)).close();
    const resumed = await openEvents(folder, { startStep: 501 });
    await resumed.close();
    expect(decode(resumed.path)).toEqual([
      { file_version: 'brain.Event:2' },
      { step: '501', session_log: { status: 'START' } },
    ]);
  });

  test('with a flipped bit is rejected by the reader', async () => {
    const events = await openEvents(folder);
    events.scalars(1, { a: 1 });
    await events.close();
    const bytes = await readFile(events.path);
    bytes[bytes.length - 5]! ^= 1;
    await writeFile(events.path, bytes);
    expect(() => decode(events.path)).toThrow(/checksum of the record/);
  });
});

test('files are named in the order in which they were opened', async () => {
  const later = `events.out.tfevents.${Math.floor(Date.now() / 1000) + 100}.host.1.1`;
  await writeFile(join(folder, later), '');
  const paths: string[] = [];
  for (let i = 0; i < 3; i++) {
    const events = await openEvents(folder);
    await events.close();
    paths.push(events.path);
  }
  const names = (await readdir(folder)).sort();
  expect(names.map((name) => join(folder, name))).toEqual([join(folder, later), ...paths]);
  expect(names.at(-1)).toMatch(/^events\.out\.tfevents\.\d{10}\..+\.\d+\.\d+$/);
  expect(names.at(-1)).toContain(`.${hostname()}.${process.pid}.`);
});

test('only flushed records are in the file, and they stay there', async () => {
  const events = await openEvents(folder);
  const { length } = await readFile(events.path);
  events.scalars(1, { a: 1 });
  expect(await readFile(events.path)).toHaveLength(length);
  await events.flush();
  const flushed = await readFile(events.path);
  expect(flushed.length).toBeGreaterThan(length);
  events.scalars(2, { a: 2 });
  await events.close();
  expect((await readFile(events.path)).subarray(0, flushed.length)).toEqual(flushed);
});
