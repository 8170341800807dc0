/**
 * Summarizes a network as the lecture's table does: consecutive equal layers are one row, with the columns feature maps,
 * size, kernel, stride and activation, next to parameters and multiply-adds for one image. Layers are numbered as in the
 * paper: convolutions and linear layers count.
 */
import { grouped } from '../words.ts';
import type { LayerSpec, Network, NetworkLayer, Shape } from './layer.ts';
import { formatPair } from './layers/arguments.ts';
import { sizeOf } from './network.ts';

interface Row {
  /** How many equal layers it stands for. */
  count: number;
  readonly name: string;
  readonly numbered: boolean;
  readonly output: Shape;
  readonly kernel: string;
  readonly stride: string;
  activation: string;
  parameters: number;
  multiplyAdds: number;
}

/** The cells of the table for `formatTable`: a header, the input, a row for each block, and the totals. */
export function blockCells(network: Network): readonly (readonly string[])[] {
  const rows = mergedRows(network.layers);
  const total = (column: 'parameters' | 'multiplyAdds'): string =>
    grouped(rows.reduce((sum, row) => sum + row[column], 0));
  const header = [
    '',
    'layer',
    'maps',
    'size',
    'kernel',
    'stride',
    'activation',
    'parameters',
    'multiply-adds',
  ];
  let number = 1;
  const cells = rows.map((row) => {
    const { count, name, numbered, output, kernel, stride, activation, parameters, multiplyAdds } = row;
    const place = numbered ? String(number) : '';
    if (numbered) number += count;
    const label = count === 1 ? name : `${count} × ${name}`;
    const [maps = 0] = output;
    const figures = [parameters, multiplyAdds].map((value) => (value === 0 ? '' : grouped(value)));
    return [place, label, String(maps), sizeText(output), kernel, stride, activation, ...figures];
  });
  const [channels = 0] = network.input;
  return [
    header,
    ['', 'input', String(channels), sizeText(network.input), '', '', '', '', ''],
    ...cells,
    ['', network.name, '', '', '', '', '', total('parameters'), total('multiplyAdds')],
  ];
}

/** Height × width × channels, as the lecture writes it. */
const sizeText = ([channels = 0, ...sides]: Shape): string =>
  sides.length === 0 ? String(channels) : `${sides.join('×')}×${channels}`;

function mergedRows(layers: readonly NetworkLayer[]): readonly Row[] {
  const rows: Row[] = [];
  /** Completes the last row, which its activation ends, and joins it to an equal one before. */
  const join = (): void => {
    const [before, last] = rows.slice(-2);
    if (before === undefined || last === undefined || keyOf(before) !== keyOf(last)) return;
    before.count += last.count;
    before.parameters += last.parameters;
    before.multiplyAdds += last.multiplyAdds;
    rows.pop();
  };
  for (const layer of layers) {
    const activation = activationOf(layer);
    const last = rows.at(-1);
    if (activation === '') continue;
    // Dropout in front of the classifier belongs to no layer's activation.
    if (layer.spec.kind === 'dropout' && last?.activation === '' && last.name !== 'linear') continue;
    if (activation !== undefined && last) {
      last.activation = [last.activation, activation].filter(Boolean).join(', ');
      last.parameters += layer.parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
      last.multiplyAdds += layer.multiplyAdds;
      continue;
    }
    join();
    rows.push(rowOf(layer, activation));
  }
  const last = rows.at(-1);
  if (last?.name === 'linear' && last.activation === '') last.activation = 'softmax';
  join();
  return rows;
}

const keyOf = ({ name, output, kernel, stride, activation }: Row): string =>
  JSON.stringify([name, output, kernel, stride, activation]);

/** What a layer adds to the row before it: '' if nothing; undefined if it has a row of its own. */
function activationOf({ spec, input, output }: NetworkLayer): string | undefined {
  switch (spec.kind) {
    case 'relu':
      return 'relu';
    case 'batchNorm':
      return 'batch norm';
    case 'localResponseNorm':
      return 'LRN';
    case 'dropout':
      return spec.probability === 0 ? '' : `dropout ${spec.probability}`;
    case 'flatten':
      return '';
    case 'conv2d':
    case 'linear':
    case 'maxPool2d':
    case 'avgPool2d':
      return undefined;
    case 'adaptiveAvgPool2d':
      return input.join() === output.join() ? '' : undefined;
    default:
      return spec satisfies never;
  }
}

const names: Readonly<Partial<Record<LayerSpec['kind'], string>>> = {
  conv2d: 'convolution',
  maxPool2d: 'max-pool',
  avgPool2d: 'average pool',
  adaptiveAvgPool2d: 'adaptive average pool',
};

function rowOf(layer: NetworkLayer, activation: string | undefined): Row {
  const { spec, output, parameters, multiplyAdds } = layer;
  const isWindow = spec.kind === 'conv2d' || spec.kind === 'maxPool2d' || spec.kind === 'avgPool2d';
  return {
    count: 1,
    name: activation ?? names[spec.kind] ?? spec.kind,
    numbered: spec.kind === 'conv2d' || spec.kind === 'linear',
    output,
    kernel: isWindow ? spec.kernel.join('×') : '',
    stride: isWindow ? formatPair(spec.stride) : '',
    activation: '',
    parameters: parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    multiplyAdds,
  };
}
