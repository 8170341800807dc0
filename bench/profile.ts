/**
 * `npm run profile -- [--device D] [MODEL …]`: the time of a training step by kernel and shape, on one thread. The whole
 * step is counted as direct convolution, kernels by the operations they actually perform.
 */

import { describeKernels } from '../src/engine/cpu/kernels/library.ts';
import { nativeKernels, plainWasmKernels, wasmKernels } from '../src/engine/cpu/kernels/provider.ts';
import { type ProfiledCall, profileTraining } from '../src/engine/cpu/measure/profile.ts';
import { kernelParameters } from '../src/kernels/catalogue.ts';
import { fail, readOptions, wholeNumber } from './options.ts';
import { networkOf, operationsOf } from './ours.ts';
import type { ModelName } from './peer.ts';

const providers = { native: nativeKernels, wasm: wasmKernels, 'wasm-plain': plainWasmKernels };
const usage = `npm run profile -- [options] [simplified] [vgg7]
  --device D           native, wasm, or wasm-plain (without 256-bit vectors) (default native)
  --batch-size N       images per step (default 100)
  --steps N            steps over which medians are taken (default 20)`;
const { values: options, positionals } = readOptions(usage, {
  allowPositionals: true,
  options: {
    'batch-size': { type: 'string', default: '100' },
    steps: { type: 'string', default: '20' },
    device: { type: 'string', default: 'native' },
  },
});
const batchSize = wholeNumber('--batch-size', options['batch-size'], 1, usage);
const steps = wholeNumber('--steps', options.steps, 2, usage);
const provider = Object.hasOwn(providers, options.device)
  ? providers[options.device as keyof typeof providers]
  : fail(`--device ${options.device} is not one of ${Object.keys(providers).join(', ')}`, usage);
const models = (positionals.length > 0 ? positionals : ['simplified', 'vgg7']).map((model) =>
  model === 'simplified' || model === 'vgg7' ? model : fail(`${model} is not one of simplified, vgg7`, usage),
);

/** Parameters that identify a layer rather than a chunk of images: channels, filters, sizes of maps and matrices. */
const shapeNames = [
  'planes',
  'columns',
  'depth',
  'channels',
  'filters',
  'pooledHeight',
  'outRows',
  'tileRows',
];

function shapeOf({ kernel, values }: ProfiledCall): string {
  const names = Object.entries(kernelParameters[kernel]);
  return shapeNames
    .flatMap((name) => {
      const at = names.findIndex(([own, type]) => own === name && type === 'i32');
      return at < 0 ? [] : [`${name} ${values[at]}`];
    })
    .join(', ');
}

async function print(model: ModelName): Promise<void> {
  const network = networkOf(model);
  const kernels = await provider(false, console.warn);
  const { calls, milliseconds, outside } = await profileTraining(network, kernels, {
    batchSize,
    steps,
    count: true,
  });
  const lines = new Map<string, { calls: number; milliseconds: number; flops: number }>();
  for (const call of calls) {
    const key = `${call.kernel.padEnd(26)}${shapeOf(call)}`;
    const line = lines.get(key) ?? { calls: 0, milliseconds: 0, flops: 0 };
    line.calls++;
    line.milliseconds += call.milliseconds;
    line.flops += call.flops;
    lines.set(key, line);
  }
  const inKernels = [...lines.values()].reduce((sum, line) => sum + line.milliseconds, 0);
  const speed = (operationsOf(network, true) * batchSize) / milliseconds / 1e6;
  console.log(
    `\n${model}, batch ${batchSize}, ${describeKernels(kernels)}, one thread, n = ${steps}: a step takes ` +
      `${milliseconds.toFixed(2)} ms, ${speed.toFixed(1)} GFLOP/s as direct convolution; ` +
      `${outside.toFixed(2)} ms of it outside kernels`,
  );
  console.log('     ms    share  calls   GFLOP/s   kernel');
  for (const [name, line] of [...lines].toSorted(([, a], [, b]) => b.milliseconds - a.milliseconds)) {
    const flops = line.flops === 0 ? '' : (line.flops / line.milliseconds / 1e6).toFixed(1);
    console.log(
      `${line.milliseconds.toFixed(2).padStart(7)}${((100 * line.milliseconds) / inKernels).toFixed(1).padStart(7)} %` +
        `${String(line.calls).padStart(7)}${flops.padStart(10)}   ${name}`,
    );
  }
}

for (const model of models) await print(model);
