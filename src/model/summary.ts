/**
 * Summarizes a network as a table: settings, output shape, parameters, multiply-adds and output memory of each layer.
 * All figures are for one image. Memory counts one float32 map per layer, as in PyTorch; a device may fuse layers and
 * need less.
 */
import { grouped } from '../words.ts';
import type { Conv2dSpec, LayerSpec, Network, PoolSpec, Shape } from './layer.ts';
import { formatPair, formatShape } from './layers/arguments.ts';
import { sizeOf } from './network.ts';

export interface SummaryRow {
  readonly name: string;
  /** The name of its constructor, for example `conv2d`. */
  readonly kind: string;
  /** For example `3×3, stride 2, padding 1`. */
  readonly settings: string;
  readonly output: Shape;
  readonly parameters: number;
  readonly multiplyAdds: number;
  /** Bytes of one image's output; 0 for `flatten`, which copies nothing. */
  readonly activationBytes: number;
}

export interface Summary {
  readonly model: string;
  readonly input: Shape;
  readonly layers: readonly SummaryRow[];
  readonly total: {
    readonly parameters: number;
    readonly multiplyAdds: number;
    readonly activationBytes: number;
  };
}

/** Returns the table of `network` as plain data. */
export function summarize(network: Network): Summary {
  const layers = network.layers.map(({ spec, name, output, parameters, multiplyAdds }) => ({
    name,
    kind: spec.kind === 'batchNorm' ? `batchNorm${spec.dimensions}d` : spec.kind,
    settings: settingsOf(spec),
    output,
    parameters: parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    multiplyAdds,
    activationBytes: spec.kind === 'flatten' ? 0 : 4 * sizeOf(output),
  }));
  const total = (column: 'parameters' | 'multiplyAdds' | 'activationBytes'): number =>
    layers.reduce((sum, row) => sum + row[column], 0);
  return {
    model: network.name,
    input: network.input,
    layers,
    total: {
      parameters: total('parameters'),
      multiplyAdds: total('multiplyAdds'),
      activationBytes: total('activationBytes'),
    },
  };
}

/** The cells of the table for `formatTable`: a header, one row per layer, and the totals. */
export function summaryCells({ model, input, layers, total }: Summary): readonly (readonly string[])[] {
  return [
    ['layer', 'kind', 'output', 'parameters', 'multiply-adds', 'memory'],
    ['input', '', formatShape(input), '', '', formatBytes(4 * sizeOf(input))],
    ...layers.map((row) => [
      row.name,
      row.settings === '' ? row.kind : `${row.kind} ${row.settings}`,
      formatShape(row.output),
      formatCount(row.parameters),
      formatCount(row.multiplyAdds),
      row.activationBytes === 0 ? '' : formatBytes(row.activationBytes),
    ]),
    [
      model,
      '',
      '',
      grouped(total.parameters),
      grouped(total.multiplyAdds),
      formatBytes(total.activationBytes),
    ],
  ];
}

/** Bytes in binary units: `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

function settingsOf(spec: LayerSpec): string {
  const window = ({ kernel, stride, padding }: Conv2dSpec | PoolSpec, usualStride: number): string[] => {
    const parts = [formatShape(kernel)];
    if (stride.some((side) => side !== usualStride)) parts.push(`stride ${formatPair(stride)}`);
    if (padding.some((side) => side !== 0)) parts.push(`padding ${formatPair(padding)}`);
    return parts;
  };
  const withBias = (bias: boolean): string[] => (bias ? [] : ['no bias']);
  switch (spec.kind) {
    case 'conv2d':
      return [...window(spec, 1), ...withBias(spec.bias)].join(', ');
    case 'maxPool2d':
    case 'avgPool2d':
      return window(spec, 0).join(', ');
    case 'adaptiveAvgPool2d':
      return `to ${formatShape(spec.size)}`;
    case 'localResponseNorm': {
      const { size, alpha, beta, k } = spec;
      return [
        `${size} channels`,
        ...(alpha === 1e-4 ? [] : [`alpha ${alpha}`]),
        ...(beta === 0.75 ? [] : [`beta ${beta}`]),
        ...(k === 1 ? [] : [`k ${k}`]),
      ].join(', ');
    }
    case 'linear':
      return withBias(spec.bias).join(', ');
    case 'batchNorm': {
      const { momentum, epsilon, affine } = spec;
      return [
        ...(momentum === 0.1 ? [] : [`momentum ${momentum}`]),
        ...(epsilon === 1e-5 ? [] : [`epsilon ${epsilon}`]),
        ...(affine ? [] : ['not affine']),
      ].join(', ');
    }
    case 'dropout':
      return String(spec.probability);
    case 'relu':
    case 'flatten':
      return '';
    default:
      return spec satisfies never;
  }
}

const formatCount = (value: number): string => (value === 0 ? '' : grouped(value));
