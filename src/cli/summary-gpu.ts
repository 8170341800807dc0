/** `vgg summary --device webgpu`: the buffers of a training step on a GPU, and what it computes and moves. */
import type { BufferGroup, StepDescription } from '../engine/webgpu/describe.ts';
import type { Network } from '../model/layer.ts';
import { formatBytes, summarize } from '../model/summary.ts';
import { counted, grouped } from '../words.ts';
import { print, printJson, printTable } from './output.ts';
import { printLayers } from './summary.ts';

interface GpuSummaryOptions {
  readonly batchSize: number;
  readonly frozen: readonly number[];
  readonly layers?: true;
  readonly json?: true;
}

export async function summarizeGpu(
  network: Network,
  { batchSize, frozen, layers, json }: GpuSummaryOptions,
): Promise<void> {
  const { describeStep } = await import('../engine/webgpu/describe.ts');
  const steps = (['sgd', 'adam'] as const).map((optimizer) =>
    describeStep(network, batchSize, { optimizer, frozen }),
  );
  if (json) {
    return printJson({
      ...summarize(network),
      ...(frozen.length > 0 && { frozen: frozen.map((layer) => network.layers[layer]!.name) }),
      gpu: steps,
    });
  }
  printLayers(network, frozen, layers ? { layers } : {});
  printSteps(steps);
}

function printSteps(steps: readonly StepDescription[]): void {
  const [sgd, adam] = steps as readonly [StepDescription, StepDescription];
  print(`\nBuffers of a training step of ${counted(sgd.batch, 'image')}:`);
  const sizeOf = (step: StepDescription, name: string): string => {
    const own = step.groups.find((group) => group.name === name);
    return own ? formatBytes(own.bytes) : '';
  };
  const row = ({ name, count, largest }: BufferGroup): string[] => [
    ...[name, largest.label, grouped(count), formatBytes(largest.bytes)],
    ...steps.map((step) => sizeOf(step, name)),
  ];
  printTable(
    [
      ['buffers', 'the largest', 'number', 'its size', 'SGD', 'Adam'],
      ...adam.groups.map(row),
      ['total', '', '', formatBytes(adam.largestBuffer), ...steps.map(({ bytes }) => formatBytes(bytes))],
    ],
    2,
    true,
  );
  const { dispatches, operations, traffic, intensity } = adam;
  print(
    `\nA step with Adam has ${counted(dispatches, 'dispatch').replace(/dispatchs$/, 'dispatches')} and computes ${(operations / 1e9).toFixed(1)} GFLOP. It moves ` +
      `${formatBytes(traffic)} if each dispatch reads and writes each of its buffers once: ${intensity.toFixed(1)} FLOP per byte.`,
  );
  print(
    `The largest buffer has ${formatBytes(adam.largestBuffer)}; on GPUs whose buffers are smaller (vgg doctor shows the limit), it is cut by images or rows. ` +
      "The bytes of the data set's images are on the GPU, too, if they fit one buffer; otherwise those of a step.",
  );
}
