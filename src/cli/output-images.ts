/** Images that commands write as PNG: Grad-CAM, saliency and feature maps of one image, filters. */
import { resolve } from 'node:path';
import { UsageError } from '../errors.ts';
import type { Raster } from '../images/png.ts';
import { layerIndex } from '../model/layer-names.ts';
import { parseWhole } from '../numbers.ts';
import type { OpenedModel } from '../runs/open-model.ts';
import { unknownName } from '../suggest.ts';
import { oneLine } from '../words.ts';
import { note } from './output.ts';
import { checkWritable, isSameFile } from './weight-saver.ts';

/** Files to write, and what they show. */
export interface OutputImages {
  readonly cam?: string;
  /** The layer of Grad-CAM; by default the ReLU of the last convolution. */
  readonly camLayer?: string;
  readonly saliency?: string;
  readonly class?: string;
  readonly features?: { readonly layer: string; readonly file: string };
}

/** The images that options ask for. @throws UsageError if one is incomplete or has no effect. */
export function outputImagesOf({
  cam,
  camLayer,
  saliency,
  class: explained,
  features,
}: {
  readonly cam?: string;
  readonly camLayer?: string;
  readonly saliency?: string;
  readonly class?: string;
  readonly features?: readonly string[];
}): OutputImages {
  if (explained !== undefined && cam === undefined && saliency === undefined)
    throw new UsageError('--class has an effect only with --cam or --saliency; add one, or leave it out');
  if (camLayer !== undefined && cam === undefined)
    throw new UsageError('--cam-layer has an effect only with --cam; add it, or leave it out');
  const [layer, file] = features ?? [];
  if (layer !== undefined && file === undefined)
    throw new UsageError(`--features ${layer} needs a file: --features ${layer} maps.png`);
  return {
    ...(cam !== undefined && { cam }),
    ...(camLayer !== undefined && { camLayer }),
    ...(saliency !== undefined && { saliency }),
    ...(explained !== undefined && { class: explained }),
    ...(layer !== undefined && file !== undefined && { features: { layer, file } }),
  };
}

/** Checks before anything is computed that the files can be written. @throws UsageError */
export async function checkOutputImages(
  { cam, saliency, features }: OutputImages,
  inputs: readonly string[],
): Promise<void> {
  const used = new Set<string>();
  for (const [flag, file] of Object.entries({ cam, saliency, features: features?.file })) {
    if (file === undefined) continue;
    await checkPng(file, `--${flag}`, inputs);
    if (used.has(resolve(file)))
      throw new UsageError(`--${flag} ${file}: another image goes there; name two files`);
    used.add(resolve(file));
  }
}

/** @throws UsageError unless a file is named as PNG and is none of `inputs`; DataError if it cannot be written. */
export async function checkPng(file: string, option: string, inputs: readonly string[]): Promise<void> {
  if (!/\.png$/i.test(file))
    throw new UsageError(`${option} ${file}: images are written as PNG; name it ….png`);
  const input = inputs.find((one) => isSameFile(one, file));
  if (input !== undefined)
    throw new UsageError(`${option} ${file} is the file ${input}, which is read; name another one`);
  await checkWritable(file, option);
}

/** The number of a class that is given by its name or number. @throws UsageError that suggests a close name. */
export function classIn(classes: readonly string[], text: string): number {
  const withName = (isSame: (name: string) => boolean): readonly number[] =>
    classes.flatMap((name, i) => (isSame(name) ? [i] : []));
  const exact = withName((name) => name === text);
  const named = exact.length > 0 ? exact : withName((name) => name.toLowerCase() === text.toLowerCase());
  if (named.length > 1)
    throw new UsageError(
      `--class: several classes are called "${text}"; name one by its number: ${named.join(', ')}`,
    );
  const index = named[0] ?? parseWhole(text) ?? -1;
  if (index >= 0 && index < classes.length) return index;
  // A list of a thousand names helps nobody.
  if (classes.length > 100) {
    const close = classes.filter((name) => name.toLowerCase().includes(text.toLowerCase())).slice(0, 5);
    const hint = close.length > 0 ? `; similar ones: ${close.join(', ')}` : '';
    throw new UsageError(
      `--class: there is no class "${text}"${hint}; use a name or a number from 0 to ${classes.length - 1}`,
    );
  }
  throw new UsageError(`--class: ${unknownName('class', text, classes)}`);
}

/** @throws UsageError unless a layer has maps. */
export function checkMaps({ compiled: { network } }: OpenedModel, option: string, layer: string): void {
  const { output } = network.layers[layerIndex(option, network, layer)]!;
  if (output.length === 3) return;
  throw new UsageError(
    `${option} ${layer}: its ${output[0]} values are not maps; choose a layer before flatten`,
  );
}

/** Writes the explanations of an image. `input` is the image as the network takes it; `label` the class to explain. */
export async function writeOutputImages(
  model: OpenedModel,
  input: Uint8Array,
  { cam, camLayer, saliency, features }: OutputImages,
  label: number | undefined,
): Promise<void> {
  if (cam === undefined && saliency === undefined && !features) return;
  const [explain, images, { encodePng }, { writeWhole }] = await Promise.all([
    import('../explain/explain.ts'),
    import('../images/explained.ts'),
    import('../images/png.ts'),
    import('../files/files.ts'),
  ]);
  const prepared = model.prepare(input);
  const classes = label === undefined ? {} : { classes: [label] };
  const write = async (file: string, raster: Raster, what: string): Promise<void> => {
    await writeWhole(file, encodePng(raster));
    note(`${file}: ${what}`);
  };
  if (cam !== undefined) {
    const layer = camLayer === undefined ? {} : { layer: camLayer };
    const [heat] = await explain.gradCam(model.compiled, prepared, { ...classes, ...layer });
    const image = images.inputRaster(prepared, model.input, model.normalization);
    await write(cam, images.camImage(image, heat!), `Grad-CAM for ${oneLine(model.classes[heat!.label]!)}`);
  }
  if (saliency !== undefined) {
    const [heat] = await explain.saliency(model.compiled, prepared, classes);
    await write(saliency, images.heatImage(heat!), `saliency for ${oneLine(model.classes[heat!.label]!)}`);
  }
  if (features) {
    const { layer, file } = features;
    const values = await model.compiled.features(prepared, [layer]);
    await write(file, images.featureImage(values.get(layer)!), `the maps after ${layer}`);
  }
}
