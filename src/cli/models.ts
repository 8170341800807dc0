/** The options that choose a network and the device it runs on, shared by several commands. */
import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { type DeviceName, deviceNames, devices } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import type { Shape } from '../model/layer.ts';
import { models, type NetworkDescription, networkOf, parseAssignments } from '../model/models.ts';
import type { Sequential } from '../model/network.ts';
import { maxThreads } from '../options.ts';
import { parseNetwork } from '../train/network-description.ts';
import { checkChoice, choiceOption, repeatedOption, wholeNumberOption } from './values.ts';

export interface ModelOptions {
  readonly model: string;
  readonly modelOption: readonly string[];
}

/** Adds `--model` and `--model-option`. */
export function addModelOptions(command: Command): Command {
  return command
    .addOption(modelOption(' (default: simplified)').default('simplified'))
    .addOption(modelOptionOption());
}

/** `--model`: a name, or a file that describes the network. */
export function modelOption(suffix = ''): Option {
  const description = `network: ${Object.keys(models).join(', ')}; or a JSON or TypeScript file with its layers${suffix}`;
  return new Option('--model <name|file>', description).argParser((text: string) =>
    isModelFile(text) ? text : checkChoice('model', text, Object.keys(models)),
  );
}

/** Whether a network is given as a file, not by name. */
const isModelFile = (text: string): boolean => /[\\/]|\.(json|[cm]?[jt]s)$/i.test(text);

/** The network that `--model` or an argument names. @throws UsageError, DataError if its file is not right. */
export async function readModel(text: string): Promise<string | NetworkDescription> {
  if (!isModelFile(text)) return text;
  const { readDataFile } = await import('./data-file.ts');
  const data = await readDataFile(text, {
    option: '--model',
    json: '{"layers": [{"kind": "conv2d", "out": 16, "kernel": 3}, …]}',
    program: '{ layers: [conv2d({ out: 16, kernel: 3 }), …] }',
  });
  return parseNetwork({ name: basename(text).replace(/\.\w+$/, ''), ...(data as object) }, `--model ${text}`);
}

/** `--model-option`, with the options of each model. */
export function modelOptionOption(): ReturnType<typeof repeatedOption> {
  const takers = new Map<string, string[]>();
  for (const [model, { options }] of Object.entries(models)) {
    const known = Object.entries(options).map(
      ([name, { default: standard }]) => `${name}=${[standard].flat().join(',')}`,
    );
    if (known.length > 0) takers.set(known.join(', '), [...(takers.get(known.join(', ')) ?? []), model]);
  }
  const known = [...takers].map(([options, names]) => `${names.join(' and ')} take ${options}`);
  return repeatedOption(
    '--model-option <name=value>',
    `option of the network, may be repeated; ${known.join('; ')}`,
    'as listed',
  );
}

export interface DeviceOptions {
  readonly device: DeviceName;
  readonly adapter?: string;
  readonly threads?: number;
}

/** `--adapter`: which GPU computes. */
export const adapterOption = (): Option =>
  new Option(
    '--adapter <n|name>',
    "GPU that computes, by its number in vgg doctor or a part of its name (default: $VGGNET_ADAPTER or the system's choice)",
  );

/** From now on GPUs are those of `--adapter`, in processes that this one starts, too. @throws UsageError without effect */
export function chooseAdapter(adapter: string | undefined, device: DeviceName): void {
  if (adapter === undefined) return;
  const computes = devices[device];
  if (computes !== 'gpu' && computes !== 'fastest') {
    throw new UsageError(
      `--adapter chooses a GPU and has no effect with --device ${device}, which computes on the processor; leave out one of them`,
    );
  }
  if (adapter.trim() === '') throw new UsageError('--adapter is empty; name a GPU or leave it out');
  process.env.VGGNET_ADAPTER = adapter;
}

/** Adds `--device`, `--adapter` and `--threads`. */
export function addDeviceOptions(command: Command): Command {
  return command
    .addOption(choiceOption('--device <name>', 'device that computes', deviceNames).default('auto'))
    .addOption(adapterOption())
    .addOption(
      wholeNumberOption(
        '--threads <n>',
        'worker threads, which do not change results (default: one per core)',
        { most: maxThreads },
      ),
    );
}

/** The chosen network for `classes` classes. @throws UsageError for an unknown name or a wrong option. */
export async function chosenModel(
  { model, modelOption: assignments }: ModelOptions,
  classes: number,
  input: Shape,
): Promise<Sequential> {
  const options = parseAssignments(assignments);
  return networkOf(await readModel(model), { classes, options, input });
}
