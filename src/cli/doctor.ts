/** `vgg doctor`: examines the machine and its devices, and checks and times every kernel. */
import { readdir, stat } from 'node:fs/promises';
import { availableParallelism, cpus, freemem, release, totalmem } from 'node:os';
import { basename, join } from 'node:path';
import { Command } from 'commander';
import { dataDirectory } from '../data/cache.ts';
import { gpuDevices } from '../engine/backend.ts';
import type { KernelSource } from '../engine/cpu/kernels/library.ts';
import type { KernelsReport } from '../engine/cpu/measure/examine.ts';
import { VggError } from '../errors.ts';
import { kernelNames } from '../kernels/catalogue.ts';
import { formatBytes } from '../model/summary.ts';
import { packageVersion } from '../version.ts';
import { counted } from '../words.ts';
import { formatGpu } from './doctor-gpu.ts';
import { adapterOption, chooseAdapter } from './models.ts';
import { hanging, note, print, printJson, tableText, widthOf } from './output.ts';

const help = `
Compares each device's kernels with plain float64 loops and times them, those of the processor on one core. If the npm package webgpu and an adapter are there, it examines the adapter, too, and stores whether a GPU trains faster than the processor, for --device auto. Include the output in bug reports. The exit code is 1 if a kernel is wrong.

Environment:
  VGGNET_CC           C compiler of the native kernels (default: the first of $CC, cc, gcc and clang that runs); empty: no native kernels
  VGGNET_REVECTORIZE  0: WebAssembly without 256-bit vectors
  VGGNET_ADAPTER      GPU that computes, as --adapter
  VGGNET_DATA         folder of the data sets (default: the cache directory)
  VGGNET_RUNS         folder of the runs (default: runs)`;

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check this machine: compiler, caches, devices and kernels')
    .addOption(adapterOption())
    .option(
      '--tune',
      'also measure which tiles of matrix products are fastest on the GPU, and store them (minutes)',
    )
    .option('--json', 'print one JSON object')
    .addHelpText('after', help)
    .action(doctor);
}

/** A part of the machine, or why it is missing. */
type Found<T> = T | { readonly missing: string };

interface Folder {
  readonly path: string;
  readonly entries: readonly { readonly name: string; readonly bytes: number }[];
}

interface DeviceReport extends KernelsReport {
  /** `native (AVX-512)`, for instance. */
  readonly device: string;
  readonly right: boolean;
}

interface Machine {
  readonly vggnet: string;
  readonly node: string;
  readonly v8: string;
  readonly system: string;
  readonly processor: string;
  readonly features: readonly string[];
  readonly cores: number;
  readonly memoryBytes: number;
  readonly freeBytes: number;
  readonly cacheBytes: number;
  readonly compiler: Found<{ readonly command: string; readonly version: string; readonly vectors: string }>;
  readonly koffi: Found<{ readonly version: string }>;
  /** The library, or why it is missing; `wrong` if the compiled kernels compute wrong results. */
  readonly native: { readonly file: string } | { readonly missing: string; readonly wrong: boolean };
  readonly revectorized: Found<{ readonly on: true }>;
  /** Compiled kernels. */
  readonly cache: Folder;
  readonly data: Folder;
}

/** Processor features that decide which vectors are used. */
const telling = ['sse4_2', 'avx', 'avx2', 'fma', 'avx512f', 'avx512vl', 'asimd', 'sve'];

interface DoctorOptions {
  readonly adapter?: string;
  readonly tune?: boolean;
  readonly json?: true;
}

async function doctor({ adapter, tune = false, json }: DoctorOptions): Promise<void> {
  chooseAdapter(adapter, gpuDevices[0]!);
  const native = await findNative();
  const machine = await examineMachine(native);
  if (!json) print(formatMachine(machine));
  const devices: DeviceReport[] = [];
  for (const source of await sourcesBeside(native)) {
    const [{ examineKernels }, { describeKernels }, { aside }] = await Promise.all([
      import('../engine/cpu/measure/examine.ts'),
      import('../engine/cpu/kernels/library.ts'),
      import('../aside-node.ts'),
    ]);
    if (!json && process.stderr.isTTY) note(`examining ${describeKernels(source)} …`);
    const report = await aside('engine/cpu/measure/examine', examineKernels, source);
    const right = Object.values(report.kernels).every(({ complaint }) => complaint === undefined);
    devices.push({ device: describeKernels(source), right, ...report });
  }
  if (!json) print(`${formatDevices(devices)}\n`);
  const { examineGpu } = await import('../engine/webgpu/examine-node.ts');
  const gpu = await examineGpu(tune, (what) => {
    if (!json && process.stderr.isTTY) note(`examining the GPU: ${what} …`);
  });
  const { fasterGpu } = await import('../engine/webgpu/stored-node.ts');
  const faster = fasterGpu();
  // Otherwise `auto` takes the first one.
  const auto = faster ? `webgpu (${faster.adapter})` : devices[0]!.device;
  if (json) printJson({ ...machine, devices, gpu, auto });
  else
    print(
      `${formatGpu(gpu, widthOf(process.stdout))}\n\n--device auto uses ${auto}. The reference device, plain float64 loops, runs everywhere.`,
    );
  const isWrong = devices.some(({ right }) => !right) || (gpu.wrong ?? []).length > 0;
  if (native.wrong || isWrong) process.exitCode = 1;
}

interface NativeSource {
  readonly source?: KernelSource;
  /** Why it is missing. */
  readonly missing?: string;
  /** It is missing because the compiled kernels compute wrong results. */
  readonly wrong: boolean;
}

/** The native kernels; compiles them if necessary. */
async function findNative(): Promise<NativeSource> {
  const { nativeKernels, WrongKernels } = await import('../engine/cpu/kernels/native-node.ts');
  try {
    return { source: await nativeKernels({ onNotice: note }), wrong: false };
  } catch (error) {
    if (error instanceof VggError) return { missing: error.message, wrong: error instanceof WrongKernels };
    throw error;
  }
}

/** The kernels that run here, in the order in which `--device auto` tries them. */
async function sourcesBeside({ source }: NativeSource): Promise<KernelSource[]> {
  const { plainWasmKernels } = await import('../engine/cpu/kernels/provider.ts');
  const { revectorizedKernels } = await import('../engine/cpu/kernels/revectorize-node.ts');
  const revectorized = await revectorizedKernels(false);
  return [
    ...(source ? [source] : []),
    ...('source' in revectorized ? [revectorized.source] : []),
    await plainWasmKernels(false, note),
  ];
}

async function examineMachine({ source, missing = '', wrong }: NativeSource): Promise<Machine> {
  const { findCompiler, targetName } = await import('../engine/cpu/kernels/compiler-node.ts');
  const { kernelDirectory } = await import('../engine/cpu/kernels/cache-node.ts');
  const { loadKoffi } = await import('../koffi-node.ts');
  const { processorFeatures } = await import('../engine/cpu/run/processor-node.ts');
  const { cacheSize } = await import('../engine/cpu/run/threads.ts');
  const { revectorizedKernels } = await import('../engine/cpu/kernels/revectorize-node.ts');
  const found = async <T>(look: () => Promise<T>): Promise<Found<T>> => {
    try {
      return await look();
    } catch (error) {
      if (error instanceof VggError) return { missing: error.message };
      throw error;
    }
  };
  const features = processorFeatures();
  const revectorized = await revectorizedKernels(false);
  return {
    vggnet: packageVersion(),
    node: process.versions.node,
    v8: process.versions.v8,
    system: `${process.platform} ${process.arch} (${release()})`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    features: telling.filter((name) => features.has(name)),
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    freeBytes: freemem(),
    cacheBytes: await cacheSize(),
    compiler: await found(async () => {
      const { command, version, target } = await findCompiler();
      return { command: command.join(' '), version, vectors: targetName(target) };
    }),
    koffi: await found(async () => ({ version: loadKoffi().version })),
    native: source?.kind === 'native' ? { file: source.file } : { missing, wrong },
    revectorized: 'source' in revectorized ? { on: true } : { missing: revectorized.reason },
    cache: await folder(kernelDirectory()),
    data: await folder(dataDirectory(), basename(kernelDirectory())),
  };
}

/** The entries of a folder, except one that is listed elsewhere. */
async function folder(path: string, except?: string): Promise<Folder> {
  const names = (await readdir(path).catch(() => [] as string[])).filter((name) => name !== except);
  const entries = await Promise.all(
    names.sort().map(async (name) => ({ name, bytes: await bytesOf(join(path, name)) })),
  );
  return { path, entries };
}

/** The size of a file, or of all files in a folder. */
async function bytesOf(path: string): Promise<number> {
  const facts = await stat(path).catch(() => undefined);
  if (!facts?.isDirectory()) return facts?.size ?? 0;
  const names = await readdir(path).catch(() => [] as string[]);
  const sizes = await Promise.all(names.map((name) => bytesOf(join(path, name))));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function formatMachine(machine: Machine): string {
  const { compiler, koffi, native, revectorized } = machine;
  const list = ({ path, entries }: Folder): string =>
    `${path}: ${entries.length === 0 ? 'nothing yet' : entries.map(({ name, bytes }) => `${name} (${formatBytes(bytes)})`).join(', ')}`;
  const lines: readonly (readonly [string, string])[] = [
    ['vggnet', machine.vggnet],
    ['Node', `${machine.node}, V8 ${machine.v8}`],
    ['system', machine.system],
    [
      'processor',
      `${machine.processor}, ${machine.cores} cores; ${machine.features.join(', ') || 'features unknown'}`,
    ],
    [
      'memory',
      `${formatBytes(machine.memoryBytes)}, ${formatBytes(machine.freeBytes)} free; second-level cache assumed ${formatBytes(machine.cacheBytes)}`,
    ],
    [
      'compiler',
      'missing' in compiler
        ? `none: ${compiler.missing}`
        : `${compiler.command}, ${compiler.version}, for ${compiler.vectors}`,
    ],
    ['koffi', 'missing' in koffi ? `none: ${koffi.missing}` : koffi.version],
    [
      'native',
      'file' in native ? basename(native.file) : `${native.wrong ? 'WRONG' : 'none'}: ${native.missing}`,
    ],
    ['revectorized', 'missing' in revectorized ? `off: ${revectorized.missing}` : 'on'],
    ['cache', list(machine.cache)],
    ['data', list(machine.data)],
  ];
  const width = widthOf(process.stdout);
  return lines.map(([name, text]) => hanging(name, text, 14, width)).join('\n');
}

function formatDevices(devices: readonly DeviceReport[]): string {
  const errors = (value: number): string => (value === 0 ? '0' : value.toExponential(0));
  const cells = [
    ['kernel', ...devices.flatMap(({ device }) => [device, 'GFLOP/s', 'of peak'])],
    ...kernelNames.map((name) => [
      name,
      ...devices.flatMap(({ kernels }) => {
        const { error, complaint, gflops, share } = kernels[name];
        return [
          complaint === undefined ? errors(error) : 'WRONG',
          gflops === undefined ? '' : gflops.toFixed(1),
          share === undefined ? '' : `${(100 * share).toFixed(0)} %`,
        ];
      }),
    ]),
  ];
  const lines = [
    '',
    'Largest error of each kernel against float64, relative to the largest value (at most 2e-6 is right), and its speed on one core. The speed is blank for kernels that only move data, and far below the peak for those that wait for memory.',
    '',
    tableText(cells, 1, widthOf(process.stdout)),
    '',
  ];
  for (const { device, right, peakGflops, kernels } of devices) {
    const wrong = Object.entries(kernels).filter(([, { complaint }]) => complaint !== undefined);
    lines.push(
      `${device}: ${right ? `all ${kernelNames.length} kernels right` : `${counted(wrong.length, 'kernel')} WRONG`}, peak ${peakGflops.toFixed(0)} GFLOP/s on one core`,
      ...wrong.map(([name, { complaint }]) => `  ${name}: ${complaint}`),
    );
  }
  return lines.join('\n');
}
