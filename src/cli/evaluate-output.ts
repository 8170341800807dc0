/** What `vgg evaluate` shows: progress, the results as lines, a table of classes and JSON, and the confusion matrix. */
import { UsageError } from '../errors.ts';
import type { ChosenProtocol } from '../evaluation/protocol.ts';
import type { ClassResult, ProtocolResult } from '../evaluation/scores.ts';
import { grouped, oneLine, percent } from '../words.ts';
import type { EvaluateOptions, Split } from './evaluate.ts';
import { note, print, printJson, printTable, secondsLeft } from './output.ts';
import { clock } from './progress.ts';
import { checkWritable, isSameFile } from './weight-saver.ts';

/** Classes of a table; of more, those with the most mistakes. */
const mostRows = 40;
const barWidth = 24;
const redrawMilliseconds = 80;

/** The protocol in words: `dense, scales 256 and 384, mirrored`. */
function protocolText({ scales, dense, crops, flip }: ChosenProtocol): string {
  const parts = [
    ...(dense ? ['dense'] : []),
    ...(crops === 1 ? ['center crop'] : []),
    ...(crops > 1 ? [`${flip ? crops : crops / 2} crops per scale`] : []),
    `${scales.length === 1 ? 'scale' : 'scales'} ${scales.join(', ')}`,
    ...(flip ? ['mirrored, too'] : []),
  ];
  return parts.join(', ');
}

/** A bar on a terminal; nothing elsewhere. */
export function evaluationBar(): {
  readonly draw: (done: number, total: number) => void;
  readonly end: () => void;
} {
  const { stderr } = process;
  if (!stderr.isTTY) return { draw: () => undefined, end: () => undefined };
  const begun = performance.now();
  let drawn = Number.NEGATIVE_INFINITY;
  return {
    draw(done, total) {
      const now = performance.now();
      if (now - drawn < redrawMilliseconds && done < total) return;
      drawn = now;
      const left = secondsLeft(done, total - done, now - begun, 1);
      const filled = Math.round((barWidth * done) / total);
      const line =
        `Evaluating ${'█'.repeat(filled)}${'░'.repeat(barWidth - filled)} ${grouped(done)} of ${grouped(total)} images` +
        `${left === undefined ? '' : `  ${clock(left)} left`}`;
      stderr.write(`\r\x1b[2K${line.slice(0, (stderr.columns ?? 80) - 1)}`);
    },
    end: () => {
      stderr.write('\r\x1b[2K');
    },
  };
}

/** The images of a split in a sentence. */
export const imagesOf = (split: Split): string =>
  ({
    test: 'the test images',
    validation: 'the validation images',
    train: 'the training images',
    all: 'all images',
  })[split];

export function printResult(
  result: ProtocolResult,
  protocol: ChosenProtocol,
  { json, split }: Pick<EvaluateOptions, 'json' | 'split'>,
): void {
  const { loss, accuracy, topFive, classes, others } = result;
  if (json) {
    printJson({ ...result, topFive: topFive ?? null, protocol });
    return;
  }
  note(`Protocol: ${protocolText(protocol)}.`);
  const images = imagesOf(split);
  print(`Loss of the model on ${images}: ${loss.toFixed(4)}`);
  print(`Accuracy of the model on ${images}: ${percent(accuracy)}`);
  if (topFive === undefined) note('With at most five classes, every answer is among the top five.');
  else print(`Top-5 accuracy of the model on ${images}: ${percent(topFive)}`);
  printClasses(classes);
  const elsewhere = others.reduce((sum, count) => sum + count, 0);
  if (elsewhere > 0)
    note(`${grouped(elsewhere)} images were taken for classes that the data set does not have.`);
}

function printClasses(classes: readonly ClassResult[]): void {
  const mistakes = ({ images, correct }: ClassResult): number => images - correct;
  const isCut = classes.length > mostRows;
  const shown = isCut ? classes.toSorted((a, b) => mistakes(b) - mistakes(a)).slice(0, mostRows) : classes;
  print('');
  printTable(
    [
      ['class', 'images', 'top-1', 'most often taken for'],
      ...shown.map(({ name, images, accuracy, confusedWith }) => [
        oneLine(name),
        grouped(images),
        percent(images === 0 ? undefined : accuracy),
        confusedWith ? `${oneLine(confusedWith.name)} (${grouped(confusedWith.images)})` : '–',
      ]),
    ],
    1,
  );
  if (isCut)
    note(
      `The ${mostRows} classes with the most mistakes of ${grouped(classes.length)}; all of them: --json.`,
    );
}

/** @throws UsageError unless the matrix can be written to this file; DataError if it cannot be written. */
export async function checkPlot(file: string | undefined, inputs: readonly string[]): Promise<void> {
  if (file === undefined) return;
  if (!/\.(png|svg)$/i.test(file))
    throw new UsageError(
      `--plot ${file}: the confusion matrix is written as SVG or PNG; name it ….svg or ….png`,
    );
  const input = inputs.find((one) => isSameFile(one, file));
  if (input !== undefined)
    throw new UsageError(`--plot ${file} is the file ${input}, which is read; name another one`);
  await checkWritable(file, '--plot');
}

export async function writePlot(file: string, result: ProtocolResult, title: string): Promise<void> {
  const [{ confusionRaster, confusionSvg }, { encodePng }, { writeWhole }] = await Promise.all([
    import('../evaluation/matrix-image.ts'),
    import('../images/png.ts'),
    import('../files/files.ts'),
  ]);
  const isPng = /\.png$/i.test(file);
  const content = isPng
    ? encodePng(confusionRaster(result))
    : new TextEncoder().encode(confusionSvg(result, title));
  await writeWhole(file, content);
  note(`${file}: the confusion matrix`);
}
