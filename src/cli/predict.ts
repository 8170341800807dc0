/** `vgg predict`: the most likely classes of image files. */
import { existsSync, statSync } from 'node:fs';
import { Command } from 'commander';
import { DataError, UsageError } from '../errors.ts';
import type { ClassScore } from '../runs/classify.ts';
import type { OpenedModel } from '../runs/open-model.ts';
import { counted, oneLine, percent } from '../words.ts';
import { addDeviceOptions, chooseAdapter, type DeviceOptions } from './models.ts';
import { doing, harmless, note, printJson, printVerbatim, secondsLeft, shorten, widthOf } from './output.ts';
import {
  checkMaps,
  checkOutputImages,
  classIn,
  type OutputImages,
  outputImagesOf,
  writeOutputImages,
} from './output-images.ts';
import { pathArgument, pathOption, wholeNumberOption } from './values.ts';
import { addWeightOptions, describedBy, type WeightOptions } from './weights.ts';

interface PredictOptions extends WeightOptions, DeviceOptions {
  readonly weights: string;
  readonly top: number;
  readonly ignoreOrientation?: true;
  readonly json?: true;
  readonly cam?: string;
  readonly camLayer?: string;
  readonly class?: string;
  readonly saliency?: string;
  readonly features?: readonly string[];
}

const examples = `
Examples:
  $ vgg predict cat.jpg --weights runs/a                  the best weights of a run
  $ vgg predict cat.jpg --weights runs/a --cam cam.png    where the network saw it
  $ vgg predict cat.jpg --weights runs/a --features relu1_2 maps.png
  $ vgg predict photos/*.jpg --weights vgg7.safetensors --top 3
  $ vgg predict photos/*.jpg --weights runs/a --json > predictions.jsonl
  $ curl https://example.org/cat.jpg | vgg predict - --weights runs/a
  $ vgg predict cat.jpg --weights vgg16-397923af.pth      torchvision's (vgg download vgg16)
  $ vgg predict cat.jpg --weights torch.pth --model vgg7 --classes names.txt --mean 0.5 --std 0.25

Images are JPEG, PNG, WebP, AVIF, GIF or TIFF files, of at most 50 million pixels. They are resized and cropped as torchvision does: for a network of 224×224 pixels the shorter side becomes 256, then the center is cropped; networks below 64×64 pixels see the whole shorter side. An image that cannot be read does not stop the others; the exit code is then 1.

Files of --save, checkpoints and run folders describe their network and images. Of other files, such as PyTorch's, the networks of the paper are recognized; with 1000 classes they get torchvision's normalization and the classes of ImageNet. For others give --model and --normalization. An option that contradicts the file is an error.`;

export function predictCommand(): Command {
  const command = new Command('predict')
    .description('classify image files')
    .addArgument(pathArgument('[image...]', 'image files; - reads one from standard input'))
    .addOption(
      pathOption(
        '--weights <file>',
        'weight file, checkpoint, run folder or name of a run in runs/',
      ).makeOptionMandatory(),
    )
    .addOption(wholeNumberOption('--top <n>', 'classes per image').default(5));
  addWeightOptions(command).option(
    '--ignore-orientation',
    'do not turn photos upright (EXIF), as torchvision does not',
  );
  return addDeviceOptions(command)
    .optionsGroup('Explanations of one image:')
    .addOption(pathOption('--cam <file>', 'Grad-CAM as PNG: where the image supports the best class'))
    .option(
      '--cam-layer <layer>',
      'layer of --cam, such as relu4_3 (default: the last convolution, with its ReLU)',
    )
    .addOption(pathOption('--saliency <file>', 'saliency as PNG: which pixels change the class most'))
    .option('--class <name>', 'class that --cam and --saliency explain, by name or number')
    .option('--features <layer file...>', 'maps after a layer, such as relu3_3, as PNG')
    .optionsGroup('Output:')
    .option('--json', 'print one JSON object per image: file, top (a list of class, index, probability)')
    .addHelpText('after', examples)
    .action(predict);
}

async function predict(given: readonly string[], options: PredictOptions): Promise<void> {
  const { weights, device, adapter, threads } = options;
  chooseAdapter(adapter, device);
  const outputs = outputImagesOf(options);
  // Whatever follows the two values of --features is an image.
  const images = [...given, ...(options.features ?? []).slice(2)];
  checkImages(images, outputs);
  const [{ openModel }, { namedWeights }] = await Promise.all([
    import('../runs/open-model.ts'),
    import('../runs/folder.ts'),
  ]);
  const path = await namedWeights(weights);
  await checkOutputImages(outputs, [path, ...images]);
  await using model = await openModel(path, {
    ...(await describedBy(path, options)),
    device,
    ...(threads !== undefined && { threads }),
    ...(options.key !== undefined && { key: options.key }),
    // The gradient of an image or a layer needs more than predictions and Grad-CAM at the last convolution.
    ...(outputs.saliency === undefined && outputs.camLayer === undefined && { purpose: 'predict' as const }),
    onNotice: note,
  });
  const explained = outputs.class === undefined ? undefined : classIn(model.classes, outputs.class);
  if (outputs.features) checkMaps(model, '--features', outputs.features.layer);
  if (outputs.camLayer !== undefined) checkMaps(model, '--cam-layer', outputs.camLayer);
  const progress = progressOf(images.length);
  let failed = 0;
  for (const [i, image] of images.entries()) {
    progress.now(i);
    try {
      const input = await classifyImage(model, image, i > 0, options);
      await writeOutputImages(model, input, outputs, explained);
    } catch (error) {
      progress.clear();
      // Any other error, such as a missing package, would come again.
      if (!(error instanceof DataError)) throw error;
      note(`error: ${error.message}`);
      failed++;
    }
  }
  progress.clear();
  if (failed === 0) return;
  if (images.length > 1) note(`${failed} of ${counted(images.length, 'image')} could not be classified.`);
  process.exitCode = 1;
}

/** Prints the classes of an image; returns it as the network takes it. */
async function classifyImage(
  model: OpenedModel,
  image: string,
  follows: boolean,
  { top, ignoreOrientation, json }: PredictOptions,
): Promise<Uint8Array> {
  const { best, readInput } = await import('../runs/classify.ts');
  const name = image === '-' ? 'standard input' : image;
  const file = image === '-' ? await standardInput(name) : imagePath(image);
  const input = await readInput(model, file, { orientation: ignoreOrientation ? 'ignore' : 'apply' }, name);
  const scores = best(model.classes, (await model.predict(input)).probabilities, top);
  if (json) printJson({ file: image, top: scores });
  else printVerbatim(harmless(`${follows ? '\n' : ''}${barsOf(name, scores, widthOf(process.stdout))}`));
  return input;
}

/** @throws UsageError */
function checkImages(images: readonly string[], outputs: OutputImages): void {
  if (images.length === 0) throw new UsageError('predict: name an image file, or - for standard input');
  const flag = (['cam', 'saliency', 'features'] as const).find((name) => outputs[name] !== undefined);
  if (flag !== undefined && images.length > 1)
    throw new UsageError(`predict: --${flag} draws one image, not ${images.length}; name one`);
  const pipes = images.filter((image) => image === '-').length;
  if (pipes > 1)
    throw new UsageError('predict: - reads standard input, which can be read once; name it once');
  if (pipes === 1 && process.stdin.isTTY) {
    throw new UsageError(
      'predict: - reads an image from standard input, which is a terminal; redirect a file: vgg predict - < cat.jpg',
    );
  }
}

/** @throws DataError for a folder, which a pattern of the shell can expand. */
function imagePath(image: string): string {
  if (!existsSync(image) || !statSync(image).isDirectory()) return image;
  throw new DataError(
    `${image} is a folder; pass its files, for instance ${image.replace(/\/+$/, '')}/*.jpg`,
  );
}

async function standardInput(name: string): Promise<Uint8Array> {
  const { readImageStream } = await import('../images/read.ts');
  return readImageStream(name, process.stdin);
}

/** The widest bar, and the room for a percentage with two spaces before it. */
const widestBar = 30;
const percentRoom = 10;

/** A file's name, and below it each class with a bar and its probability, in at most `width` columns. */
export function barsOf(file: string, scores: readonly ClassScore[], width: number): string {
  const room = Math.max(0, width - 2 - percentRoom);
  const longest = Math.max(...scores.map(({ class: name }) => name.length));
  const nameRoom = width === Infinity ? longest : Math.min(longest, Math.max(8, room - 2 - widestBar));
  const barRoom = Math.max(1, Math.min(widestBar, room - nameRoom - 2));
  const lines = scores.map(({ class: name, probability }) => {
    // Names come from files.
    const shown = shorten(oneLine(name), nameRoom).padEnd(nameRoom);
    return `  ${shown}  ${barOf(probability, barRoom)}${percent(probability).padStart(percentRoom)}`;
  });
  return [file, ...lines].join('\n');
}

/** A share as a bar of eighths of a column. */
function barOf(share: number, width: number): string {
  const eighths = Math.round(share * width * 8);
  const partial = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8]!;
  return ('█'.repeat(Math.floor(eighths / 8)) + partial).padEnd(width);
}

/** On a terminal, shows how many images are done if the results go elsewhere. */
function progressOf(images: number): { now: (done: number) => void; clear: () => void } {
  const isShown = images > 1 && process.stderr.isTTY && !process.stdout.isTTY;
  if (!isShown) return { now: () => undefined, clear: () => undefined };
  const begun = performance.now();
  const line = doing('Classifying');
  return {
    now(done) {
      const left = secondsLeft(done, images - done, performance.now() - begun);
      line.now(
        `${done + 1} of ${counted(images, 'image')}${left === undefined ? '' : `, ${Math.ceil(left)} s left`}`,
      );
    },
    clear: line.end,
  };
}
