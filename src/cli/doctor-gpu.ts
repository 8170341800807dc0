/** The part of `vgg doctor` about WebGPU, in words. */
import type { GpuKernel, GpuReport } from '../engine/webgpu/examine-node.ts';
import { formatBytes } from '../model/summary.ts';
import { counted } from '../words.ts';
import { hanging, tableText } from './output.ts';

/** The lines and the table of a report. */
export function formatGpu(report: GpuReport, width: number): string {
  const { adapter } = report;
  const lines = rowsOf(report).map(([name, text]) => hanging(name, text, 14, width));
  if (!report.kernels || 'missing' in adapter) return lines.join('\n');
  const names = Object.keys(report.kernels);
  const wrong = report.wrong ?? [];
  return [
    ...lines,
    '',
    'Largest error of the checks that use a kernel, relative to the largest value, and its time and speed in a training step, where the timed ones use it.',
    '',
    tableText(cellsOf(report.kernels), 1, width),
    '',
    `webgpu (${adapter.name}): ${wrong.length === 0 ? `all ${names.length} kernels right` : `${counted(wrong.length, 'check')} of kernels WRONG`}, ${counted(report.pipelines ?? 0, 'pipeline')} compiled`,
    ...wrong.map(
      ({ title, error, most, kernels }) =>
        `  ${title}: error ${error.toExponential(1)}, at most ${most.toExponential(0)} is right; kernels ${kernels.join(', ')}`,
    ),
    ...measuredOf(report),
  ].join('\n');
}

function rowsOf(report: GpuReport): (readonly [string, string])[] {
  const { package: own, loader, adapters, adapter } = report;
  if ('missing' in own) return [['webgpu', `none: ${own.missing}`]];
  if (loader && 'missing' in loader) return [['webgpu', `none: ${loader.missing}`]];
  const program = `npm package ${own.version}${loader ? `, Vulkan's loader ${loader.file}` : ''}`;
  const list = adapters.map((name, i) => `${i}: ${name}`).join(', ');
  if ('missing' in adapter) return [['webgpu', `none: ${adapter.missing} (${program})`]];
  const { name, vendor, architecture, software, features, limits } = adapter;
  const byteLimits = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize'];
  const [buffer, binding, workgroup] = byteLimits.map((limit) => formatBytes(limits[limit]!));
  return [
    ['webgpu', program],
    ['adapters', `${list} (--adapter chooses one)`],
    [
      'adapter',
      `${name}${software ? ', software: the processor computes, far slower than with its own kernels' : ''}; vendor ${vendor || 'unknown'}, architecture ${architecture || 'unknown'}`,
    ],
    ['features', features.join(', ') || 'none'],
    [
      'limits',
      `buffers of ${buffer}, of which kernels see ${binding}, ${limits.maxStorageBuffersPerShaderStage} in a kernel; workgroups of ${limits.maxComputeInvocationsPerWorkgroup} invocations and ${workgroup}`,
    ],
    ['tiles', `the table '${adapter.tiles}' (--tune measures others)`],
  ];
}

function cellsOf(kernels: Readonly<Record<string, GpuKernel>>): string[][] {
  const shown = (value: number | undefined, digits: number): string =>
    value === undefined ? '' : value.toFixed(digits);
  return [
    ['kernel', 'checks', 'error', 'ms', 'GFLOP/s', 'GB/s'],
    ...Object.entries(kernels).map(([name, own]) => [
      name,
      String(own.checks),
      own.checks === 0 ? '' : own.error === 0 ? '0' : own.error.toExponential(0),
      shown(own.milliseconds, 3),
      shown(own.gflops, 1),
      shown(own.gigabytesPerSecond, 1),
    ]),
  ];
}

function measuredOf({ tuning, speed }: GpuReport): string[] {
  const sum = (times: readonly number[]): string => times.map((time) => time.toFixed(2)).join(', ');
  return [
    ...(tuning
      ? [
          `Tiles: of ${counted(tuning.tried, 'table')}, '${tuning.table.name}' is the fastest: ${tuning.table.tiles.map(({ bm, bn }) => `${bm}×${bn}`).join(', ')}, ` +
            `${tuning.table.groups} workgroups, slices of ${tuning.table.sliceLength}. Products of a step take ${sum(tuning.after)} ms, and ${sum(tuning.before)} ms with the table of the class. Stored; runs that have started keep theirs.`,
        ]
      : []),
    ...(speed
      ? [
          `Training ${speed.network}: ${Math.round(speed.gpu)} images/s, and ${Math.round(speed.native)} with ${speed.description}. Stored for --device auto, which takes the faster one.`,
        ]
      : []),
  ];
}
