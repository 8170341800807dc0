/** `vgg export`: writes trained weights for other programs, as ONNX or as safetensors, or a whole run as a zip archive. */
import { existsSync, statSync } from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { UsageError } from '../errors.ts';
import type { Shape } from '../model/layer.ts';
import { sizeOf } from '../model/network.ts';
import { formatBytes } from '../model/summary.ts';
import type { WeightSource } from '../model/weight-streams.ts';
import { shellWord } from '../words.ts';
import type { Interruption } from './interrupt.ts';
import { note, print, printJson } from './output.ts';
import { choiceOption, pathArgument, pathOption } from './values.ts';
import { checkWritable, isSameFile } from './weight-saver.ts';
import { addWeightOptions, describedBy, type WeightOptions } from './weights.ts';

const formats = ['onnx', 'safetensors', 'zip'] as const;

interface ExportOptions extends WeightOptions {
  readonly to: (typeof formats)[number];
  readonly output?: string;
  readonly force?: true;
  readonly half?: true;
  readonly softmax?: true;
  readonly preprocess?: true;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg export runs/a --to onnx
  $ vgg export runs/a --to onnx --softmax --preprocess
  $ vgg export runs/a --to zip
  $ vgg export runs/a --to safetensors --output weights.safetensors
  $ vgg export weights.safetensors --to safetensors --half
  $ vgg export vgg16-397923af.pth --to onnx --half
  $ vgg export torch.safetensors --to onnx --model vgg7 --classes names.txt

An ONNX model (opset 17) takes images [n, channels, height, width] and returns logits [n, classes], both float32. With --half, it stores matrices in half the space; it still computes in float32. Of a run, the best weights are exported. Without --output, the file is written beside the weights, under their name: runs/a/best.onnx, weights-half.safetensors.

A zip archive holds a whole run: vgg train --resume a.zip continues it, also on another machine, vgg report a.zip reports on it, and the page of vgg studio imports it. It is written beside the run's folder: runs/a.zip.

Files of --save and run folders describe their network and images. Of other files, such as PyTorch's, the networks of the paper are recognized; for others give --model, and for --preprocess --normalization. An option that contradicts the file is an error.`;

export function exportCommand(interruption: Interruption): Command {
  const command = new Command('export')
    .description('write a trained network as ONNX, its weights as safetensors, or a whole run as zip')
    .addArgument(pathArgument('<source>', 'run folder, name of a run in runs/, weight file or checkpoint'))
    .addOption(choiceOption('--to <format>', 'format', formats).makeOptionMandatory())
    .addOption(pathOption('--output <file>', 'file to write (default: beside the weights or the run)'))
    .option('--force', 'replace an existing file')
    .option('--half', 'store half precision (float16)')
    .option('--softmax', 'ONNX: return probabilities in place of logits')
    .option('--preprocess', 'ONNX: take pixels from 0 to 255, and normalize them as in training');
  return addWeightOptions(command)
    .option('--json', 'print one JSON object: file, format, bytes; of a network also input, classes')
    .addHelpText('after', examples)
    .action((source: string, options: ExportOptions) => exportModel(source, options, interruption));
}

async function exportModel(given: string, options: ExportOptions, interruption: Interruption): Promise<void> {
  const { to, half = false, softmax, preprocess, json } = options;
  if (to === 'zip') return exportRun(given, options);
  if (to !== 'onnx' && (softmax || preprocess)) {
    const flag = softmax ? '--softmax' : '--preprocess';
    throw new UsageError(`${flag} has no effect on ${to}, which holds weights alone; leave it out`);
  }
  const { namedWeights } = await import('../runs/folder.ts');
  const source = await namedWeights(given);
  const path = await outputFile(source, options);
  const description = await describedBy(source, options);
  const [{ writeWeights }, { exportOnnx }, { openDescribed }, { cancelable, watched }] = await Promise.all([
    import('../model/weight-files.ts'),
    import('../runs/export-onnx.ts'),
    import('../runs/described-weights.ts'),
    import('../model/weight-streams.ts'),
  ]);
  interruption.stopsItself = true;
  interruption.kept = 'Nothing was written.';
  const { signal } = interruption;
  await using file = await openDescribed(source, description, { signal, key: options.key, onNotice: note });
  const { network, info } = file;
  const progress = progressOf(file);
  const weights = watched(cancelable(file, signal), progress.read);
  try {
    if (to === 'onnx') {
      const onnx = await exportOnnx({ ...info, weights }, path, {
        half,
        softmax: softmax ?? false,
        preprocess: preprocess ?? false,
      });
      progress.end();
      if (!json) {
        print(`${network.name} is in ${path}: ONNX, ${formatBytes(onnx.bytes)}.`);
        for (const [name, value] of Object.entries({ Input: onnx.input, Output: onnx.output })) {
          const description = value.description === undefined ? '' : `, ${value.description}`;
          print(`${name}: ${value.name} [n, ${value.shape.join(', ')}]${description}.`);
        }
      }
    } else {
      await writeWeights(path, weights, info, { half });
      progress.end();
      if (!json) print(`The weights of ${network.name} are in ${path}: ${formatBytes(statSync(path).size)}.`);
    }
  } finally {
    progress.end();
  }
  if (json) {
    const { input, output } = network;
    printJson({ file: path, format: to, bytes: statSync(path).size, input, classes: output[0] });
  }
}

/** `--to zip`: the whole run. */
async function exportRun(given: string, options: ExportOptions): Promise<void> {
  const { to: _, output: __, force: ___, json, ...others } = options;
  const idle = Object.entries(others).find(([, value]) => [value].flat().length > 0)?.[0];
  if (idle !== undefined)
    throw new UsageError(
      `--${kebab(idle)} has no effect with --to zip, which holds the run as it is; leave it out`,
    );
  const [{ isRun, isSeries, runPlace }, { writeRunZip }] = await Promise.all([
    import('../runs/folder.ts'),
    import('../runs/run-zip-files.ts'),
  ]);
  const folder = runPlace(given);
  if (isSeries(folder))
    throw new UsageError(
      `${given} is a series of seeds; export its runs one by one: ${join(given, 'seed-1')}`,
    );
  if (!isRun(folder)) throw new UsageError(`${given} is not a run folder; --to zip needs one`);
  const path = await outputFile(`${resolveShown(folder)}.zip`, options);
  await writeRunZip(folder, path);
  const { size } = statSync(path);
  if (json) printJson({ file: path, format: 'zip', bytes: size });
  else
    print(
      `The run is in ${path}: ${formatBytes(size)}. Continue it with vgg train --resume ${shellWord(path)}, also on another machine, ` +
        'or import it in vgg studio.',
    );
}

const kebab = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** A folder's path without a slash at its end; of `.`, the folder's own name beside it. */
const resolveShown = (folder: string): string =>
  basename(folder) === '.' || basename(folder) === '..' ? resolve(folder) : folder.replace(/[/\\]+$/, '');

/** The file to write. @throws UsageError if it is the source, or exists and `--force` is not given. */
async function outputFile(source: string, { to, half, output, force }: ExportOptions): Promise<string> {
  const name = `${basename(source, extname(source))}${half ? '-half' : ''}.${to}`;
  const path = output ?? join(dirname(source), name);
  await checkWritable(path, '--output');
  if (!existsSync(path)) return path;
  if (to !== 'zip' && isSameFile(path, source))
    throw new UsageError(`export: ${path} is the file that is exported; name another one with --output`);
  if (!force)
    throw new UsageError(
      `export: ${path} exists; replace it with --force, or name another file with --output`,
    );
  return path;
}

/** On a terminal, shows how much of the weights was read; large files take seconds. */
function progressOf(source: WeightSource): { read: (count: number) => void; end: () => void } {
  const total = source.shapes.values().reduce((sum, shape: Shape) => sum + sizeOf(shape), 0);
  let done = 0;
  let drawn = performance.now();
  let visible = false;
  return {
    read(count) {
      done += count;
      const now = performance.now();
      if (!process.stderr.isTTY || now - drawn < 100) return;
      drawn = now;
      visible = true;
      process.stderr.write(`\r\x1b[2K${Math.floor((100 * done) / total)} % of ${formatBytes(4 * total)}`);
    },
    end() {
      if (visible) process.stderr.write('\r\x1b[2K');
      visible = false;
    },
  };
}
