/**
 * The user's own classes: names and square images, which the browser keeps as one zip in its private files. The same zip
 * is exported and imported: a folder for each class, as `vgg train --dataset folder:DIR` takes it once it is unpacked.
 */
import { computed, effect, type ReadonlySignal, type Signal, signal } from '@preact/signals';
import type { PathFile } from '../../../browser/chosen-files.ts';
import { privateFiles } from '../../../browser/opfs.ts';
import { reached } from '../../state/reached.ts';
import { session } from '../../state/session.ts';
import type { RunSpec } from '../../state/spec.ts';
import { store, stored } from '../../state/stored.ts';
import { packed, unpacked } from './collection-zip.ts';
import { standardized } from './standardized.ts';

export interface CollectedImage {
  readonly id: number;
  /** A PNG file. */
  readonly file: Blob;
  /** For display; revoked when the image is removed. */
  readonly url: string;
}

export interface OwnClass {
  readonly id: number;
  readonly name: string;
  readonly images: readonly CollectedImage[];
}

export const mostClasses = 20;
export const mostImages = 400;
/** Fewer images of a class teach nothing: one of them is held out for tests. */
export const leastImages = 3;

let nextId = 1;
const made = (file: Blob): CollectedImage => ({ id: nextId++, file, url: URL.createObjectURL(file) });
const classOf = (name: string, images: readonly CollectedImage[] = []): OwnClass => ({
  id: nextId++,
  name,
  images,
});

export const classes: Signal<readonly OwnClass[]> = signal([]);
export const imageCount: ReadonlySignal<number> = computed(() =>
  classes.value.reduce((sum, { images }) => sum + images.length, 0),
);

/** What keeps them from being trained on. */
export type Obstacle = 'classes' | 'images' | 'names' | undefined;
export const obstacle: ReadonlySignal<Obstacle> = computed(() => {
  const all = classes.value;
  if (all.length < 2) return 'classes';
  if (all.some(({ images }) => images.length < leastImages)) return 'images';
  const names = all.map(({ name }) => folderName(name).toLowerCase());
  return new Set(names).size < names.length || names.includes('') ? 'names' : undefined;
});

/** A class's name as every file system takes it; empty if nothing is left. */
export const folderName = (name: string): string =>
  name
    .normalize('NFC')
    .replaceAll(/[\p{C}<>:"/\\|?*]/gu, '-')
    .replaceAll(/^[\s.]+|[\s.]+$/g, '')
    .slice(0, 60);

function change(id: number, how: (one: OwnClass) => OwnClass): void {
  classes.value = classes.value.map((one) => (one.id === id ? how(one) : one));
}

/** Adds a class; returns its id, or undefined if there are too many. */
export function addClass(name: string): number | undefined {
  if (classes.value.length >= mostClasses) return undefined;
  const added = classOf(name);
  classes.value = [...classes.value, added];
  return added.id;
}

export const renameClass = (id: number, name: string): void => change(id, (one) => ({ ...one, name }));

export function removeClass(id: number): void {
  for (const { images, ...one } of classes.value) if (one.id === id) forget(images);
  classes.value = classes.value.filter((one) => one.id !== id);
}

export function removeImage(classId: number, imageId: number): void {
  change(classId, (one) => {
    forget(one.images.filter(({ id }) => id === imageId));
    return { ...one, images: one.images.filter(({ id }) => id !== imageId) };
  });
}

function forget(images: readonly CollectedImage[]): void {
  for (const { url } of images) URL.revokeObjectURL(url);
}

/** Adds pictures to a class, each made a square of the same size. @throws DataError for what is no image. */
export async function addPictures(id: number, pictures: readonly (Blob | ImageData)[]): Promise<void> {
  for (const picture of pictures) {
    const count = classes.value.find((one) => one.id === id)?.images.length ?? mostImages;
    if (count >= mostImages) return;
    const image = made(await standardized(picture));
    change(id, (one) => ({ ...one, images: [...one.images, image] }));
  }
}

/** The images as files: `cups/001.png`. */
const files = (): readonly PathFile[] =>
  classes.value.flatMap(({ name, images }) =>
    images.map(({ file }, i) => ({
      path: `${folderName(name) || 'class'}/${String(i + 1).padStart(3, '0')}.png`,
      file,
    })),
  );

export const exported = (): Promise<Blob> => packed(files());

/**
 * Adds the classes and images of a zip to those that are there, up to the limits; returns how many images were added.
 * @throws DataError that says what is wrong with it.
 */
export async function importZip(zip: Blob): Promise<number> {
  const found = await unpacked(zip);
  const before = imageCount.value;
  for (const [name, pictures] of found) {
    const id = classes.value.find((one) => folderName(one.name) === name)?.id ?? addClass(name);
    if (id === undefined) continue;
    await addPictures(id, pictures);
  }
  return imageCount.value - before;
}

/** The name of the data set in a config, and thus of its runs. */
const datasetName = 'my-images';

/** A small network with batch normalization, which learns from few images. */
function specFor(count: number): RunSpec {
  const batchSize = Math.min(16, Math.max(4, Math.floor(count / 4)));
  return {
    config: {
      model: 'vgg7-bn',
      modelOptions: { channels: [16, 32], hidden: 64 },
      dataset: `folder:${datasetName}`,
      size: 32,
      crop: 'random',
      augment: true,
      optimizer: 'sgd',
      lr: 0.01,
      momentum: 0.9,
      weightDecay: 0,
      schedule: 'constant',
      batchSize,
      // About as many steps for few images as for many; each epoch also tests and writes a checkpoint.
      epochs: Math.max(8, Math.min(25, Math.round((120 * batchSize) / count))),
      seed: 0,
    },
  };
}

/** Keeps the images as a data set and trains on them, in place of the present training. @throws Refusal */
export async function trainOnClasses(): Promise<void> {
  await session.ask({ kind: 'addDataset', files: files(), name: datasetName });
  session.open(specFor(imageCount.value));
  if ((await reached(session, ['ready', 'failed'])) === 'ready') session.train();
}

const namesKey = 'classes';
const keptFile = 'studio-collection.zip';
/** Milliseconds after the last change. */
const keepAfter = 800;

/** Whether the browser keeps the images; undefined until it is known. */
export const isKept: Signal<boolean | undefined> = signal(undefined);

let opening: Promise<void> | undefined;

/** Loads what was collected before, once; from then on, changes are kept. */
export const openCollection = (): Promise<void> => (opening ??= load().then(keepChanges));

async function load(): Promise<void> {
  const names = storedNames();
  const images = new Map<string, readonly Blob[]>();
  try {
    const folder = await privateFiles();
    const zip = await (await folder.getFileHandle(keptFile)).getFile();
    if (zip.size > 0) for (const [name, found] of await unpacked(zip)) images.set(name, found);
  } catch {
    // Nothing was kept, or it cannot be read any more.
  }
  // A folder is called like its class, unless that name is no name of a folder.
  const folders = new Set(names.map(folderName));
  const all = [...names, ...[...images.keys()].filter((folder) => !folders.has(folder))];
  classes.value = all.map((name) => classOf(name, (images.get(folderName(name)) ?? []).map(made)));
}

function storedNames(): readonly string[] {
  try {
    const names: unknown = JSON.parse(stored(namesKey) ?? '[]');
    return Array.isArray(names) ? names.filter((name) => typeof name === 'string').slice(0, mostClasses) : [];
  } catch {
    return [];
  }
}

function keepChanges(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let loaded = true;
  effect(() => {
    const names = classes.value.map(({ name }) => name);
    // What was just loaded is kept already.
    if (loaded) {
      loaded = false;
      return;
    }
    store(namesKey, JSON.stringify(names));
    clearTimeout(timer);
    timer = setTimeout(() => void keep(), keepAfter);
  });
}

async function keep(): Promise<void> {
  try {
    const folder = await privateFiles();
    const writer = await (await folder.getFileHandle(keptFile, { create: true })).createWritable();
    await writer.write(imageCount.value === 0 ? new Blob([]) : await exported());
    await writer.close();
    isKept.value = true;
  } catch {
    isKept.value = false;
  }
}
